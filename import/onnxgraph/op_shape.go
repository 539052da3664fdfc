package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// shapeOperators read shapes, or change them without moving an element.
func shapeOperators() []operator {
	one := span{1, 1}
	return []operator{
		{name: "Shape", in: one, attrs: kinds{"start": attrInt, "end": attrInt}, run: runShape},
		{name: "Size", in: one, run: runSize},
		{name: "Reshape", in: span{2, 2}, attrs: kinds{"allowzero": attrInt}, run: runReshape},
		{name: "Flatten", in: one, attrs: kinds{"axis": attrInt}, run: runFlatten},
		{name: "Squeeze", in: span{1, 2}, attrs: kinds{"axes": attrInts}, run: runSqueeze},
		{name: "Unsqueeze", in: span{1, 2}, attrs: kinds{"axes": attrInts}, run: runUnsqueeze},
	}
}

// runShape gives the dimensions start..end (since opset 15), which are clamped as slices are.
func runShape(c *call) ([]*value, error) {
	shape := c.in[0].shape
	rank := int64(len(shape))
	clamp := func(a int64) int64 {
		if a < 0 {
			a += rank
		}
		return min(max(a, 0), rank)
	}
	start, end := clamp(c.int("start", 0)), clamp(c.int("end", rank))
	out, err := c.alloc(tensor.Int64, []int{int(max(end-start, 0))})
	if err != nil {
		return nil, err
	}
	for i := range out.i {
		out.i[i] = int64(shape[start+int64(i)])
	}
	return []*value{out}, nil
}

func runSize(c *call) ([]*value, error) {
	return []*value{{dtype: tensor.Int64, shape: []int{}, i: []int64{int64(c.in[0].len())}}}, nil
}

// runReshape: 0 copies the input's dimension at that place, unless allowzero is set; one -1 takes what is left.
func runReshape(c *call) ([]*value, error) {
	v := c.in[0]
	want, err := c.intInput(1, "the shape")
	if err != nil {
		return nil, err
	}
	if len(want) > maxRank {
		return nil, fmt.Errorf("the shape has %d dimensions, want at most %d", len(want), maxRank)
	}
	shape, open := make([]int, len(want)), -1
	known := 1
	for i, d := range want {
		switch {
		case d == -1 && open >= 0:
			return nil, fmt.Errorf("the shape %v has two dimensions -1, want at most one", want)
		case d == -1:
			open = i
			continue
		case d < 0 || int64(int(d)) != d:
			return nil, fmt.Errorf("the shape %v holds %d, want -1 or more", want, d)
		case d == 0 && c.int("allowzero", 0) == 0:
			if i >= len(v.shape) {
				return nil, fmt.Errorf("the shape %v copies dimension %d of shape %s",
					want, i, tensor.FormatShape(v.shape))
			}
			shape[i] = v.shape[i]
		default:
			shape[i] = int(d)
		}
	}
	if open >= 0 {
		shape[open] = 1
		if known, err = tensor.NumElements(shape); err != nil {
			return nil, err
		}
		if known == 0 || v.len()%known != 0 {
			return nil, fmt.Errorf("the shape %v leaves no size for -1 with %d elements", want, v.len())
		}
		shape[open] = v.len() / known
	}
	return c.view(v, shape)
}

// maxRank is the highest rank of a value.
const maxRank = 16

func runFlatten(c *call) ([]*value, error) {
	v := c.in[0]
	a := c.int("axis", 1)
	if a < 0 {
		a += int64(len(v.shape))
	}
	if a < 0 || a > int64(len(v.shape)) {
		return nil, fmt.Errorf("axis is %d, want %d..%d", c.int("axis", 1), -len(v.shape), len(v.shape))
	}
	rows, cols := 1, 1
	for i, d := range v.shape {
		if i < int(a) {
			rows *= d
		} else {
			cols *= d
		}
	}
	return c.view(v, []int{rows, cols})
}

func runSqueeze(c *call) ([]*value, error) {
	v := c.in[0]
	list, given, err := c.axesOf(1, 13)
	if err != nil {
		return nil, err
	}
	marked, err := axes(list, len(v.shape))
	if err != nil {
		return nil, err
	}
	shape := []int{}
	for i, d := range v.shape {
		drop := marked[i] || !given && d == 1
		if drop && d != 1 {
			return nil, fmt.Errorf("dimension %d of shape %s is %d, want 1", i, tensor.FormatShape(v.shape), d)
		}
		if !drop {
			shape = append(shape, d)
		}
	}
	return c.view(v, shape)
}

func runUnsqueeze(c *call) ([]*value, error) {
	v := c.in[0]
	list, given, err := c.axesOf(1, 13)
	if err != nil {
		return nil, err
	}
	if !given {
		return nil, fmt.Errorf("the axes are missing")
	}
	if len(v.shape)+len(list) > maxRank {
		return nil, fmt.Errorf("the result has %d dimensions, want at most %d", len(v.shape)+len(list), maxRank)
	}
	marked, err := axes(list, len(v.shape)+len(list))
	if err != nil {
		return nil, err
	}
	shape, next := make([]int, len(marked)), 0
	for i, isNew := range marked {
		if shape[i] = 1; !isNew {
			shape[i] = v.shape[next]
			next++
		}
	}
	return c.view(v, shape)
}
