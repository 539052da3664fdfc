package verify

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Statistic is which error of a value decides whether it passes. The zero value is every element's, which is at most its
// tolerance.
type Statistic struct {
	kind     string // "": every element
	quantile float64
}

// ParseStatistic reads "elementwise", "max" (the largest error, against the largest tolerance), "mean" (the mean error, against
// the mean tolerance) or "quantile=Q" (the part Q of all elements is within tolerance, 0 < Q <= 1).
func ParseStatistic(text string) (Statistic, error) {
	name, value, given := strings.Cut(text, "=")
	switch {
	case text == "elementwise":
		return Statistic{}, nil
	case text == "max", text == "mean":
		return Statistic{kind: text}, nil
	case name == "quantile" && given:
		if q, err := strconv.ParseFloat(value, 64); err == nil && q > 0 && q <= 1 {
			return Statistic{"quantile", q}, nil
		}
		return Statistic{}, fmt.Errorf("quantile %q: want a number above 0, at most 1", value)
	}
	return Statistic{}, fmt.Errorf("statistic %q: unknown, want elementwise, max, mean or quantile=Q", text)
}

// elementwise reports whether every element decides.
func (s Statistic) elementwise() bool { return s.kind == "" }

// String is what ParseStatistic reads.
func (s Statistic) String() string {
	switch s.kind {
	case "":
		return "elementwise"
	case "quantile":
		return fmt.Sprintf("quantile=%g", s.quantile)
	}
	return s.kind
}

// observed gives the error that decides, and what it may be.
func (s Statistic) observed(off, tolerance []float64) (error, allowed float64) {
	switch s.kind {
	case "max":
		return slices.Max(off), slices.Max(tolerance)
	case "mean":
		for i := range off {
			error += off[i] / float64(len(off))
			allowed += tolerance[i] / float64(len(off))
		}
		return error, allowed
	}
	order := make([]int, len(off))
	share := make([]float64, len(off))
	for i := range off {
		order[i], share[i] = i, excess(off[i], 0, tolerance[i])
	}
	slices.SortFunc(order, func(a, b int) int {
		if share[a] < share[b] {
			return -1
		}
		if share[a] > share[b] {
			return 1
		}
		return a - b
	})
	at := order[int(math.Ceil(s.quantile*float64(len(order))))-1]
	return off[at], tolerance[at]
}

// judgeBy judges a case by another statistic than element by element. A value that is no number on one side only passes none.
func (r *Result) judgeBy(caseID string, got []float64, want tensor.Array, l limit) {
	if len(got) == 0 {
		return
	}
	off := make([]float64, len(got))
	for i, v := range got {
		if off[i] = distance(v, want.Data[i]); math.IsInf(off[i], 1) {
			r.failWorst()
			return
		}
	}
	observed, allowed := l.by.observed(off, l.tolerance)
	if observed > allowed {
		r.fail("%s: %s of the errors is %.3g, allowed %.3g", caseID, l.by, observed, allowed)
	}
}

// Tolerance takes the place of the derived tolerance of some outputs: an element may be off by
//
//	Absolute + Relative * (the largest |want| of its row)
//
// A row is the channels of one position. An element's own magnitude is not used: near zero it would make a small error large.
type Tolerance struct {
	Output             string // a name, or a pattern of package path; "" is all outputs
	Relative, Absolute float64
}

// String is the tolerance as a formula.
func (t Tolerance) String() string {
	return fmt.Sprintf("%.3g + %.3g*max|row|", t.Absolute, t.Relative)
}

// tolerance is the last of the given ones that is about an output.
func (o *Options) tolerance(output string) (t Tolerance, given bool) {
	for _, each := range o.Tolerances {
		if matched, err := path.Match(each.Output, output); each.Output == "" || err == nil && matched {
			t, given = each, true
		}
	}
	return t, given
}

// limit is what the tolerance allows.
func (t Tolerance) limit(want tensor.Array, by Statistic) limit {
	l := newLimit(len(want.Data))
	l.by = by
	if len(want.Data) == 0 {
		return l
	}
	row := 1
	if n := len(want.Shape); n > 0 {
		row = want.Shape[n-1]
	}
	for start := 0; start < len(want.Data); start += row {
		largest := largestFinite(want.Data[start : start+row])
		for i := start; i < start+row; i++ {
			l.tolerance[i], l.scale[i] = t.Absolute+t.Relative*largest, largest
		}
	}
	return l
}
