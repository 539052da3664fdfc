package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// logicOperators give bool, or choose by one.
func logicOperators() []operator {
	one, two := span{1, 1}, span{2, 2}
	return []operator{
		{name: "Equal", in: two, run: compare(equal[float64], equal[int64])},
		{name: "Greater", in: two, run: compare(greater[float64], greater[int64])},
		{name: "Less", in: two, run: compare(less[float64], less[int64])},
		{name: "GreaterOrEqual", in: two, since: 12, run: compare(greaterOrEqual[float64], greaterOrEqual[int64])},
		{name: "LessOrEqual", in: two, since: 12, run: compare(lessOrEqual[float64], lessOrEqual[int64])},
		{name: "And", in: two, run: logic(func(x, y int64) int64 { return x & y })},
		{name: "Or", in: two, run: logic(func(x, y int64) int64 { return x | y })},
		{name: "Xor", in: two, run: logic(func(x, y int64) int64 { return x ^ y })},
		{name: "Not", in: one, run: runNot},
		{name: "IsNaN", in: one, since: 9, run: runIsNaN},
		{name: "IsInf", in: one, since: 10,
			attrs: kinds{"detect_negative": attrInt, "detect_positive": attrInt}, run: runIsInf},
		{name: "Where", in: span{3, 3}, since: 9, run: runWhere},
	}
}

func equal[T elem](x, y T) bool          { return x == y }
func greater[T elem](x, y T) bool        { return x > y }
func less[T elem](x, y T) bool           { return x < y }
func greaterOrEqual[T elem](x, y T) bool { return x >= y }
func lessOrEqual[T elem](x, y T) bool    { return x <= y }

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// compare makes an operator that compares two operands of one type.
func compare(f func(x, y float64) bool, g func(x, y int64) bool) runFunc {
	return func(c *call) ([]*value, error) {
		x, y := c.in[0], c.in[1]
		if x.dtype != y.dtype {
			return nil, fmt.Errorf("operands are %s and %s, want one type", x.dtype, y.dtype)
		}
		out, t, err := c.broadcast(tensor.Bool, x, y)
		if err != nil {
			return nil, err
		}
		if x.isFloat() {
			zipRows(t, out.i, x.f, y.f, func(x, y float64) int64 { return truth(f(x, y)) })
		} else {
			zipRows(t, out.i, x.i, y.i, func(x, y int64) int64 { return truth(g(x, y)) })
		}
		return []*value{out}, nil
	}
}

func logic(f func(x, y int64) int64) runFunc {
	return func(c *call) ([]*value, error) {
		x, y := c.in[0], c.in[1]
		if x.dtype != tensor.Bool || y.dtype != tensor.Bool {
			return nil, fmt.Errorf("operands are %s and %s, want bool", x.dtype, y.dtype)
		}
		out, t, err := c.broadcast(tensor.Bool, x, y)
		if err != nil {
			return nil, err
		}
		zipRows(t, out.i, x.i, y.i, f)
		return []*value{out}, nil
	}
}

func runNot(c *call) ([]*value, error) {
	v := c.in[0]
	if v.dtype != tensor.Bool {
		return nil, fmt.Errorf("the operand is %s, want bool", v.dtype)
	}
	out, err := c.alloc(tensor.Bool, v.shape)
	if err != nil {
		return nil, err
	}
	for i, x := range v.i {
		out.i[i] = 1 - x
	}
	return []*value{out}, nil
}

func runIsNaN(c *call) ([]*value, error) { return c.test(math.IsNaN) }

func runIsInf(c *call) ([]*value, error) {
	negative, positive := c.int("detect_negative", 1) != 0, c.int("detect_positive", 1) != 0
	return c.test(func(x float64) bool { return positive && math.IsInf(x, 1) || negative && math.IsInf(x, -1) })
}

func (c *call) test(f func(float64) bool) ([]*value, error) {
	v := c.in[0]
	if !v.isFloat() {
		return nil, fmt.Errorf("the operand is %s, want a floating-point type", v.dtype)
	}
	out, err := c.alloc(tensor.Bool, v.shape)
	if err != nil {
		return nil, err
	}
	for i, x := range v.f {
		out.i[i] = truth(f(x))
	}
	return []*value{out}, nil
}

func runWhere(c *call) ([]*value, error) {
	choice, x, y := c.in[0], c.in[1], c.in[2]
	if choice.dtype != tensor.Bool || x.dtype != y.dtype {
		return nil, fmt.Errorf("operands are %s, %s and %s, want bool and twice one type", choice.dtype, x.dtype, y.dtype)
	}
	out, t, err := c.broadcast(x.dtype, choice, x, y)
	if err != nil {
		return nil, err
	}
	if x.isFloat() {
		choose(t, out.f, choice.i, x.f, y.f)
	} else {
		choose(t, out.i, choice.i, x.i, y.i)
	}
	return []*value{out}, nil
}

func choose[T elem](t *traversal, out []T, choice []int64, x, y []T) {
	t.run(true, func(first, n int, at, step []int) {
		for k := range n {
			if choice[at[0]+k*step[0]] != 0 {
				out[first+k] = x[at[1]+k*step[1]]
			} else {
				out[first+k] = y[at[2]+k*step[2]]
			}
		}
	})
}
