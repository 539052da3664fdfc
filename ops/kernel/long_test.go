//go:build cgo

package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Long sums keep their digits: constant data rounds the same way at every step, slowly rising keys rescale a running
// sum again and again.
func TestLongSequences(t *testing.T) {
	for _, c := range []struct {
		op     string
		sz     size
		causal bool
	}{
		{"AFTSimple", size{B: 1, T: 16384, S: 16384, D: 3}, true},
		{"AFTSimple", size{B: 1, T: 3, S: 1 << 18, D: 2}, false},
		{"AFTFull", size{B: 1, T: 3, S: 16384, D: 1}, false},
		{"AFTLocal", size{B: 1, T: 1500, D: 1, Window: 32}, true},
		{"AFTLocal", size{B: 1, T: 1500, D: 1, Window: 1600}, false},
		{"AFTConv1D", size{B: 1, T: 1500, D: 1, Heads: 1, Window: 17}, false},
		{"AFTConv2D", size{B: 1, D: 1, Heads: 1, Kernel: [2]int{3, 3}, Grid: [2]int{40, 40}}, true},
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
				t.Run(fmt.Sprintf("%s/%s causal=%v/%s/%s", c.op, c.sz, c.causal, name, dtype), func(t *testing.T) {
					t.Parallel()
					rng := rand.New(rand.NewPCG(1, 31))
					p := newProblem(c.op, c.sz, c.causal, ops.GateAbsent, rng)
					edit(p, rng)
					inputs := p.tensors(t, dtype)
					p.compare(t, inputs, p.runOn(t, inputs, 2), p.truth(t, inputs))
				})
			}
		}
	}
}
