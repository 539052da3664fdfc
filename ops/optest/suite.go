package optest

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// Engine is one implementation of the operators under test.
type Engine struct {
	DType tensor.DType // what its T1 inputs are rounded to
	// Run computes one call: the outputs in the order of the declaration. It returns an error where the declaration's Check does.
	Run func(d *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) ([]*tensor.Tensor, error)
	// Body marks decompositions into standard operators: on Wide cases they must be finite, and V must be finite where
	// K is -inf.
	Body bool
}

// Run holds the engine against everything this package knows: the project's golden cases, those beside the checkout if
// there are any, the trivial cases, the properties, and the calls that must fail.
func Run(t *testing.T, e Engine) {
	t.Run("golden", func(t *testing.T) {
		dir := goldentest.Find("testdata/golden/manifest.json")
		if dir == "" {
			t.Fatal("testdata/golden/manifest.json not found above the test's folder")
		}
		e.runCases(t, strings.TrimSuffix(dir, "manifest.json"), Golden)
	})
	t.Run("paper", func(t *testing.T) {
		dir := goldentest.Find("shared/golden/manifest.json")
		if dir == "" {
			t.Skip("no shared/golden beside the checkout")
		}
		e.runCases(t, strings.TrimSuffix(dir, "manifest.json"), Paper)
	})
	t.Run("trivial", e.testTrivial)
	t.Run("special", e.testSpecial)
	t.Run("properties", e.testProperties)
	if !e.Body { // runtimes differ in what they make of standard operators without elements
		t.Run("empty", e.testEmpty)
	}
	t.Run("refuses", e.testRefuses)
	t.Run("steps", e.testSteps)
}

// y computes one call of an operator over whole sequences.
func (e *Engine) y(d *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) (*tensor.Tensor, error) {
	outputs, err := e.Run(d, attrs, inputs)
	if err != nil {
		return nil, err
	}
	if len(outputs) != len(d.Outputs) {
		return nil, fmt.Errorf("%s gave %d outputs, want %d", d.Name, len(outputs), len(d.Outputs))
	}
	return outputs[0], nil
}

func (e *Engine) runCases(t *testing.T, dir string, load func(string) ([]Case, error)) {
	cases, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s holds no cases", dir)
	}
	for _, c := range cases {
		if c.Stored == tensor.Float64 && e.DType != tensor.Float64 {
			continue
		}
		t.Run(c.ID, func(t *testing.T) { e.check(t, c) })
	}
}

// check runs one case and holds it against its truth.
func (e *Engine) check(t *testing.T, c Case) {
	t.Helper()
	def, ok := ops.Lookup(c.Op)
	if !ok {
		t.Fatalf("no operator %q", c.Op)
	}
	inputs := e.round(t, c.Inputs)
	if e.Body {
		inputs = finiteMaskedValues(t, inputs)
	}
	got, err := e.y(def, c.Attrs, inputs)
	if err != nil {
		t.Fatal(err)
	}
	if !tensor.SameShape(got.Shape, c.Y.Shape) {
		t.Fatalf("Y has shape %s, want %s", tensor.FormatShape(got.Shape), tensor.FormatShape(c.Y.Shape))
	}
	if c.Wide && e.Body {
		for i := range got.Len() {
			if v := got.At(i); math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("Y%v is %v, want a finite number", tensor.Unravel(i, got.Shape), v)
			}
		}
		return
	}
	truth, tolerance := e.truth(t, c, inputs)
	for i, want := range truth.Data {
		g, allowed := got.At(i), tolerance
		if e.DType == tensor.Float16 {
			allowed += halfUnit16(math.Abs(want) + tolerance)
		}
		if g != want && !(math.Abs(g-want) <= allowed) && !(math.IsNaN(g) && math.IsNaN(want)) {
			t.Fatalf("Y%v is %v, want %v: off by %.3g, allowed %.3g", tensor.Unravel(i, got.Shape), g, want, math.Abs(g-want), allowed)
		}
	}
}

// halfUnit16 is half the distance of neighbouring float16 numbers at y >= 0, denormal ones included: one rounding.
func halfUnit16(y float64) float64 {
	_, exponent := math.Frexp(y) // y = f * 2^exponent, f in [0.5, 1)
	return math.Ldexp(0.5, max(exponent-11, -24))
}

// truth is the case's own for float32 and float64. Rounding the inputs to float16 changes the question: there the truth
// is the reference's answer to the rounded one, which the same suite holds to 1e-12 of the files.
func (e *Engine) truth(t *testing.T, c Case, inputs []*tensor.Tensor) (tensor.Array, float64) {
	t.Helper()
	largest := 0.0
	for _, v := range c.Y.Data {
		largest = max(largest, math.Abs(v))
	}
	switch e.DType {
	case tensor.Float64:
		return c.Y, 1e-12 * max(largest, maxAbs(c.Inputs[2])*magnitude(c))
	case tensor.Float16:
		arrays := make([]tensor.Array, len(inputs))
		for i, in := range inputs {
			arrays[i] = in.Array()
		}
		y, err := reference.Call(c.Op, c.Attrs, arrays)
		if err != nil {
			t.Fatal(err)
		}
		// The float32 arithmetic; the rounding of the result is added where the result is known.
		return y[0], 16 * 0x1p-23 * maxAbs(inputs[2])
	default:
		return c.Y, c.Tolerance
	}
}

// magnitude is max|K+W|/100, at least 1: what the rounding of K+W itself costs in double.
func magnitude(c Case) float64 {
	sum := maxAbs(c.Inputs[1])
	if len(c.Inputs) > 3 {
		sum += maxAbs(c.Inputs[3])
	}
	return max(1, sum/100)
}

func maxAbs(x *tensor.Tensor) float64 {
	m := 0.0
	for i := range x.Len() {
		if v := math.Abs(x.At(i)); v <= math.MaxFloat64 { // neither infinite nor NaN
			m = max(m, v)
		}
	}
	return m
}

// round converts floating-point inputs to the engine's type; int64 inputs pass.
func (e *Engine) round(t *testing.T, inputs []*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	out := make([]*tensor.Tensor, len(inputs))
	for i, in := range inputs {
		out[i] = in
		if in.DType.IsFloat() {
			cast, err := in.Cast(e.DType)
			if err != nil {
				t.Fatal(err)
			}
			out[i] = cast
		}
	}
	return out
}

// finiteMaskedValues replaces what V holds at removed positions, which a body may need finite.
func finiteMaskedValues(t *testing.T, inputs []*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	values := inputs[2].Float64s()
	changed := false
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			values[i], changed = 0, true
		}
	}
	if !changed {
		return inputs
	}
	v, err := tensor.FromFloat64s(inputs[2].DType, inputs[2].Shape, values)
	if err != nil {
		t.Fatal(err)
	}
	out := append([]*tensor.Tensor{}, inputs...)
	out[2] = v
	return out
}
