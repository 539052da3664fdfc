package infer

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/task"
	"github.com/aftonnx/aftonnx/verify"
)

// Stateful reports whether the model takes its sequences in chunks.
func (m *Model) Stateful() bool { return verify.Stateful(m.Graph.Proto()) }

// ErrNotDecodable says that a model cannot be run a chunk at a time: it is not causal, or not one of ours.
var ErrNotDecodable = errors.New("cannot be run a chunk at a time")

// As is the model that takes its sequences in chunks, or whole, as asked: itself, or what it says of itself exported again, in
// memory, in its own type and for its own opset. The weights are those that the file stores.
//
// Errors: ErrNotDecodable with the reason.
func (m *Model) As(stateful bool) (*Model, error) {
	if m.Stateful() == stateful {
		return m, nil
	}
	if m.Reference == nil {
		return nil, fmt.Errorf("%w: %w", ErrNotDecodable, m.why)
	}
	o := export.Options{Stateful: stateful, Version: m.Graph.Proto().GetProducerVersion(), SourceSHA256: m.Metadata("source_sha256"),
		DoublePortable: m.Metadata("portable_math") == tensor.Float64.String()}
	for _, imported := range m.Graph.Proto().GetOpsetImport() {
		if imported.GetDomain() == "" {
			o.Opset = int(imported.GetVersion())
		}
	}
	for _, out := range m.Graph.Outputs() {
		if out.Name == wiring.OutputName(m.Reference) {
			o.DType = out.DType
		}
	}
	data, err := export.Encode(m.Reference, o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotDecodable, err)
	}
	graph, err := onnxgraph.Decode(data, onnxgraph.Options{})
	if err != nil {
		return nil, fmt.Errorf("exported again: %w", err)
	}
	return &Model{Graph: graph, Reference: m.Reference, data: data}, nil
}

// Decoder takes sequences of a stateful model from their start: ort.Decoder where the engine is ONNX Runtime's. capacity is how
// many tokens a sequence may have at most; models without AFT-full need no such number.
func (m *Model) Decoder(s *Session, capacity int) task.Decoder {
	if s.runtime != nil {
		return &runtimeDecoder{session: s.runtime}
	}
	d := &goDecoder{session: s, capacity: capacity}
	for _, in := range m.Graph.Inputs() {
		if _, isState := wiring.IsState(in.Name); isState {
			d.ports = append(d.ports, in)
		}
	}
	return d
}

// runtimeDecoder is ort.Decoder, made when the number of sequences is known.
type runtimeDecoder struct {
	session *ort.Session
	decoder *ort.Decoder
}

func (d *runtimeDecoder) Start(n int) (err error) {
	if d.decoder == nil || d.decoder.Sequences() != n {
		d.decoder, err = ort.NewDecoder(d.session, ort.DecoderOptions{Sequences: n})
		return err
	}
	for i := range n {
		err = errors.Join(err, d.decoder.Reset(i))
	}
	return err
}

func (d *runtimeDecoder) Step(ctx context.Context, tokens [][]int64) (*tensor.Tensor, error) {
	return d.decoder.Step(ctx, tokens)
}

// goDecoder hands states on from run to run of an engine of Go's.
type goDecoder struct {
	session  *Session
	ports    []onnxgraph.Value // of the state
	capacity int               // of caches
	position []int64
	state    Tensors
}

// Start begins n sequences. At position 0 no state is read, so its zeros need not be the empty state.
func (d *goDecoder) Start(n int) error {
	d.position, d.state = make([]int64, n), Tensors{}
	for _, v := range d.ports {
		shape := make([]int, len(v.Dims))
		for i, dim := range v.Dims {
			switch {
			case dim.Size >= 0:
				shape[i] = dim.Size
			case i == 0:
				shape[i] = n
			default:
				shape[i] = d.capacity
			}
		}
		zeros, err := tensor.New(v.DType, shape)
		if err != nil {
			return fmt.Errorf("input %q: %w", v.Name, err)
		}
		d.state[v.Name] = zeros
	}
	return nil
}

// Step runs the chunks, padded to the longest. After an error the sequences are where they were.
func (d *goDecoder) Step(ctx context.Context, tokens [][]int64) (*tensor.Tensor, error) {
	if len(tokens) != len(d.position) {
		return nil, fmt.Errorf("tokens for %d sequences, want %d", len(tokens), len(d.position))
	}
	longest := 0
	for _, row := range tokens {
		longest = max(longest, len(row))
	}
	ids := make([]int64, 0, len(tokens)*longest)
	next := make([]int64, len(tokens))
	for b, row := range tokens {
		ids = append(ids, row...)
		for range longest - len(row) {
			ids = append(ids, -1)
		}
		next[b] = d.position[b] + int64(len(row))
	}
	in := Tensors{}
	for name, t := range d.state {
		in[name] = t
	}
	var err1, err2 error
	in[wiring.TokenInput], err1 = tensor.FromInt64s([]int{len(tokens), longest}, ids)
	in[wiring.PositionInput], err2 = tensor.FromInt64s([]int{len(tokens)}, d.position)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	out, err := d.session.Run(ctx, in)
	if err != nil {
		return nil, err
	}
	for name, t := range out {
		if part, isState := wiring.IsState(name); isState {
			d.state[wiring.PastPrefix+part] = t
		}
	}
	d.position = next
	return out[wiring.HeadOutput], nil
}
