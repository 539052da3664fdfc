package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// binaryOperators are the element-wise operators of two or more operands that give numbers.
func binaryOperators() []operator {
	two, any := span{2, 2}, span{1, many}
	return []operator{
		{name: "Add", in: two, run: inRows(addRow, add[int64])},
		{name: "Sub", in: two, run: inRows(subRow, sub[int64])},
		{name: "Mul", in: two, run: inRows(mulRow, mul[int64])},
		{name: "Div", in: two, run: nonZero(inRows(divRow, div[int64]))},
		{name: "Mod", in: two, since: 10, attrs: kinds{"fmod": attrInt}, run: nonZero(runMod)},
		{name: "Pow", in: two, run: runPow},
		{name: "PRelu", in: two, run: arithmetic(prelu[float64], prelu[int64])},
		{name: "Max", in: any, run: fold(arithmetic(maximum[float64], maximum[int64]))},
		{name: "Min", in: any, run: fold(arithmetic(minimum[float64], minimum[int64]))},
		{name: "Sum", in: any, run: fold(arithmetic(add[float64], add[int64]))},
		{name: "Mean", in: any, run: runMeanOf},
	}
}

func add[T elem](x, y T) T { return x + y }
func sub[T elem](x, y T) T { return x - y }
func mul[T elem](x, y T) T { return x * y }
func div[T elem](x, y T) T { return x / y }

func prelu[T elem](x, slope T) T {
	if x < 0 {
		return x * slope
	}
	return x
}

// maximum and minimum keep a NaN, whichever operand it is.
func maximum[T elem](x, y T) T {
	if x != x || x > y {
		return x
	}
	return y
}

func minimum[T elem](x, y T) T {
	if x != x || x < y {
		return x
	}
	return y
}

type runFunc = func(*call) ([]*value, error)

// arithmetic makes an operator of two operands of one type whose result has that type.
func arithmetic(f func(x, y float64) float64, g func(x, y int64) int64) runFunc {
	return func(c *call) ([]*value, error) {
		out, err := c.zip(c.in[0], c.in[1], f, g)
		return []*value{out}, err
	}
}

// rowFunc computes n elements of a result from operands that move dx and dy elements a step: 0 or more.
type rowFunc func(out, x, y []float64, dx, dy int)

// The operators that networks are full of, as loops: a call an element would take longer than the element.
func addRow(out, x, y []float64, dx, dy int) {
	switch {
	case dx == 1 && dy == 1:
		for i := range out {
			out[i] = x[i] + y[i]
		}
	default:
		for i := range out {
			out[i] = x[i*dx] + y[i*dy]
		}
	}
}

func subRow(out, x, y []float64, dx, dy int) {
	for i := range out {
		out[i] = x[i*dx] - y[i*dy]
	}
}

func mulRow(out, x, y []float64, dx, dy int) {
	switch {
	case dx == 1 && dy == 1:
		for i := range out {
			out[i] = x[i] * y[i]
		}
	default:
		for i := range out {
			out[i] = x[i*dx] * y[i*dy]
		}
	}
}

func divRow(out, x, y []float64, dx, dy int) {
	for i := range out {
		out[i] = x[i*dx] / y[i*dy]
	}
}

// inRows is arithmetic whose floating-point part is a loop.
func inRows(f rowFunc, g func(x, y int64) int64) runFunc {
	return func(c *call) ([]*value, error) {
		x, y := c.in[0], c.in[1]
		if x.dtype != y.dtype || !x.isFloat() {
			out, err := c.zip(x, y, nil, g) // says what is wrong, or computes integers
			return []*value{out}, err
		}
		out, t, err := c.broadcast(x.dtype, x, y)
		if err != nil {
			return nil, err
		}
		t.run(true, func(first, n int, at, step []int) {
			f(out.f[first:first+n], x.f[at[0]:], y.f[at[1]:], step[0], step[1])
		})
		return []*value{out}, nil
	}
}

// zip applies f, or g to integers, to every pair of elements under broadcasting.
func (c *call) zip(x, y *value, f func(x, y float64) float64, g func(x, y int64) int64) (*value, error) {
	if x.dtype != y.dtype {
		return nil, fmt.Errorf("operands are %s and %s, want one type", x.dtype, y.dtype)
	}
	if x.dtype == tensor.Bool {
		return nil, fmt.Errorf("operands are bool, want numbers")
	}
	out, t, err := c.broadcast(x.dtype, x, y)
	if err != nil {
		return nil, err
	}
	if x.isFloat() {
		zipRows(t, out.f, x.f, y.f, f)
		return out, nil
	}
	d := x.dtype
	zipRows(t, out.i, x.i, y.i, func(x, y int64) int64 { return wrap(d, g(x, y)) })
	return out, nil
}

// broadcast makes the result for several operands, and the traversal that follows them.
func (c *call) broadcast(d tensor.DType, operands ...*value) (*value, *traversal, error) {
	shapes := make([][]int, len(operands))
	for i, v := range operands {
		shapes[i] = v.shape
	}
	shape, err := broadcastShape(shapes...)
	if err != nil {
		return nil, nil, err
	}
	out, err := c.alloc(d, shape)
	if err != nil {
		return nil, nil, err
	}
	for i := range shapes {
		shapes[i] = broadcastStrides(shapes[i], shape)
	}
	return out, newTraversal(shape, shapes...), nil
}

func zipRows[T, R elem](t *traversal, out []R, x, y []T, f func(x, y T) R) {
	t.run(true, func(first, n int, at, step []int) {
		i, j := at[0], at[1]
		for k := range n {
			out[first+k] = f(x[i], y[j])
			i += step[0]
			j += step[1]
		}
	})
}

// fold applies an operator of two operands from left to right.
func fold(f runFunc) runFunc {
	return func(c *call) ([]*value, error) {
		acc := c.in[0]
		if acc.dtype == tensor.Bool {
			return nil, fmt.Errorf("operands are bool, want numbers")
		}
		for i, v := range c.in[1:] {
			if v == nil {
				return nil, fmt.Errorf("operand %d is left out", i+1)
			}
			out, err := f(&call{ctx: c.ctx, node: c.node, in: []*value{acc, v}, budget: c.budget})
			if err != nil {
				return nil, err
			}
			acc = out[0]
		}
		return c.view(acc, acc.shape)
	}
}

func runMeanOf(c *call) ([]*value, error) {
	n := float64(len(c.in))
	if !c.in[0].isFloat() {
		return nil, fmt.Errorf("operands are %s, want a floating-point type", c.in[0].dtype)
	}
	sum, err := fold(arithmetic(add[float64], add[int64]))(c)
	if err != nil {
		return nil, err
	}
	return c.mapFloats(sum[0], func(x float64) float64 { return x / n })
}

// nonZero refuses integer division by zero, which has no result.
func nonZero(f runFunc) runFunc {
	return func(c *call) ([]*value, error) {
		for i, y := range c.in[1].i {
			if y == 0 {
				return nil, fmt.Errorf("element %d of the divisor is 0", i)
			}
		}
		return f(c)
	}
}

// runMod: with fmod the result has the dividend's sign, without it the divisor's (integers only).
func runMod(c *call) ([]*value, error) {
	if c.int("fmod", 0) != 0 {
		return arithmetic(math.Mod, func(x, y int64) int64 { return x % y })(c)
	}
	if c.in[0].isFloat() {
		return nil, fmt.Errorf("operands are %s with fmod = 0, want integers", c.in[0].dtype)
	}
	return arithmetic(math.Mod, func(x, y int64) int64 {
		r := x % y
		if r != 0 && (r < 0) != (y < 0) {
			r += y
		}
		return r
	})(c)
}

// runPow: the exponent may be of another type, the result has the base's.
func runPow(c *call) ([]*value, error) {
	x, y := c.in[0], c.in[1]
	switch {
	case x.dtype == tensor.Bool || y.dtype == tensor.Bool:
		return nil, fmt.Errorf("operands are %s and %s, want numbers", x.dtype, y.dtype)
	case x.isFloat():
		y = &value{dtype: x.dtype, shape: y.shape, f: y.array().Data}
	case y.isFloat():
		wide := &value{dtype: tensor.Float64, shape: x.shape, f: x.array().Data}
		out, err := c.zip(wide, &value{dtype: tensor.Float64, shape: y.shape, f: y.f}, math.Pow, nil)
		if err != nil {
			return nil, err
		}
		return c.cast(out, x.dtype)
	default:
		y = &value{dtype: x.dtype, shape: y.shape, i: y.i}
	}
	out, err := c.zip(x, y, math.Pow, intPow)
	return []*value{out}, err
}

// intPow wraps as repeated multiplication does; a negative exponent truncates the fraction.
func intPow(x, n int64) int64 {
	if n < 0 {
		switch x {
		case 1:
			return 1
		case -1:
			return 1 - 2*(n&1)
		}
		return 0
	}
	result := int64(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			result *= x
		}
		x *= x
	}
	return result
}
