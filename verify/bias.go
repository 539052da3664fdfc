package verify

import (
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// extent is the positions of a call: T and S, and of AFTConv2D the grid they lie on.
type extent struct {
	t, s int
	grid []int64
}

// usedBias lists the biases that the pairs of a call use: entries of W that some pair (t,t') reaches, and 0 where a pair
// lies outside the window or kernel. Entries that no pair reaches may hold anything and say nothing about the call.
func usedBias(op string, attrs ops.Attrs, w tensor.Array, e extent) []float64 {
	switch op {
	case "AFTFull":
		return usedPairs(attrs, w, e)
	case "AFTLocal":
		return usedBand(attrs, w, e)
	case "AFTConv1D":
		over := kernelOver{height: 1, width: w.Shape[1], left: int(attrs.Int("pad_left"))}
		return usedTaps(attrs, w, over, extent{grid: []int64{1, int64(e.t)}})
	case "AFTConv2D":
		pads := attrs["pads"]
		return usedTaps(attrs, w, kernelOver{height: w.Shape[1], width: w.Shape[2], top: int(pads[0]), left: int(pads[1])}, e)
	}
	return nil
}

func usedPairs(attrs ops.Attrs, w tensor.Array, e extent) []float64 {
	var used []float64
	for i := range e.t {
		row := w.Data[i*w.Shape[1]:]
		if attrs.Int("causal") == 1 {
			used = append(used, row[:i+1]...)
		} else {
			used = append(used, row[:e.s]...)
		}
	}
	return used
}

// usedBand needs not look at causal: the band of a causal layer holds no column for what comes after a position.
func usedBand(attrs ops.Attrs, w tensor.Array, e extent) []float64 {
	var used []float64
	window := int(attrs.Int("window"))
	for i := range e.t {
		for j := range w.Shape[1] {
			if source := i + j - (window - 1); source >= 0 && source < e.t {
				used = append(used, w.Data[i*w.Shape[1]+j])
			}
		}
	}
	if e.t > window { // position t-1 and source 0 are then further apart than the window reaches
		used = append(used, 0)
	}
	return used
}

// kernelOver is a kernel of height x width taps of which (top, left) weighs the position itself.
type kernelOver struct {
	height, width, top, left int
}

// usedTaps walks every distance between two positions of an h x w grid.
func usedTaps(attrs ops.Attrs, weights tensor.Array, k kernelOver, e extent) []float64 {
	var used []float64
	h, w, causal := int(e.grid[0]), int(e.grid[1]), attrs.Int("causal") == 1
	taps := k.height * k.width
	outside := false
	for dy := -(h - 1); dy <= h-1; dy++ {
		for dx := -(w - 1); dx <= w-1; dx++ {
			if causal && (dy > 0 || dy == 0 && dx > 0) {
				continue
			}
			a, b := dy+k.top, dx+k.left
			if a < 0 || a >= k.height || b < 0 || b >= k.width {
				outside = true
				continue
			}
			for head := range weights.Shape[0] {
				used = append(used, weights.Data[head*taps+a*k.width+b])
			}
		}
	}
	if outside {
		used = append(used, 0)
	}
	return used
}
