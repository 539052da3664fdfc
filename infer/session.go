package infer

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/reference"
	"github.com/aftonnx/aftonnx/verify"
)

// Tensors are inputs or outputs by name.
type Tensors = map[string]*tensor.Tensor

// Session is a model on an engine.
type Session struct {
	run     func(context.Context, Tensors) (Tensors, error)
	close   func() error
	runtime *ort.Session // nil: an engine of Go's
}

// Run computes every output. The engines native and reference give them in float64, unrounded.
func (s *Session) Run(ctx context.Context, in Tensors) (Tensors, error) { return s.run(ctx, in) }

// Close frees the session.
func (s *Session) Close() error { return s.close() }

// LoadOptions say how a model is run.
type LoadOptions struct {
	Open    verify.Opener // of ONNX Runtime; nil: ort.Open with its defaults
	Threads int           // of ONNX Runtime; 0: it decides
}

// Load puts the model into an engine.
//
// Errors: those of ONNX Runtime, or that the model has no reference.
func (m *Model) Load(ctx context.Context, e verify.Engine, o LoadOptions) (*Session, error) {
	none := func() error { return nil }
	switch e {
	case verify.Reference:
		if m.Reference == nil {
			return nil, fmt.Errorf("engine %s: cannot run the model: %w", e, m.why)
		}
		return &Session{run: m.runReference, close: none}, nil
	case verify.Native:
		return &Session{close: none, run: func(ctx context.Context, in Tensors) (Tensors, error) {
			return m.Graph.Run(ctx, in, onnxgraph.RunOptions{Wide: true})
		}}, nil
	}
	if o.Open == nil {
		o.Open = func(ctx context.Context) (*ort.Runtime, error) { return ort.Open(ctx, ort.Options{}) }
	}
	runtime, err := o.Open(ctx)
	if err != nil {
		return nil, err
	}
	session, err := m.load(runtime, ort.SessionOptions{Threads: o.Threads, NoKernels: e == verify.Portable})
	if err != nil {
		return nil, fmt.Errorf("engine %s: %w", e, errors.Join(err, runtime.Close()))
	}
	return &Session{session.Run, func() error { return errors.Join(session.Close(), runtime.Close()) }, session}, nil
}

// load opens a file as a file, since its weights may lie beside it.
func (m *Model) load(runtime *ort.Runtime, o ort.SessionOptions) (*ort.Session, error) {
	if m.path != "" {
		return runtime.Load(m.path, o)
	}
	return runtime.LoadBytes(m.data, o)
}

// runReference computes the model's one output. It does not stop halfway when ctx is done.
func (m *Model) runReference(ctx context.Context, in Tensors) (Tensors, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	var inputs reference.Inputs
	name := wiring.InputName(m.Reference)
	x, ok := in[name]
	if !ok {
		return nil, fmt.Errorf("input %q: is missing", name)
	}
	inputs.X = x.Array()
	if mask := in[wiring.MaskInput]; mask != nil {
		inputs.Mask = mask.Array()
	}
	if grid := in[wiring.GridInput]; grid != nil {
		sides, err := grid.Int64s()
		if err != nil || len(sides) != 2 {
			return nil, fmt.Errorf("input %q: is %s, want two integers", wiring.GridInput, grid)
		}
		inputs.Grid = [2]int{int(sides[0]), int(sides[1])}
	}
	y, err := m.Reference.Forward(inputs)
	if err != nil {
		return nil, err
	}
	t, err := y.Tensor(tensor.Float64)
	return Tensors{wiring.OutputName(m.Reference): t}, err
}
