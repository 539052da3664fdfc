package render

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/aftonnx/aftonnx/verify"
)

// resultRow is a line of the table of results.
type resultRow struct {
	Name, Kind, Engine, DType     string
	Cases                         int
	Observed, Allowed, OfAllowed  string // at the element that takes most of its tolerance
	MaxAbs, MaxRel                string
	Where, Got, Want, Calls       string
	Verdict, Class, Finite, Rules string
}

// title names a result in one line.
func title(r *verify.Result) string {
	return fmt.Sprintf("%s, %s, %s", labelled(r.Name, r.Setting), legible(string(r.Engine)), legible(r.DType))
}

// addResults makes the table, and the list of the rules that its tolerances follow.
func (p *page) addResults(r *verify.Report) {
	for i := range r.Results {
		row := &r.Results[i]
		p.Results = append(p.Results, newResultRow(row))
		rule := fmt.Sprintf("%s, %s: %s", legible(string(row.Engine)), legible(row.DType), legible(row.Derived))
		if row.Derived != "" && !slices.Contains(p.Rules, rule) {
			p.Rules = append(p.Rules, rule)
		}
	}
}

func newResultRow(r *verify.Result) resultRow {
	row := resultRow{
		Name: labelled(r.Name, r.Setting), Kind: legible(string(r.Kind)), Engine: legible(string(r.Engine)), DType: legible(r.DType),
		Cases: r.Cases, MaxAbs: small(r.MaxAbs), MaxRel: small(r.MaxRel), Verdict: "pass", Class: "pass",
	}
	switch {
	case !r.Pass:
		row.Verdict, row.Class = "FAIL", "fail"
	case r.Kind == verify.KindRounding:
		row.Verdict, row.Class = "info", "info"
	case r.Finite > 0 && r.Finite == r.Cases:
		row.Verdict, row.Class = "finite", "info"
	}
	if r.Finite > 0 {
		row.Finite = fmt.Sprintf("%s of %d held to being finite only, off by at most %s", counted(r.Finite, "case"), r.Cases, small(r.FiniteMaxAbs))
	}
	if r.Calls > 0 || r.Nodes > 0 {
		row.Calls = fmt.Sprintf("%d of %d", r.Calls, r.Nodes)
	}
	if w := r.Worst; w != nil {
		row.Where, row.Got, row.Want = place(w), exactly(w.Got), exactly(w.Want)
		row.Observed = small(verify.Number(w.Error()))
		if r.Kind != verify.KindRounding { // which nothing is held against
			row.Allowed, row.OfAllowed = small(w.Tolerance), percent(w.Ratio())
		}
	}
	return row
}

// place is where an element is.
func place(w *verify.Worst) string { return legible(w.Case) + " " + fmt.Sprint(w.Index) }

// statisticsRow is a line of the table behind the histograms.
type statisticsRow struct {
	Title, Elements, Exact, Mean, RMS, P50, P90, P99 string
}

func newStatisticsRow(r *verify.Result) statisticsRow {
	s := r.Statistics
	return statisticsRow{
		Title: title(r), Elements: strconv.Itoa(s.Elements), Exact: strconv.Itoa(s.Exact), Mean: small(s.MeanAbs), RMS: small(s.RMS),
		P50: percent(float64(s.P50)), P90: percent(float64(s.P90)), P99: percent(float64(s.P99)),
	}
}

// mostPictured bounds the page: a sweep has hundreds of rows, and a reader looks at few plots.
const mostPictured = 24

// mostUrgent chooses mostPictured of n, or all of fewer.
func mostUrgent(n int, urgency func(i int) float64) map[int]bool {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(urgency(b), urgency(a)) })
	chosen := map[int]bool{}
	for _, i := range order[:min(n, mostPictured)] {
		chosen[i] = true
	}
	return chosen
}

// pictured chooses the rows whose errors are drawn: all, or, of many, those that failed and those nearest to their tolerance.
func pictured(rows []verify.Result) map[int]bool {
	var judged []int
	for i := range rows {
		if rows[i].Statistics != nil || rows[i].HeatMap != nil {
			judged = append(judged, i)
		}
	}
	chosen := map[int]bool{}
	for i := range mostUrgent(len(judged), func(i int) float64 { return urgency(&rows[judged[i]]) }) {
		chosen[judged[i]] = true
	}
	return chosen
}

// urgency orders rows: failed ones before others, then by how much of the tolerance they take.
func urgency(r *verify.Result) float64 {
	switch {
	case !r.Pass:
		return math.Inf(1)
	case r.Worst == nil, r.Kind == verify.KindRounding:
		return 0
	}
	return r.Worst.Ratio()
}

// preFlight is the section about other implementations.
type preFlight struct {
	Says   []string
	Layers []preFlightLayer
}

type preFlightLayer struct {
	Block                                  int
	MinKey, MaxKey, MinBias, MaxBias, Best string
	Naive, Class                           string
}

func newPreFlight(p *verify.PreFlight) *preFlight {
	if p == nil {
		return nil
	}
	f := &preFlight{Says: legibles(p.Says())}
	of := func(n verify.Number) string { return strconv.FormatFloat(float64(n), 'g', 4, 64) }
	for _, l := range p.Layers {
		class := "pass"
		if l.Naive != verify.NaiveFine {
			class = "info"
		}
		f.Layers = append(f.Layers, preFlightLayer{
			Block: l.Block, MinKey: of(l.MinKey), MaxKey: of(l.MaxKey), MinBias: of(l.MinBias), MaxBias: of(l.MaxBias),
			Best: of(l.LowestBest), Naive: legible(l.Naive), Class: class,
		})
	}
	return f
}
