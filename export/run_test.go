//go:build cgo

package export_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/reference"
)

func openRuntime(t *testing.T) *ort.Runtime {
	t.Helper()
	rt, err := ort.Open(context.Background(), ort.Options{Notify: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	return rt
}

// run loads p without our kernels, so that function bodies are inlined, and runs it once.
func run(t *testing.T, rt *ort.Runtime, p *onnxpb.ModelProto, inputs map[string]*tensor.Tensor) (
	map[string]*tensor.Tensor, error,
) {
	t.Helper()
	s, err := rt.LoadBytes(mustEncode(t, p), ort.SessionOptions{Threads: 1, NoKernels: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Run(context.Background(), inputs)
}

func mustTensor(t *testing.T, a tensor.Array, dtype tensor.DType) *tensor.Tensor {
	t.Helper()
	x, err := a.Tensor(dtype)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func gridTensor(t *testing.T, h, w int64) *tensor.Tensor {
	t.Helper()
	g, err := tensor.FromInt64s([]int{2}, []int64{h, w})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// near requires got to be want within tolerance times the largest number of want.
func near(t *testing.T, got *tensor.Tensor, want tensor.Array, tolerance float64) {
	t.Helper()
	if !tensor.SameShape(got.Shape, want.Shape) {
		t.Fatalf("shape %s, want %s", tensor.FormatShape(got.Shape), tensor.FormatShape(want.Shape))
	}
	largest := 0.0
	for _, w := range want.Data {
		largest = max(largest, math.Abs(w))
	}
	for i, w := range want.Data {
		if d := math.Abs(got.At(i) - w); !(d <= tolerance*largest) {
			t.Fatalf("element %v is %v, want %v: off by %.3g, allowed %.3g",
				tensor.Unravel(i, want.Shape), got.At(i), w, d, tolerance*largest)
		}
	}
}

// TestModel_matchesReference runs exported layers on their function bodies, and flattened, against the reference: each
// variant, causal or not, in each type, at the opsets where bodies differ.
func TestModel_matchesReference(t *testing.T) {
	rt := openRuntime(t)
	tolerance := map[tensor.DType]float64{tensor.Float32: 4e-6, tensor.Float64: 1e-13, tensor.Float16: 6e-3}
	x := random(t, 99, 2, 6, dim)
	for _, v := range variants() {
		for _, causal := range []bool{false, true} {
			m := reference.Stack(newLayer(t, v, causal, 1), newLayer(t, v, causal, 30))
			want, err := m.Forward(reference.Inputs{X: x, Grid: [2]int{2, 3}})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []export.Options{
				{Opset: 13}, {Opset: 15}, {}, {Opset: 18}, {Opset: 21}, {Flatten: true}, {DoublePortable: true},
				{DType: tensor.Float64}, {DType: tensor.Float16}, {DType: tensor.Float16, Flatten: true}, {Grid: [2]int{2, 3}},
			} {
				t.Run(fmt.Sprintf("%s causal %v %+v", v, causal, o), func(t *testing.T) {
					dtype := o.DType
					if dtype == tensor.Invalid {
						dtype = tensor.Float32
					}
					inputs := map[string]*tensor.Tensor{"x": mustTensor(t, x, dtype)}
					if v == reference.Conv2D && o.Grid == [2]int{} {
						inputs["grid"] = gridTensor(t, 2, 3)
					}
					got, err := run(t, rt, mustModel(t, m, o), inputs)
					if err != nil {
						t.Fatal(err)
					}
					near(t, got["y"], want, tolerance[dtype])
				})
			}
		}
	}
}

// TestModel_mixed: layers of one operator whose attributes differ share a body that reads them.
func TestModel_mixed(t *testing.T) {
	rt := openRuntime(t)
	x := random(t, 98, 2, 6, dim)
	for _, v := range variants() {
		m := &reference.Model{}
		for gate := reference.GateSigmoid; gate <= reference.GateAbsent; gate++ {
			l := newLayer(t, v, gate%2 == 1, 10*uint64(gate))
			l.Gate = gate
			m.Blocks = append(m.Blocks, reference.Block{Layer: l})
		}
		want, err := m.Forward(reference.Inputs{X: x, Grid: [2]int{3, 2}})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []export.Options{{}, {Opset: 18}, {Flatten: true}, {DType: tensor.Float64}} {
			t.Run(fmt.Sprintf("%s %+v", v, o), func(t *testing.T) {
				p := mustModel(t, m, o)
				if !o.Flatten && !readsAttributes(p.Functions[0]) {
					t.Fatal("the body reads no attributes")
				}
				dtype := max(o.DType, tensor.Float32)
				inputs := map[string]*tensor.Tensor{"x": mustTensor(t, x, dtype)}
				if v == reference.Conv2D {
					inputs["grid"] = gridTensor(t, 3, 2)
				}
				got, err := run(t, rt, p, inputs)
				if err != nil {
					t.Fatal(err)
				}
				near(t, got["y"], want, 2e-5)
			})
		}
	}
}

// TestModel_heads: 2-D convolutions of different numbers of heads share a body that is written for none.
func TestModel_heads(t *testing.T) {
	rt := openRuntime(t)
	x := random(t, 97, 2, 6, dim)
	m := reference.Stack(newLayer(t, reference.Conv2D, false, 1), newLayer(t, reference.Conv2D, false, 30))
	m.Blocks[1].K, m.Blocks[1].W = linear(t, 50, 2, dim), reference.Hold(random(t, 52, 2, 3, 3))
	want, err := m.Forward(reference.Inputs{X: x, Grid: [2]int{2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]*tensor.Tensor{"x": mustTensor(t, x, tensor.Float32), "grid": gridTensor(t, 2, 3)}
	got, err := run(t, rt, mustModel(t, m, export.Options{}), inputs)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got["y"], want, 4e-6)
}

// TestModel_flattenIsEqual: flattened, a model computes the same bits as with its functions inlined by the runtime.
func TestModel_flattenIsEqual(t *testing.T) {
	rt := openRuntime(t)
	x := mustTensor(t, random(t, 96, 2, 6, dim), tensor.Float32)
	for _, v := range variants() {
		m := reference.Stack(newLayer(t, v, true, 1), newLayer(t, v, false, 30))
		inputs := map[string]*tensor.Tensor{"x": x}
		if v == reference.Conv2D {
			inputs["grid"] = gridTensor(t, 2, 3)
		}
		functions, err := run(t, rt, mustModel(t, m, export.Options{}), inputs)
		if err != nil {
			t.Fatal(err)
		}
		flat, err := run(t, rt, mustModel(t, m, export.Options{Flatten: true}), inputs)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(functions["y"].Data, flat["y"].Data) {
			t.Errorf("%s: the flattened model gives other bits", v)
		}
	}
}

// TestModel_tooLong: a sequence beyond the biases is refused, not computed with what there is.
func TestModel_tooLong(t *testing.T) {
	rt := openRuntime(t)
	for _, v := range []reference.Variant{reference.Full, reference.Local} {
		for _, causal := range []bool{false, true} {
			p := mustModel(t, reference.Stack(newLayer(t, v, causal, 1)), export.Options{})
			for length, fits := range map[int]bool{1: true, maxLen: true, maxLen + 1: false, 2 * maxLen: false} {
				x := mustTensor(t, random(t, 95, 1, length, dim), tensor.Float32)
				if _, err := run(t, rt, p, map[string]*tensor.Tensor{"x": x}); (err == nil) != fits {
					t.Errorf("%s causal %v, %d positions of %d: error is %v", v, causal, length, maxLen, err)
				}
			}
		}
	}
}

// TestOperator_badAttribute: attributes that the operator refuses make a body fail that reads them. (A specialised body
// is not even written.)
func TestOperator_badAttribute(t *testing.T) {
	rt := openRuntime(t)
	x := mustTensor(t, random(t, 94, 2, 6, 4), tensor.Float32)
	d, _ := ops.Lookup("AFTSimple")
	for name, values := range map[string][]int64{"causal": {-1, 2}, "gate": {-1, 4}} {
		for _, value := range values {
			p := mustOperator(t, "AFTSimple", ops.Attrs{"causal": {0}, "gate": {0}}, nil, export.Options{})
			body, err := d.Function(ops.BodySpec{Opset: export.DefaultOpset, DType: tensor.Float32})
			if err != nil {
				t.Fatal(err)
			}
			p.Functions[0] = body
			inputs := map[string]*tensor.Tensor{"Q": x, "K": x, "V": x}
			if _, err := run(t, rt, p, inputs); err != nil {
				t.Fatal(err)
			}
			for _, a := range p.Graph.Node[0].Attribute {
				if a.Name == name {
					a.I = &value
				}
			}
			if _, err := run(t, rt, p, inputs); err == nil {
				t.Errorf("%s = %d is computed", name, value)
			}
			bad := ops.Attrs{"causal": {0}, "gate": {0}}
			bad[name] = []int64{value}
			_, err = export.Operator(d, bad, nil, export.Options{})
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s = %d: error is %v", name, value, err)
			}
		}
	}
}
