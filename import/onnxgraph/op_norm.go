package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// normOperators are means, and normalisations by mean and variance.
func normOperators() []operator {
	return []operator{
		{name: "LayerNormalization", in: span{2, 3}, out: span{1, 3}, since: 17,
			attrs: kinds{"axis": attrInt, "epsilon": attrFloat, "stash_type": attrInt}, run: runLayerNorm},
		{name: "BatchNormalization", in: span{5, 5}, out: span{1, 1}, since: 9,
			attrs: kinds{"epsilon": attrFloat, "momentum": attrFloat, "training_mode": attrInt}, run: runBatchNorm},
		{name: "GlobalAveragePool", in: span{1, 1}, run: runGlobalAveragePool},
	}
}

// runLayerNorm is (x-mean)/sqrt(variance+epsilon)*scale+bias over the axes from axis on; the optional outputs are the
// mean and 1/sqrt(variance+epsilon).
func runLayerNorm(c *call) ([]*value, error) {
	v := c.in[0]
	a, err := axis(c.int("axis", -1), len(v.shape))
	if err != nil {
		return nil, err
	}
	for i := range 3 {
		if w := c.input(i); w != nil && !w.isFloat() {
			return nil, fmt.Errorf("operand %d is %s, want a floating-point type", i, w.dtype)
		}
	}
	shape := append([]int{}, v.shape...)
	for i := a; i < len(shape); i++ {
		shape[i] = 1
	}
	out, err := c.alloc(v.dtype, v.shape)
	if err != nil {
		return nil, err
	}
	mean, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	scale, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	outer, size, inner := products(v.shape, a)
	size, epsilon := size*inner, c.float("epsilon", float64(float32(1e-5)))
	for o := range outer {
		mean.f[o], scale.f[o] = normalise(out.f[o*size:(o+1)*size], v.f[o*size:(o+1)*size], epsilon)
	}
	y := out
	if y, err = c.zip(y, retyped(c.in[1], v.dtype), mul[float64], nil); err != nil {
		return nil, err
	}
	if b := c.input(2); b != nil {
		if y, err = c.zip(y, retyped(b, v.dtype), add[float64], nil); err != nil {
			return nil, err
		}
	}
	if !tensor.SameShape(y.shape, v.shape) {
		return nil, fmt.Errorf("scale and bias stretch the result to %s, want %s", tensor.FormatShape(y.shape),
			tensor.FormatShape(v.shape))
	}
	return []*value{y, mean, scale}, nil
}

func normalise(out, in []float64, epsilon float64) (mean, scale float64) {
	n := float64(len(in))
	for _, x := range in {
		mean += x
	}
	mean /= n
	variance := 0.0
	for _, x := range in {
		variance += (x - mean) * (x - mean)
	}
	scale = 1 / math.Sqrt(variance/n+epsilon)
	for i, x := range in {
		out[i] = (x - mean) * scale
	}
	return mean, scale
}

// retyped gives a floating-point operand the type of another one.
func retyped(v *value, d tensor.DType) *value {
	return &value{dtype: d, shape: v.shape, f: v.f, i: v.i}
}

// runBatchNorm is inference only: (x-mean)/sqrt(variance+epsilon)*scale+bias with one number a channel (axis 1) each.
func runBatchNorm(c *call) ([]*value, error) {
	v := c.in[0]
	if c.int("training_mode", 0) != 0 {
		return nil, fmt.Errorf("attribute \"training_mode\" is 1, want 0")
	}
	if !v.isFloat() || len(v.shape) < 2 {
		return nil, fmt.Errorf("the operand is %s %s, want a floating-point type of rank 2 or more", v.dtype,
			tensor.FormatShape(v.shape))
	}
	for i, p := range c.in[1:] {
		if p == nil || !p.isFloat() || !tensor.SameShape(p.shape, v.shape[1:2]) {
			return nil, fmt.Errorf("operand %d does not hold one number for each of %d channels", i+1, v.shape[1])
		}
	}
	out, err := c.alloc(v.dtype, v.shape)
	if err != nil {
		return nil, err
	}
	if len(out.f) == 0 {
		return []*value{out}, nil
	}
	epsilon := c.float("epsilon", float64(float32(1e-5)))
	outer, channels, inner := products(v.shape, 1)
	for o := range outer * channels {
		ch := o % channels
		scale := c.in[1].f[ch] / math.Sqrt(c.in[4].f[ch]+epsilon)
		for i := o * inner; i < (o+1)*inner; i++ {
			out.f[i] = (v.f[i]-c.in[3].f[ch])*scale + c.in[2].f[ch]
		}
	}
	return []*value{out}, nil
}

func runGlobalAveragePool(c *call) ([]*value, error) {
	v := c.in[0]
	if !v.isFloat() || len(v.shape) < 3 {
		return nil, fmt.Errorf("the operand is %s %s, want a floating-point type of rank 3 or more", v.dtype,
			tensor.FormatShape(v.shape))
	}
	shape := append([]int{}, v.shape...)
	size := 1
	for i := 2; i < len(shape); i++ {
		size *= shape[i]
		shape[i] = 1
	}
	out, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	for o := range out.f {
		sum := 0.0
		for _, x := range v.f[o*size : (o+1)*size] {
			sum += x
		}
		out.f[o] = sum / float64(size)
	}
	return []*value{out}, nil
}
