package optest

import (
	"fmt"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// testTrivial holds calls whose truth can be written down.
func (e *Engine) testTrivial(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, causal := range []int64{0, 1} {
			name := fmt.Sprintf("%s causal=%d", def.Name, causal)
			t.Run(name+" one position", func(t *testing.T) { e.testOnePosition(t, def, causal) })
			if causal == 1 {
				t.Run(name+" first row", func(t *testing.T) { e.testFirstRow(t, def) })
			}
			t.Run(name+" equal terms", func(t *testing.T) { e.testEqualTerms(t, def, causal) })
			t.Run(name+" one key rules", func(t *testing.T) { e.testOneKeyRules(t, def, causal) })
		}
	}
}

// testOnePosition: a sum of one term cancels, so Y = gate(Q) * V whatever K and W are.
func (e *Engine) testOnePosition(t *testing.T, def *ops.Def, causal int64) {
	gates := []func(q float64) float64{
		func(q float64) float64 { return 1 / (1 + math.Exp(-q)) },
		math.Tanh,
		func(q float64) float64 { return q },
		func(float64) float64 { return 1 },
	}
	for gate, f := range gates {
		sz := small()
		sz.T, sz.S, sz.Grid = 1, 1, [2]int{1, 1}
		p := build(t, def, sz, causal, int64(gate), 7)
		y := e.mustRun(t, p)
		for i, v := range p.v().Data {
			want := f(p.q().Data[i]) * v
			e.near(t, y, i, want, 8*(1+math.Abs(want)))
		}
	}
}

// testFirstRow: rule N5, the first row of a causal operator sees the first source alone.
func (e *Engine) testFirstRow(t *testing.T, def *ops.Def) {
	p := build(t, def, small(), 1, ops.GateAbsent, 9)
	y, v := e.mustRun(t, p), p.v()
	steps, channels := y.Shape[1], y.Shape[2]
	for b := range y.Shape[0] {
		for d := range channels {
			want := v.Data[b*v.Shape[1]*channels+d]
			e.near(t, y, b*steps*channels+d, want, 8*(1+math.Abs(want)))
		}
	}
}

// testEqualTerms: with K and W constant every term weighs the same, so the ratio is the mean of the visible V.
func (e *Engine) testEqualTerms(t *testing.T, def *ops.Def, causal int64) {
	p := build(t, def, small(), causal, ops.GateAbsent, 11)
	fill(p.k(), 3)
	fill(p.w(), 0)
	y := e.mustRun(t, p)
	v := p.v()
	steps, channels := v.Shape[1], v.Shape[2]
	for b := range v.Shape[0] {
		for pos := range steps {
			visible := steps
			if causal == 1 {
				visible = pos + 1
			}
			for d := range channels {
				sum := 0.0
				for s := range visible {
					sum += v.Data[(b*steps+s)*channels+d]
				}
				e.near(t, y, (b*steps+pos)*channels+d, sum/float64(visible), 32)
			}
		}
	}
}

// testOneKeyRules: a key 200 above all others leaves exp(-200) for the rest: Y is the V of that key, wherever it is seen.
func (e *Engine) testOneKeyRules(t *testing.T, def *ops.Def, causal int64) {
	p := build(t, def, small(), causal, ops.GateAbsent, 13)
	const chosen = 2
	k, v := p.k(), p.v()
	steps, channels := v.Shape[1], v.Shape[2]
	for b := range k.Shape[0] {
		for h := range k.Shape[2] {
			k.Data[(b*steps+chosen)*k.Shape[2]+h] += 200
		}
	}
	y := e.mustRun(t, p)
	for b := range v.Shape[0] {
		for pos := range steps {
			if causal == 1 && pos < chosen {
				continue
			}
			for d := range channels {
				e.near(t, y, (b*steps+pos)*channels+d, v.Data[(b*steps+chosen)*channels+d], 8)
			}
		}
	}
}

func fill(a tensor.Array, value float64) {
	for i := range a.Data {
		a.Data[i] = value
	}
}

// near requires element i of y to lie within units roundings of want, where want is of the order of 1.
func (e *Engine) near(t *testing.T, y *tensor.Tensor, i int, want, units float64) {
	t.Helper()
	if got := y.At(i); !(math.Abs(got-want) <= units*e.epsilon()) {
		t.Fatalf("Y%v is %v, want %v within %.3g", tensor.Unravel(i, y.Shape), got, want, units*e.epsilon())
	}
}
