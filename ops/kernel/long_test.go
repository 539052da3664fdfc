//go:build cgo

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Long sums keep their digits: constant data rounds the same way at every step, slowly rising keys rescale a running
// sum again and again. With -short in float32 alone, without the
// normal data.
//
// Rule N8 of docs/hostile.md.
func TestLongSequences(t *testing.T) {
	for _, c := range []struct {
		op     string
		sz     size
		causal bool
	}{
		{"AFTSimple", size{B: 1, T: 16384, S: 16384, D: 3}, true},
		{"AFTSimple", size{B: 1, T: 3, S: 1 << 18, D: 2}, false},
		{"AFTFull", size{B: 1, T: 3, S: 16384, D: 1}, false},
		{"AFTFull", size{B: 1, T: 2300, S: 2300, D: 2}, true},
		{"AFTLocal", size{B: 1, T: 600, D: 1, Window: 32}, true},
		{"AFTLocal", size{B: 1, T: 600, D: 1, Window: 700}, false},
		{"AFTConv1D", size{B: 1, T: 600, D: 1, Heads: 1, Window: 17}, false},
		{"AFTConv2D", size{B: 1, D: 1, Heads: 1, Kernel: [2]int{3, 3}, Grid: [2]int{24, 25}}, true},
	} {
		for name, edit := range map[string]func(p *problem, rng *rand.Rand){
			"normal": func(*problem, *rand.Rand) {},
			"constant": func(p *problem, _ *rand.Rand) {
				fill(p.k(), 0.3)
				fill(p.v(), 0.1)
			},
			"slow rise": func(p *problem, _ *rand.Rand) { rise(p.k(), 0.05) },
			"fast rise": func(p *problem, _ *rand.Rand) { rise(p.k(), 90) },
		} {
			for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float64} {
				if testing.Short() && (dtype != tensor.Float32 || name == "normal") {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s causal=%v/%s/%s", c.op, c.sz, c.causal, name, dtype), func(t *testing.T) {
					t.Parallel()
					rng := rand.New(rand.NewPCG(1, 31))
					p := newProblem(c.op, c.sz, c.causal, ops.GateAbsent, rng)
					edit(p, rng)
					inputs := p.tensors(t, dtype)
					p.verify(t, inputs, 2, p.truth(t, inputs))
				})
			}
		}
	}
}

// Of equal values every mean is that value, however long the sequence and whatever the weights: rounding n terms one after
// the other would be off by far more than 64 units in the last place of a double, or what float is allowed.
func TestLongConstant(t *testing.T) {
	for _, c := range []struct {
		op string
		sz size
	}{
		{"AFTFull", size{B: 1, T: 2, S: 1 << 14, D: 1}},
		{"AFTSimple", size{B: 1, T: 1 << 17, S: 1 << 17, D: 1}},
		{"AFTLocal", size{B: 1, T: 1 << 14, D: 1, Window: 32}},
		{"AFTConv1D", size{B: 1, T: 1 << 14, D: 1, Heads: 1, Window: 16}},
		{"AFTConv2D", size{B: 1, D: 1, Heads: 1, Kernel: [2]int{3, 3}, Grid: [2]int{128, 128}}},
	} {
		for _, causal := range []bool{false, c.op != "AFTFull"} {
			for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float64} {
				p := newProblem(c.op, c.sz, causal, ops.GateAbsent, rand.New(rand.NewPCG(1, 37)))
				fill(p.k(), 0.3)
				fill(p.v(), 0.1)
				if c.op == "AFTFull" { // else every term rounds another way, and the errors cancel
					fill(p.inputs[3], 0.2)
				}
				inputs := p.tensors(t, dtype)
				want := inputs[2].At(0)
				allowed := map[tensor.DType]float64{tensor.Float32: 16 * 0x1p-23, tensor.Float64: 64 * 0x1p-53}[dtype]
				for _, h := range hosts(2) {
					y := p.runAt(t, inputs, h)
					for i := range y.Len() {
						if off := math.Abs(y.At(i) - want); off > allowed*want {
							t.Fatalf("%s causal=%v %s %s: Y[%d] is %v, want %v: off by %.3g", c.op, causal, dtype, h, i, y.At(i), want, off)
						}
					}
				}
			}
		}
	}
}
