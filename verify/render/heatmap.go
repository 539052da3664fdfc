package render

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/verify"
)

// heatMap shows where errors lie: positions go down, channels to the right.
type heatMap struct {
	Title, About           string
	Fills                  []heatFill // one a step that occurs
	XTicks, YTicks         []tick
	Cuts                   []px // where a sequence of the batch ends and the next begins
	Bottom, Middle, Height px
}

// heatFill is all cells of one step, as the data of a path: a page with a rectangle a cell would be megabytes.
type heatFill struct {
	Class, Data string
}

// heatStep is an entry of the legend.
type heatStep struct{ Class, Text string }

// The steps of a heat map, by the largest share in a cell: each is four times the one before, two bits of accuracy.
const (
	heatWithin = 6 // steps within the tolerance, the first of which is what is exact
	heatBeyond = 2 // the last of which is 4 times the tolerance and more
)

// heatOfAllowed is what HeatMap.Of says where shares are of a tolerance.
const heatOfAllowed = "allowed"

// heatLevel is the step of a share of the tolerance.
func heatLevel(share float64) int {
	switch {
	case share == 0:
		return 0
	case math.IsNaN(share), share > 4:
		return heatWithin + 1
	case share > 1:
		return heatWithin
	}
	return max(1, heatWithin-1+int(math.Ceil(math.Log2(share)/2)))
}

func heatClass(level int) string { return "heat" + strconv.Itoa(level) }

// heatSteps explains the colours.
func heatSteps() []heatStep {
	return []heatStep{
		{heatClass(0), "exact"}, {heatClass(1), "up to 1/256"}, {heatClass(2), "to 1/64"}, {heatClass(3), "to 1/16"}, {heatClass(4), "to 1/4"},
		{heatClass(5), "to 1: allowed"}, {heatClass(6), "beyond 1"}, {heatClass(7), "beyond 4"},
	}
}

func newHeatMap(r *verify.Result) heatMap {
	m := r.HeatMap
	rows, columns := len(m.Cells), 0
	for _, row := range m.Cells {
		columns = max(columns, len(row))
	}
	// Cells are square unless that makes a stripe of few positions or a tower of many.
	height := px(min(260, max(36, float64(plotRight-plotLeft)*float64(rows)/float64(max(1, columns)))))
	h := heatMap{Title: title(r), Bottom: plotTop + height, Middle: plotTop + height/2, Height: plotTop + height + 42}
	x := func(i int) px { return plotLeft + px(i)*(plotRight-plotLeft)/px(max(1, columns)) }
	y := func(i int) px { return plotTop + px(i)*height/px(max(1, rows)) }
	h.Fills = heatFills(m, x, y)
	h.XTicks = []tick{{plotLeft, "0"}, {plotRight, strconv.Itoa(m.Channels)}}
	h.YTicks = []tick{{plotTop + 5, "0"}, {h.Bottom, strconv.Itoa(m.Positions)}}
	if m.Sequence > 0 && m.Positions/m.Sequence <= 16 {
		for at := m.Sequence; at < m.Positions; at += m.Sequence {
			h.Cuts = append(h.Cuts, plotTop+height*px(at)/px(m.Positions))
		}
	}
	h.About = heatWords(m, rows, columns)
	return h
}

// heatFills joins cells of one step that lie side by side.
func heatFills(m *verify.HeatMap, x, y func(int) px) (fills []heatFill) {
	data := make([]strings.Builder, heatWithin+heatBeyond)
	unit := heatUnit(m)
	for i, row := range m.Cells {
		for j := 0; j < len(row); {
			level, end := heatLevel(float64(row[j])/unit), j+1
			for end < len(row) && heatLevel(float64(row[end])/unit) == level {
				end++
			}
			fmt.Fprintf(&data[level], "M%v %vH%vV%vH%vz", x(j), y(i), x(end), y(i+1), x(j))
			j = end
		}
	}
	for level := range data {
		if data[level].Len() > 0 {
			fills = append(fills, heatFill{heatClass(level), data[level].String()})
		}
	}
	return fills
}

// heatUnit is what shares are divided by before they are coloured: the largest, where there is no tolerance.
func heatUnit(m *verify.HeatMap) float64 {
	if m.Of == heatOfAllowed {
		return 1
	}
	largest := 0.0
	for _, row := range m.Cells {
		for _, share := range row {
			if v := float64(share); !isUndefined(v) {
				largest = max(largest, v)
			}
		}
	}
	if largest == 0 {
		return 1
	}
	return largest
}

// heatWords says what the map shows: where the largest error is, and how many cells exceed the tolerance.
func heatWords(m *verify.HeatMap, rows, columns int) string {
	top, beyond, cells := verify.Number(-1), 0, 0
	var row, column int
	for i := range m.Cells {
		for j, share := range m.Cells[i] {
			cells++
			if heatLevel(float64(share)) >= heatWithin {
				beyond++
			}
			if share > top || math.IsNaN(float64(share)) {
				top, row, column = share, i, j
			}
		}
	}
	if cells == 0 {
		return legible(m.Case) + ": no cells."
	}
	where := fmt.Sprintf("%s, %s", span("position", row, rows, m.Positions), span("channel", column, columns, m.Channels))
	if m.Of != heatOfAllowed {
		return fmt.Sprintf("%s. Nothing is held against it: colours are shares of the largest error, which is %s of max, at %s.",
			legible(m.Case), small(top), where)
	}
	return fmt.Sprintf("%s. The largest is %s, at %s; %d of %s exceed the tolerance.", legible(m.Case), ofAllowed(float64(top)), where,
		beyond, counted(cells, "cell"))
}

// span is what a cell covers: element k is in cell k*cells/of.
func span(what string, cell, cells, of int) string {
	first, last := (cell*of+cells-1)/cells, ((cell+1)*of+cells-1)/cells-1
	if first >= last {
		return fmt.Sprintf("%s %d", what, first)
	}
	return fmt.Sprintf("%ss %d to %d", what, first, last)
}
