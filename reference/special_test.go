package reference

import (
	"fmt"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

var nan, inf = math.NaN(), math.Inf(1) // read only

// TestRemovedSource: with K = -inf at a source, V (and K's own bias) there may be anything: the result is that of the
// sequence without the source. AFTFull shows the latter, the others that nothing there matters.
func TestRemovedSource(t *testing.T) {
	const gone = 4
	for _, p := range problems(11, GateSigmoid, 1, 1) {
		k, v := clone(p.inputs[1]), clone(p.inputs[2])
		fillStep(k, gone, -inf)
		fillStep(v, gone, 0)
		clean := p.with(1, k).with(2, v).run(t)
		for _, value := range []float64{nan, inf, -inf, 1e300} {
			fillStep(v, gone, value)
			same(t, fmt.Sprintf("%v V=%v", p, value), p.with(1, k).with(2, v).run(t), clean)
		}
		for i, y := range clean.Data {
			if math.IsNaN(y) {
				t.Errorf("%v: Y%v is NaN", p, tensor.Unravel(i, clean.Shape))
			}
		}
	}
	r := seeded(12)
	q, k, v, w := random(r, 1, 1, 3, 2), random(r, 1, 1, 4, 2), random(r, 1, 1, 4, 2), random(r, 1, 3, 4)
	want := must(t)(AFTFull(q, first(k, 3), first(v, 3), w, Options{}))
	fillStep(k, 3, -inf)
	for _, bias := range []float64{0, nan, inf, -inf, 1e300} {
		for row := range 3 {
			w.Data[row*4+3] = bias
		}
		same(t, fmt.Sprintf("full, W=%v at the removed source", bias), must(t)(AFTFull(q, k, v, w, Options{})), want)
	}
}

// first keeps the first n positions of batch entry 0.
func first(a Array, n int) Array {
	return Array{Shape: []int{1, n, a.Shape[2]}, Data: a.Data[:n*a.Shape[2]]}
}

// fillStep sets a[:,s,:].
func fillStep(a Array, s int, value float64) {
	steps, width := a.Shape[1], a.Shape[2]
	for i := range a.Data {
		if i/width%steps == s {
			a.Data[i] = value
		}
	}
}

// TestRemovedPair: W = -inf removes a pair, whatever K and V hold there.
func TestRemovedPair(t *testing.T) {
	r := seeded(13)
	q, k, v, w := random(r, 1, 1, 2, 1), random(r, 1, 1, 3, 1), random(r, 1, 1, 3, 1), random(r, 1, 2, 3)
	w.Data[1] = -inf // row 0 does not see source 1
	clean := must(t)(AFTFull(q, k, v, w, Options{}))
	for _, bad := range []float64{nan, inf} {
		for i, a := range []Array{k, v} {
			old := a.Data[1]
			a.Data[1] = bad
			got := must(t)(AFTFull(q, k, v, w, Options{}))
			if got.Data[0] != clean.Data[0] {
				t.Errorf("input %d = %v at a removed pair moves row 0 from %v to %v", 1+i, bad, clean.Data[0], got.Data[0])
			}
			if y := got.Data[1]; !math.IsNaN(y) && !math.IsInf(y, 0) {
				t.Errorf("input %d = %v: row 1 sees it and is %v", 1+i, bad, y)
			}
			a.Data[1] = old
		}
	}
}

// TestNothingLeft: 0 before the gate, so 0 after it too.
func TestNothingLeft(t *testing.T) {
	for _, gate := range []Gate{GateSigmoid, GateTanh, GateIdentity, GateAbsent} {
		for _, p := range problems(14, gate, 1, 1) {
			k := clone(p.inputs[1])
			for i := range k.Data {
				k.Data[i] = -inf
			}
			for i, y := range p.with(1, k).run(t).Data {
				if y != 0 {
					t.Fatalf("%v: value %d is %v, want 0", p, i, y)
				}
			}
		}
	}
	// Causal, the first two sources gone: rows 0 and 1 are 0, row 2 is V of itself.
	k, v := of(t, []int{1, 3, 1}, -inf, -inf, 5), of(t, []int{1, 3, 1}, nan, 7, 9)
	got := must(t)(AFTSimple(k, k, v, Options{Causal: true, Gate: GateAbsent}))
	same(t, "causal simple", got, of(t, []int{1, 3, 1}, 0, 0, 9))
	w := random(seeded(1), 0, 3, 3)
	same(t, "causal full", must(t)(AFTFull(k, k, v, w, Options{Causal: true, Gate: GateAbsent})), got)
	// A row of W that is all -inf.
	copy(w.Data[3:], []float64{-inf, -inf, -inf})
	got = must(t)(AFTFull(v, of(t, []int{1, 3, 1}, 0, 0, 0), of(t, []int{1, 3, 1}, 3, 6, 9), w, Options{Gate: GateAbsent}))
	same(t, "row of W", got, of(t, []int{1, 3, 1}, 6, 0, 6))
}

// TestSpoiled puts one NaN or +Inf into batch entry 0 at one source. What sees it in its channel (conv: its head) becomes
// NaN (an infinite V may stay infinite), nothing else moves by a bit.
func TestSpoiled(t *testing.T) {
	const source, column = 3, 1
	for _, p := range problems(15, GateSigmoid, 1, 1) {
		clean := p.run(t)
		for _, c := range []struct {
			input int
			bad   float64
		}{{1, nan}, {1, inf}, {2, nan}, {2, inf}} {
			a := clone(p.inputs[c.input])
			a.Data[source*a.Shape[2]+column] = c.bad
			got := p.with(c.input, a).run(t)
			for i, y := range got.Data {
				at := tensor.Unravel(i, got.Shape)
				mine := at[2] == column
				if c.input == 1 {
					mine = p.headOf(at[2]) == column
				}
				switch touched := at[0] == 0 && mine && p.sees(at[1], source); {
				case touched && math.IsNaN(y), touched && c.input == 2 && c.bad == inf && math.IsInf(y, 1):
				case touched || y != clean.Data[i]:
					t.Fatalf("%v: %v in input %d: Y%v is %v, was %v", p, c.bad, c.input, at, y, clean.Data[i])
				}
			}
		}
	}
}

// TestSpoiledBias: NaN or +Inf in W spoils the rows (conv: of its head) that have a source there, nothing else.
func TestSpoiledBias(t *testing.T) {
	const row, tap = 5, 1 // of the first head's kernel, or of W
	for _, p := range problems(16, GateSigmoid, 1, 1) {
		if p.op == "AFTSimple" {
			continue
		}
		clean := p.run(t)
		for _, bad := range []float64{nan, inf} {
			w := clone(p.inputs[3])
			conv := p.op == "AFTConv1D" || p.op == "AFTConv2D"
			index := tap
			if !conv {
				index = row*w.Shape[1] + tap
			}
			w.Data[index] = bad
			spoiled := 0
			for i, y := range p.with(3, w).run(t).Data {
				at := tensor.Unravel(i, clean.Shape)
				may := at[1] == row
				if conv {
					may = p.headOf(at[2]) == 0
				}
				switch {
				case math.IsNaN(y) && may:
					spoiled++
				case y != clean.Data[i]:
					t.Fatalf("%v: %v in W: Y%v is %v, was %v", p, bad, at, y, clean.Data[i])
				}
			}
			if spoiled == 0 {
				t.Errorf("%v: %v in W shows nowhere", p, bad)
			}
		}
	}
}

// TestOutsideTheSequence: band entries and taps that point outside may hold anything.
func TestOutsideTheSequence(t *testing.T) {
	for _, p := range problems(17, GateSigmoid, 1, 1) {
		if p.op != "AFTLocal" {
			continue
		}
		clean := p.run(t)
		for _, garbage := range []float64{nan, inf, -inf, 1e4} {
			w := clone(p.inputs[3])
			for i := range w.Data {
				source := i/w.Shape[1] + i%w.Shape[1] - 2
				if source < 0 || source >= clean.Shape[1] {
					w.Data[i] = garbage
				}
			}
			same(t, fmt.Sprintf("%v %v", p, garbage), p.with(3, w).run(t), clean)
		}
	}
}

// TestEmpty: rule R6, no batch, no positions, no channels; no sources gives 0 before the gate.
func TestEmpty(t *testing.T) {
	zeros := func(shape ...int) Array { return random(seeded(1), 0, shape...) }
	for _, causal := range []bool{false, true} {
		o := Options{Causal: causal}
		columns := 3
		if causal {
			columns = 2
		}
		for _, s := range [][3]int{{0, 4, 6}, {2, 0, 6}, {2, 4, 0}, {0, 0, 0}} {
			b, n, d := s[0], s[1], s[2]
			x, k := zeros(b, n, d), zeros(b, n, 2)
			grid := [2]int{2, 2}
			if n == 0 {
				grid = [2]int{0, 5}
			}
			for name, y := range map[string]func() (Array, error){
				"full":   func() (Array, error) { return AFTFull(x, x, x, zeros(n, n), o) },
				"simple": func() (Array, error) { return AFTSimple(x, x, x, o) },
				"local":  func() (Array, error) { return AFTLocal(x, x, x, zeros(n, columns), LocalOptions{o, 2}) },
				"conv1d": func() (Array, error) { return AFTConv1D(x, k, x, zeros(2, 3), Conv1DOptions{o, 1}) },
				"conv2d": func() (Array, error) {
					return AFTConv2D(x, k, x, zeros(2, 3, 3), Conv2DOptions{o, grid, [2]int{1, 1}})
				},
			} {
				same(t, fmt.Sprint(name, s, causal), must(t)(y()), x)
			}
		}
	}
	q, none := random(seeded(2), 1, 2, 3, 4), zeros(2, 0, 4)
	same(t, "full without sources", must(t)(AFTFull(q, none, none, zeros(3, 0), Options{})), zeros(2, 3, 4))
	same(t, "simple without sources", must(t)(AFTSimple(q, none, none, Options{})), zeros(2, 3, 4))
}
