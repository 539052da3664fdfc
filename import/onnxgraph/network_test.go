package onnxgraph

import (
	"context"
	"fmt"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/reference"
)

// TestNetworks runs whole networks as they are exported against the reference.
func TestNetworks(t *testing.T) {
	tolerance := map[tensor.DType]float64{tensor.Float32: 1e-5, tensor.Float64: 1e-6, tensor.Float16: 2e-2}
	for _, n := range wiringtest.Networks() {
		for _, o := range []wiring.Options{
			{DType: tensor.Float32, Opset: 17},
			{DType: tensor.Float64, Opset: 13, Mask: true},
			{DType: tensor.Float32, Opset: 18, Mask: true},
			{DType: tensor.Float16, Opset: 21},
			{DType: tensor.Float16, Opset: 15},
		} {
			o.Mask = o.Mask && n.Model.Patches == nil
			t.Run(fmt.Sprintf("%s, %s, opset %d", n.Name, o.DType, o.Opset), func(t *testing.T) {
				in := wiringtest.Inputs(n.Model, o.Mask)
				want, err := n.Model.Forward(in)
				if err != nil {
					t.Fatal(err)
				}
				got, err := runNetwork(t, n.Model, in, o)
				if err != nil {
					t.Fatal(err)
				}
				if d := worst(got.Float64s(), want.Data); !(d <= tolerance[o.DType]) || !tensor.SameShape(got.Shape, want.Shape) {
					t.Errorf("shape %v, off by %.3g; want shape %v", got.Shape, d, want.Shape)
				}
			})
		}
	}
}

func runNetwork(t *testing.T, m *reference.Model, in reference.Inputs, o wiring.Options) (*tensor.Tensor, error) {
	t.Helper()
	p, err := wiringtest.Proto(m, o)
	if err != nil {
		t.Fatal(err)
	}
	inputs, err := wiringtest.Tensors(m, in, o.DType)
	if err != nil {
		t.Fatal(err)
	}
	out, err := decode(t, p).Run(context.Background(), inputs, RunOptions{})
	return out[wiring.OutputName(m)], err
}

// TestNetworks_badInputs: what would be read from another row, or broadcast, is refused.
func TestNetworks_badInputs(t *testing.T) {
	networks := wiringtest.Networks()
	row := func(values ...float64) tensor.Array { return tensor.Array{Shape: []int{1, len(values)}, Data: values} }
	twoRows := tensor.Array{Shape: []int{2, 3}, Data: make([]float64, 6)}
	for name, in := range map[string]reference.Inputs{
		"a negative token":           {X: row(1, -1)},
		"a token after the last":     {X: row(1, wiringtest.Vocabulary)},
		"more tokens than positions": {X: row(make([]float64, wiringtest.Positions+1)...)},
		"a mask for one sequence":    {X: twoRows, Mask: row(1, 1, 1)},
		"a mask for one position":    {X: twoRows, Mask: tensor.Array{Shape: []int{2, 1}, Data: []float64{1, 1}}},
	} {
		o := wiring.Options{DType: tensor.Float32, Opset: 17, Mask: len(in.Mask.Shape) > 0}
		if y, err := runNetwork(t, networks[0].Model, in, o); err == nil {
			t.Errorf("%s: computed %v", name, y)
		}
	}
}
