package onnxgraph

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// call is one node under execution.
type call struct {
	ctx    context.Context
	node   *node
	in     []*value // nil where an optional input is left out; trailing ones may be missing
	budget *budget
	hollow bool // matrix products and convolutions may be left out
}

// budget bounds the elements that node outputs hold at one time.
type budget struct {
	limit, alive int64
}

// input returns input i, nil when it is left out.
func (c *call) input(i int) *value {
	if i >= len(c.in) {
		return nil
	}
	return c.in[i]
}

// charge adds an output of that shape to the budget, and returns how many elements it has; the executor takes it off when
// nothing needs the value any more.
func (c *call) charge(shape []int) (int, error) {
	n, err := tensor.NumElements(shape)
	if err != nil {
		return 0, err
	}
	if int64(n) > c.budget.limit-c.budget.alive {
		return 0, fmt.Errorf("an output of shape %s takes %d elements with %d alive, want at most %d in all",
			tensor.FormatShape(shape), n, c.budget.alive, c.budget.limit)
	}
	c.budget.alive += int64(n)
	return n, nil
}

// alloc makes an output of zeros.
func (c *call) alloc(d tensor.DType, shape []int) (*value, error) {
	n, err := c.charge(shape)
	if err != nil {
		return nil, err
	}
	v := &value{dtype: d, shape: append([]int{}, shape...)}
	if v.isFloat() {
		v.f = make([]float64, n)
	} else {
		v.i = make([]int64, n)
	}
	return v, nil
}

// view makes an output that shares v's elements.
func (c *call) view(v *value, shape []int) ([]*value, error) {
	if n, err := tensor.NumElements(shape); err != nil || n != v.len() {
		return nil, fmt.Errorf("shape %s does not hold the %d elements of shape %s",
			tensor.FormatShape(shape), v.len(), tensor.FormatShape(v.shape))
	}
	if _, err := c.charge(shape); err != nil {
		return nil, err
	}
	return []*value{v.reshaped(shape)}, nil
}

func (c *call) has(name string) bool { return c.node.attrs[name] != nil }

func (c *call) int(name string, otherwise int64) int64 {
	if a := c.node.attrs[name]; a != nil {
		return a.GetI()
	}
	return otherwise
}

func (c *call) float(name string, otherwise float64) float64 {
	if a := c.node.attrs[name]; a != nil {
		return float64(a.GetF())
	}
	return otherwise
}

func (c *call) ints(name string) []int64 { return c.node.attrs[name].GetInts() }

func (c *call) string(name, otherwise string) string {
	if a := c.node.attrs[name]; a != nil {
		return string(a.GetS())
	}
	return otherwise
}

// intInput returns the elements of an integer input, nil when it is left out.
func (c *call) intInput(i int, what string) ([]int64, error) {
	v := c.input(i)
	if v == nil {
		return nil, nil
	}
	if v.isFloat() || v.dtype == tensor.Bool || len(v.shape) > 1 {
		return nil, fmt.Errorf("%s is %s %s, want a list of integers", what, v.dtype, tensor.FormatShape(v.shape))
	}
	return v.i, nil
}

// axis turns an axis that may count from the back into 0..rank-1.
func axis(a int64, rank int) (int, error) {
	if a < -int64(rank) || a >= int64(rank) {
		return 0, fmt.Errorf("axis is %d, want %d..%d", a, -rank, rank-1)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// axes marks a list of axes, which must differ.
func axes(list []int64, rank int) ([]bool, error) {
	marked := make([]bool, rank)
	for _, a := range list {
		i, err := axis(a, rank)
		if err != nil {
			return nil, err
		}
		if marked[i] {
			return nil, fmt.Errorf("axis %d is listed twice", i)
		}
		marked[i] = true
	}
	return marked, nil
}

// axesOf reads axes from an attribute before opset inputSince and from input i after it; given is false when there are
// none.
func (c *call) axesOf(i int, inputSince int64) (list []int64, given bool, err error) {
	if c.node.version < inputSince {
		return c.ints("axes"), c.has("axes"), nil
	}
	if c.has("axes") {
		return nil, false, fmt.Errorf("attribute \"axes\" at opset %d, want an input, as since opset %d",
			c.node.version, inputSince)
	}
	list, err = c.intInput(i, "axes")
	return list, c.input(i) != nil, err
}

// products splits a shape at an axis: the number of elements before it, on it, and after it.
func products(shape []int, axis int) (outer, size, inner int) {
	outer, inner = 1, 1
	for _, d := range shape[:axis] {
		outer *= d
	}
	for _, d := range shape[axis+1:] {
		inner *= d
	}
	return outer, shape[axis], inner
}

// parallel runs f over pieces of [0,n), on all cores when there is work for them. Pieces never share an output element,
// so results do not depend on how many there are.
func parallel(n, work int, f func(lo, hi int)) {
	const share = 1 << 15 // of elementary operations, worth a goroutine
	workers := min(runtime.GOMAXPROCS(0), n)
	if work < share {
		workers = min(workers, n*max(work, 1)/share)
	}
	if workers < 2 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { f(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}
