package verify

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// limit is what a case allows: a tolerance for every element, or only that the numbers are finite.
type limit struct {
	tolerance  []float64
	scale      []float64 // what the relative error of an element is relative to
	finiteOnly bool
}

func newLimit(elements int) limit {
	return limit{tolerance: make([]float64, elements), scale: make([]float64, elements)}
}

// excess is |got - want| over the tolerance: 0 for equal values and for NaN where NaN is wanted, +Inf for a NaN or an
// infinity on one side only.
func excess(got, want, tolerance float64) float64 {
	if got == want || math.IsNaN(got) && math.IsNaN(want) {
		return 0
	}
	d := math.Abs(got - want)
	if math.IsNaN(d) || math.IsInf(d, 0) || tolerance <= 0 {
		return math.Inf(1)
	}
	return d / tolerance
}

// add holds one case's values against the truth and updates the row.
func (r *Result) add(caseID string, got []float64, shape []int, want tensor.Array, l limit) {
	r.Cases++
	if !tensor.SameShape(shape, want.Shape) {
		r.fail("%s: shape %s, want %s", caseID, tensor.FormatShape(shape), tensor.FormatShape(want.Shape))
		return
	}
	if l.finiteOnly {
		r.addFinite(caseID, got, want)
		return
	}
	for i := range want.Data {
		r.addElement(caseID, i, got[i], want, l)
	}
}

// addFinite records the error for whoever reads the row: it decides nothing.
func (r *Result) addFinite(caseID string, got []float64, want tensor.Array) {
	r.Finite++
	for i, v := range got {
		if d := math.Abs(v - want.Data[i]); !math.IsNaN(d) {
			r.FiniteMaxAbs = max(r.FiniteMaxAbs, Number(d))
		}
		if (math.IsNaN(v) || math.IsInf(v, 0)) && !math.IsNaN(want.Data[i]) && !math.IsInf(want.Data[i], 0) {
			r.fail("%s: element %v is %v, want a finite number", caseID, tensor.Unravel(i, want.Shape), v)
			return
		}
	}
}

func (r *Result) addElement(caseID string, i int, got float64, want tensor.Array, l limit) {
	w := want.Data[i]
	ratio := excess(got, w, l.tolerance[i])
	if got != w && !(math.IsNaN(got) && math.IsNaN(w)) {
		d := math.Abs(got - w)
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		r.MaxAbs = max(r.MaxAbs, Number(d))
		if l.scale[i] > 0 {
			r.MaxRel = max(r.MaxRel, Number(d/l.scale[i]))
		}
	}
	if r.Worst == nil || ratio > r.ratio {
		r.ratio = ratio
		r.Worst = &Worst{
			Case: caseID, Index: tensor.Unravel(i, want.Shape),
			Got: Number(got), Want: Number(w), Tolerance: Number(l.tolerance[i]),
		}
	}
	if ratio > 1 {
		r.fail("%s: element %v is %v, want %v: off by %.3g, allowed %.3g",
			caseID, tensor.Unravel(i, want.Shape), got, w, math.Abs(got-w), l.tolerance[i])
	}
}

// fail records the first problem of a row.
func (r *Result) fail(format string, args ...any) {
	r.Pass = false
	if r.Problem == "" {
		r.Problem = fmt.Sprintf(format, args...)
	}
}

// countCalls holds the kernel calls of a run against the AFT nodes that it ran.
func (r *Result) countCalls(caseID string, calls, nodes uint64) {
	r.Calls += calls
	r.Nodes += nodes
	if calls != nodes {
		r.fail("%s: %d kernel calls counted, want %d", caseID, calls, nodes)
	}
}
