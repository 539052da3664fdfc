package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// softmaxOperators work along one axis: each element depends on the others of its slice.
func softmaxOperators() []operator {
	return []operator{
		{name: "Softmax", in: span{1, 1},
			attrs: kinds{"axis": attrInt},
			run:   softmax(func(x, peak, sum float64) float64 { return math.Exp(x-peak) / sum })},
		{name: "LogSoftmax", in: span{1, 1},
			attrs: kinds{"axis": attrInt},
			run:   softmax(func(x, peak, sum float64) float64 { return x - peak - math.Log(sum) })},
		{name: "CumSum", in: span{2, 2}, since: 11,
			attrs: kinds{"exclusive": attrInt, "reverse": attrInt}, run: runCumSum},
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
		return nil, fmt.Errorf("operands are %s and %s %s, want numbers and one integer", v.dtype, at.dtype,
			tensor.FormatShape(at.shape))
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
