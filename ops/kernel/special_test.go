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

// NaN and infinities anywhere in the inputs, against the reference: a lane that does not see one is as if there were
// none, and NaN never becomes a number.
func TestNonFinite(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, def := range ops.Sequences() {
		for _, input := range def.Inputs[:min(4, len(def.Inputs))] {
			for _, value := range []float64{nan, inf, -inf} {
				for _, causal := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%v in %s causal=%v", def.Name, value, input.Name, causal), func(t *testing.T) {
						for round := range 30 {
							testNonFinite(t, def, input.Name, value, causal, uint64(round))
						}
					})
				}
			}
		}
	}
}

func testNonFinite(t *testing.T, def *ops.Def, input string, value float64, causal bool, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 13))
	sz := size{B: 2, T: 9, S: 9, D: 6, Heads: 3, Window: 4, Kernel: [2]int{3, 2}, Grid: [2]int{3, 4}}
	p := newProblem(def.Name, sz, causal, int64(seed%4), rng)
	for i, port := range def.Inputs[:len(p.inputs)] {
		data := p.inputs[i].Data
		if port.Name == input {
			for range 1 + rng.IntN(2) {
				data[rng.IntN(len(data))] = value
			}
		} else if port.Name == "K" || port.Name == "W" { // a mask beside it
			data[rng.IntN(len(data))] = math.Inf(-1)
		}
	}
	inputs := p.tensors(t, tensor.Float32)
	for _, h := range hosts(1) {
		y, truth := p.runAt(t, inputs, h), p.truth(t, inputs)
		for i, want := range truth.Data {
			if math.IsInf(want, 0) && math.IsNaN(y.At(i)) {
				truth.Data[i] = math.NaN() // a value of Inf may do that to its channel
			}
			if want == 0 && math.Signbit(want) != math.Signbit(y.At(i)) {
				t.Errorf("%s: Y%v is %v, want %v", h, tensor.Unravel(i, y.Shape), y.At(i), want)
			}
		}
		p.compare(t, inputs, y, truth)
		if t.Failed() {
			t.Fatal(h)
		}
	}
}

// Band entries that point outside the sequence are ignored, whatever they hold.
func TestLocalIgnoresEntriesOutside(t *testing.T) {
	for _, causal := range []bool{false, true} {
		for _, window := range []int{2, 5, 12} {
			rng := rand.New(rand.NewPCG(1, 17))
			p := newProblem("AFTLocal", size{B: 1, T: 7, D: 3, Window: window}, causal, ops.GateSigmoid, rng)
			before := p.tensors(t, tensor.Float32)
			w, _ := p.w()
			touched := 0
			for i := range w.Data {
				row, source := i/w.Shape[1], i/w.Shape[1]+i%w.Shape[1]-(window-1)
				if source < 0 || source >= 7 || row >= 7 {
					w.Data[i] = []float64{math.NaN(), math.Inf(1), 3e38}[i%3]
					touched++
				}
			}
			after := p.tensors(t, tensor.Float32)
			for _, h := range hosts(1) {
				want, got := p.runAt(t, before, h), p.runAt(t, after, h)
				if touched == 0 || string(got.Data) != string(want.Data) {
					t.Errorf("causal=%v window=%d %s: Y depends on entries outside the sequence (%d changed)", causal, window, h, touched)
				}
			}
		}
	}
}

// Every pair of halves: Y = Q * V has a product of two 11-bit numbers to round, so all ties and all exponents occur.
func TestFloat16RoundsOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 19))
	const n = 1 << 19
	bits := make([]byte, 2*n)
	inputs := make([]*tensor.Tensor, 3)
	for i := range inputs {
		data := make([]byte, len(bits))
		for j := range n {
			h := uint16(rng.Uint32())
			if i == 1 {
				h = 0
			} else if i == 2 {
				h = uint16(j) // every half
			}
			if h&0x7c00 == 0x7c00 && i == 0 {
				h &^= 0x4000
			}
			data[2*j], data[2*j+1] = byte(h), byte(h>>8)
		}
		x, err := tensor.FromBytes(tensor.Float16, []int{1, 1, n}, data)
		if err != nil {
			t.Fatal(err)
		}
		inputs[i] = x
	}
	p := &problem{op: "AFTSimple", attrs: ops.Attrs{"causal": {0}, "gate": {ops.GateIdentity}}}
	q, v := inputs[0].Float64s(), inputs[2].Float64s()
	product := make([]float64, n)
	for i := range product {
		product[i] = q[i] * v[i]
	}
	want, err := tensor.FromFloat64s(tensor.Float16, inputs[0].Shape, product)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts(2) {
		y := p.runAt(t, inputs, h)
		for i := range n {
			if got, want := y.At(i), want.At(i); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Fatalf("%s: %v * %v is %v in float16, want %v", h, q[i], v[i], got, want)
			}
		}
	}
}

// The gates where exp and tanh run out of range: few units in the last place, or 0 for what is subnormal.
func TestGates(t *testing.T) {
	q := []float64{0, -0.5, 0.5, 40, -40, -87, -100, 1e4, -1e4, math.MaxFloat32, -math.MaxFloat32, math.Inf(1), math.Inf(-1)}
	one := make([]float64, len(q))
	for i := range one {
		one[i] = 1
	}
	for gate := range int64(4) {
		shape := []int{1, 1, len(q)}
		p := &problem{op: "AFTSimple", attrs: ops.Attrs{"causal": {0}, "gate": {gate}}, inputs: []tensor.Array{
			{Shape: shape, Data: q}, {Shape: shape, Data: make([]float64, len(q))}, {Shape: shape, Data: one}}}
		for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float64} {
			inputs := p.tensors(t, dtype)
			truth := p.truth(t, inputs)
			for _, h := range hosts(1) {
				y := p.runAt(t, inputs, h)
				for i, want := range truth.Data {
					if got := y.At(i); got != want && !(math.Abs(got-want) <= 4*0x1p-23*math.Abs(want)+0x1p-126) {
						t.Errorf("%s: gate %d of %v (%s) is %v, want %v", h, gate, q[i], dtype, got, want)
					}
				}
			}
		}
	}
}
