package reference

import (
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Array is a dense row-major array of float64.
type Array = tensor.Array

// Weight is a learned array whose elements are read when they are needed.
type Weight = tensor.Weight

// Hold makes a weight of an array in memory, which is shared, not copied.
func Hold(a Array) Weight { return tensor.Hold(a) }

// Options are what all operators have.
type Options struct {
	Causal bool // a position sees itself and what comes before it; else every position
	Gate   Gate
}

// LocalOptions are those of AFTLocal.
type LocalOptions struct {
	Options
	Window int // the paper's s >= 1: the bias reaches sources with |t-t'| < s
}

// Conv1DOptions are those of AFTConv1D.
type Conv1DOptions struct {
	Options
	PadLeft int // the tap that weighs the position itself, 0..s-1: usually (s-1)/2, s-1 when causal
}

// Conv2DOptions are those of AFTConv2D.
type Conv2DOptions struct {
	Options
	Grid [2]int // rows and columns of the grid, h*w = T
	Pads [2]int // (top, left): the tap that weighs the position itself, usually (kh/2, kw/2)
}
