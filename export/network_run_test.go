//go:build cgo

package export_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/reference"
)

// networkInputs are the inputs of a network's graph, in the type of the options, with a mask if they ask for one.
func networkInputs(t *testing.T, m *reference.Model, o export.Options) map[string]*tensor.Tensor {
	t.Helper()
	inputs, err := wiringtest.Tensors(m, wiringtest.Inputs(m, o.AttentionMask), max(o.DType, tensor.Float32))
	if err != nil {
		t.Fatal(err)
	}
	return inputs
}

// networkTolerance allows float64 what Erf loses, which is computed in float.
func networkTolerance(m *reference.Model, dtype tensor.DType) float64 {
	switch {
	case dtype == tensor.Float16:
		return 2e-2
	case dtype == tensor.Float64 && m.Blocks[0].MLP == nil:
		return 1e-13
	case dtype == tensor.Float64:
		return 1e-6
	}
	return 1e-5
}

// TestNetwork_matchesReference runs every network on ONNX Runtime, without our kernels, against the reference: in each type,
// at the opsets where the graphs differ, with functions and without.
func TestNetwork_matchesReference(t *testing.T) {
	rt := openRuntime(t)
	for _, n := range wiringtest.Networks() {
		for _, o := range []export.Options{
			{},
			{Opset: 13, DType: tensor.Float16, AttentionMask: true},
			{Opset: 15, DType: tensor.Float64, AttentionMask: true},
			{Opset: 18, DType: tensor.Float64, Flatten: true},
			{Opset: 21, DType: tensor.Float16},
		} {
			o.AttentionMask = o.AttentionMask && n.Model.Patches == nil
			t.Run(fmt.Sprintf("%s %+v", n.Name, o), func(t *testing.T) {
				want, err := n.Model.Forward(wiringtest.Inputs(n.Model, o.AttentionMask))
				if err != nil {
					t.Fatal(err)
				}
				got, err := run(t, rt, mustModel(t, n.Model, o), networkInputs(t, n.Model, o))
				if err != nil {
					t.Fatal(err)
				}
				near(t, got[wiring.OutputName(n.Model)], want, networkTolerance(n.Model, o.DType))
			})
		}
	}
}

// TestNetwork_deterministic: the same network gives the same bytes, in each type.
func TestNetwork_deterministic(t *testing.T) {
	for i, n := range wiringtest.Networks() {
		for _, o := range []export.Options{{}, {DType: tensor.Float16, Opset: 13}, {DType: tensor.Float64, Flatten: true}} {
			first, err := export.Encode(n.Model, o)
			if err != nil {
				t.Fatal(err)
			}
			second, err := export.Encode(wiringtest.Networks()[i].Model, o)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, second) {
				t.Errorf("%s %+v: other bytes the second time", n.Name, o)
			}
		}
	}
}
