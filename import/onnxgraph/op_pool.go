package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// poolOperators take the maximum or mean of a window that slides over spatial axes.
func poolOperators() []operator {
	attrs := func(own kinds) kinds {
		for name, kind := range (kinds{"auto_pad": attrString, "ceil_mode": attrInt, "kernel_shape": attrInts, "pads": attrInts,
			"strides": attrInts, "dilations": attrInts}) {
			own[name] = kind
		}
		return own
	}
	return []operator{
		{name: "MaxPool", in: span{1, 1}, out: span{1, 2}, attrs: attrs(kinds{"storage_order": attrInt}), run: runMaxPool},
		{name: "AveragePool", in: span{1, 1}, attrs: attrs(kinds{"count_include_pad": attrInt}),
			newer: newer{attrs: map[string]int64{"dilations": 19}}, run: runAveragePool},
	}
}

// pool is the geometry of a window over an input of (N, C, spatial axes).
type pool struct {
	in, out, kernel, steps, dilations, before, after []int
}

func (c *call) pool() (*pool, []int, error) {
	v := c.in[0]
	rank := len(v.shape) - 2
	given := c.ints("kernel_shape")
	if rank < 1 || len(given) != rank {
		return nil, nil, fmt.Errorf("attribute \"kernel_shape\" is %v for an input of shape %s, want one number a spatial axis", given,
			tensor.FormatShape(v.shape))
	}
	p := &pool{in: v.shape[2:]}
	var err error
	if p.steps, err = positive(c, "strides", rank); err != nil {
		return nil, nil, err
	}
	if p.dilations, err = positive(c, "dilations", rank); err != nil {
		return nil, nil, err
	}
	if p.kernel, err = positive(c, "kernel_shape", rank); err != nil {
		return nil, nil, err
	}
	for i, size := range p.in {
		reach := (p.kernel[i]-1)*p.dilations[i] + 1
		before, after, err := pads(c, i, rank, size, reach, p.steps[i])
		if err != nil {
			return nil, nil, err
		}
		room := size + before + after - reach
		if room < 0 {
			return nil, nil, fmt.Errorf("spatial axis %d has %d elements with padding, want at least %d, the window's reach", i,
				size+before+after, reach)
		}
		n := room/p.steps[i] + 1
		if c.int("ceil_mode", 0) != 0 && room%p.steps[i] != 0 && n*p.steps[i] < size+before { // one more, unless it begins in the padding
			n++
		}
		p.out, p.before, p.after = append(p.out, n), append(p.before, before), append(p.after, after)
	}
	return p, append([]int{v.shape[0], v.shape[1]}, p.out...), nil
}

// visit calls f for the offset in the plane of every element that the window at an output's place covers, and counts the
// places of the window, the padding's included; what lies beyond the padding is none.
func (p *pool) visit(at []int, f func(offset int)) (places float64) {
	places = 1
	from, n, inside := make([]int, len(at)), make([]int, len(at)), 1
	for axis, size := range p.in {
		start, step := at[axis]*p.steps[axis]-p.before[axis], p.dilations[axis]
		below := func(end int) int { return min(p.kernel[axis], max(end-start+step-1, 0)/step) } // elements before end
		places *= float64(below(size + p.after[axis]))
		from[axis] = below(0)
		n[axis] = max(below(size)-from[axis], 0)
		inside *= n[axis]
	}
	for i := range inside {
		offset := 0
		for axis, k := range tensor.Unravel(i, n) {
			offset = offset*p.in[axis] + at[axis]*p.steps[axis] - p.before[axis] + (from[axis]+k)*p.dilations[axis]
		}
		f(offset)
	}
	return places
}

// planes runs f for every element of the result.
func (p *pool) planes(shape []int, f func(i, base int, at []int)) {
	out, in := 1, 1
	for i := range p.out {
		out, in = out*p.out[i], in*p.in[i]
	}
	n := shape[0] * shape[1] * out
	window := 1
	for i, k := range p.kernel {
		window *= min(k, p.in[i])
	}
	parallel(n, 16*window, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i, i/out*in, tensor.Unravel(i%out, p.out))
		}
	})
}

func runMaxPool(c *call) ([]*value, error) {
	v := c.in[0]
	if v.dtype == tensor.Bool {
		return nil, fmt.Errorf("the operand is bool, want numbers")
	}
	p, shape, err := c.pool()
	if err != nil {
		return nil, err
	}
	if c.int("storage_order", 0) != 0 && len(p.in) > 2 {
		return nil, fmt.Errorf("attribute \"storage_order\" is 1 with %d spatial axes, want at most 2", len(p.in))
	}
	out, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	where, err := c.alloc(tensor.Int64, shape)
	if err != nil || out.len() == 0 {
		return []*value{out, where}, err
	}
	columnFirst := c.int("storage_order", 0) != 0 && len(p.in) == 2
	at := func(i int) float64 {
		if v.isFloat() {
			return v.f[i]
		}
		return float64(v.i[i])
	}
	p.planes(shape, func(i, base int, place []int) {
		best, from := math.Inf(-1), -1
		p.visit(place, func(offset int) {
			if x := at(base + offset); from < 0 || x > best || x != x {
				best, from = x, offset
			}
		})
		switch {
		case from < 0 && out.isFloat():
			out.f[i] = best
			return
		case from < 0:
			out.i[i] = lowest(v.dtype)
			return
		case out.isFloat():
			out.f[i] = best
		default:
			out.i[i] = v.i[base+from]
		}
		if columnFirst {
			from = from%p.in[1]*p.in[0] + from/p.in[1]
		}
		where.i[i] = int64(base + from)
	})
	return []*value{out, where}, nil
}

func runAveragePool(c *call) ([]*value, error) {
	v := c.in[0]
	if !v.isFloat() {
		return nil, fmt.Errorf("the operand is %s, want a floating-point type", v.dtype)
	}
	p, shape, err := c.pool()
	if err != nil {
		return nil, err
	}
	out, err := c.alloc(v.dtype, shape)
	if err != nil || out.len() == 0 {
		return []*value{out}, err
	}
	all := c.int("count_include_pad", 0) != 0
	p.planes(shape, func(i, base int, place []int) {
		sum, n := 0.0, 0.0
		places := p.visit(place, func(offset int) {
			sum += v.f[base+offset]
			n++
		})
		if all {
			n = places
		}
		out.f[i] = sum / n
	})
	return []*value{out}, nil
}
