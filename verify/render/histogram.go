package render

import (
	"fmt"
	"math"
	"strconv"

	"github.com/aftonnx/aftonnx/verify"
)

// histogram counts elements by how much of their tolerance the error takes, an octave a bar; counts are logarithmic, for it is the
// few large errors that matter.
type histogram struct {
	Title, About   string
	Bars           []bar
	XTicks, YTicks []tick
	Allowed        px // where the error is all of the tolerance
}

type bar struct {
	X, Y, Width, Height px
	Beyond              bool // over the tolerance
	Title               string
}

func newHistogram(r *verify.Result) histogram {
	s := r.Statistics
	h := histogram{Title: title(r)}
	// One octave beyond 1 is always there, so that the line of what is allowed has a place.
	low, high := min(s.First-1, -8), max(s.First+len(s.Histogram)-1, 1)
	x := func(octave int) px { return plotLeft + px(octave-low)*(plotRight-plotLeft)/px(high-low) }
	most := 1
	for _, n := range s.Histogram {
		most = max(most, n)
	}
	top := math.Ceil(math.Log10(float64(most))+1e-9) + 0.3
	y := func(n float64) px { return plotBottom - (plotBottom-plotTop)*px((math.Log10(n)+0.3)/(top+0.3)) }
	beyond := 0
	for i, n := range s.Histogram {
		if n <= 0 {
			continue
		}
		to := s.First + i
		b := bar{X: x(to-1) + 0.5, Y: y(float64(n)), Width: x(to) - x(to-1) - 1, Beyond: to > 0,
			Title: fmt.Sprintf("%s: error over tolerance above %s, up to %s", counted(n, "element"), powerOfTwo(to-1), powerOfTwo(to))}
		b.Height = plotBottom - b.Y
		if b.Beyond {
			beyond += n
		}
		h.Bars = append(h.Bars, b)
	}
	h.Allowed = x(0)
	h.XTicks = octaveTicks(low, high, x)
	for e := 0; e <= int(top); e++ {
		h.YTicks = append(h.YTicks, tick{y(math.Pow10(e)), countLabel(e)})
	}
	h.About = fmt.Sprintf("%s: %d exact, %d beyond the tolerance. Half of all take at most %s of the tolerance, 99 of 100 at most %s.",
		counted(s.Elements, "element"), s.Exact, beyond, percent(float64(s.P50)), percent(float64(s.P99)))
	return h
}

// octaveTicks are few enough to be read, and one of them is 2^0.
func octaveTicks(low, high int, x func(int) px) (ticks []tick) {
	step := 2
	for (high-low)/step >= mostTicks {
		step *= 2
	}
	for o := low; o <= high; o++ {
		if o%step == 0 {
			ticks = append(ticks, tick{x(o), powerOfTwo(o)})
		}
	}
	return ticks
}

// countLabel is a power of ten as one writes counts.
func countLabel(exponent int) string {
	if exponent > 3 {
		return "1e" + strconv.Itoa(exponent)
	}
	return strconv.Itoa(int(math.Pow10(exponent)))
}
