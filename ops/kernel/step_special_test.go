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

// NaN and infinities anywhere in the inputs, the state's among them, against the reference: a lane that does not see one is as
// if there were none, and NaN never becomes a number.
func TestStepNonFinite(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, def := range ops.Steps() {
		for i, input := range def.Inputs {
			if input.Type == ops.Int64 {
				continue
			}
			for _, value := range []float64{nan, inf, -inf} {
				if input.Name == "m" && !math.IsNaN(value) || input.Name == "d" && value != inf {
					continue // no state has these beside finite sums
				}
				t.Run(fmt.Sprintf("%s/%v in %s", def.Name, value, input.Name), func(t *testing.T) {
					for round := range 30 {
						testStepNonFinite(t, def, i, value, uint64(round))
					}
				})
			}
		}
	}
}

func testStepNonFinite(t *testing.T, def *ops.Def, input int, value float64, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 67))
	sz := size{B: 3, T: 1 + rng.IntN(9), S: 9, D: 6, Heads: 3, Window: 4}
	c := newChunk(t, def, sz, tensor.Float32, int64(seed%4), func(p *problem) {
		p.k().Data[rng.IntN(len(p.k().Data))] = math.Inf(-1)
		if w, ok := p.w(); ok { // a mask beside it
			w.Data[rng.IntN(len(w.Data))] = math.Inf(-1)
		}
	}, rng)
	x := c.inputs[input]
	if x.Len() > 0 {
		for range 1 + rng.IntN(2) {
			copy(x.Data[4*rng.IntN(x.Len()):], bytesOf(x.DType, value))
		}
	}
	truth := callReference(t, def, c.attrs, c.inputs)
	largest := c.largest(sz)
	for _, h := range hosts(1) {
		outputs := c.runAt(t, c.inputs, h)
		for o, y := range outputs {
			for i, want := range truth[o].Data {
				if math.IsInf(want, 0) && math.IsNaN(y.At(i)) {
					truth[o].Data[i] = math.NaN() // a value of Inf may do that to its channel
				}
				if o == 0 && want == 0 && math.Signbit(want) != math.Signbit(y.At(i)) {
					t.Errorf("%s: Y%v is %v, want %v", h, tensor.Unravel(i, y.Shape), y.At(i), want)
				}
			}
		}
		c.compare(t, largest, outputs, truth)
		if t.Failed() {
			t.Fatalf("%s, round %d, positions %d, lengths %d", h, seed, c.position, c.length)
		}
	}
}

// However a sequence is cut into chunks, Y is that of the operator over the whole.
func TestStepSplits(t *testing.T) {
	for _, def := range ops.Steps() {
		for _, dtype := range ops.Types() {
			for name, edit := range map[string]func(p *problem){
				"normal":   func(*problem) {},
				"far keys": func(p *problem) { scale(p.k(), 300) },
				"constant": func(p *problem) { fill(p.k(), 0.3); fill(p.v(), 0.1) },
			} {
				for round := range 3 {
					rng := rand.New(rand.NewPCG(uint64(round), 71))
					sz := size{B: 2, T: 120, D: 20, Heads: 4, Window: 1 + rng.IntN(30)}
					p := newProblem(def.Whole, sz, true, ops.GateAbsent, rng)
					if _, ok := p.attrs["pad_left"]; ok {
						p.attrs["pad_left"][0] = int64(sz.Window - 1)
					}
					edit(p)
					testStepSplit(t, def, p, sz, dtype, []int{1, 1 + rng.IntN(7), 1 + rng.IntN(60)}, rng, name)
				}
			}
		}
	}
}

func testStepSplit(t *testing.T, def *ops.Def, p *problem, sz size, dtype tensor.DType, longest []int, rng *rand.Rand, name string) {
	t.Helper()
	whole := p.tensors(t, dtype)
	truth, largest := p.truth(t, whole), largestValues(whole)
	for _, most := range longest {
		h := hosts(1)[rng.IntN(len(hosts(1)))]
		c := &chunk{def: def, attrs: ops.Attrs{"gate": {ops.GateAbsent}}, position: make([]int, sz.B)}
		state := c.empty(t, p, size{B: sz.B, D: sz.D, Window: sz.Window, T: sz.T}, dtype)
		worst, calls := 0.0, 0
		for c.position[0] < sz.T || c.position[1] < sz.T {
			steps := 1 + rng.IntN(most)
			length := []int{min(steps, sz.T-c.position[0]), min(rng.IntN(steps+1), sz.T-c.position[1])}
			out := c.runAt(t, c.cut(t, whole, state, steps, c.position, length), h)
			for b, n := range length {
				for i := range n * sz.D {
					at := (b*sz.T+c.position[b])*sz.D + i
					off := math.Abs(out[0].At(b*steps*sz.D+i)-truth.Data[at]) / tolerance(dtype, largest[b*sz.D+i%sz.D], truth.Data[at])
					worst = max(worst, off)
				}
				c.position[b] += n
			}
			state = out[1:]
			calls++
		}
		// The sums of the state are rounded once a chunk: half a unit each of the 16 that are allowed.
		if limit := 1 + float64(calls)/32; !(worst <= limit) {
			t.Errorf("%s %s %s, chunks to %d, %s: off by %.3g of what is allowed, want %.3g", def.Name, dtype, name, most, h, worst, limit)
		}
	}
}

// After a hundred thousand single steps. A state is float by contract: its sums are rounded at every step, by half a unit in
// the last place of what they are then, 2^-24. Of sums that grow evenly that makes steps/2 such errors, if all go the same
// way, as those of constant data do; at random they grow with the root of that; where keys rise, old errors fade as the old
// tokens do.
//
// Rule N10 of docs/hostile.md.
func TestStepLong(t *testing.T) {
	steps := 100000
	if testing.Short() {
		steps = 10000
	}
	def, _ := ops.Lookup("AFTSimpleStep")
	for name, c := range map[string]struct {
		key, value func(rng *rand.Rand, t int) float64
		allowed    float64 // units of 2^-23 of the largest |V|
	}{
		"normal":    {func(rng *rand.Rand, _ int) float64 { return rng.NormFloat64() }, func(rng *rand.Rand, _ int) float64 { return rng.NormFloat64() }, 16 + math.Sqrt(float64(steps))},
		"constant":  {func(*rand.Rand, int) float64 { return 0.3 }, func(*rand.Rand, int) float64 { return 0.1 }, 16 + float64(steps)/4},
		"slow rise": {func(_ *rand.Rand, t int) float64 { return 0.001 * float64(t) }, func(rng *rand.Rand, _ int) float64 { return rng.NormFloat64() }, 16 + 1000.0/4},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 73))
			run := &chunk{def: def, attrs: ops.Attrs{"gate": {ops.GateAbsent}}}
			sz := size{B: 1, T: 1, D: 4, Heads: 4, Window: 1}
			one := func() *tensor.Tensor {
				x, err := tensor.New(tensor.Float32, []int{1, 1, sz.D})
				if err != nil {
					t.Fatal(err)
				}
				return x
			}
			p := newProblem(def.Whole, sz, true, ops.GateAbsent, rng)
			state := run.empty(t, p, sz, tensor.Float32)
			var m, num, den [4]float64
			worst, largest := 0.0, 0.0
			for step := range steps {
				k, v := one(), one()
				for d := range sz.D {
					copy(k.Data[4*d:], bytesOf(tensor.Float32, c.key(rng, step)))
					copy(v.Data[4*d:], bytesOf(tensor.Float32, c.value(rng, step)))
				}
				in := append([]*tensor.Tensor{k, k, v}, state...)
				out := run.runAt(t, append(in, integer(t, step), integer(t, 1)), host{threads: 1})
				state = out[1:]
				for d := range sz.D {
					key, value := k.At(d), v.At(d)
					largest = max(largest, math.Abs(value))
					if step == 0 || key > m[d] {
						f := math.Exp(m[d] - key)
						m[d], num[d], den[d] = key, num[d]*f, den[d]*f
					}
					num[d] += math.Exp(key-m[d]) * value
					den[d] += math.Exp(key - m[d])
					worst = max(worst, math.Abs(out[0].At(d)-num[d]/den[d]))
				}
			}
			t.Logf("off by %.3g units of 2^-23 of the largest value after %d steps", worst/largest/0x1p-23, steps)
			if worst > c.allowed*0x1p-23*largest {
				t.Errorf("off by %.3g units, want at most %v", worst/largest/0x1p-23, c.allowed)
			}
		})
	}
}

func integer(t *testing.T, v int) *tensor.Tensor {
	t.Helper()
	x, err := tensor.FromInt64s([]int{1}, []int64{int64(v)})
	if err != nil {
		t.Fatal(err)
	}
	return x
}
