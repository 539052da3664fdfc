//go:build cgo

package ort_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ops/optest"
	"github.com/aftonnx/aftonnx/ort"
)

// operatorEngine runs one-node models in ONNX Runtime: with our kernels, or without them, so that the body is inlined.
// A model has no fixed size, so sessions are kept and serve every case with the same bytes.
type operatorEngine struct {
	rt       *ort.Runtime
	portable bool
	options  export.Options
	sessions map[string]*ort.Session
}

func newOperatorEngine(t *testing.T, rt *ort.Runtime, portable bool, o export.Options) *operatorEngine {
	e := &operatorEngine{rt: rt, portable: portable, options: o, sessions: map[string]*ort.Session{}}
	t.Cleanup(func() {
		for _, s := range e.sessions {
			s.Close()
		}
	})
	return e
}

func (e *operatorEngine) session(model *onnxpb.ModelProto) (*ort.Session, error) {
	data, err := onnxpb.Encode(model)
	if err != nil {
		return nil, err
	}
	if s, ok := e.sessions[string(data)]; ok {
		return s, nil
	}
	s, err := e.rt.LoadBytes(data, ort.SessionOptions{Threads: 1, NoKernels: e.portable})
	if err == nil {
		e.sessions[string(data)] = s
	}
	return s, err
}

func (e *operatorEngine) run(d *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) ([]*tensor.Tensor, error) {
	specs := make([]ops.Input, len(inputs))
	feeds := map[string]*ort.Tensor{}
	for i, in := range inputs {
		specs[i] = ops.Input{DType: in.DType, Shape: in.Shape}
		feeds[d.Inputs[i].Name] = in
	}
	o := e.options
	o.DType = inputs[0].DType
	model, err := export.Operator(d, attrs, specs, o)
	if err != nil {
		return nil, err
	}
	session, err := e.session(model)
	if err != nil {
		return nil, err
	}
	key := kernel.Key{Op: d.Name, DType: o.DType}
	before := ort.KernelCalls()[key]
	outputs, err := session.Run(context.Background(), feeds)
	if err != nil {
		return nil, err
	}
	want := uint64(1)
	if e.portable {
		want = 0
	}
	if ran := ort.KernelCalls()[key] - before; ran != want {
		return nil, fmt.Errorf("the kernel of %s %s ran %d times, want %d", d.Name, o.DType, ran, want)
	}
	ordered := make([]*tensor.Tensor, len(d.Outputs))
	for i, p := range d.Outputs {
		ordered[i] = outputs[p.Name]
	}
	return ordered, nil
}

func openRuntime(t *testing.T) *ort.Runtime {
	t.Helper()
	rt, err := ort.Open(context.Background(), ort.Options{Notify: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	return rt
}

// TestConformance_kernel runs the suite through ONNX Runtime with the kernels registered, on every element type.
func TestConformance_kernel(t *testing.T) {
	rt := openRuntime(t)
	for _, dtype := range ops.Types() {
		t.Run(dtype.String(), func(t *testing.T) {
			e := newOperatorEngine(t, rt, false, export.Options{})
			optest.Run(t, optest.Engine{DType: dtype, Run: e.run})
		})
	}
}

// TestConformance_portable runs it on the function bodies: on every element type, and in float32 for every opset at which
// the bodies are written differently. With -short float32 at the default opset stands for all; under the address sanitizer
// they would take a minute and run no C of ours that the kernels' suite does not.
func TestConformance_portable(t *testing.T) {
	if sanitized {
		t.Skip("the bodies run in ONNX Runtime alone, which is not built with the sanitizer")
	}
	rt := openRuntime(t)
	for _, dtype := range ops.Types() {
		if testing.Short() && dtype != tensor.Float32 {
			continue
		}
		for _, opset := range []int{13, 15, 17, 18, 21} {
			if opset != export.DefaultOpset && (testing.Short() || dtype != tensor.Float32) {
				continue
			}
			t.Run(fmt.Sprintf("%s opset %d", dtype, opset), func(t *testing.T) {
				e := newOperatorEngine(t, rt, true, export.Options{Opset: opset})
				optest.Run(t, optest.Engine{DType: dtype, Run: e.run, Body: true})
			})
		}
	}
}
