package render

import (
	"fmt"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/verify"
)

// A step is four times the one before, its upper end included; 1 is allowed.
func TestHeatLevel(t *testing.T) {
	for share, want := range map[float64]int{
		0: 0, 1e-9: 1, 1. / 256: 1, 1. / 255: 2, 1. / 64: 2, 1. / 16: 3, 0.25: 4, 0.26: 5, 1: 5, 1.001: 6, 4: 6, 4.1: 7, math.Inf(1): 7, math.NaN(): 7,
	} {
		if got := heatLevel(share); got != want {
			t.Errorf("heatLevel(%v) = %d, want %d", share, got, want)
		}
	}
}

// The cell of element k is k*cells/of: span says the same elements.
func TestSpan(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {3, 7}, {64, 100}, {96, 96}, {5, 1000}} {
		cells, of := size[0], size[1]
		first, last := make([]int, cells), make([]int, cells)
		for k := of - 1; k >= 0; k-- {
			c := k * cells / of
			if first[c] = k; last[c] == 0 {
				last[c] = k
			}
		}
		for c := range cells {
			want := fmt.Sprintf("positions %d to %d", first[c], last[c])
			if first[c] == last[c] {
				want = fmt.Sprintf("position %d", first[c])
			}
			if got := span("position", c, cells, of); got != want {
				t.Errorf("cell %d of %d, %d positions: %s, want %s", c, cells, of, got, want)
			}
		}
	}
}

// Whatever a report holds, its marks lie inside the plot, and 0 and Inf apart from the decades.
func TestDecades(t *testing.T) {
	for _, values := range [][]float64{{}, {0}, {1}, {1e-300, 1e300}, {0, 1e-7, math.Inf(1)}, {math.NaN(), 1e-7}, {5e-324}} {
		var layers []verify.Layer
		for _, v := range values {
			layers = append(layers, verify.Layer{Own: verify.Deviation{MaxRel: verify.Number(v)}})
		}
		scale := newDecades(layers)
		for _, v := range values {
			if y := scale.y(verify.Number(v)); !(y >= plotTop && y <= plotBottom) {
				t.Errorf("%v: %v is at %v", values, v, y)
			}
		}
		if n := len(scale.ticks()); n < 2 || n > mostTicks+3 {
			t.Errorf("%v: %d ticks", values, n)
		}
	}
	scale := newDecades(someReport().Layers)
	if zero, least := scale.y(0), scale.y(1e-15); zero <= least {
		t.Errorf("0 is at %v, 1e-15 at %v", zero, least)
	}
}

// A model of 100 blocks has labels that do not run into each other.
func TestBlockTicks(t *testing.T) {
	layers := []*verify.Layer{{Block: -1, Accumulated: &verify.Deviation{}}}
	for b := range 100 {
		layers = append(layers, &verify.Layer{Block: b}, &verify.Layer{Block: b, Accumulated: &verify.Deviation{}})
	}
	layers = append(layers, &verify.Layer{Block: 100, Accumulated: &verify.Deviation{}})
	ticks := blockTicks(layers)
	if len(ticks) > mostBlock || ticks[0].Text != "in" {
		t.Errorf("%v", ticks)
	}
	few := blockTicks(layers[len(layers)-5:])
	if len(few) != 3 || few[0].Text != "98" {
		t.Errorf("%v", few)
	}
}

// Of many rows those are drawn that failed, then those nearest to their tolerance.
func TestPictured(t *testing.T) {
	var rows []verify.Result
	for i := range 100 {
		rows = append(rows, verify.Result{Pass: i != 50, Statistics: &verify.Statistics{},
			Worst: &verify.Worst{Got: verify.Number(i), Tolerance: 1000}})
	}
	chosen := pictured(rows)
	if len(chosen) != mostPictured || !chosen[50] || !chosen[99] || chosen[0] {
		t.Errorf("%v", chosen)
	}
	page := newPage(&verify.Report{Results: rows})
	if len(page.Histograms) != mostPictured || page.Unpictured != 100-mostPictured || len(page.Statistics) != 100 {
		t.Errorf("%d drawn, %d not, %d in the table", len(page.Histograms), page.Unpictured, len(page.Statistics))
	}
}
