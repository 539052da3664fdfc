package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// padding is what Pad does to every axis. Negative numbers crop.
type padding struct {
	before, after []int
	fill          *value // nil: zero
}

// runPad pads in the modes "constant", "edge", "reflect" and "wrap". Pads are an attribute before opset 11 and an input
// after it; since opset 18 they may be for some axes only.
func runPad(c *call) ([]*value, error) {
	v := c.in[0]
	p, err := padInputs(c)
	if err != nil {
		return nil, err
	}
	for i, size := range v.shape {
		// Written so that no sum overflows: before >= -size, and after >= what before leaves.
		if p.before[i] < -size || p.after[i] < -size-min(p.before[i], 0) {
			return nil, fmt.Errorf("pads of axis %d are (%d,%d), want at least -%d together", i, p.before[i],
				p.after[i], size)
		}
	}
	mode := c.string("mode", "constant")
	if mode == "wrap" && c.node.version < 19 {
		return nil, fmt.Errorf("attribute \"mode\" is \"wrap\" at opset %d, want opset 19, which introduced it", c.node.version)
	}
	switch mode {
	case "constant":
		return p.constant(c, v)
	case "edge":
		return p.repeat(c, v, func(x, size int) int { return min(max(x, 0), size-1) })
	case "reflect":
		return p.repeat(c, v, reflect)
	case "wrap":
		return p.repeat(c, v, func(x, size int) int { return (x%size + size) % size })
	default:
		return nil, fmt.Errorf("attribute \"mode\" is %s, want \"constant\", \"edge\", \"reflect\" or \"wrap\"",
			quote(mode))
	}
}

func (p *padding) constant(c *call, v *value) ([]*value, error) {
	rank := len(v.shape)
	shape, inner, from, to := make([]int, rank), make([]int, rank), 0, 0
	for i, s := range strides(v.shape) {
		shape[i] = v.shape[i] + p.before[i] + p.after[i]
		inner[i] = v.shape[i] + min(p.before[i], 0) + min(p.after[i], 0)
		from += max(-p.before[i], 0) * s
	}
	out, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	if p.fill != nil {
		p.fill.spread(out)
	}
	part, err := c.strided(v, inner, from, strides(v.shape))
	if err != nil {
		return nil, err
	}
	for i, s := range strides(shape) {
		to += max(p.before[i], 0) * s
	}
	place(out, part, to)
	return []*value{out}, nil
}

// repeat fills from the input itself: source maps a place outside the axis to one inside.
func (p *padding) repeat(c *call, v *value, source func(x, size int) int) ([]*value, error) {
	out := v
	for i, size := range v.shape {
		n := size + p.before[i] + p.after[i]
		if p.before[i] == 0 && p.after[i] == 0 {
			continue
		}
		if size == 0 && n > 0 {
			return nil, fmt.Errorf("axis %d is empty and has nothing to repeat", i)
		}
		if _, err := c.charge([]int{n}); err != nil {
			return nil, err
		}
		places := make([]int, n)
		for x := range places {
			places[x] = source(x-p.before[i], size)
		}
		var err error
		if out, err = c.gather(out, i, places, []int{n}); err != nil {
			return nil, err
		}
	}
	return c.view(out, out.shape)
}

// reflect mirrors at the first and last element without repeating them, as often as it takes.
func reflect(x, size int) int {
	if size == 1 {
		return 0
	}
	period := 2 * (size - 1)
	x = (x%period + period) % period
	return min(x, period-x)
}

// padInputs reads the pads of all axes and what to fill with.
func padInputs(c *call) (*padding, error) {
	v := c.in[0]
	rank := len(v.shape)
	p := &padding{before: make([]int, rank), after: make([]int, rank)}
	if c.node.version < 11 {
		fill := c.float("value", 0)
		p.fill = &value{dtype: v.dtype, shape: []int{}, f: []float64{fill}, i: []int64{int64(fill)}}
		return p, p.set(c.ints("pads"), nil)
	}
	list, err := c.intInput(1, "pads")
	if err != nil {
		return nil, err
	}
	if p.fill = c.input(2); p.fill != nil && (p.fill.dtype != v.dtype || p.fill.len() != 1) {
		return nil, fmt.Errorf("constant_value is %s %s, want one %s", p.fill.dtype,
			tensor.FormatShape(p.fill.shape), v.dtype)
	}
	some, err := c.intInput(3, "axes")
	if err != nil {
		return nil, err
	}
	if c.input(3) != nil && some == nil {
		some = []int64{}
	}
	return p, p.set(list, some)
}

// set distributes a list that holds first all pads before and then all after, for some axes, nil being all.
func (p *padding) set(list, some []int64) error {
	rank := len(p.before)
	if some == nil {
		for i := range rank {
			some = append(some, int64(i))
		}
	}
	if _, err := axes(some, rank); err != nil {
		return err
	}
	if len(list) != 2*len(some) {
		return fmt.Errorf("pads has %d values, want %d", len(list), 2*len(some))
	}
	for i, a := range some {
		if a < 0 {
			a += int64(rank)
		}
		before, after := list[i], list[len(some)+i]
		if min(before, after) < math.MinInt32 || max(before, after) > math.MaxInt32 {
			return fmt.Errorf("pads of axis %d are (%d,%d), want %d..%d", a, before, after, math.MinInt32, math.MaxInt32)
		}
		p.before[a], p.after[a] = int(before), int(after)
	}
	return nil
}
