package optest

import (
	"fmt"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// testSpecial holds what the operator set says of infinities and NaN.
func (e *Engine) testSpecial(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, causal := range []int64{0, 1} {
			name := fmt.Sprintf("%s causal=%d", def.Name, causal)
			t.Run(name+" removed source", func(t *testing.T) { e.testRemovedSource(t, def, causal) })
			t.Run(name+" nothing left", func(t *testing.T) { e.testNothingLeft(t, def, causal) })
			t.Run(name+" NaN in K stays in its channel", func(t *testing.T) { e.testContained(t, def, causal, 1, math.NaN()) })
			t.Run(name+" +Inf in K stays in its channel", func(t *testing.T) { e.testContained(t, def, causal, 1, math.Inf(1)) })
			t.Run(name+" NaN in V stays in its channel", func(t *testing.T) { e.testContained(t, def, causal, 2, math.NaN()) })
			if !e.Body {
				t.Run(name+" smallest values", func(t *testing.T) { e.testSmallest(t, def, causal) })
				t.Run(name+" huge keys", func(t *testing.T) { e.testHugeKeys(t, def, causal) })
			}
		}
	}
	full, _ := ops.Lookup("AFTFull")
	t.Run("AFTFull NaN in W stays in its row", func(t *testing.T) { e.testBiasRow(t, full, math.NaN()) })
	t.Run("AFTFull row of W all -inf", func(t *testing.T) { e.testBiasRow(t, full, math.Inf(-1)) })
	local, _ := ops.Lookup("AFTLocal")
	t.Run("AFTLocal ignores entries outside the sequence", func(t *testing.T) { e.testOutside(t, local) })
}

// testRemovedSource: K = -inf takes a source out, so Y equals what is left with that source's V changed at will.
func (e *Engine) testRemovedSource(t *testing.T, def *ops.Def, causal int64) {
	const removed = 1
	p := build(t, def, small(), causal, ops.GateAbsent, 17)
	k, v := p.k(), p.v()
	steps := v.Shape[1]
	for b := range v.Shape[0] {
		setRow(k, b*steps+removed, math.Inf(-1))
		setRow(v, b*steps+removed, 0)
	}
	want := e.mustRun(t, p)
	values := []float64{1e30, math.Inf(1), math.NaN()}
	if e.DType == tensor.Float16 {
		values[0] = 6e4
	}
	if e.Body {
		values = values[:1]
	}
	for _, value := range values {
		for b := range v.Shape[0] {
			setRow(v, b*steps+removed, value)
		}
		got := e.mustRun(t, p)
		for i := range got.Len() {
			if a, b := got.At(i), want.At(i); a != b {
				t.Fatalf("V = %v at a source with K = -inf makes Y%v %v, was %v", value, tensor.Unravel(i, got.Shape), a, b)
			}
		}
	}
	for i := range want.Len() {
		if causal == 0 && math.IsNaN(want.At(i)) {
			t.Fatalf("Y%v is NaN", tensor.Unravel(i, want.Shape))
		}
	}
}

// testNothingLeft: rule N6, a row whose every source is removed is 0 before the gate.
func (e *Engine) testNothingLeft(t *testing.T, def *ops.Def, causal int64) {
	for _, gate := range []int64{ops.GateSigmoid, ops.GateAbsent} {
		p := build(t, def, small(), causal, gate, 19)
		fill(p.k(), math.Inf(-1))
		y := e.mustRun(t, p)
		for i := range y.Len() {
			if got := y.At(i); got != 0 {
				t.Fatalf("gate %d: Y%v is %v, want 0", gate, tensor.Unravel(i, y.Shape), got)
			}
		}
	}
}

// testContained: rules N3 and N4; it puts one bad value into batch entry 0, source 1, first column of an input. Rows that see it in its
// channels (conv: its head) must show NaN, other batch entries and channels must not change by a bit.
func (e *Engine) testContained(t *testing.T, def *ops.Def, causal int64, input int, bad float64) {
	const source = 1
	p := build(t, def, small(), causal, ops.GateSigmoid, 23)
	clean := e.mustRun(t, p)
	a := p.inputs[input]
	a.Data[source*a.Shape[2]] = bad
	got := e.mustRun(t, p)
	touched := 1
	if input == 1 {
		touched = p.channelsPerKey()
	}
	steps, channels := got.Shape[1], got.Shape[2]
	for i := range got.Len() {
		at := tensor.Unravel(i, got.Shape)
		inside := at[0] == 0 && at[2] < touched
		if !inside && got.At(i) != clean.At(i) {
			t.Fatalf("%v in %s[0,%d,0] moves Y%v from %v to %v", bad, def.Inputs[input].Name, source, at, clean.At(i), got.At(i))
		}
	}
	for pos := range steps {
		sees := causal == 0 || pos >= source
		for d := range touched {
			if v := got.At(pos*channels + d); sees && !math.IsNaN(v) {
				t.Fatalf("%v in %s[0,%d,0]: Y[0,%d,%d] is %v, want NaN", bad, def.Inputs[input].Name, source, pos, d, v)
			}
		}
	}
}

// testBiasRow fills row 2 of W with one value: NaN spoils that row alone, -inf everywhere leaves 0.
func (e *Engine) testBiasRow(t *testing.T, def *ops.Def, value float64) {
	const row = 2
	p := build(t, def, small(), 0, ops.GateAbsent, 29)
	clean := e.mustRun(t, p)
	setRow(tensor.Array{Shape: append([]int{1}, p.w().Shape...), Data: p.w().Data}, row, value)
	got := e.mustRun(t, p)
	for i := range got.Len() {
		at := tensor.Unravel(i, got.Shape)
		v := got.At(i)
		switch {
		case at[1] != row && v != clean.At(i):
			t.Fatalf("%v in row %d of W moves Y%v from %v to %v", value, row, at, clean.At(i), v)
		case at[1] == row && math.IsNaN(value) && !math.IsNaN(v):
			t.Fatalf("NaN in row %d of W: Y%v is %v, want NaN", row, at, v)
		case at[1] == row && math.IsInf(value, -1) && v != 0:
			t.Fatalf("row %d of W is -inf: Y%v is %v, want 0", row, at, v)
		}
	}
}

// testOutside: band entries that point outside the sequence may hold anything.
func (e *Engine) testOutside(t *testing.T, def *ops.Def) {
	for _, causal := range []int64{0, 1} {
		p := build(t, def, small(), causal, ops.GateSigmoid, 31)
		clean := e.mustRun(t, p)
		w, s, steps := p.w(), int(p.attrs.Int("window")), p.q().Shape[1]
		for _, garbage := range []float64{math.NaN(), math.Inf(1), 1e4} {
			for i := range w.Data {
				pos, j := i/w.Shape[1], i%w.Shape[1]
				if source := pos + j - (s - 1); source < 0 || source >= steps {
					w.Data[i] = garbage
				}
			}
			got := e.mustRun(t, p)
			for i := range got.Len() {
				if got.At(i) != clean.At(i) {
					t.Fatalf("causal=%d: %v outside the sequence moves Y%v from %v to %v",
						causal, garbage, tensor.Unravel(i, got.Shape), clean.At(i), got.At(i))
				}
			}
		}
	}
}

// testHugeKeys: keys that grow by 3000 a step make every sum one term: causal, the newest; else the last.
func (e *Engine) testHugeKeys(t *testing.T, def *ops.Def, causal int64) {
	p := build(t, def, small(), causal, ops.GateAbsent, 37)
	k, v := p.k(), p.v()
	steps, channels := v.Shape[1], v.Shape[2]
	for i := range k.Data {
		k.Data[i] = -1e4 + 3000*float64(i/k.Shape[2]%steps)
	}
	y := e.mustRun(t, p)
	for i := range y.Len() {
		at := tensor.Unravel(i, y.Shape)
		newest := steps - 1
		if causal == 1 {
			newest = at[1]
		}
		e.near(t, y, i, v.Data[(at[0]*steps+newest)*channels+at[2]], 8)
	}
}

// testSmallest: rule N7, where every V is one subnormal number, so is every ratio: nothing flushes it to 0. The sign of a 0 is
// nobody's promise. What computes in double from doubles has no wider type: there the number keeps digits to lose.
func (e *Engine) testSmallest(t *testing.T, def *ops.Def, causal int64) {
	p := build(t, def, small(), causal, ops.GateAbsent, 41)
	tiny, allowed := map[tensor.DType]float64{tensor.Float32: math.SmallestNonzeroFloat32, tensor.Float64: 0x1p-1030,
		tensor.Float16: 0x1p-24}[e.DType], 0.0
	if e.DType == tensor.Float64 {
		allowed = 0x1p-30 * tiny
	}
	for i := range p.v().Data {
		p.v().Data[i] = tiny
	}
	y := e.mustRun(t, p)
	for i := range y.Len() {
		if got := y.At(i); !(math.Abs(got-tiny) <= allowed) {
			t.Fatalf("every V is %v: Y%v is %v", tiny, tensor.Unravel(i, y.Shape), got)
		}
	}
}

// setRow fills the innermost row r of a.
func setRow(a tensor.Array, r int, value float64) {
	n := a.Shape[len(a.Shape)-1]
	for i := range n {
		a.Data[r*n+i] = value
	}
}
