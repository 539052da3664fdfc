package verify

import (
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// usedBias lists the biases that the pairs of a call use: entries of W that some pair (t,t') reaches, and 0 where a pair
// lies outside the window or kernel. Entries that no pair reaches may hold anything and say nothing about the call.
func usedBias(op string, attrs ops.Attrs, w tensor.Array, t, s int, grid []int64) []float64 {
	causal := attrs.Int("causal") == 1
	switch op {
	case "AFTFull":
		return usedPairs(w, t, s, causal)
	case "AFTLocal":
		return usedBand(w, t, int(attrs.Int("window")), causal)
	case "AFTConv1D":
		return usedTaps(w, kernelOver{height: 1, width: w.Shape[1], left: int(attrs.Int("pad_left"))}, 1, t, causal)
	case "AFTConv2D":
		pads := attrs["pads"]
		over := kernelOver{height: w.Shape[1], width: w.Shape[2], top: int(pads[0]), left: int(pads[1])}
		return usedTaps(w, over, int(grid[0]), int(grid[1]), causal)
	}
	return nil
}

func usedPairs(w tensor.Array, t, s int, causal bool) []float64 {
	var used []float64
	for i := range t {
		row := w.Data[i*w.Shape[1]:]
		if causal {
			used = append(used, row[:i+1]...)
		} else {
			used = append(used, row[:s]...)
		}
	}
	return used
}

func usedBand(w tensor.Array, t, window int, causal bool) []float64 {
	var used []float64
	for i := range t {
		for j := range w.Shape[1] {
			if source := i + j - (window - 1); source >= 0 && source < t {
				used = append(used, w.Data[i*w.Shape[1]+j])
			}
		}
	}
	if t > window { // position t-1 and source 0 are then further apart than the window reaches
		used = append(used, 0)
	}
	return used
}

// kernelOver is a kernel of height x width taps of which (top, left) weighs the position itself.
type kernelOver struct {
	height, width, top, left int
}

// usedTaps walks every distance between two positions of an h x w grid.
func usedTaps(weights tensor.Array, k kernelOver, h, w int, causal bool) []float64 {
	var used []float64
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
