package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// unaryOperators are the element-wise operators of one operand.
func unaryOperators() []operator {
	one := span{1, 1}
	return []operator{
		{name: "Abs", in: one, run: unary(math.Abs, func(x int64) int64 { return max(x, -x) })},
		{name: "Neg", in: one, run: unary(func(x float64) float64 { return -x }, func(x int64) int64 { return -x })},
		{name: "Sign", in: one, since: 9, run: unary(sign, func(x int64) int64 { return min(max(x, -1), 1) })},
		{name: "Relu", in: one,
			run: unary(func(x float64) float64 { return maximum(x, 0) }, func(x int64) int64 { return max(x, 0) })},
		{name: "Exp", in: one, run: unary(math.Exp, nil)},
		{name: "Log", in: one, run: unary(math.Log, nil)},
		{name: "Sqrt", in: one, run: unary(math.Sqrt, nil)},
		{name: "Reciprocal", in: one, run: unary(func(x float64) float64 { return 1 / x }, nil)},
		{name: "Sigmoid", in: one, run: unary(sigmoid, nil)},
		{name: "Tanh", in: one, run: unary(math.Tanh, nil)},
		{name: "Softplus", in: one, run: unary(softplus, nil)},
		{name: "Erf", in: one, since: 9, run: unary(erf(), nil)},
		{name: "Sin", in: one, run: unary(math.Sin, nil)},
		{name: "Cos", in: one, run: unary(math.Cos, nil)},
		{name: "Floor", in: one, run: unary(math.Floor, nil)},
		{name: "Ceil", in: one, run: unary(math.Ceil, nil)},
		{name: "Round", in: one, since: 11, run: unary(math.RoundToEven, nil)},
		{name: "LeakyRelu", in: one, attrs: kinds{"alpha": attrFloat}, run: runLeakyRelu},
		{name: "Gelu", in: one, since: 20, attrs: kinds{"approximate": attrString}, run: runGelu},
		{name: "Clip", in: span{1, 3}, attrs: kinds{"min": attrFloat, "max": attrFloat}, run: runClip},
		{name: "Identity", in: one, run: runIdentity},
		{name: "Dropout", in: span{1, 3}, out: span{1, 2},
			attrs: kinds{"ratio": attrFloat, "seed": attrInt}, run: runDropout},
	}
}

// sigmoid is 1/(1+exp(-x)) without overflow.
func sigmoid(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}

func softplus(x float64) float64 { return maximum(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

// unary makes an operator that keeps its operand's type; without g it takes floating-point types only.
func unary(f func(float64) float64, g func(int64) int64) runFunc {
	return func(c *call) ([]*value, error) {
		v := c.in[0]
		if v.isFloat() {
			return c.mapFloats(v, f)
		}
		if g == nil || v.dtype == tensor.Bool {
			return nil, fmt.Errorf("the operand is %s, want a floating-point type", v.dtype)
		}
		out, err := c.alloc(v.dtype, v.shape)
		if err != nil {
			return nil, err
		}
		for i, x := range v.i {
			out.i[i] = wrap(v.dtype, g(x))
		}
		return []*value{out}, nil
	}
}

func (c *call) mapFloats(v *value, f func(float64) float64) ([]*value, error) {
	if !v.isFloat() {
		return nil, fmt.Errorf("the operand is %s, want a floating-point type", v.dtype)
	}
	out, err := c.alloc(v.dtype, v.shape)
	if err != nil {
		return nil, err
	}
	parallel(len(v.f), 8, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			out.f[i] = f(v.f[i])
		}
	})
	return []*value{out}, nil
}

func runLeakyRelu(c *call) ([]*value, error) {
	alpha := c.float("alpha", float64(float32(0.01)))
	return c.mapFloats(c.in[0], func(x float64) float64 { return prelu(x, alpha) })
}

func runGelu(c *call) ([]*value, error) {
	switch how := c.string("approximate", "none"); how {
	case "none":
		erf := erf()
		return c.mapFloats(c.in[0], func(x float64) float64 { return x / 2 * (1 + erf(x/math.Sqrt2)) })
	case "tanh":
		return c.mapFloats(c.in[0], func(x float64) float64 {
			return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		})
	default:
		return nil, fmt.Errorf("attribute \"approximate\" is %s, want \"none\" or \"tanh\"", quote(how))
	}
}

// runClip takes its limits from attributes before opset 11 and from scalar inputs after it.
func runClip(c *call) ([]*value, error) {
	v := c.in[0]
	if c.node.version < 11 {
		low, high := c.float("min", math.Inf(-1)), c.float("max", math.Inf(1))
		return c.mapFloats(v, func(x float64) float64 { return minimum(maximum(x, low), high) })
	}
	if c.has("min") || c.has("max") {
		return nil, fmt.Errorf("attributes \"min\" and \"max\" at opset %d, want inputs, as since opset 11",
			c.node.version)
	}
	out := v
	for i, f := range []struct {
		float func(x, y float64) float64
		int   func(x, y int64) int64
	}{{maximum[float64], maximum[int64]}, {minimum[float64], minimum[int64]}} {
		limit := c.input(i + 1)
		if limit == nil {
			continue
		}
		if len(limit.shape) > 1 || limit.len() != 1 {
			return nil, fmt.Errorf("limit %d has shape %s, want a scalar", i, tensor.FormatShape(limit.shape))
		}
		var err error
		if out, err = c.zip(out, limit.reshaped([]int{}), f.float, f.int); err != nil {
			return nil, err
		}
	}
	return c.view(out, v.shape)
}

func runIdentity(c *call) ([]*value, error) { return c.view(c.in[0], c.in[0].shape) }

// runDropout is the identity: models are run for inference. A training_mode input must say so.
func runDropout(c *call) ([]*value, error) {
	v := c.in[0]
	if mode := c.input(2); mode != nil && mode.len() == 1 && len(mode.i) == 1 && mode.i[0] != 0 {
		return nil, fmt.Errorf("training_mode is true, want false")
	}
	out, err := c.view(v, v.shape)
	if err != nil || len(c.node.outputs) < 2 {
		return out, err
	}
	mask, err := c.alloc(tensor.Bool, v.shape)
	if err != nil {
		return nil, err
	}
	for i := range mask.i {
		mask.i[i] = 1
	}
	return append(out, mask), nil
}
