package optest

import (
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// size is what a generated call is made of. S is AFTFull's and AFTSimple's alone; Heads, Kernel and Grid are the
// convolutions'; Window is AFTLocal's.
type size struct {
	B, T, S, D, Heads, Window int
	Kernel                    [2]int
	Grid                      [2]int
}

// problem is a call under construction: its inputs are float64 and may be edited before they are rounded.
type problem struct {
	def    *ops.Def
	attrs  ops.Attrs
	inputs []tensor.Array // Q, K, V, W; no W for AFTSimple
	grid   []int64        // AFTConv2D
}

// small is a size every operator can be built with, causal or not.
func small() size {
	return size{B: 2, T: 6, S: 6, D: 4, Heads: 2, Window: 3, Kernel: [2]int{3, 3}, Grid: [2]int{2, 3}}
}

// build makes a call of normal random numbers.
func build(t *testing.T, def *ops.Def, sz size, causal, gate int64, seed uint64) *problem {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	random := func(shape ...int) tensor.Array {
		a, err := tensor.NewArray(shape...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.Data {
			a.Data[i] = float64(float32(rng.NormFloat64())) // exact in float32: one truth for both types
		}
		return a
	}
	p := &problem{def: def, attrs: ops.Attrs{"causal": {causal}, "gate": {gate}}}
	keys := sz.D
	var bias []int
	switch def.Name {
	case "AFTFull":
		bias = []int{sz.T, sz.S}
	case "AFTSimple":
	case "AFTLocal":
		p.attrs["window"] = []int64{int64(sz.Window)}
		bias, sz.S = []int{sz.T, 2*sz.Window - 1}, sz.T
		if causal == 1 {
			bias[1] = sz.Window
		}
	case "AFTConv1D":
		p.attrs["pad_left"] = []int64{int64(sz.Kernel[0]-1) / 2}
		if causal == 1 {
			p.attrs["pad_left"] = []int64{int64(sz.Kernel[0] - 1)}
		}
		bias, keys, sz.S = []int{sz.Heads, sz.Kernel[0]}, sz.Heads, sz.T
	case "AFTConv2D":
		p.attrs["pads"] = []int64{int64(sz.Kernel[0] / 2), int64(sz.Kernel[1] / 2)}
		bias, keys = []int{sz.Heads, sz.Kernel[0], sz.Kernel[1]}, sz.Heads
		sz.T = sz.Grid[0] * sz.Grid[1]
		sz.S, p.grid = sz.T, []int64{int64(sz.Grid[0]), int64(sz.Grid[1])}
	default:
		t.Fatalf("operator %q has no generated cases: add them to build", def.Name)
	}
	p.inputs = []tensor.Array{random(sz.B, sz.T, sz.D), random(sz.B, sz.S, keys), random(sz.B, sz.S, sz.D)}
	if bias != nil {
		p.inputs = append(p.inputs, random(bias...))
	}
	return p
}

// The operands by name, so that a test reads like the equations.
func (p *problem) q() tensor.Array { return p.inputs[0] }
func (p *problem) k() tensor.Array { return p.inputs[1] }
func (p *problem) v() tensor.Array { return p.inputs[2] }

// w is the bias, or an array without elements where the operator has none.
func (p *problem) w() tensor.Array {
	if len(p.inputs) > 3 {
		return p.inputs[3]
	}
	return tensor.Array{}
}

// channelsPerKey is D/H for the convolutions, 1 elsewhere.
func (p *problem) channelsPerKey() int { return p.v().Shape[2] / p.k().Shape[2] }

func (p *problem) tensors(t *testing.T, dtype tensor.DType) []*tensor.Tensor {
	t.Helper()
	var out []*tensor.Tensor
	for _, a := range p.inputs {
		x, err := a.Tensor(dtype)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	if p.grid != nil {
		grid, err := tensor.FromInt64s([]int{len(p.grid)}, p.grid)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, grid)
	}
	return out
}

func (e *Engine) mustRun(t *testing.T, p *problem) *tensor.Tensor {
	t.Helper()
	y, err := e.y(p.def, p.attrs, p.tensors(t, e.DType))
	if err != nil {
		t.Fatal(err)
	}
	if !tensor.SameShape(y.Shape, p.q().Shape) {
		t.Fatalf("Y has shape %s, want Q's %s", tensor.FormatShape(y.Shape), tensor.FormatShape(p.q().Shape))
	}
	return y
}

// epsilon is what one unit of rounding of the engine's results is worth.
func (e *Engine) epsilon() float64 {
	switch e.DType {
	case tensor.Float16:
		return 0x1p-10
	case tensor.Float64:
		return 1e-13
	default:
		return 0x1p-23
	}
}
