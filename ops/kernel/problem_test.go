//go:build cgo

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// size is what a problem is made of. S is AFTFull's and AFTSimple's alone and equals T when causal; the grid is
// AFTConv2D's and gives its T.
type size struct {
	B, T, S, D, Heads int
	Window            int    // AFTLocal's s, AFTConv1D's taps
	Kernel, Grid      [2]int // AFTConv2D
}

func (s size) String() string {
	return fmt.Sprintf("B%d,T%d,S%d,D%d,H%d,s%d,k%dx%d,g%dx%d", s.B, s.T, s.S, s.D, s.Heads, s.Window,
		s.Kernel[0], s.Kernel[1], s.Grid[0], s.Grid[1])
}

// problem is one call in float64; data is edited before it is rounded to the type under test.
type problem struct {
	op     string
	attrs  ops.Attrs
	inputs []tensor.Array // Q, K, V, W as the operator has them; the grid is in attrs' stead
	grid   []int64
	causal bool
}

func (p *problem) k() tensor.Array { return p.inputs[1] }
func (p *problem) v() tensor.Array { return p.inputs[2] }

// w is the bias; AFTSimple has none.
func (p *problem) w() (tensor.Array, bool) {
	if len(p.inputs) < 4 {
		return tensor.Array{}, false
	}
	return p.inputs[3], true
}

// newProblem makes a call of normal random numbers.
func newProblem(op string, sz size, causal bool, gate int64, rng *rand.Rand) *problem {
	p := &problem{op: op, causal: causal, attrs: ops.Attrs{"causal": {0}, "gate": {gate}}}
	if causal {
		p.attrs["causal"][0] = 1
		sz.S = sz.T
	}
	keys := sz.D
	var bias []int
	switch op {
	case "AFTFull":
		bias = []int{sz.T + 1, sz.S + 2}
	case "AFTSimple":
	case "AFTLocal":
		sz.S = sz.T
		p.attrs["window"] = []int64{int64(sz.Window)}
		bias = []int{sz.T + 1, 2*sz.Window - 1}
		if causal {
			bias[1] = sz.Window
		}
	case "AFTConv1D":
		sz.S, keys = sz.T, sz.Heads
		p.attrs["pad_left"] = []int64{int64(rng.IntN(sz.Window))}
		bias = []int{sz.Heads, sz.Window}
	case "AFTConv2D":
		sz.T = sz.Grid[0] * sz.Grid[1]
		sz.S, keys = sz.T, sz.Heads
		p.attrs["pads"] = []int64{int64(rng.IntN(sz.Kernel[0])), int64(rng.IntN(sz.Kernel[1]))}
		p.grid = []int64{int64(sz.Grid[0]), int64(sz.Grid[1])}
		bias = []int{sz.Heads, sz.Kernel[0], sz.Kernel[1]}
	}
	p.inputs = []tensor.Array{normal(rng, sz.B, sz.T, sz.D), normal(rng, sz.B, sz.S, keys), normal(rng, sz.B, sz.S, sz.D)}
	if bias != nil {
		p.inputs = append(p.inputs, normal(rng, bias...))
	}
	return p
}

func normal(rng *rand.Rand, shape ...int) tensor.Array {
	a, err := tensor.NewArray(shape...)
	if err != nil {
		panic(err) // shapes in this file are small
	}
	for i := range a.Data {
		a.Data[i] = rng.NormFloat64()
	}
	return a
}

// tensors rounds the inputs to dtype.
func (p *problem) tensors(t testing.TB, dtype tensor.DType) []*tensor.Tensor {
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
		x, err := tensor.FromInt64s([]int{2}, p.grid)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// hosts are all ways to run a kernel: every set of instructions that this machine has, W packed or not. The last is what
// ONNX Runtime gets. With -short only the first, plain C and nothing packed, and the last.
func hosts(threads int) []host {
	var all []host
	for i := range Instructions() {
		all = append(all, host{threads: threads, instructions: i + 1}, host{threads: threads, instructions: i + 1, pack: true})
	}
	if testing.Short() {
		return []host{all[0], all[len(all)-1]}
	}
	return all
}

func (h host) String() string {
	return fmt.Sprintf("%s, %d threads, packed=%v", Instructions()[h.instructions-1], h.threads, h.pack)
}

// runOn runs the kernel on inputs and returns Y.
func (p *problem) runOn(t testing.TB, inputs []*tensor.Tensor, threads int) *tensor.Tensor {
	t.Helper()
	return p.runAt(t, inputs, host{threads: threads})
}

func (p *problem) runAt(t testing.TB, inputs []*tensor.Tensor, h host) *tensor.Tensor {
	t.Helper()
	outputs := newOutputs(t, p.op, inputs)
	if err := run(p.op, p.attrs, inputs, outputs, h); err != nil {
		t.Fatal(err)
	}
	return outputs[0]
}

// newOutputs makes room for the outputs of a call.
func newOutputs(t testing.TB, op string, inputs []*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	def, _ := ops.Lookup(op)
	outputs := make([]*tensor.Tensor, len(def.Outputs))
	for i := range outputs {
		like := inputs[def.Past(i)]
		x, err := tensor.New(like.DType, like.Shape)
		if err != nil {
			t.Fatal(err)
		}
		for j := range x.Data {
			x.Data[j] = 0xa5 // an element that is not written shows
		}
		outputs[i] = x
	}
	return outputs
}

// verify holds Y of every host against the truth.
func (p *problem) verify(t testing.TB, inputs []*tensor.Tensor, threads int, truth tensor.Array) {
	t.Helper()
	for _, h := range hosts(threads) {
		p.compare(t, inputs, p.runAt(t, inputs, h), truth)
		if t.Failed() {
			t.Fatal(h)
		}
	}
}

// truth is the reference's answer to the rounded inputs.
func (p *problem) truth(t testing.TB, inputs []*tensor.Tensor) tensor.Array {
	t.Helper()
	arrays := make([]tensor.Array, len(inputs))
	for i, x := range inputs {
		arrays[i] = x.Array()
	}
	outputs, err := reference.Call(p.op, p.attrs, arrays)
	if err != nil {
		t.Fatal(err)
	}
	return outputs[0]
}

// tolerance is the operator set's: 16 e max|V| of the channel for float, e = 2^-23; 1e-12 max|V| for double; for float16
// one rounding of the result on top of float's. Half of the smallest number is the rounding of a subnormal result.
func tolerance(dtype tensor.DType, largest, y float64) float64 {
	switch dtype {
	case tensor.Float64:
		return 1e-12*largest + math.SmallestNonzeroFloat64
	case tensor.Float16:
		return 16*0x1p-23*largest + 0x1p-11*math.Abs(y) + 0x1p-25
	default:
		return 16*0x1p-23*largest + math.SmallestNonzeroFloat32/2
	}
}

// largestValues is max|V| of every channel of every batch entry, over the sources that K does not remove.
func largestValues(inputs []*tensor.Tensor) []float64 {
	k, v := inputs[1].Float64s(), inputs[2].Float64s()
	shape, heads := inputs[2].Shape, inputs[1].Shape[2]
	b, s, d := shape[0], shape[1], shape[2]
	out := make([]float64, b*d)
	for i, x := range v {
		entry, source, channel := i/d/s, i/d%s, i%d
		if x = math.Abs(x); !math.IsInf(k[(entry*s+source)*heads+channel/(d/heads)], -1) && x <= math.MaxFloat64 {
			out[entry*d+channel] = max(out[entry*d+channel], x)
		}
	}
	return out
}

// compare holds Y against the truth: within the tolerance, NaN where the truth is NaN and nowhere else, and the same
// infinities.
func (p *problem) compare(t testing.TB, inputs []*tensor.Tensor, y *tensor.Tensor, truth tensor.Array) {
	t.Helper()
	largest := largestValues(inputs)
	steps, d := y.Shape[1], y.Shape[2]
	worst, where := 0.0, -1
	for i, want := range truth.Data {
		got := y.At(i)
		if got == want || math.IsNaN(got) && math.IsNaN(want) {
			continue
		}
		off := math.Abs(got-want) / tolerance(y.DType, largest[i/d/steps*d+i%d], want)
		if math.IsNaN(off) {
			off = math.Inf(1)
		}
		if off > worst {
			worst, where = off, i
		}
	}
	if worst > 1 {
		t.Errorf("Y%v is %v, want %v: off by %.3g of what is allowed", tensor.Unravel(where, y.Shape), y.At(where),
			truth.Data[where], worst)
	}
}
