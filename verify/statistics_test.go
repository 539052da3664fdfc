package verify

import (
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// A bin has what is above half its upper end; quantiles are upper ends of eighths of octaves.
func TestStatistics(t *testing.T) {
	var g gathering
	for _, v := range []struct{ off, share float64 }{{0, 0}, {0, 0}, {1, 0.25}, {1, 0.26}, {2, 0.5}, {4, 3}, {1, 1e-30}, {1, math.Inf(1)}} {
		g.add(v.off, v.share)
	}
	got := g.statistics()
	if got.Elements != 8 || got.Exact != 2 || got.MeanAbs != 10./8 || float64(got.RMS) != math.Sqrt(24./8) {
		t.Errorf("%+v", got)
	}
	if got.First != firstOctave+1 || got.Histogram[0] != 1 || got.Histogram[len(got.Histogram)-1] != 1 || len(got.Histogram) != lastOctave-firstOctave {
		t.Errorf("first %d, %d bins", got.First, len(got.Histogram))
	}
	for bin, want := range map[int]int{-2: 1, -1: 2, 0: 0, 2: 1} { // up to 2^bin
		if n := got.Histogram[bin-got.First]; n != want {
			t.Errorf("%d up to 2^%d, want %d", n, bin, want)
		}
	}
	if got.P50 != 0.25 || float64(got.P99) != math.Exp2(lastOctave) {
		t.Errorf("quantiles %v, %v", got.P50, got.P99)
	}
}

func TestHeatMap(t *testing.T) {
	l := newLimit(2 * 100 * 3)
	h := newHeatMap("x", []int{2, 100, 3}, l, func(i int) float64 {
		if i == (100+99)*3+1 { // the last position, second channel
			return 7
		}
		return 0.5
	})
	if h.Positions != 200 || h.Sequence != 100 || h.Channels != 3 || len(h.Cells) != heatRows || h.Of != "allowed" {
		t.Errorf("%+v", h)
	}
	if last := h.Cells[heatRows-1]; last[1] != 7 || last[0] != 0.5 || h.Cells[heatRows-2][1] != 0.5 {
		t.Errorf("last row %v", last)
	}
}

func TestHeatMap_before(t *testing.T) {
	one, many := &HeatMap{Positions: 1}, &HeatMap{Positions: 2}
	var none *HeatMap
	for i, test := range []struct {
		got, want bool
	}{
		{one.before(none, false, false), true}, {none.before(one, true, true), false}, {one.before(many, true, false), false},
		{many.before(one, false, false), true}, {one.before(many, true, true), true}, {many.before(one, false, true), false},
		{many.before(many, true, false), true}, {many.before(many, false, false), false},
	} {
		if test.got != test.want {
			t.Errorf("%d: %v", i, test.got)
		}
	}
}

func TestParseStatistic(t *testing.T) {
	for text, want := range map[string]Statistic{"elementwise": {}, "max": {kind: "max"}, "mean": {kind: "mean"}, "quantile=0.9": {"quantile", 0.9}} {
		got, err := ParseStatistic(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "median", "quantile", "quantile=", "quantile=0", "quantile=1.5", "quantile=NaN", "mean=2"} {
		if _, err := ParseStatistic(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Errors 0, 1, 2 and 10 with 2 allowed: every statistic sees another one.
func TestJudgeBy(t *testing.T) {
	want := tensor.Array{Shape: []int{4}, Data: []float64{0, 0, 0, 0}}
	for text, pass := range map[string]bool{"elementwise": false, "max": false, "mean": false, "quantile=0.75": true, "quantile=0.76": false} {
		l := newLimit(4)
		for i := range l.tolerance {
			l.tolerance[i] = 2
		}
		var err error
		if l.by, err = ParseStatistic(text); err != nil {
			t.Fatal(err)
		}
		r := Result{Pass: true}
		r.add("x", []float64{0, -1, 2, 10}, []int{4}, want, l)
		if r.Pass != pass || pass != (r.Problem == "") {
			t.Errorf("%s: pass %v, %s", text, r.Pass, r.Problem)
		}
	}
}
