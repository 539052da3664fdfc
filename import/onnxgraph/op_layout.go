package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// layoutOperators move elements without computing.
func layoutOperators() []operator {
	one := span{1, 1}
	return []operator{
		{name: "Transpose", in: one, attrs: kinds{"perm": attrInts}, run: runTranspose},
		{name: "Concat", in: span{1, many}, attrs: kinds{"axis": attrInt}, run: runConcat},
		{name: "Split", in: span{1, 2}, out: span{1, many},
			attrs: kinds{"axis": attrInt, "split": attrInts, "num_outputs": attrInt}, newer: newer{attrs: map[string]int64{"num_outputs": 18}}, run: runSplit},
		{name: "Expand", in: span{2, 2}, since: 8, run: runExpand},
		{name: "Tile", in: span{2, 2}, run: runTile},
		{name: "Pad", in: span{1, 4},
			attrs: kinds{"mode": attrString, "pads": attrInts, "value": attrFloat}, newer: newer{inputs: map[int]int64{1: 11, 2: 11, 3: 18}}, run: runPad},
		{name: "Trilu", in: span{1, 2}, since: 14, attrs: kinds{"upper": attrInt}, run: runTrilu},
	}
}

func runTranspose(c *call) ([]*value, error) {
	v := c.in[0]
	rank := len(v.shape)
	perm := c.ints("perm")
	if !c.has("perm") {
		for i := rank - 1; i >= 0; i-- {
			perm = append(perm, int64(i))
		}
	}
	if len(perm) != rank {
		return nil, fmt.Errorf("attribute \"perm\" has %d values, want %d", len(perm), rank)
	}
	if _, err := axes(perm, rank); err != nil {
		return nil, err
	}
	own, shape, by := strides(v.shape), make([]int, rank), make([]int, rank)
	for i, p := range perm {
		if p < 0 {
			p += int64(rank)
		}
		shape[i], by[i] = v.shape[p], own[p]
	}
	out, err := c.strided(v, shape, 0, by)
	return []*value{out}, err
}

func runConcat(c *call) ([]*value, error) {
	first := c.in[0]
	if !c.has("axis") {
		return nil, fmt.Errorf("attribute \"axis\" is missing")
	}
	a, err := axis(c.int("axis", 0), len(first.shape))
	if err != nil {
		return nil, err
	}
	shape := append([]int{}, first.shape...)
	shape[a] = 0
	for i, v := range c.in {
		if v == nil || v.dtype != first.dtype || len(v.shape) != len(shape) {
			return nil, fmt.Errorf("operand %d differs from the first in type or rank, or is left out", i)
		}
		for j, d := range v.shape {
			if j != a && d != shape[j] {
				return nil, fmt.Errorf("operand %d has shape %s, want that of the first, %s, but for axis %d",
					i, tensor.FormatShape(v.shape), tensor.FormatShape(first.shape), a)
			}
		}
		if shape[a] > math.MaxInt-v.shape[a] {
			return nil, fmt.Errorf("axis %d is longer than %d", a, math.MaxInt)
		}
		shape[a] += v.shape[a]
	}
	out, err := c.alloc(first.dtype, shape)
	if err != nil {
		return nil, err
	}
	at, step := 0, strides(shape)[a]
	for _, v := range c.in {
		place(out, v, at*step)
		at += v.shape[a]
	}
	return []*value{out}, nil
}

// runSplit takes the sizes from an attribute before opset 13, from an input after it; without them the parts are equal,
// the last one smaller where opset 18 allows it.
func runSplit(c *call) ([]*value, error) {
	v, n := c.in[0], len(c.node.outputs)
	a, err := axis(c.int("axis", 0), len(v.shape))
	if err != nil {
		return nil, err
	}
	sizes := c.ints("split")
	given := c.has("split")
	if c.node.version >= 13 {
		if given {
			return nil, fmt.Errorf("attribute \"split\" at opset %d, want an input, as since opset 13", c.node.version)
		}
		if sizes, err = c.intInput(1, "split"); err != nil {
			return nil, err
		}
		if given = c.input(1) != nil; given && c.has("num_outputs") {
			return nil, fmt.Errorf("attribute \"num_outputs\" beside sizes, want one of them")
		}
	}
	if !given {
		if sizes, err = equalParts(c, v.shape[a], n); err != nil {
			return nil, err
		}
	}
	if len(sizes) != n {
		return nil, fmt.Errorf("there are %d sizes, want %d, one an output", len(sizes), n)
	}
	out, at, own := make([]*value, n), 0, strides(v.shape)
	for i, size := range sizes {
		if size < 0 || size > int64(v.shape[a]-at) {
			return nil, fmt.Errorf("the sizes are %v, want numbers >= 0 whose sum is %d", sizes, v.shape[a])
		}
		shape := append([]int{}, v.shape...)
		shape[a] = int(size)
		if out[i], err = c.strided(v, shape, at*own[a], own); err != nil {
			return nil, err
		}
		at += int(size)
	}
	if at != v.shape[a] {
		return nil, fmt.Errorf("the sizes are %v, want numbers whose sum is %d", sizes, v.shape[a])
	}
	return out, nil
}

func equalParts(c *call, size, n int) ([]int64, error) {
	if c.has("num_outputs") && c.int("num_outputs", 0) != int64(n) {
		return nil, fmt.Errorf("attribute \"num_outputs\" is %d, want the %d outputs that there are",
			c.int("num_outputs", 0), n)
	}
	if size%n != 0 && c.node.version < 18 {
		return nil, fmt.Errorf("axis of %d elements does not split into %d equal parts", size, n)
	}
	part := (size + n - 1) / n
	parts := make([]int64, n)
	for i := range parts {
		parts[i] = int64(min(max(size-i*part, 0), part))
	}
	return parts, nil
}

func runExpand(c *call) ([]*value, error) {
	v := c.in[0]
	want, err := sizes(c, 1, "the shape")
	if err != nil {
		return nil, err
	}
	shape, err := broadcastShape(v.shape, want)
	if err != nil {
		return nil, err
	}
	out, err := c.strided(v, shape, 0, broadcastStrides(v.shape, shape))
	return []*value{out}, err
}

// sizes reads a list of dimensions.
func sizes(c *call, i int, what string) ([]int, error) {
	list, err := c.intInput(i, what)
	if err != nil {
		return nil, err
	}
	if len(list) > maxRank {
		return nil, fmt.Errorf("%s has %d dimensions, want at most %d", what, len(list), maxRank)
	}
	shape := make([]int, len(list))
	for j, d := range list {
		if d < 0 || int64(int(d)) != d {
			return nil, fmt.Errorf("%s is %v, want numbers >= 0", what, list)
		}
		shape[j] = int(d)
	}
	return shape, nil
}

// runTile repeats every axis: each becomes a pair of axes, of which the first does not move.
func runTile(c *call) ([]*value, error) {
	v := c.in[0]
	repeats, err := sizes(c, 1, "repeats")
	if err != nil {
		return nil, err
	}
	if len(repeats) != len(v.shape) {
		return nil, fmt.Errorf("repeats has %d values, want %d", len(repeats), len(v.shape))
	}
	shape, pairs, by := make([]int, len(repeats)), []int{}, []int{}
	for i, s := range strides(v.shape) {
		if repeats[i] > 0 && v.shape[i] > math.MaxInt/repeats[i] {
			return nil, fmt.Errorf("axis %d is longer than %d", i, math.MaxInt)
		}
		shape[i] = v.shape[i] * repeats[i]
		pairs, by = append(pairs, repeats[i], v.shape[i]), append(by, 0, s)
	}
	out, err := c.strided(v, pairs, 0, by)
	if err != nil {
		return nil, err
	}
	out.shape = shape
	return []*value{out}, nil
}

// runTrilu keeps the triangle on and above (or below) diagonal k and zeroes the rest.
func runTrilu(c *call) ([]*value, error) {
	v := c.in[0]
	if len(v.shape) < 2 {
		return nil, fmt.Errorf("the operand has shape %s, want rank 2 or more", tensor.FormatShape(v.shape))
	}
	diagonal := int64(0)
	if k := c.input(1); k != nil {
		if k.dtype != tensor.Int64 || k.len() != 1 {
			return nil, fmt.Errorf("k is %s %s, want one int64", k.dtype, tensor.FormatShape(k.shape))
		}
		diagonal = min(max(k.i[0], math.MinInt32), math.MaxInt32)
	}
	out, err := c.strided(v, v.shape, 0, strides(v.shape))
	if err != nil {
		return nil, err
	}
	rows, cols, upper := v.shape[len(v.shape)-2], v.shape[len(v.shape)-1], c.int("upper", 1) != 0
	for i := range out.len() {
		column, edge := int64(i%cols), int64(i/cols%rows)+diagonal
		if upper && column >= edge || !upper && column <= edge {
			continue
		}
		if v.isFloat() {
			out.f[i] = 0
		} else {
			out.i[i] = 0
		}
	}
	return []*value{out}, nil
}
