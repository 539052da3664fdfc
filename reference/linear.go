package reference

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Linear is y = x Weight^T + Bias over the last axis of x.
type Linear struct {
	Weight Weight    // (out,in)
	Bias   []float64 // out values; nil: none
}

// Check holds the shapes against each other.
func (l Linear) Check() error {
	if err := checkWeight(l.Weight, 2); err != nil {
		return fmt.Errorf("weight: %w", err)
	}
	if l.Bias != nil && len(l.Bias) != l.Out() {
		return fmt.Errorf("bias: has %d values, want %d as weight has rows", len(l.Bias), l.Out())
	}
	return nil
}

// Out is the number of rows of Weight, 0 before there is one.
func (l Linear) Out() int {
	if l.Weight.Rank() != 2 {
		return 0
	}
	return l.Weight.Shape()[0]
}

// In is the number of columns of Weight, 0 before there is one.
func (l Linear) In() int {
	if l.Weight.Rank() != 2 {
		return 0
	}
	return l.Weight.Shape()[1]
}

// Forward maps x (B,T,in) to (B,T,out).
func (l Linear) Forward(x Array) (Array, error) {
	if err := l.Check(); err != nil {
		return Array{}, err
	}
	if err := checkArray(x, 3); err != nil {
		return Array{}, fmt.Errorf("x: %w", err)
	}
	in, out := l.In(), l.Out()
	if x.Shape[2] != in {
		return Array{}, fmt.Errorf("x: has shape %s, want %d channels as weight has columns", tensor.FormatShape(x.Shape), in)
	}
	weight, err := l.Weight.Array()
	if err != nil {
		return Array{}, fmt.Errorf("weight: %w", err)
	}
	y, err := tensor.NewArray(x.Shape[0], x.Shape[1], out)
	if err != nil {
		return Array{}, err
	}
	parallel(len(y.Data)/out, func(r int) {
		row := x.Data[r*in : (r+1)*in]
		for o := range out {
			v := dot(row, weight.Data[o*in:(o+1)*in])
			if l.Bias != nil {
				v += l.Bias[o]
			}
			y.Data[r*out+o] = v
		}
	})
	return y, nil
}

// dot is sum_i a[i] b[i], in four partial sums: shorter chains round less, and a core adds to all four at once.
func dot(a, b []float64) float64 {
	var s [4]float64
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s[0] += a[i] * b[i]
		s[1] += a[i+1] * b[i+1]
		s[2] += a[i+2] * b[i+2]
		s[3] += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s[0] += a[i] * b[i]
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}
