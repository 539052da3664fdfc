package optest

import (
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// testRefuses: what the declaration's Check refuses, every engine refuses, and none crashes on it.
func (e *Engine) testRefuses(t *testing.T) {
	for _, c := range []struct {
		op, name string
		spoil    func(p *problem)
	}{
		{"AFTFull", "batch of 1 in K", func(p *problem) { p.inputs[1] = first(p.k(), 1) }},
		{"AFTFull", "batch of 1 in V", func(p *problem) { p.inputs[2] = first(p.v(), 1) }},
		{"AFTFull", "one row in W", func(p *problem) { p.inputs[3] = first(p.w(), 1) }},
		{"AFTFull", "rows missing in W", func(p *problem) { p.inputs[3] = first(p.w(), 5) }},
		{"AFTFull", "columns missing in W", func(p *problem) { p.inputs[3] = columns(p.w(), 5) }},
		{"AFTFull", "one column in W", func(p *problem) { p.inputs[3] = columns(p.w(), 1) }},
		{"AFTFull", "channels missing in K", func(p *problem) { p.inputs[1] = columns(p.k(), 3) }},
		{"AFTFull", "one channel in V", func(p *problem) { p.inputs[2] = columns(p.v(), 1) }},
		{"AFTFull", "one channel in Q", func(p *problem) { p.inputs[0] = columns(p.q(), 1) }},
		{"AFTFull", "K longer than V", func(p *problem) { p.inputs[2] = steps(p.v(), 5) }},
		{"AFTFull", "V of one position", func(p *problem) { p.inputs[2] = steps(p.v(), 1) }},
		{"AFTSimple", "batch of 1 in K and V", func(p *problem) {
			p.inputs[1], p.inputs[2] = first(p.k(), 1), first(p.v(), 1)
		}},
		{"AFTSimple", "one channel in K", func(p *problem) { p.inputs[1] = columns(p.k(), 1) }},
		{"AFTSimple", "causal with S < T", func(p *problem) {
			p.attrs["causal"] = []int64{1}
			p.inputs[1], p.inputs[2] = steps(p.k(), 5), steps(p.v(), 5)
		}},
		{"AFTLocal", "a band of another window", func(p *problem) { p.inputs[3] = columns(p.w(), 3) }},
		{"AFTLocal", "rows missing in the band", func(p *problem) { p.inputs[3] = first(p.w(), 5) }},
		{"AFTLocal", "one row in the band", func(p *problem) { p.inputs[3] = first(p.w(), 1) }},
		{"AFTLocal", "K shorter than Q", func(p *problem) { p.inputs[1] = steps(p.k(), 5) }},
		{"AFTConv1D", "heads of K and W differ", func(p *problem) { p.inputs[3] = first(p.w(), 1) }},
		{"AFTConv1D", "K longer than V", func(p *problem) { p.inputs[2] = steps(p.v(), 5) }},
		{"AFTConv1D", "batch of 1 in K", func(p *problem) { p.inputs[1] = first(p.k(), 1) }},
		{"AFTConv2D", "a grid of another size", func(p *problem) { p.grid = []int64{2, 2} }},
		{"AFTConv2D", "a grid of three sizes", func(p *problem) { p.grid = []int64{1, 2, 3} }},
		{"AFTConv2D", "heads of K and W differ", func(p *problem) { p.inputs[3] = first(p.w(), 1) }},
	} {
		t.Run(c.op+" "+c.name, func(t *testing.T) {
			def, ok := ops.Lookup(c.op)
			if !ok {
				t.Fatalf("no operator %q", c.op)
			}
			p := build(t, def, small(), 0, ops.GateSigmoid, 53)
			e.mustRun(t, p)
			c.spoil(p)
			if y, err := e.y(p.def, p.attrs, p.tensors(t, e.DType)); err == nil {
				t.Fatalf("gave Y of shape %s, want an error", tensor.FormatShape(y.Shape))
			}
		})
	}
}

// first keeps the first n slices of the outermost axis.
func first(a tensor.Array, n int) tensor.Array {
	per := len(a.Data) / a.Shape[0]
	return tensor.Array{Shape: append([]int{n}, a.Shape[1:]...), Data: a.Data[:n*per]}
}

// columns keeps the first n elements of the innermost axis.
func columns(a tensor.Array, n int) tensor.Array {
	last := len(a.Shape) - 1
	out := tensor.Array{Shape: append([]int{}, a.Shape...)}
	out.Shape[last] = n
	for i, v := range a.Data {
		if i%a.Shape[last] < n {
			out.Data = append(out.Data, v)
		}
	}
	return out
}

// steps keeps the first n positions of a (B,T,D) array.
func steps(a tensor.Array, n int) tensor.Array {
	out := tensor.Array{Shape: []int{a.Shape[0], n, a.Shape[2]}}
	for i, v := range a.Data {
		if i/a.Shape[2]%a.Shape[1] < n {
			out.Data = append(out.Data, v)
		}
	}
	return out
}
