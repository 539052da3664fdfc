package onnxgraph

import (
	"fmt"
	"math"
	"sort"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// indexOperators choose elements by their places.
func indexOperators() []operator {
	return []operator{
		{name: "Gather", in: span{2, 2}, attrs: kinds{"axis": attrInt}, run: runGather},
		{name: "Slice", in: span{1, 5},
			attrs: kinds{"axes": attrInts, "starts": attrInts, "ends": attrInts}, run: runSlice},
		{name: "TopK", in: span{1, 2}, out: span{1, 2},
			attrs: kinds{"axis": attrInt, "k": attrInt, "largest": attrInt, "sorted": attrInt}, run: runTopK},
	}
}

func runGather(c *call) ([]*value, error) {
	v, index := c.in[0], c.in[1]
	if index.dtype != tensor.Int64 && index.dtype != tensor.Int32 {
		return nil, fmt.Errorf("the indices are %s, want int32 or int64", index.dtype)
	}
	a, err := axis(c.int("axis", 0), len(v.shape))
	if err != nil {
		return nil, err
	}
	if rank := len(v.shape) - 1 + len(index.shape); rank > maxRank {
		return nil, fmt.Errorf("the result has %d dimensions, want at most %d", rank, maxRank)
	}
	size, places := v.shape[a], make([]int, len(index.i))
	for i, x := range index.i {
		if x < -int64(size) || x >= int64(size) {
			return nil, fmt.Errorf("index %d is %d, want %d..%d", i, x, -size, size-1)
		}
		if places[i] = int(x); x < 0 {
			places[i] += size
		}
	}
	out, err := c.gather(v, a, places, index.shape)
	return []*value{out}, err
}

// gather copies the slices of v at places along an axis, which gives way to the axes of shape.
func (c *call) gather(v *value, axis int, places, shape []int) (*value, error) {
	whole := append(append(append([]int{}, v.shape[:axis]...), shape...), v.shape[axis+1:]...)
	out, err := c.alloc(v.dtype, whole)
	if err != nil || out.len() == 0 {
		return out, err
	}
	outer, size, inner := products(v.shape, axis)
	if v.isFloat() {
		gatherSlices(out.f, v.f, places, outer, size, inner)
	} else {
		gatherSlices(out.i, v.i, places, outer, size, inner)
	}
	return out, nil
}

func gatherSlices[T elem](out, in []T, places []int, outer, size, inner int) {
	for o := range outer {
		for i, p := range places {
			copy(out[(o*len(places)+i)*inner:][:inner], in[(o*size+p)*inner:][:inner])
		}
	}
}

// runSlice clamps starts and ends as numpy does. They are attributes before opset 10 and inputs, with steps, after it.
func runSlice(c *call) ([]*value, error) {
	v := c.in[0]
	rank := len(v.shape)
	starts, ends, some, steps, err := sliceInputs(c)
	if err != nil {
		return nil, err
	}
	if len(ends) != len(starts) || len(some) != len(starts) || len(steps) != len(starts) {
		return nil, fmt.Errorf("there are %d starts, %d ends, %d axes and %d steps, want as many of each",
			len(starts), len(ends), len(some), len(steps))
	}
	if _, err := axes(some, rank); err != nil {
		return nil, err
	}
	shape, by, offset := append([]int{}, v.shape...), strides(v.shape), 0
	for i, a := range some {
		if a < 0 {
			a += int64(rank)
		}
		if steps[i] == 0 {
			return nil, fmt.Errorf("step %d is 0", i)
		}
		first, n := sliceRange(int64(v.shape[a]), starts[i], ends[i], steps[i])
		offset += int(first) * by[a]
		shape[a] = int(n)
		if by[a] *= int(steps[i]); n <= 1 {
			by[a] = 0
		}
	}
	out, err := c.strided(v, shape, offset, by)
	return []*value{out}, err
}

func sliceInputs(c *call) (starts, ends, some, steps []int64, err error) {
	rank := len(c.in[0].shape)
	if c.node.version < 10 {
		starts, ends, some = c.ints("starts"), c.ints("ends"), c.ints("axes")
	} else {
		lists := [4]*[]int64{&starts, &ends, &some, &steps}
		for i, name := range []string{"starts", "ends", "axes", "steps"} {
			if c.has(name) {
				return nil, nil, nil, nil,
					fmt.Errorf("attribute %q at opset %d, want an input, as since opset 10", name, c.node.version)
			}
			if *lists[i], err = c.intInput(i+1, name); err != nil {
				return nil, nil, nil, nil, err
			}
		}
		if c.input(1) == nil || c.input(2) == nil {
			return nil, nil, nil, nil, fmt.Errorf("the starts or the ends are missing")
		}
	}
	if some == nil {
		for i := range min(len(starts), rank+1) {
			some = append(some, int64(i))
		}
	}
	if steps == nil {
		for range starts {
			steps = append(steps, 1)
		}
	}
	return starts, ends, some, steps, nil
}

// sliceRange returns the first element of a slice and how many there are.
func sliceRange(size, start, end, step int64) (first, n int64) {
	clamp := func(x, low, high int64) int64 {
		if x < 0 {
			x += size
		}
		return min(max(x, low), high)
	}
	if step > 0 {
		first, end = clamp(start, 0, size), clamp(end, 0, size)
		if end <= first {
			return 0, 0
		}
		return first, (end-first-1)/step + 1
	}
	first, end = clamp(start, -1, size-1), clamp(end, -1, size-1)
	if first <= end {
		return 0, 0
	}
	if step < -math.MaxInt64 {
		return first, 1
	}
	return first, (first-end-1)/-step + 1
}

// runTopK returns the k largest (or smallest) elements along an axis, in order, and where they were. Of equal ones the
// first comes first; NaN counts as the largest.
func runTopK(c *call) ([]*value, error) {
	v := c.in[0]
	a, err := axis(c.int("axis", -1), len(v.shape))
	if err != nil {
		return nil, err
	}
	k := c.int("k", -1)
	if c.node.version >= 10 {
		list, err := c.intInput(1, "k")
		if err != nil || len(list) != 1 {
			return nil, fmt.Errorf("k has %d values, want 1", len(list))
		}
		k = list[0]
	}
	outer, size, inner := products(v.shape, a)
	if k < 0 || k > int64(size) {
		return nil, fmt.Errorf("k is %d, want 0..%d, the size of axis %d", k, size, a)
	}
	shape := append([]int{}, v.shape...)
	shape[a] = int(k)
	out, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	where, err := c.alloc(tensor.Int64, shape)
	if err != nil || where.len() == 0 {
		return []*value{out, where}, err
	}
	t := topK{outer: outer, size: size, inner: inner, k: int(k), smallest: c.int("largest", 1) == 0}
	if v.isFloat() {
		pickTop(t, out.f, where.i, v.f)
	} else {
		pickTop(t, out.i, where.i, v.i)
	}
	return []*value{out, where}, nil
}

type topK struct {
	outer, size, inner, k int
	smallest              bool
}

func pickTop[T elem](t topK, out []T, where []int64, in []T) {
	order := make([]int, t.size)
	for o := range t.outer {
		for i := range t.inner {
			at := func(k int) T { return in[(o*t.size+k)*t.inner+i] }
			for k := range order {
				order[k] = k
			}
			sort.SliceStable(order, func(x, y int) bool {
				if t.smallest {
					return above(at(order[y]), at(order[x]))
				}
				return above(at(order[x]), at(order[y]))
			})
			for k, from := range order[:t.k] {
				to := (o*t.k+k)*t.inner + i
				out[to], where[to] = at(from), int64(from)
			}
		}
	}
}

// above orders numbers with NaN on top.
func above[T elem](x, y T) bool { return x > y || x != x && y == y }
