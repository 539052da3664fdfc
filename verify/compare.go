package verify

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// limit is what a case allows: a tolerance for every element, or only that the numbers are finite.
type limit struct {
	tolerance  []float64 // nil: errors are measured and not judged
	scale      []float64 // what the relative error of an element is relative to
	finiteOnly bool
	by         Statistic // which error decides
}

// share is an error over its tolerance or, where there is none, over what it is relative to.
func (l *limit) share(i int, got, want float64) float64 {
	if l.tolerance == nil {
		return excess(got, want, l.scale[i])
	}
	return excess(got, want, l.tolerance[i])
}

func newLimit(elements int) limit {
	return limit{tolerance: make([]float64, elements), scale: make([]float64, elements)}
}

// distance is |got - want|: 0 for equal values and for NaN where NaN is wanted, +Inf for a NaN or an infinity on one side
// only.
func distance(got, want float64) float64 {
	if got == want || math.IsNaN(got) && math.IsNaN(want) {
		return 0
	}
	if d := math.Abs(got - want); !math.IsNaN(d) {
		return d
	}
	return math.Inf(1)
}

// excess is the distance over the tolerance. Without a positive tolerance, values are equal or infinitely far off.
func excess(got, want, tolerance float64) float64 {
	switch d := distance(got, want); {
	case d == 0:
		return 0
	case math.IsInf(d, 1) || !(tolerance > 0): // one that is NaN allows nothing
		return math.Inf(1)
	default:
		return d / tolerance
	}
}

func isUndefined(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }

// isUndefinedBesideMask is isUndefined where -Inf is a mask.
func isUndefinedBesideMask(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 1) }

// addTensor is add of what an engine gave. An output that it did not give is a failure.
func (r *Result) addTensor(caseID string, got *tensor.Tensor, want tensor.Array, l limit) {
	if got == nil {
		r.fail("%s: the engine gave no such output", caseID)
		return
	}
	r.add(caseID, got.Float64s(), got.Shape, want, l)
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
	before := r.ratio
	for i := range want.Data {
		r.addElement(caseID, i, got[i], want, l)
	}
	heat := newHeatMap(caseID, want.Shape, l, func(i int) float64 { return l.share(i, got[i], want.Data[i]) })
	if heat.before(r.HeatMap, r.ratio > before, r.ratio > 1) {
		r.HeatMap = heat
	}
	if l.tolerance != nil && !l.by.elementwise() {
		r.judgeBy(caseID, got, want, l)
	}
}

// addFinite records the error for whoever reads the row: it decides nothing.
func (r *Result) addFinite(caseID string, got []float64, want tensor.Array) {
	r.Finite++
	for i, v := range got {
		if d := math.Abs(v - want.Data[i]); !math.IsNaN(d) {
			r.FiniteMaxAbs = max(r.FiniteMaxAbs, Number(d))
		}
		if isUndefined(v) && !isUndefined(want.Data[i]) {
			r.fail("%s: element %v is %v, want a finite number", caseID, tensor.Unravel(i, want.Shape), v)
			return
		}
	}
}

func (r *Result) addElement(caseID string, i int, got float64, want tensor.Array, l limit) {
	w := want.Data[i]
	d := distance(got, w)
	r.MaxAbs = max(r.MaxAbs, Number(d))
	if l.scale[i] > 0 {
		r.MaxRel = max(r.MaxRel, Number(d/l.scale[i]))
	}
	tolerance, share := 0.0, d
	if l.tolerance != nil {
		tolerance = l.tolerance[i]
		share = excess(got, w, tolerance)
		r.gathered.add(d, share)
	}
	if r.Worst != nil && share <= r.ratio {
		return
	}
	r.ratio = share
	r.Worst = &Worst{
		Case: caseID, Index: tensor.Unravel(i, want.Shape),
		Got: Number(got), Want: Number(w), Tolerance: Number(tolerance),
	}
	if l.tolerance != nil && l.by.elementwise() && share > 1 {
		r.failWorst()
	}
}

// failWorst makes the worst element the row's problem, in place of one that was worst before it.
func (r *Result) failWorst() {
	r.Pass = false
	if r.Problem != "" && !r.ofWorst {
		return
	}
	w := r.Worst
	r.ofWorst = true
	r.Problem = fmt.Sprintf("%s: element %v is %v, want %v", w.Case, w.Index, float64(w.Got), float64(w.Want))
	if d := distance(float64(w.Got), float64(w.Want)); !math.IsInf(d, 0) {
		r.Problem += fmt.Sprintf(": off by %.3g, allowed %.3g", d, float64(w.Tolerance))
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

// absorb takes another row's cases in.
func (r *Result) absorb(of *Result) {
	r.Cases += of.Cases
	r.Finite += of.Finite
	r.MaxAbs, r.MaxRel, r.FiniteMaxAbs = max(r.MaxAbs, of.MaxAbs), max(r.MaxRel, of.MaxRel), max(r.FiniteMaxAbs, of.FiniteMaxAbs)
	r.gathered.absorb(&of.gathered)
	if of.HeatMap.before(r.HeatMap, of.ratio > r.ratio, max(of.ratio, r.ratio) > 1) {
		r.HeatMap = of.HeatMap
	}
	worse := of.Worst != nil && (r.Worst == nil || of.ratio > r.ratio)
	if worse {
		r.Worst, r.ratio = of.Worst, of.ratio
	}
	if of.Pass {
		return
	}
	r.Pass = false
	if r.Problem == "" || r.ofWorst && of.ofWorst && worse {
		r.Problem, r.ofWorst = of.Problem, of.ofWorst
	}
}
