package reference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// of makes an array of a shape and its values.
func of(t testing.TB, shape []int, values ...float64) Array {
	t.Helper()
	n, err := tensor.NumElements(shape)
	if err != nil || n != len(values) {
		t.Fatalf("%d values for shape %v (%v)", len(values), shape, err)
	}
	return Array{Shape: shape, Data: values}
}

// random makes an array of normal values of a standard deviation.
func random(r *rand.Rand, std float64, shape ...int) Array {
	a, err := tensor.NewArray(shape...)
	if err != nil {
		panic(err)
	}
	for i := range a.Data {
		a.Data[i] = std*r.NormFloat64() + 0 // + 0 makes a 0 of -0
	}
	return a
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// must unwraps a result.
func must(t testing.TB) func(Array, error) Array {
	return func(a Array, err error) Array {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func maxAbs(x []float64) float64 {
	m := 0.0
	for _, v := range x {
		m = max(m, math.Abs(v))
	}
	return m
}

// near requires got to be want within tolerance (absolute) everywhere; NaN is never near.
func near(t testing.TB, what string, got, want Array, tolerance float64) {
	t.Helper()
	if !tensor.SameShape(got.Shape, want.Shape) || len(got.Data) != len(want.Data) {
		t.Fatalf("%s: shape %v, want %v", what, got.Shape, want.Shape)
	}
	for i := range want.Data {
		if !(math.Abs(got.Data[i]-want.Data[i]) <= tolerance) {
			t.Fatalf("%s: Y%v is %v, want %v within %.3g (off by %.3g)", what, tensor.Unravel(i, want.Shape),
				got.Data[i], want.Data[i], tolerance, math.Abs(got.Data[i]-want.Data[i]))
		}
	}
}

// same requires equal bits.
func same(t testing.TB, what string, got, want Array) {
	t.Helper()
	if !tensor.SameShape(got.Shape, want.Shape) || len(got.Data) != len(want.Data) {
		t.Fatalf("%s: shape %v, want %v", what, got.Shape, want.Shape)
	}
	for i := range want.Data {
		if math.Float64bits(got.Data[i]) != math.Float64bits(want.Data[i]) {
			t.Fatalf("%s: Y%v is %v, want %v", what, tensor.Unravel(i, want.Shape), got.Data[i], want.Data[i])
		}
	}
}

// problem is one operator with inputs; inputs are Q, K, V and what the operator has beyond.
type problem struct {
	op     string
	attrs  map[string][]int64
	inputs []Array
}

func (p problem) String() string { return fmt.Sprintf("%s %v", p.op, p.attrs) }

func (p problem) run(t testing.TB) Array {
	t.Helper()
	y, err := callY(p.op, p.attrs, p.inputs)
	if err != nil {
		t.Fatalf("%v: %v", p, err)
	}
	return y
}

// callY is Call of an operator over whole sequences, which has Y alone.
func callY(op string, attrs map[string][]int64, inputs []Array) (Array, error) {
	out, err := Call(op, attrs, inputs)
	if err != nil {
		return Array{}, err
	}
	return out[0], nil
}

// with returns p with input i replaced.
func (p problem) with(i int, a Array) problem {
	inputs := append([]Array{}, p.inputs...)
	inputs[i] = a
	return problem{p.op, p.attrs, inputs}
}

// problems makes one of every operator, causal and not: B = 2, T = S = 12 as a grid of 3 x 4, D = 6, H = 2 for the
// convolutions, and K and W of the standard deviations given.
func problems(seed uint64, gate Gate, keys, biases float64) []problem {
	const b, steps, d, h = 2, 12, 6, 2
	r := seeded(seed)
	var all []problem
	for _, causal := range []int64{0, 1} {
		attrs := func(more map[string][]int64) map[string][]int64 {
			out := map[string][]int64{"causal": {causal}, "gate": {int64(gate)}}
			for name, v := range more {
				out[name] = v
			}
			return out
		}
		in := func(columns int, more ...Array) []Array {
			q, k, v := random(r, 1, b, steps, d), random(r, keys, b, steps, columns), random(r, 1, b, steps, d)
			return append([]Array{q, k, v}, more...)
		}
		band := []int{5, 3}[causal]
		all = append(all,
			problem{"AFTFull", attrs(nil), in(d, random(r, biases, steps+1, steps+2))},
			problem{"AFTSimple", attrs(nil), in(d)},
			problem{"AFTLocal", attrs(map[string][]int64{"window": {3}}), in(d, random(r, biases, steps, band))},
			problem{"AFTConv1D", attrs(map[string][]int64{"pad_left": {2}}), in(h, random(r, biases, h, 5))},
			problem{"AFTConv2D", attrs(map[string][]int64{"pads": {1, 2}}),
				in(h, random(r, biases, h, 3, 4), Array{Shape: []int{2}, Data: []float64{3, 4}})},
		)
	}
	return all
}

// headOf is the column of K that channel d of a problem's V belongs to.
func (p problem) headOf(d int) int { return d / (p.inputs[2].Shape[2] / p.inputs[1].Shape[2]) }

// sees reports whether row t of the problem sums over source s.
func (p problem) sees(t, s int) bool { return p.attrs["causal"][0] == 0 || s <= t }
