package verify

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Statistics say how the errors of a row are distributed. They are gathered as values go by; none is kept.
type Statistics struct {
	Elements int    `json:"elements"`
	Exact    int    `json:"exact"`    // elements that do not differ at all
	MeanAbs  Number `json:"mean_abs"` // of |got - want|
	RMS      Number `json:"rms"`
	// Quantiles of error over tolerance, rounded up to an eighth of an octave.
	P50 Number `json:"p50"`
	P90 Number `json:"p90"`
	P99 Number `json:"p99"`
	// Histogram counts elements by error over tolerance, without those that are exact: bin i has those above 2^(First+i-1), up
	// to 2^(First+i). What is smaller than all bins is in the first, what is larger in the last.
	First     int   `json:"first"`
	Histogram []int `json:"histogram"`
}

// The bins of error over tolerance: eighths of octaves.
const (
	binsOctave  = 8
	firstOctave = -40
	lastOctave  = 24
)

// gathering is Statistics in the making.
type gathering struct {
	elements, exact int
	sum, squares    float64
	bins            [(lastOctave - firstOctave) * binsOctave]int
}

// add counts an error, and its share of the tolerance.
func (g *gathering) add(off, share float64) {
	g.elements++
	if off == 0 {
		g.exact++
		return
	}
	g.sum += off
	g.squares += off * off
	bin := len(g.bins) - 1
	if at := math.Ceil(binsOctave * (math.Log2(share) - firstOctave)); at-1 < float64(bin) {
		bin = max(0, int(at)-1)
	}
	g.bins[bin]++
}

// absorb adds what another has gathered.
func (g *gathering) absorb(of *gathering) {
	g.elements += of.elements
	g.exact += of.exact
	g.sum += of.sum
	g.squares += of.squares
	for i, n := range of.bins {
		g.bins[i] += n
	}
}

// statistics sums up; nil of nothing.
func (g *gathering) statistics() *Statistics {
	if g.elements == 0 {
		return nil
	}
	n := float64(g.elements)
	s := &Statistics{Elements: g.elements, Exact: g.exact, MeanAbs: Number(g.sum / n), RMS: Number(math.Sqrt(g.squares / n)),
		P50: g.quantile(0.5), P90: g.quantile(0.9), P99: g.quantile(0.99)}
	octaves := make([]int, lastOctave-firstOctave)
	low, high := len(octaves), -1
	for i, count := range g.bins {
		if count > 0 {
			octaves[i/binsOctave] += count
			low, high = min(low, i/binsOctave), i/binsOctave
		}
	}
	if high >= 0 {
		s.First, s.Histogram = firstOctave+low+1, octaves[low:high+1]
	}
	return s
}

// quantile is the share of the tolerance that the part q of all elements does not exceed.
func (g *gathering) quantile(q float64) Number {
	rank := int(math.Ceil(q * float64(g.elements)))
	seen := g.exact
	if seen >= rank {
		return 0
	}
	for i, count := range g.bins {
		if seen += count; seen >= rank {
			return Number(math.Exp2(firstOctave + float64(i+1)/binsOctave))
		}
	}
	return Number(math.Inf(1))
}

// HeatMap is where errors lie: the largest error, over tolerance, in cells of positions (rows) and channels (columns) of the
// value that came nearest to its tolerance, or exceeded it most.
type HeatMap struct {
	Case      string     `json:"case"`
	Of        string     `json:"of"`        // what the error is divided by: "allowed", or "max" where nothing is held against it
	Positions int        `json:"positions"` // of all sequences of the batch, one after the other
	Channels  int        `json:"channels"`
	Sequence  int        `json:"sequence"` // positions a sequence
	Cells     [][]Number `json:"cells"`    // a row has the cells of some positions
}

// before reports whether a map says more than another: nearer says that its value came nearer to its tolerance. Where nothing
// failed, one of several positions goes before a single row of channels.
func (h *HeatMap) before(other *HeatMap, nearer, failed bool) bool {
	switch {
	case h == nil || other == nil:
		return h != nil
	case !failed && (h.Positions > 1) != (other.Positions > 1):
		return h.Positions > 1
	}
	return nearer
}

// The most cells of a heat map, in either direction.
const (
	heatRows    = 64
	heatColumns = 96
)

// newHeatMap draws the shares of a value's elements. Its last axis is the channels.
func newHeatMap(id string, shape []int, l limit, share func(i int) float64) *HeatMap {
	n, err := tensor.NumElements(shape)
	if err != nil || n == 0 || len(shape) == 0 {
		return nil
	}
	h := &HeatMap{Case: id, Of: "allowed", Channels: shape[len(shape)-1]}
	if l.tolerance == nil {
		h.Of = "max"
	}
	h.Positions = n / h.Channels
	h.Sequence = h.Positions
	if len(shape) > 2 {
		h.Sequence /= shape[0]
	}
	rows, columns := min(heatRows, h.Positions), min(heatColumns, h.Channels)
	h.Cells = make([][]Number, rows)
	for i := range h.Cells {
		h.Cells[i] = make([]Number, columns)
	}
	for i := range n {
		row, column := i/h.Channels*rows/h.Positions, i%h.Channels*columns/h.Channels
		h.Cells[row][column] = max(h.Cells[row][column], Number(share(i)))
	}
	return h
}
