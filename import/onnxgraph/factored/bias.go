package factored

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// bias is where the weights of a row come from.
type bias struct {
	// row gives the weights of row t, of the sources below visible, in buffer, which has longest elements.
	row     func(buffer []float64, head, t, visible int) weights
	longest func(sources int) int
	rest    bool // there are sources that only outside weighs
	perHead bool // K has a column a head, and rows differ by head
}

// weights are exp(w - top) of consecutive sources, and of all others, whose bias is 0: exp(-top), 0 where there are none. top is
// the largest bias. outside is NaN where a bias is no number or +Inf.
type weights struct {
	inside  []float64
	from    int
	outside float64
}

// exponentials makes weights of biases, in their place.
func exponentials(w []float64, from int, others bool) weights {
	top := math.Inf(-1)
	if others {
		top = 0
	}
	for _, v := range w {
		if math.IsNaN(v) || math.IsInf(v, 1) {
			return weights{outside: math.NaN()}
		}
		top = max(top, v)
	}
	if math.IsInf(top, -1) {
		clear(w)
		return weights{inside: w, from: from}
	}
	for i, v := range w {
		w[i] = math.Exp(v - top)
	}
	out := weights{inside: w, from: from}
	if others {
		out.outside = math.Exp(-top)
	}
	return out
}

// pairs is AFTFull's: every source has a bias of its own.
func pairs(w tensor.Array) bias {
	columns := w.Shape[1]
	return bias{longest: func(sources int) int { return sources }, row: func(buffer []float64, _, t, visible int) weights {
		copy(buffer, w.Data[t*columns:][:visible])
		return exponentials(buffer[:visible], 0, false)
	}}
}

// window is biases w of the sources from first on, as far as they are there.
func window(buffer, w []float64, first, visible int) weights {
	from, to := max(first, 0), min(first+len(w), visible)
	if from >= to { // the window lies outside what is seen
		return weights{outside: 1, from: min(from, visible)}
	}
	n := copy(buffer, w[from-first:to-first])
	return exponentials(buffer[:n], from, n < visible)
}

// band is AFTLocal's: column j of row t is for source t+j-(s-1).
func band(w tensor.Array, s int) bias {
	columns := w.Shape[1]
	return bias{rest: true, longest: func(int) int { return columns }, row: func(buffer []float64, _, t, visible int) weights {
		return window(buffer, w.Data[t*columns:][:columns], t-(s-1), visible)
	}}
}

// taps is AFTConv1D's: tap j of a head is for source t+j-padLeft.
func taps(w tensor.Array, padLeft int) bias {
	columns := w.Shape[1]
	return bias{rest: true, perHead: true, longest: func(int) int { return columns },
		row: func(buffer []float64, h, t, visible int) weights {
			return window(buffer, w.Data[h*columns:][:columns], t-padLeft, visible)
		}}
}

// plane is AFTConv2D's, on a grid of rows and columns: all sources are weighed, those outside the kernel alike.
func plane(w, grid tensor.Array, pads []int64) bias {
	columns := int(grid.Data[1])
	kernel := [2]int{w.Shape[1], w.Shape[2]}
	top, left := int(pads[0]), int(pads[1])
	return bias{perHead: true, longest: func(sources int) int { return sources }, row: func(buffer []float64, h, t, visible int) weights {
		seen := func(f func(source int, bias float64)) (count int) {
			for r := range kernel[0] {
				for c := range kernel[1] {
					y, x := t/columns+r-top, t%columns+c-left
					if source := y*columns + x; y >= 0 && x >= 0 && x < columns && source < visible {
						f(source, w.Data[(h*kernel[0]+r)*kernel[1]+c])
						count++
					}
				}
			}
			return count
		}
		largest, odd := math.Inf(-1), false
		if seen(func(_ int, v float64) {
			largest, odd = max(largest, v), odd || math.IsNaN(v) || math.IsInf(v, 1)
		}) < visible {
			largest = max(largest, 0)
		}
		if odd || math.IsInf(largest, -1) { // nothing is left: the definition says what that is
			return weights{outside: math.NaN()}
		}
		row, others := buffer[:visible], math.Exp(-largest)
		for i := range row {
			row[i] = others
		}
		seen(func(source int, v float64) { row[source] = math.Exp(v - largest) })
		return weights{inside: row}
	}}
}
