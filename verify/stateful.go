package verify

import (
	"context"
	"fmt"
	"maps"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
)

// A stateful model is held against the reference on whole sequences: it is run in chunks, every sequence of a batch at a
// position of its own, and what the chunks give is joined. So it is judged, block by block, as the model that takes the
// sequences whole; that the two are the same is what is to be shown.

// chunkLengths are how a stateful model's sequences are cut; 0 stands for not at all.
func chunkLengths() []int { return []int{0, 1, 2, 7} }

// Stateful reports whether a model of ours takes its sequence in chunks. Others call inputs "past_" too, and mean something else.
func Stateful(p *onnxpb.ModelProto) bool {
	takes := map[string]bool{}
	state := false
	for _, in := range p.GetGraph().GetInput() {
		takes[in.GetName()] = true
		_, part := wiring.IsState(in.GetName())
		state = state || part
	}
	return state && takes[wiring.TokenInput] && takes[wiring.PositionInput] && p.GetProducerName() == export.Producer
}

// chunked are the cases of a stateful model: each by every length that cuts it otherwise than one before.
func chunked(cases []*modelCase) []*modelCase {
	var all []*modelCase
	for _, c := range cases {
		tokens := c.inputs[wiring.TokenInput]
		if len(tokens.Shape) != 2 {
			all = append(all, c) // the engines say what is wrong
			continue
		}
		steps := tokens.Shape[1]
		for _, n := range chunkLengths() {
			if n >= steps {
				continue
			}
			cut := *c
			cut.chunk = n
			if n > 0 {
				cut.id = fmt.Sprintf("%s, chunks of %d", c.id, n)
			}
			all = append(all, &cut)
		}
	}
	return all
}

// runCase runs a case; inputs are its own, or with the value that a part of the model begins with. The number of kernel
// calls is that of a chunk.
func (p *program) runCase(ctx context.Context, c *modelCase, inputs map[string]*tensor.Tensor, bodies bool) (
	map[string]*tensor.Tensor, uint64, error) {
	if c.chunk == 0 {
		return p.runAs(ctx, inputs, bodies)
	}
	tokens := inputs[wiring.TokenInput]
	if tokens == nil || len(tokens.Shape) != 2 {
		return nil, 0, fmt.Errorf("there is no input %q to cut into chunks", wiring.TokenInput)
	}
	r := &chunkRun{inputs: inputs, batch: tokens.Shape[0], steps: tokens.Shape[1], chunk: c.chunk,
		position: make([]int64, tokens.Shape[0]), state: maps.Clone(inputs), joined: map[string]*tensor.Tensor{}}
	calls := uint64(0)
	for step := 0; !r.done(); step++ {
		in, err := r.next(step)
		if err != nil {
			return nil, 0, err
		}
		out, n, err := p.runAs(ctx, in, bodies)
		if err != nil {
			return nil, 0, fmt.Errorf("chunk %d: %w", step+1, err)
		}
		if step > 0 && n != calls {
			return nil, 0, fmt.Errorf("chunk %d: %d kernel calls, the one before had %d", step+1, n, calls)
		}
		calls = n
		if err := r.take(out); err != nil {
			return nil, 0, fmt.Errorf("chunk %d: %w", step+1, err)
		}
	}
	return r.joined, calls, nil
}

// chunkRun is a case on its way through a stateful model.
type chunkRun struct {
	inputs, state       map[string]*tensor.Tensor
	batch, steps, chunk int
	position            []int64
	lengths             []int // of the chunk at hand
	joined              map[string]*tensor.Tensor
}

func (r *chunkRun) done() bool {
	for _, p := range r.position {
		if p < int64(r.steps) {
			return false
		}
	}
	return true
}

// next makes a chunk. Sequence b rests for the first b chunks, so that no two are at the same position.
func (r *chunkRun) next(step int) (map[string]*tensor.Tensor, error) {
	r.lengths = make([]int, r.batch)
	for b := range r.lengths {
		if b <= step {
			r.lengths[b] = min(r.chunk, r.steps-int(r.position[b]))
		}
	}
	in := map[string]*tensor.Tensor{}
	for name, t := range r.inputs {
		_, isState := wiring.IsState(name)
		switch {
		case isState:
			in[name] = r.state[name]
		case name == wiring.PositionInput:
			position, err := tensor.FromInt64s([]int{r.batch}, r.position)
			if err != nil {
				return nil, err
			}
			in[name] = position
		default:
			in[name] = r.cut(t, name == wiring.TokenInput)
		}
	}
	return in, nil
}

// cut takes the chunk's rows out of (batch, steps, ...). Padding is -1 in tokens and 0 elsewhere.
func (r *chunkRun) cut(t *tensor.Tensor, tokens bool) *tensor.Tensor {
	row := len(t.Data) / (r.batch * r.steps)
	out := &tensor.Tensor{DType: t.DType, Shape: append([]int{r.batch, r.chunk}, t.Shape[2:]...),
		Data: make([]byte, r.batch*r.chunk*row)}
	if tokens {
		for i := range out.Data {
			out.Data[i] = 0xff
		}
	}
	for b, n := range r.lengths {
		copy(out.Data[b*r.chunk*row:][:n*row], t.Data[(b*r.steps+int(r.position[b]))*row:])
	}
	return out
}

// take joins what a chunk gave and moves on.
func (r *chunkRun) take(out map[string]*tensor.Tensor) error {
	for name, t := range out {
		if part, isState := wiring.IsState(name); isState {
			r.state[wiring.PastPrefix+part] = t
			continue
		}
		if len(t.Shape) < 2 || t.Shape[0] != r.batch || t.Shape[1] != r.chunk {
			return fmt.Errorf("value %q: has shape %s, want %d sequences of %d positions", name, tensor.FormatShape(t.Shape), r.batch, r.chunk)
		}
		row := len(t.Data) / (r.batch * r.chunk)
		whole := r.joined[name]
		if whole == nil {
			whole = &tensor.Tensor{DType: t.DType, Shape: append([]int{r.batch, r.steps}, t.Shape[2:]...),
				Data: make([]byte, r.batch*r.steps*row)}
			r.joined[name] = whole
		}
		for b, n := range r.lengths {
			copy(whole.Data[(b*r.steps+int(r.position[b]))*row:], t.Data[b*r.chunk*row:][:n*row])
		}
	}
	for b, n := range r.lengths {
		r.position[b] += int64(n)
	}
	return nil
}
