package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// scatterOperators read and write elements at places that other tensors list.
func scatterOperators() []operator {
	scatter := kinds{"axis": attrInt, "reduction": attrString}
	return []operator{
		{name: "GatherElements", in: span{2, 2}, since: 11, attrs: kinds{"axis": attrInt}, run: runGatherElements},
		{name: "GatherND", in: span{2, 2}, since: 11, attrs: kinds{"batch_dims": attrInt}, run: runGatherND},
		{name: "Scatter", in: span{3, 3}, since: 9, attrs: kinds{"axis": attrInt}, run: runScatterElements},
		{name: "ScatterElements", in: span{3, 3}, since: 11, attrs: scatter, run: runScatterElements},
		{name: "ScatterND", in: span{3, 3}, since: 11, attrs: kinds{"reduction": attrString}, run: runScatterND},
		{name: "OneHot", in: span{3, 3}, since: 9, attrs: kinds{"axis": attrInt}, run: runOneHot},
	}
}

// placeOf turns an index that may count from the back into 0..size-1.
func placeOf(x int64, size int) (int, error) {
	if x < -int64(size) || x >= int64(size) {
		return 0, fmt.Errorf("an index is %d, want %d..%d", x, -size, size-1)
	}
	if x < 0 {
		x += int64(size)
	}
	return int(x), nil
}

func indexType(index *value) error {
	if index.dtype != tensor.Int64 && index.dtype != tensor.Int32 {
		return fmt.Errorf("the indices are %s, want int32 or int64", index.dtype)
	}
	return nil
}

// alongAxis lists, for every element of index, the element of a tensor of that shape that lies at the same place but for the
// axis, where the index says.
func alongAxis(index *value, shape []int, axis int) ([]int, error) {
	if err := indexType(index); err != nil {
		return nil, err
	}
	if len(index.shape) != len(shape) {
		return nil, fmt.Errorf("the indices have shape %s, want rank %d", tensor.FormatShape(index.shape), len(shape))
	}
	for i, n := range index.shape {
		if i != axis && n > shape[i] {
			return nil, fmt.Errorf("the indices have shape %s, want at most %s but for axis %d", tensor.FormatShape(index.shape),
				tensor.FormatShape(shape), axis)
		}
	}
	by, list := strides(shape), make([]int, len(index.i))
	for i, x := range index.i {
		at, err := placeOf(x, shape[axis])
		if err != nil {
			return nil, err
		}
		for j, k := range tensor.Unravel(i, index.shape) {
			if j == axis {
				k = at
			}
			list[i] += k * by[j]
		}
	}
	return list, nil
}

func runGatherElements(c *call) ([]*value, error) {
	v, index := c.in[0], c.in[1]
	a, err := axis(c.int("axis", 0), len(v.shape))
	if err != nil {
		return nil, err
	}
	places, err := alongAxis(index, v.shape, a)
	if err != nil {
		return nil, err
	}
	out, err := c.alloc(v.dtype, index.shape)
	if err != nil {
		return nil, err
	}
	for i, p := range places {
		if v.isFloat() {
			out.f[i] = v.f[p]
		} else {
			out.i[i] = v.i[p]
		}
	}
	return []*value{out}, nil
}

// slicesAt lists where the slices begin that the last axis of index names, after `batch` leading axes that go in step.
func (c *call) slicesAt(index *value, shape []int, batch int) (places []int, size int, err error) {
	if err := indexType(index); err != nil {
		return nil, 0, err
	}
	rank := len(index.shape)
	if rank == 0 || batch >= rank || index.shape[rank-1] > len(shape)-batch { // no sum: it could overflow
		return nil, 0, fmt.Errorf("the indices have shape %s, want a last axis of at most %d", tensor.FormatShape(index.shape),
			len(shape)-batch)
	}
	n, by := index.shape[rank-1], strides(shape)
	size = 1
	for _, d := range shape[batch+n:] {
		size *= d
	}
	groups, each := 1, 1
	for i, d := range index.shape[:rank-1] {
		if i >= batch {
			each *= d
			continue
		}
		if d != shape[i] {
			return nil, 0, fmt.Errorf("batch axis %d of the indices has %d elements, want %d", i, d, shape[i])
		}
		groups *= d
	}
	// Indices of no numbers take no bytes and still name places; and where there are none, groups may be any number.
	if count, err := c.charge([]int{groups, each}); err != nil || count == 0 {
		return nil, size, err
	}
	for g := range groups {
		base := 0
		for i, k := range tensor.Unravel(g, shape[:batch]) {
			base += k * by[i]
		}
		for e := range each {
			at := base
			for j := range n {
				k, err := placeOf(index.i[(g*each+e)*n+j], shape[batch+j])
				if err != nil {
					return nil, 0, err
				}
				at += k * by[batch+j]
			}
			places = append(places, at)
		}
	}
	return places, size, nil
}

func runGatherND(c *call) ([]*value, error) {
	v, index := c.in[0], c.in[1]
	batch := c.int("batch_dims", 0)
	if batch < 0 || batch >= int64(max(len(v.shape), 1)) {
		return nil, fmt.Errorf("attribute \"batch_dims\" is %d, want 0..%d", batch, len(v.shape)-1)
	}
	places, size, err := c.slicesAt(index, v.shape, int(batch))
	if err != nil {
		return nil, err
	}
	rank := len(index.shape)
	shape := append([]int{}, index.shape[:rank-1]...)
	out, err := c.alloc(v.dtype, append(shape, v.shape[int(batch)+index.shape[rank-1]:]...))
	if err != nil {
		return nil, err
	}
	for i, p := range places {
		if v.isFloat() {
			copy(out.f[i*size:(i+1)*size], v.f[p:])
		} else {
			copy(out.i[i*size:(i+1)*size], v.i[p:])
		}
	}
	return []*value{out}, nil
}

// reduction combines what a scatter writes with what is there.
type reduction struct {
	f func(x, y float64) float64
	i func(x, y int64) int64
}

func (c *call) reduction() (reduction, error) {
	known := map[string]reduction{
		"none": {func(_, y float64) float64 { return y }, func(_, y int64) int64 { return y }},
		"add":  {add[float64], add[int64]}, "mul": {mul[float64], mul[int64]},
		"max": {maximum[float64], maximum[int64]}, "min": {minimum[float64], minimum[int64]},
	}
	name := c.string("reduction", "none")
	if since := map[string]int64{"max": 18, "min": 18}[name]; c.node.version < since {
		return reduction{}, fmt.Errorf("attribute \"reduction\" is %s at opset %d, want opset %d, which introduced it", quote(name), c.node.version, since)
	}
	r, ok := known[name]
	if !ok {
		return r, fmt.Errorf("attribute \"reduction\" is %s, want one of %s", quote(c.string("reduction", "")), list(sorted(known)))
	}
	return r, nil
}

// scattered copies v and writes size elements of updates at every place, in order.
func (c *call) scattered(v, updates *value, places []int, size int) ([]*value, error) {
	if updates.dtype != v.dtype {
		return nil, fmt.Errorf("the updates are %s, want %s", updates.dtype, v.dtype)
	}
	if updates.len() != len(places)*size {
		return nil, fmt.Errorf("the updates have shape %s, %d elements, want %d", tensor.FormatShape(updates.shape), updates.len(),
			len(places)*size)
	}
	r, err := c.reduction()
	if err != nil {
		return nil, err
	}
	out, err := c.strided(v, v.shape, 0, strides(v.shape))
	if err != nil {
		return nil, err
	}
	for i, p := range places {
		for j := range size {
			if v.isFloat() {
				out.f[p+j] = r.f(out.f[p+j], updates.f[i*size+j])
			} else {
				out.i[p+j] = wrap(v.dtype, r.i(out.i[p+j], updates.i[i*size+j]))
			}
		}
	}
	return []*value{out}, nil
}

func runScatterElements(c *call) ([]*value, error) {
	v, index := c.in[0], c.in[1]
	a, err := axis(c.int("axis", 0), len(v.shape))
	if err != nil {
		return nil, err
	}
	places, err := alongAxis(index, v.shape, a)
	if err != nil {
		return nil, err
	}
	return c.scattered(v, c.in[2], places, 1)
}

func runScatterND(c *call) ([]*value, error) {
	places, size, err := c.slicesAt(c.in[1], c.in[0].shape, 0)
	if err != nil {
		return nil, err
	}
	return c.scattered(c.in[0], c.in[2], places, size)
}

// runOneHot puts the second of two values where an index points along a new axis, the first elsewhere. An index out of
// range points nowhere.
func runOneHot(c *call) ([]*value, error) {
	index, depth, values := c.in[0], c.in[1], c.in[2]
	if depth.len() != 1 || len(values.shape) != 1 || values.len() != 2 || index.dtype == tensor.Bool || depth.dtype == tensor.Bool {
		return nil, fmt.Errorf("depth is %s and values are %s, want one number and two values", tensor.FormatShape(depth.shape),
			tensor.FormatShape(values.shape))
	}
	n := depth.array().Data[0]
	if !(n >= 0 && n <= math.MaxInt32) {
		return nil, fmt.Errorf("depth is %v, want 0..%d", n, math.MaxInt32)
	}
	a, err := axis(c.int("axis", -1), len(index.shape)+1)
	if err != nil {
		return nil, err
	}
	shape := append(append(append([]int{}, index.shape[:a]...), int(n)), index.shape[a:]...)
	out, err := c.alloc(values.dtype, shape)
	if err != nil || out.len() == 0 {
		return []*value{out}, err
	}
	set := func(i, from int) {
		if out.isFloat() {
			out.f[i] = values.f[from]
		} else {
			out.i[i] = values.i[from]
		}
	}
	for i := range out.len() {
		set(i, 0)
	}
	_, _, inner := products(shape, a)
	for i, x := range index.array().Data {
		if x < 0 {
			x += n
		}
		if x >= 0 && x < n {
			set((i/inner*int(n)+int(x))*inner+i%inner, 1)
		}
	}
	return []*value{out}, nil
}
