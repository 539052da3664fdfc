package verify

import (
	"context"
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// A step form is held against the operator over whole sequences: the calls are those of the causal one, cut into chunks, and
// what the chunks give is joined. Its own sizes and values are all in the state, which each call hands to the next.

// stepChunk is the tokens of a chunk of the case with that number: 1, 2, 7 and all take turns, with no more than mostChunks
// to a sequence.
func stepChunk(number, steps int) int {
	n := []int{1, 2, 7, steps}[number%4]
	return max(1, n, (steps+mostChunks-1)/mostChunks)
}

const mostChunks = 40

// stepCases are the cases of the causal operator, with the form that takes them in chunks.
func stepCases(step *ops.Def, o *Options) ([]*opCase, error) {
	whole, ok := ops.Lookup(step.Whole)
	if !ok {
		return nil, fmt.Errorf("operator %q: is the step form of %q, which there is not", step.Name, step.Whole)
	}
	all, err := opCases(whole, o)
	if err != nil {
		return nil, err
	}
	var cases []*opCase
	for _, c := range all {
		if c.attrs.Int("causal") != 1 {
			continue
		}
		c.step, c.chunk = step, stepChunk(len(cases), c.q.Shape[1])
		c.id += fmt.Sprintf(", chunks of %d", c.chunk)
		cases = append(cases, c)
	}
	return cases, nil
}

// called is the operator that a case's nodes call, its attributes, and the inputs that say what a node is like: of a step form
// those of its first chunk.
func (c *opCase) called(inputs []*tensor.Tensor) (*ops.Def, ops.Attrs, []*tensor.Tensor, error) {
	if c.step == nil {
		return c.def, c.attrs, inputs, nil
	}
	s, err := c.start(inputs)
	if err != nil {
		return nil, nil, nil, err
	}
	first, err := s.inputs()
	return c.step, ops.Attrs{"gate": c.attrs["gate"]}, first, err
}

// steps is how many nodes a case runs.
func (c *opCase) steps() int {
	if c.step == nil {
		return 1
	}
	return max(1, (c.q.Shape[1]+c.chunk-1)/c.chunk)
}

// stepping is a case on its way through a step form.
type stepping struct {
	def   *ops.Def
	whole []*tensor.Tensor // Q, K, V, W
	chunk int
	at    int
	state map[string]*tensor.Tensor // by the name of the input
}

// start makes a state of zeros: at position 0 it is not read.
func (c *opCase) start(whole []*tensor.Tensor) (*stepping, error) {
	s := &stepping{def: c.step, whole: whole, chunk: c.chunk, state: map[string]*tensor.Tensor{}}
	q, k := whole[0].Shape, whole[1].Shape
	window := 1
	if len(whole) > 3 {
		window = whole[3].Shape[1]
	}
	sizes := map[string]int{"B": q[0], "D": q[2], "H": k[2], "s-1": window - 1, "C": q[1]}
	for i := range s.def.Outputs[1:] {
		port := s.def.Inputs[s.def.Past(1+i)]
		shape := make([]int, len(port.Dims))
		for axis, d := range port.Dims {
			shape[axis] = sizes[d]
		}
		zeros, err := tensor.New(port.Type.DType(whole[0].DType), shape)
		if err != nil {
			return nil, err
		}
		s.state[port.Name] = zeros
	}
	return s, nil
}

func (s *stepping) done() bool { return s.at >= s.whole[0].Shape[1] }

// length is how many tokens the next chunk has. The last one may be padded.
func (s *stepping) length() int { return min(s.chunk, s.whole[0].Shape[1]-s.at) }

// inputs are those of the next chunk, in the order of the declaration.
func (s *stepping) inputs() ([]*tensor.Tensor, error) {
	batch := s.whole[0].Shape[0]
	var list []*tensor.Tensor
	for _, p := range s.def.Inputs {
		var t *tensor.Tensor
		var err error
		switch p.Name {
		case "Q", "K", "V":
			t = s.cut(s.whole[map[string]int{"Q": 0, "K": 1, "V": 2}[p.Name]])
		case "W":
			t = s.whole[3]
		case "position":
			t, err = repeated(batch, s.at)
		case "length":
			t, err = repeated(batch, s.length())
		default:
			t = s.state[p.Name]
		}
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

func repeated(n, value int) (*tensor.Tensor, error) {
	values := make([]int64, n)
	for i := range values {
		values[i] = int64(value)
	}
	return tensor.FromInt64s([]int{n}, values)
}

// cut takes the chunk's rows out of (B,T,C).
func (s *stepping) cut(t *tensor.Tensor) *tensor.Tensor {
	batch, steps, width := t.Shape[0], t.Shape[1], t.Shape[2]
	row := width * t.DType.Size()
	out := &tensor.Tensor{DType: t.DType, Shape: []int{batch, s.chunk, width}, Data: make([]byte, batch*s.chunk*row)}
	for b := range batch {
		copy(out.Data[b*s.chunk*row:][:s.length()*row], t.Data[(b*steps+s.at)*row:])
	}
	return out
}

// runSteps runs a case's chunks on an engine and joins Y. It counts the kernel calls.
func (m *opModel) runSteps(ctx context.Context, e Engine, c *opCase, whole []*tensor.Tensor, bodies bool) (*tensor.Tensor, uint64, error) {
	s, err := c.start(whole)
	if err != nil {
		return nil, 0, err
	}
	var y *tensor.Tensor
	total := uint64(0)
	for first := true; first || !s.done(); first = false {
		list, err := s.inputs()
		if err != nil {
			return nil, 0, err
		}
		named := map[string]*tensor.Tensor{}
		for i, p := range s.def.Inputs {
			named[p.Name] = list[i]
		}
		out, calls, err := m.runOnce(ctx, e, named, bodies)
		if err != nil {
			return nil, 0, fmt.Errorf("position %d: %w", s.at, err)
		}
		total += calls
		part := out["Y"]
		if y == nil {
			y = &tensor.Tensor{DType: part.DType, Shape: whole[0].Shape, Data: make([]byte, whole[0].Len()*part.DType.Size())}
		}
		row, steps := part.Shape[2]*part.DType.Size(), whole[0].Shape[1]
		for b := range part.Shape[0] {
			copy(y.Data[(b*steps+s.at)*row:], part.Data[b*s.chunk*row:][:s.length()*row])
		}
		for i, p := range s.def.Outputs[1:] {
			s.state[s.def.Inputs[s.def.Past(1+i)].Name] = out[p.Name]
		}
		s.at += s.length()
	}
	return y, total, nil
}
