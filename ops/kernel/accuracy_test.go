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

// regime makes random data hard in one way.
type regime struct {
	name string
	edit func(p *problem, dtype tensor.DType, rng *rand.Rand)
}

// regimes are the data that broke implementations of AFT: each is a way in which exp overflows, every visible term
// underflows, or a difference cancels.
func regimes() []regime {
	return []regime{
		{"normal", func(*problem, tensor.DType, *rand.Rand) {}},
		{"constant", func(p *problem, _ tensor.DType, _ *rand.Rand) {
			fill(p.k(), 0.1)
			fill(p.v(), 0.1)
			if w, ok := p.w(); ok {
				fill(w, 0.1)
			}
		}},
		{"keys of 1e4", func(p *problem, _ tensor.DType, _ *rand.Rand) {
			scale(p.k(), 1e4)
			if w, ok := p.w(); ok {
				scale(w, 100)
			}
		}},
		{"values near the type's smallest, far keys", func(p *problem, dtype tensor.DType, _ *rand.Rand) {
			scale(p.v(), map[tensor.DType]float64{tensor.Float32: 1e-43, tensor.Float16: 1e-6, tensor.Float64: 1e-300}[dtype])
			scale(p.k(), 300)
		}},
		{"bias -300 for half of W", func(p *problem, _ tensor.DType, rng *rand.Rand) {
			if w, ok := p.w(); ok {
				for i := range w.Data {
					w.Data[i] -= 300 * float64(rng.IntN(2))
				}
			}
		}},
		{"bias -1e4 in all of W, large keys", func(p *problem, _ tensor.DType, _ *rand.Rand) {
			scale(p.k(), 40)
			if w, ok := p.w(); ok {
				for i := range w.Data {
					w.Data[i] -= 1e4
				}
			}
		}},
		{"keys rise by 90 a step", func(p *problem, dtype tensor.DType, _ *rand.Rand) { rise(p.k(), 90) }},
		{"keys fall by 90 a step", func(p *problem, dtype tensor.DType, _ *rand.Rand) { rise(p.k(), -90) }},
		{"one huge key at the end", func(p *problem, _ tensor.DType, _ *rand.Rand) { setSource(p.k(), -1, 2e4) }},
		{"masks", func(p *problem, _ tensor.DType, rng *rand.Rand) {
			inf := math.Inf(1)
			for s := range p.k().Shape[1] {
				if s < 2 || rng.IntN(3) == 0 { // nothing is left of the first rows when causal
					setSource(p.k(), s, -inf)
					setSource(p.v(), s, []float64{math.NaN(), inf, -inf, 6e4}[rng.IntN(4)])
				}
			}
			if w, ok := p.w(); ok {
				for i := range w.Data {
					if rng.IntN(3) == 0 {
						w.Data[i] = -inf
					}
				}
			}
		}},
		{"everything masked", func(p *problem, _ tensor.DType, _ *rand.Rand) { fill(p.k(), math.Inf(-1)) }},
	}
}

func fill(a tensor.Array, x float64) {
	for i := range a.Data {
		a.Data[i] = x
	}
}

func scale(a tensor.Array, f float64) {
	for i := range a.Data {
		a.Data[i] *= f
	}
}

// setSource sets all channels of source s, counted from the end if negative, in every batch entry.
func setSource(a tensor.Array, s int, x float64) {
	sources, d := a.Shape[1], a.Shape[2]
	for i := range a.Data {
		if at := i / d % sources; at == s || at == sources+s {
			a.Data[i] = x
		}
	}
}

// rise adds step * s to source s.
func rise(a tensor.Array, step float64) {
	for i := range a.Data {
		a.Data[i] += step * float64(i/a.Shape[2]%a.Shape[1])
	}
}

func largest(dtype tensor.DType) float64 {
	switch dtype {
	case tensor.Float16:
		return 65504
	case tensor.Float32:
		return math.MaxFloat32
	default:
		return math.MaxFloat64
	}
}

func sizes() []size {
	return []size{
		{B: 1, T: 1, S: 1, D: 1, Heads: 1, Window: 1, Kernel: [2]int{1, 1}, Grid: [2]int{1, 1}},
		{B: 2, T: 2, S: 3, D: 2, Heads: 1, Window: 2, Kernel: [2]int{2, 3}, Grid: [2]int{1, 2}},
		{B: 2, T: 13, S: 17, D: 6, Heads: 3, Window: 5, Kernel: [2]int{3, 3}, Grid: [2]int{5, 7}},
		// Windows larger than the sequence.
		{B: 1, T: 31, S: 5, D: 4, Heads: 4, Window: 40, Kernel: [2]int{9, 31}, Grid: [2]int{7, 3}},
		{B: 3, T: 19, S: 23, D: 67, Heads: 67, Window: 7, Kernel: [2]int{4, 2}, Grid: [2]int{13, 1}},
		{B: 1, T: 300, S: 130, D: 2, Heads: 1, Window: 11, Kernel: [2]int{5, 7}, Grid: [2]int{16, 17}},
	}
}

// Every operator, type and regime against the reference, in float64 from the equations. The two large sizes take most of
// the time: with -short each regime meets one of them, causal or not, in turn.
//
// Rules N1, N2 of docs/hostile.md.
func TestAccuracy(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, dtype := range ops.Types() {
			t.Run(fmt.Sprintf("%s/%s", def.Name, dtype), func(t *testing.T) {
				t.Parallel()
				for n, r := range regimes() {
					for i, sz := range sizes() {
						for j, causal := range []bool{false, true} {
							if testing.Short() && i >= 4 && (n+i+2*j)%4 != 0 {
								continue
							}
							t.Run(fmt.Sprintf("%s/%s causal=%v", r.name, sz, causal), func(t *testing.T) {
								rng := rand.New(rand.NewPCG(uint64(i), 7))
								p := newProblem(def.Name, sz, causal, int64(i%4), rng)
								if p.attrs["gate"][0] == ops.GateIdentity {
									fill(p.inputs[0], -1) // the tolerances are the ratio's
								}
								r.edit(p, dtype, rng)
								inputs := p.tensors(t, dtype)
								p.verify(t, inputs, 2, p.truth(t, inputs))
							})
						}
					}
				}
			})
		}
	}
}

// Data where float64, and so the reference, runs out of digits or range: the truth is computed with exact logits.
func TestAccuracyBeyondFloat64(t *testing.T) {
	hard := []regime{
		{"keys near the type's largest", func(p *problem, dtype tensor.DType, rng *rand.Rand) {
			for i := range p.k().Data {
				p.k().Data[i] = largest(dtype) * float64(rng.IntN(3)-1)
			}
			if w, ok := p.w(); ok {
				for i := range w.Data {
					w.Data[i] = largest(dtype) * math.Tanh(w.Data[i])
				}
			}
		}},
		{"bias small beside keys", func(p *problem, dtype tensor.DType, rng *rand.Rand) {
			for i := range p.k().Data {
				p.k().Data[i] = largest(dtype) / 2 * float64(rng.IntN(2))
			}
		}},
		{"bias small beside keys, far apart", func(p *problem, dtype tensor.DType, rng *rand.Rand) {
			for i := range p.k().Data {
				p.k().Data[i] = largest(dtype) / 2 * float64(rng.IntN(2))
			}
			if w, ok := p.w(); ok {
				scale(w, 1000)
			}
		}},
		{"values near the type's largest", func(p *problem, dtype tensor.DType, rng *rand.Rand) {
			for i := range p.v().Data {
				p.v().Data[i] = largest(dtype) * float64(rng.IntN(2)*2-1)
			}
		}},
		{"values at the type's largest", func(p *problem, dtype tensor.DType, rng *rand.Rand) { fill(p.v(), largest(dtype)) }},
	}
	for _, def := range ops.Sequences() {
		for _, dtype := range ops.Types() {
			for _, r := range hard {
				for i, sz := range sizes()[:4] {
					for _, causal := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s/%s/%s/%s causal=%v", def.Name, dtype, r.name, sz, causal), func(t *testing.T) {
							rng := rand.New(rand.NewPCG(uint64(i), 11))
							p := newProblem(def.Name, sz, causal, ops.GateAbsent, rng)
							r.edit(p, dtype, rng)
							inputs := p.tensors(t, dtype)
							p.verify(t, inputs, 2, p.exactTruth(inputs))
						})
					}
				}
			}
		}
	}
}

// Small random sizes in random regimes: kernels, windows, pads and grids in every position to each other.
//
// Rule N12 of docs/hostile.md.
func TestAccuracyRandomShapes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 41))
	for _, def := range ops.Sequences() {
		for i := range 1000 {
			heads := 1 + rng.IntN(3)
			sz := size{B: 1 + rng.IntN(2), T: 1 + rng.IntN(12), S: rng.IntN(12), D: heads * (1 + rng.IntN(3)), Heads: heads,
				Window: 1 + rng.IntN(15), Kernel: [2]int{1 + rng.IntN(6), 1 + rng.IntN(6)}, Grid: [2]int{1 + rng.IntN(5), 1 + rng.IntN(5)}}
			dtype, r := ops.Types()[rng.IntN(3)], regimes()[rng.IntN(len(regimes()))]
			p := newProblem(def.Name, sz, rng.IntN(2) == 1, ops.GateAbsent, rng)
			r.edit(p, dtype, rng)
			inputs := p.tensors(t, dtype)
			p.verify(t, inputs, 1, p.truth(t, inputs))
			if t.Failed() {
				t.Fatalf("%s problem %d: %s, %s, %v, %s", def.Name, i, sz, dtype, p.attrs, r.name)
			}
		}
	}
}
