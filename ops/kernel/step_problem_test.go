//go:build cgo

package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// chunk is one call of a step form: the next tokens of sequences whose past is a state. Of size, S is the longest past and T
// the longest chunk; every sequence has its own.
type chunk struct {
	def              *ops.Def
	attrs            ops.Attrs
	inputs           []*tensor.Tensor
	position, length []int
}

// newChunk cuts a chunk out of sequences of random numbers, which edit may change, and makes the state before it with the
// reference. What is not to be read is NaN.
func newChunk(t testing.TB, def *ops.Def, sz size, dtype tensor.DType, gate int64, edit func(p *problem), rng *rand.Rand) *chunk {
	t.Helper()
	total := sz
	total.T = sz.S + sz.T
	p := newProblem(def.Whole, total, true, gate, rng)
	if gate == ops.GateIdentity {
		fill(p.inputs[0], -1) // the tolerances are the ratio's
	}
	edit(p)
	c := &chunk{def: def, attrs: ops.Attrs{"gate": {gate}}}
	zero := make([]int, sz.B)
	for range sz.B {
		c.position = append(c.position, []int{0, sz.S, rng.IntN(sz.S + 1), min(sz.S, sz.Window)}[rng.IntN(4)])
		c.length = append(c.length, []int{sz.T, sz.T, rng.IntN(sz.T + 1)}[rng.IntN(3)])
	}
	whole := p.tensors(t, dtype)
	before := c.cut(t, whole, c.empty(t, p, sz, dtype), sz.S, zero, c.position)
	if sz.B*sz.D*total.T > 50000 { // more than the reference does in a while: the kernel's own state
		state := c.runAt(t, before, host{threads: 1})[1:]
		c.spoil(sz, state)
		c.inputs = c.cut(t, whole, state, sz.T, c.position, c.length)
		return c
	}
	state := make([]*tensor.Tensor, 0, 5)
	for i, a := range callReference(t, def, c.attrs, before)[1:] {
		port := def.Inputs[def.Past(1+i)]
		if port.Name == "keys" {
			for j, v := range a.Data {
				if v == reference.EmptyKey {
					a.Data[j] = ops.EmptyKey(dtype)
				}
			}
		}
		x, err := a.Tensor(port.Type.DType(dtype))
		if err != nil {
			t.Fatal(err)
		}
		state = append(state, x)
	}
	c.spoil(sz, state)
	c.inputs = c.cut(t, whole, state, sz.T, c.position, c.length)
	return c
}

// empty is a state without tokens, of zeros.
func (c *chunk) empty(t testing.TB, p *problem, sz size, dtype tensor.DType) []*tensor.Tensor {
	t.Helper()
	sizes := map[string]int{"B": sz.B, "D": sz.D, "H": p.k().Shape[2], "s-1": sz.Window - 1, "C": sz.S + sz.T}
	var state []*tensor.Tensor
	for i := range c.def.Outputs[1:] {
		port := c.def.Inputs[c.def.Past(1+i)]
		var shape []int
		for _, letter := range port.Dims {
			shape = append(shape, sizes[letter])
		}
		x, err := tensor.New(port.Type.DType(dtype), shape)
		if err != nil {
			t.Fatal(err)
		}
		state = append(state, x)
	}
	return state
}

// unread calls f for every element of a state that holds no token.
func (c *chunk) unread(sz size, state []*tensor.Tensor, f func(x *tensor.Tensor, i int)) {
	for i, x := range state {
		port := c.def.Inputs[c.def.Past(1+i)]
		for j := range x.Len() {
			b := j / (x.Len() / sz.B)
			slot := 0
			if len(x.Shape) == 3 {
				slot = j / x.Shape[2] % x.Shape[1]
			}
			switch {
			case port.Type == ops.T2 && c.position[b] >= c.window(sz), port.Dims[1] == "C" && slot < c.position[b],
				port.Dims[1] == "s-1" && slot >= x.Shape[1]-c.position[b]:
			default:
				f(x, j)
			}
		}
	}
}

func (c *chunk) window(sz size) int {
	if c.def.Name == "AFTSimpleStep" {
		return 1
	}
	return sz.Window
}

// spoil makes NaN of what holds no token.
func (c *chunk) spoil(sz size, state []*tensor.Tensor) {
	for _, x := range state {
		nan := bytesOf(x.DType, math.NaN())
		c.unread(sz, state, func(y *tensor.Tensor, i int) {
			if y == x {
				copy(x.Data[i*len(nan):], nan)
			}
		})
	}
}

func bytesOf(dtype tensor.DType, v float64) []byte {
	x, err := tensor.FromFloat64s(dtype, []int{1}, []float64{v})
	if err != nil {
		panic(err) // a number of a float type
	}
	return x.Data
}

// cut makes the inputs of a chunk of T = steps: lengths[b] tokens of sequence b from position[b] on, and NaN after them.
func (c *chunk) cut(t testing.TB, whole, state []*tensor.Tensor, steps int, position, length []int) []*tensor.Tensor {
	t.Helper()
	var in []*tensor.Tensor
	for _, x := range whole[:3] {
		row := x.Shape[2] * x.DType.Size()
		y, err := tensor.New(x.DType, []int{x.Shape[0], steps, x.Shape[2]})
		if err != nil {
			t.Fatal(err)
		}
		nan := bytesOf(x.DType, math.NaN())
		for i := 0; i < len(y.Data); i += len(nan) {
			copy(y.Data[i:], nan)
		}
		for b, n := range length {
			copy(y.Data[b*steps*row:], x.Data[(b*x.Shape[1]+position[b])*row:][:n*row])
		}
		in = append(in, y)
	}
	in = append(append(in, whole[3:]...), state...)
	for _, values := range [][]int{position, length} {
		wide := make([]int64, len(values))
		for i, v := range values {
			wide[i] = int64(v)
		}
		x, err := tensor.FromInt64s([]int{len(wide)}, wide)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, x)
	}
	return in
}

func callReference(t testing.TB, def *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) []tensor.Array {
	t.Helper()
	arrays := make([]tensor.Array, len(inputs))
	for i, x := range inputs {
		arrays[i] = x.Array()
	}
	outputs, err := reference.Call(def.Name, attrs, arrays)
	if err != nil {
		t.Fatal(err)
	}
	return outputs
}

func (c *chunk) runAt(t testing.TB, inputs []*tensor.Tensor, h host) []*tensor.Tensor {
	t.Helper()
	outputs := newOutputs(t, c.def.Name, inputs)
	if err := run(c.def.Name, c.attrs, inputs, outputs, h); err != nil {
		t.Fatal(err)
	}
	return outputs
}

// input is the input of that name, nil where the operator has none.
func (c *chunk) input(name string) *tensor.Tensor {
	i := slices.IndexFunc(c.def.Inputs, func(p ops.Port) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return c.inputs[i]
}

// largest is max|V| of every channel, over what K does not remove: the chunk's, those of the state, and the mean of its sums.
func (c *chunk) largest(sz size) []float64 {
	b, d := c.inputs[2].Shape[0], c.inputs[2].Shape[2]
	heads := c.inputs[1].Shape[2]
	out := make([]float64, b*d)
	see := func(i int, key, value float64) {
		if value = math.Abs(value); !math.IsInf(key, -1) && value <= math.MaxFloat64 {
			out[i] = max(out[i], value)
		}
	}
	tokens := func(k, v *tensor.Tensor, there func(b, slot int) bool) {
		for i := range v.Len() {
			entry, slot, channel := i/d/v.Shape[1], i/d%v.Shape[1], i%d
			if there(entry, slot) {
				see(entry*d+channel, k.At((entry*v.Shape[1]+slot)*heads+channel/(d/heads)), v.At(i))
			}
		}
	}
	tokens(c.inputs[1], c.inputs[2], func(b, slot int) bool { return slot < c.length[b] })
	if values := c.input("values"); values != nil {
		tokens(c.input("keys"), values, func(b, slot int) bool {
			if c.def.Name == "AFTFullStep" {
				return slot < c.position[b]
			}
			return slot >= values.Shape[1]-c.position[b]
		})
	}
	if n := c.input("n"); n != nil {
		for i := range n.Len() {
			if den := c.input("d").At(i/d*heads + i%d/(d/heads)); den > 0 && c.position[i/d] >= c.window(sz) {
				see(i, 0, n.At(i)/den)
			}
		}
	}
	return out
}

// verify holds the outputs of every host against the reference: Y and the sums within the tolerance, the largest key and the
// tokens exactly.
func (c *chunk) verify(t testing.TB, sz size, threads int) {
	t.Helper()
	truth := callReference(t, c.def, c.attrs, c.inputs)
	largest := c.largest(sz)
	for _, h := range hosts(threads) {
		c.compare(t, largest, c.runAt(t, c.inputs, h), truth)
		if t.Failed() {
			t.Fatalf("%s, positions %d, lengths %d", h, c.position, c.length)
		}
	}
}

func (c *chunk) compare(t testing.TB, largest []float64, outputs []*tensor.Tensor, truth []tensor.Array) {
	t.Helper()
	d, dtype := c.inputs[2].Shape[2], c.inputs[0].DType
	heads := c.inputs[1].Shape[2]
	for o, y := range outputs {
		name := c.def.Outputs[o].Name
		den := truth[min(3, len(truth)-1)].Data // present_d, where there are sums
		for i, want := range truth[o].Data {
			allowed, per := 0.0, y.Len()/y.Shape[0]
			switch name {
			case "Y":
				allowed = tolerance(y.DType, largest[i/per*d+i%d], want)
			case "present_n":
				allowed = den[i/d*heads+i%d/(d/heads)] * tolerance(y.DType, largest[i], 0)
			case "present_d":
				allowed = tolerance(y.DType, want, 0)
			case "present_m":
				want = rounded(y.DType, want)
			case "present_keys":
				if want == reference.EmptyKey {
					want = ops.EmptyKey(dtype)
				}
			}
			got := y.At(i)
			if got == want || math.IsNaN(got) && math.IsNaN(want) || math.Abs(got-want) <= allowed {
				continue
			}
			t.Errorf("%s%v is %v, want %v: off by %.3g, allowed is %.3g", name, tensor.Unravel(i, y.Shape), got, want,
				math.Abs(got-want), allowed)
			break
		}
	}
}

func rounded(dtype tensor.DType, v float64) float64 {
	x, err := tensor.FromFloat64s(dtype, []int{1}, []float64{v})
	if err != nil {
		panic(err) // a number of a float type
	}
	return x.At(0)
}
