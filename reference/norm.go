package reference

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// DefaultEps is what LayerNorm adds to the variance unless a model says otherwise; it is PyTorch's default.
const DefaultEps = 1e-5

// LayerNorm is, over the last axis of x,
//
//	y = Gain * (x - mean(x)) / sqrt(var(x) + Eps) + Bias
//
// where var divides by the number of channels (Ba, Kiros and Hinton 2016, arXiv:1607.06450; ONNX LayerNormalization). With
// Eps = 0, a row of equal values is NaN.
type LayerNorm struct {
	Gain, Bias []float64 // one value a channel; no Bias: 0
	Eps        float64
}

// Dim is the number of channels.
func (n *LayerNorm) Dim() int { return len(n.Gain) }

// Check holds the parts against each other.
func (n *LayerNorm) Check() error {
	if len(n.Gain) < 1 {
		return fmt.Errorf("weight: has no values, want one a channel")
	}
	if n.Bias != nil && len(n.Bias) != len(n.Gain) {
		return fmt.Errorf("bias: has %d values, want %d as weight has", len(n.Bias), len(n.Gain))
	}
	if !(n.Eps >= 0) || math.IsInf(n.Eps, 1) {
		return fmt.Errorf("eps: is %v, want a number >= 0", n.Eps)
	}
	return nil
}

// Forward normalises x (B,T,Dim) or (B,Dim).
func (n *LayerNorm) Forward(x Array) (Array, error) {
	if err := n.Check(); err != nil {
		return Array{}, err
	}
	if err := checkArray(x, len(x.Shape)); err != nil {
		return Array{}, fmt.Errorf("x: %w", err)
	}
	d := n.Dim()
	if len(x.Shape) == 0 || x.Shape[len(x.Shape)-1] != d {
		return Array{}, fmt.Errorf("x: has shape %s, want %d channels as weight has values", tensor.FormatShape(x.Shape), d)
	}
	y, err := newLike(x)
	if err != nil {
		return Array{}, err
	}
	for start := 0; start < len(x.Data); start += d {
		n.row(y.Data[start:start+d], x.Data[start:start+d])
	}
	return y, nil
}

func (n *LayerNorm) row(y, x []float64) {
	scale := math.Hypot(centre(y, x, false), math.Sqrt(n.Eps)) // whose squares cannot overflow
	for i := range y {
		y[i] = n.Gain[i] * (y[i] / scale)
		if n.Bias != nil {
			y[i] += n.Bias[i]
		}
	}
}
