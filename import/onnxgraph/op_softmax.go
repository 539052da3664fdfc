package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// softmaxOperators normalise, or accumulate, along axes.
func softmaxOperators() []operator {
	return []operator{
		{name: "Softmax", in: span{1, 1}, attrs: kinds{"axis": attrInt}, run: softmax(func(x, peak, sum float64) float64 { return math.Exp(x-peak) / sum })},
		{name: "LogSoftmax", in: span{1, 1}, attrs: kinds{"axis": attrInt}, run: softmax(func(x, peak, sum float64) float64 { return x - peak - math.Log(sum) })},
		{name: "CumSum", in: span{2, 2}, since: 11, attrs: kinds{"exclusive": attrInt, "reverse": attrInt}, run: runCumSum},
		{name: "LayerNormalization", in: span{2, 3}, out: span{1, 3}, since: 17,
			attrs: kinds{"axis": attrInt, "epsilon": attrFloat, "stash_type": attrInt}, run: runLayerNorm},
		{name: "BatchNormalization", in: span{5, 5}, out: span{1, 1}, since: 9,
			attrs: kinds{"epsilon": attrFloat, "momentum": attrFloat, "training_mode": attrInt}, run: runBatchNorm},
		{name: "GlobalAveragePool", in: span{1, 1}, run: runGlobalAveragePool},
	}
}

// softmax makes an operator over one axis. Before opset 13 it runs over all axes from that one on, the default being 1.
// A slice that is -Inf everywhere gives NaN, as 0/0 does.
func softmax(f func(x, peak, sum float64) float64) runFunc {
	return func(c *call) ([]*value, error) {
		v := c.in[0]
		if !v.isFloat() {
			return nil, fmt.Errorf("the operand is %s, want a floating-point type", v.dtype)
		}
		otherwise := int64(-1)
		if c.node.version < 13 {
			otherwise = 1
		}
		rank := max(len(v.shape), 1) // a scalar is its own slice
		a, err := axis(c.int("axis", otherwise), rank)
		if err != nil {
			return nil, err
		}
		out, err := c.alloc(v.dtype, v.shape)
		if err != nil {
			return nil, err
		}
		outer, size, inner := 1, 1, 1
		if len(v.f) == 0 {
			return []*value{out}, nil
		}
		if len(v.shape) > 0 {
			outer, size, inner = products(v.shape, a)
		}
		if c.node.version < 13 {
			size, inner = size*inner, 1
		}
		parallel(outer*inner, 16*size, func(lo, hi int) {
			for s := lo; s < hi; s++ {
				softmaxSlice(out.f, v.f, s/inner*size*inner+s%inner, size, inner, f)
			}
		})
		return []*value{out}, nil
	}
}

func softmaxSlice(out, in []float64, first, size, stride int, f func(x, peak, sum float64) float64) {
	peak, sum := math.Inf(-1), 0.0
	for k := range size {
		peak = maximum(in[first+k*stride], peak)
	}
	for k := range size {
		sum += math.Exp(in[first+k*stride] - peak)
	}
	for k := range size {
		out[first+k*stride] = f(in[first+k*stride], peak, sum)
	}
}

func runCumSum(c *call) ([]*value, error) {
	v, at := c.in[0], c.in[1]
	if v.dtype == tensor.Bool || at.isFloat() || at.len() != 1 {
		return nil, fmt.Errorf("operands are %s and %s %s, want numbers and one integer", v.dtype, at.dtype, tensor.FormatShape(at.shape))
	}
	a, err := axis(at.i[0], len(v.shape))
	if err != nil {
		return nil, err
	}
	out, err := c.alloc(v.dtype, v.shape)
	if err != nil {
		return nil, err
	}
	if out.len() == 0 {
		return []*value{out}, nil // the other axes may have any size
	}
	s := running{exclusive: c.int("exclusive", 0) != 0, reverse: c.int("reverse", 0) != 0}
	s.outer, s.size, s.inner = products(v.shape, a)
	if v.isFloat() {
		cumSum(s, out.f, v.f)
	} else {
		cumSum(s, out.i, v.i)
		for i, x := range out.i {
			out.i[i] = wrap(v.dtype, x)
		}
	}
	return []*value{out}, nil
}

// running is a running sum along one axis.
type running struct {
	outer, size, inner int
	exclusive, reverse bool
}

func cumSum[T elem](s running, out, in []T) {
	for o := range s.outer {
		for i := range s.inner {
			var sum T
			for k := range s.size {
				if s.reverse {
					k = s.size - 1 - k
				}
				at := (o*s.size+k)*s.inner + i
				before := sum
				sum += in[at]
				if out[at] = sum; s.exclusive {
					out[at] = before
				}
			}
		}
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
		return nil, fmt.Errorf("scale and bias stretch the result to %s, want %s", tensor.FormatShape(y.shape), tensor.FormatShape(v.shape))
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
		return nil, fmt.Errorf("the operand is %s %s, want a floating-point type of rank 2 or more", v.dtype, tensor.FormatShape(v.shape))
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
		return nil, fmt.Errorf("the operand is %s %s, want a floating-point type of rank 3 or more", v.dtype, tensor.FormatShape(v.shape))
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
