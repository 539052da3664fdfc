package factored_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/import/onnxgraph/factored"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

func array(r *rand.Rand, scale float64, shape ...int) tensor.Array {
	a, err := tensor.NewArray(shape...)
	if err != nil {
		panic(err)
	}
	for i := range a.Data {
		a.Data[i] = scale * r.NormFloat64()
	}
	return a
}

// alone runs everything in one piece; cut in as many as there are elements.
func alone(n, _ int, f func(lo, hi int)) { f(0, n) }

func cut(n, _ int, f func(lo, hi int)) {
	for i := range n {
		f(i, i+1)
	}
}

type problem struct {
	op    string
	attrs ops.Attrs
	in    []tensor.Array
}

// problems are calls of every operator there is an answer for, causal and not, with windows that lie inside, at the edge and beyond.
func problems(r *rand.Rand, keys, biases float64) []problem {
	const b, t, d, h = 2, 13, 6, 3
	var list []problem
	for _, causal := range []int64{0, 1} {
		for _, gate := range []int64{ops.GateSigmoid, ops.GateTanh, ops.GateIdentity, ops.GateAbsent} {
			in := func(columns int, more ...tensor.Array) []tensor.Array {
				return append([]tensor.Array{array(r, 1, b, t, d), array(r, keys, b, t, columns), array(r, 1, b, t, d)}, more...)
			}
			attrs := func(more ops.Attrs) ops.Attrs {
				all := ops.Attrs{"causal": {causal}, "gate": {gate}}
				for name, v := range more {
					all[name] = v
				}
				return all
			}
			list = append(list, problem{"AFTFull", attrs(nil), in(d, array(r, biases, t+1, t+2))})
			for _, s := range []int{1, 4, 20} {
				columns := 2*s - 1
				if causal == 1 {
					columns = s
				}
				list = append(list, problem{"AFTLocal", attrs(ops.Attrs{"window": {int64(s)}}), in(d, array(r, biases, t, columns))})
			}
			for _, pad := range []int64{0, 2, 4} {
				list = append(list, problem{"AFTConv1D", attrs(ops.Attrs{"pad_left": {pad}}), in(h, array(r, biases, h, 5))},
					problem{"AFTConv1D", attrs(ops.Attrs{"pad_left": {pad}}), in(d, array(r, biases, d, 5))})
			}
			grid := tensor.Array{Shape: []int{2}, Data: []float64{1, t}}
			list = append(list, problem{"AFTConv2D", attrs(ops.Attrs{"pads": {1, 1}}), in(h, array(r, biases, h, 3, 4), grid)})
		}
	}
	return list
}

func (p problem) String() string { return fmt.Sprintf("%s %v", p.op, p.attrs) }

func (p problem) reference(t *testing.T) []float64 {
	t.Helper()
	y, err := reference.Call(p.op, p.attrs, p.in)
	if err != nil {
		t.Fatal(err)
	}
	return y[0].Data
}

func largest(x []float64) float64 {
	m := 0.0
	for _, v := range x {
		m = max(m, math.Abs(v))
	}
	return m
}

// Ordinary calls are answered in full, with what the definition says, whatever the pieces of work are, by the same bits.
func TestCall(t *testing.T) {
	for i, scales := range [][2]float64{{1, 1}, {20, 20}, {1, 100}} {
		for _, p := range problems(rand.New(rand.NewPCG(uint64(i), 1)), scales[0], scales[1]) {
			got, ok := factored.Call(p.op, p.attrs, p.in, alone)
			if !ok || len(got.Unknown) > 0 {
				t.Fatalf("%v, %v: %v, %d elements unknown", p, scales, ok, len(got.Unknown))
			}
			want, again := p.reference(t), got
			tolerance := 1e-12 * largest(p.in[2].Data) * max(1, largest(p.in[0].Data))
			for j := range want {
				if !(math.Abs(got.Y.Data[j]-want[j]) <= tolerance) {
					t.Fatalf("%v, %v: element %d is %v, want %v", p, scales, j, got.Y.Data[j], want[j])
				}
			}
			again, _ = factored.Call(p.op, p.attrs, p.in, cut)
			for j := range want {
				if again.Y.Data[j] != got.Y.Data[j] {
					t.Fatalf("%v: element %d is %v in one piece and %v in many", p, j, got.Y.Data[j], again.Y.Data[j])
				}
			}
		}
	}
}

// Where keys are so far apart that exponentials vanish, what is known is right, and something is unknown in a causal row before
// a huge key.
func TestCall_unknown(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, p := range problems(r, 1, 1) {
		steps, columns := p.in[1].Shape[1], p.in[1].Shape[2]
		for c := range columns {
			p.in[1].Data[(steps-1)*columns+c] = 5000 // the last source of batch entry 0
		}
		got, ok := factored.Call(p.op, p.attrs, p.in, alone)
		if !ok {
			t.Fatalf("%v: no answer", p)
		}
		want, unknown := p.reference(t), map[int]bool{}
		for _, i := range got.Unknown {
			unknown[i] = true
		}
		if causal := p.attrs.Int("causal") == 1; causal != unknown[0] {
			t.Errorf("%v: the first element is unknown: %v", p, unknown[0])
		}
		if unknown[len(want)-1] {
			t.Errorf("%v: batch entry 1 has no huge key, and is unknown", p)
		}
		for i := range want {
			if !unknown[i] && !(math.Abs(got.Y.Data[i]-want[i]) <= 1e-11) {
				t.Fatalf("%v: element %d is %v, want %v", p, i, got.Y.Data[i], want[i])
			}
		}
	}
}

// What is no number is unknown, and changes no bit of what it does not reach.
func TestCall_contained(t *testing.T) {
	for input := 1; input <= 3; input++ {
		clean := problems(rand.New(rand.NewPCG(7, 8)), 1, 1)
		for i, p := range problems(rand.New(rand.NewPCG(7, 8)), 1, 1) {
			before, _ := factored.Call(clean[i].op, clean[i].attrs, clean[i].in, alone)
			p.in[input].Data[0] = math.NaN()
			got, ok := factored.Call(p.op, p.attrs, p.in, alone)
			if !ok {
				t.Fatalf("%v: no answer", p)
			}
			unknown := map[int]bool{}
			for _, i := range got.Unknown {
				unknown[i] = true
			}
			for j, v := range p.reference(t) {
				if math.IsNaN(v) && !unknown[j] {
					t.Fatalf("%v, NaN in input %d: element %d is known", p, input, j)
				}
				if !unknown[j] && got.Y.Data[j] != before.Y.Data[j] {
					t.Fatalf("%v, NaN in input %d: element %d changed", p, input, j)
				}
			}
		}
	}
}

// A key of -Inf removes its source, whatever its value is.
func TestCall_removed(t *testing.T) {
	for _, p := range problems(rand.New(rand.NewPCG(9, 10)), 1, 1) {
		columns, channels := p.in[1].Shape[2], p.in[2].Shape[2]
		for c := range columns {
			p.in[1].Data[4*columns+c] = math.Inf(-1)
		}
		for c := range channels {
			p.in[2].Data[4*channels+c] = math.NaN()
		}
		got, ok := factored.Call(p.op, p.attrs, p.in, alone)
		if !ok || len(got.Unknown) > 0 {
			t.Fatalf("%v: %v, %d unknown", p, ok, len(got.Unknown))
		}
		for i, v := range p.reference(t) {
			if !(math.Abs(got.Y.Data[i]-v) <= 1e-12) {
				t.Fatalf("%v: element %d is %v, want %v", p, i, got.Y.Data[i], v)
			}
		}
	}
}

// Operators that are as fast by their definition have no answer here.
func TestCall_others(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	in := []tensor.Array{array(r, 1, 1, 2, 2), array(r, 1, 1, 2, 2), array(r, 1, 1, 2, 2)}
	if _, ok := factored.Call("AFTSimple", ops.Attrs{"causal": {0}, "gate": {0}}, in, alone); ok {
		t.Error("AFTSimple was answered")
	}
}
