package optest

import (
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/kernel"
)

// FuzzKernelAgainstBody: the kernel and the function body of a node give the same, whatever the sizes. The body is run in
// double, so what they differ by is the kernel's rounding.
func FuzzKernelAgainstBody(f *testing.F) {
	if err := kernel.Available(); err != nil {
		f.Skip(err)
	}
	for op := range ops.Sequences() {
		f.Add(byte(op), uint64(op), byte(1), byte(5), byte(5), byte(1), byte(1), byte(2), byte(2), byte(7), byte(0), true)
		f.Add(byte(op), uint64(op), byte(0), byte(20), byte(7), byte(2), byte(4), byte(15), byte(9), byte(3), byte(2), false)
	}
	f.Fuzz(func(t *testing.T, op byte, seed uint64, b, steps, sources, heads, per, window, taps, grid, gate byte, causal bool) {
		def, kinds := ops.Sequences()[int(op)%len(ops.Sequences())], []tensor.DType{tensor.Float32, tensor.Float64}
		h, one := 1+int(heads%4), int64(0)
		sz := size{B: 1 + int(b%2), T: 1 + int(steps%24), S: 1 + int(sources%24), Heads: h, D: h * (1 + int(per%5)), Window: 1 + int(window%20),
			Kernel: [2]int{1 + int(taps%6), 1 + int(taps/6%6)}, Grid: [2]int{1 + int(grid%5), 1 + int(grid/5%5)}}
		if causal {
			sz.S, one = sz.T, 1
		}
		e := &Engine{DType: kinds[seed%2]}
		p := build(t, def, sz, one, int64(gate%4), seed)
		inputs := p.tensors(t, e.DType)
		want, err := native(true)(def, p.attrs, inputs)
		if err != nil {
			t.Fatal(err)
		}
		y, err := tensor.New(e.DType, inputs[0].Shape)
		if err != nil {
			t.Fatal(err)
		}
		if err := kernel.Run(def.Name, p.attrs, inputs, []*tensor.Tensor{y}, 1+int(seed%2)); err != nil {
			t.Fatal(err)
		}
		largest := 1.0
		for i, x := range inputs {
			if i == 0 || i == 2 { // a gate may multiply by Q
				largest *= max(1, maxAbs(x))
			}
		}
		for i := range y.Len() {
			if want := want[0].At(i); math.IsNaN(want) != math.IsNaN(y.At(i)) {
				t.Fatalf("%s, %+v, %v: Y%v is %v, the body's %v", def.Name, sz, p.attrs, tensor.Unravel(i, y.Shape), y.At(i), want)
			} else if !math.IsNaN(want) {
				e.near(t, y, i, want, 32*largest)
			}
		}
	})
}
