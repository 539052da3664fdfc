package fuse

import (
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// near is how far two weights that are equal may differ, relative to their size: constants were rounded to float.
const near = 1e-6

func equal(x, y float64) bool { return x == y || math.Abs(x-y) <= near*max(x, y) }

// classify decides on the operator by C, and sets W, causal and the window.
func (c *coefficients) classify(l *layer) error {
	causal := c.square() && c.cubes[0].sources > 1
	for _, cube := range c.cubes {
		causal = causal && cube.hidesFuture()
	}
	l.attrs["causal"] = []int64{int64(truth(causal))}
	if l.convolution {
		return c.classifyConv(l, causal)
	}
	flat := true
	for _, cube := range c.cubes {
		flat = flat && cube.isFlat(causal)
	}
	switch {
	case flat && l.bias == nil:
		l.op = "AFTSimple"
		return nil
	case flat:
		l.op = "AFTFull"
		return nil
	case l.bias != nil:
		return c.byShape(l)
	}
	big, err := c.largest(l)
	if err != nil {
		return err
	}
	if big == nil {
		return c.byShape(l)
	}
	if window := big.window(causal); c.square() && 2*window <= big.queries+1 && big.seesAll(causal) {
		l.op, l.attrs["window"] = "AFTLocal", []int64{int64(window)}
		l.weight, err = big.band(window, causal)
		return err
	}
	l.op = "AFTFull"
	l.weight, err = big.logs(causal)
	return err
}

// square reports whether there are as many sources as queries.
func (c *coefficients) square() bool {
	return !slices.ContainsFunc(c.cubes, func(x *cube) bool { return x.queries != x.sources })
}

func (c *cube) hidesFuture() bool {
	for h := range c.heads {
		for t := range c.queries {
			for s := t + 1; s < c.sources; s++ {
				if c.at(h, t, s) != 0 {
					return false
				}
			}
		}
	}
	return true
}

// seen is how many sources query t may look at.
func (c *cube) seen(t int, causal bool) int {
	if causal {
		return min(t+1, c.sources)
	}
	return c.sources
}

// isFlat reports whether every query weighs all sources alike.
func (c *cube) isFlat(causal bool) bool {
	for h := range c.heads {
		for t := range c.queries {
			for s := range c.seen(t, causal) {
				if x := c.at(h, t, s); x == 0 || !equal(x, c.at(h, t, 0)) {
					return false
				}
			}
		}
	}
	return true
}

// largest is C at the greatest length that the model has it for; nil where it has none.
func (c *coefficients) largest(l *layer) (*cube, error) {
	last := c.cubes[len(c.cubes)-1]
	fixed := true
	for _, d := range slices.Concat(l.queries, l.sources) {
		fixed = fixed && c.sizes[d].fixed()
	}
	if fixed {
		return last, nil
	}
	if len(l.queries) != 1 || len(l.sources) != 1 || !c.square() {
		return nil, nil
	}
	for _, n := range c.limits(last.queries) {
		big, err := c.grown(l, n)
		if err != nil {
			if c.ctx.Err() != nil {
				return nil, c.ctx.Err()
			}
			continue
		}
		if _, err := c.grown(l, n+1); err != nil { // else it only happens to be a length of something
			return big, c.ctx.Err()
		}
	}
	return nil, c.ctx.Err()
}

// byShape makes W of the values that the graph computes from shapes.
func (c *coefficients) byShape(l *layer) error {
	if len(c.below) != 1 {
		return missf("several sums over sources share a denominator, and W has no greatest length")
	}
	l.op = "AFTFull"
	t := term{coef: 1}
	for _, f := range c.below[0].fixed {
		if f.base.kind == beforeOf {
			if l.attrs.Int("causal") == 0 {
				return missf("a running sum stands beside weights that see the future")
			}
			continue
		}
		t.factors = append(t.factors, f)
	}
	l.bias = plus(l.bias, log(poly{t}))
	return nil
}

// window is the smallest s for which all sources that a query sees at a distance of s or more weigh alike.
func (c *cube) window(causal bool) int {
	s := 1
	for t := range c.queries {
		far, end := c.farthest(t, causal), c.seen(t, causal)
		for i := range end {
			if distance := max(t-i, i-t); distance >= s && !equal(c.at(0, t, i), far) {
				s = distance + 1
			}
		}
	}
	return s
}

// seesAll reports whether no query is kept from the source farthest from it.
func (c *cube) seesAll(causal bool) bool {
	for t := range c.queries {
		if c.farthest(t, causal) == 0 {
			return false
		}
	}
	return true
}

// farthest is the weight of the source that is farthest from a query.
func (c *cube) farthest(t int, causal bool) float64 {
	last := c.seen(t, causal) - 1
	if last-t > t {
		return c.at(0, t, last)
	}
	return c.at(0, t, 0)
}

// band is W of AFTLocal.
func (c *cube) band(window int, causal bool) (*tensor.Tensor, error) {
	taps := 2*window - 1
	if causal {
		taps = window
	}
	w := make([]float64, c.queries*taps)
	for t := range c.queries {
		far := c.farthest(t, causal)
		for j := range taps {
			if s := t + j - (window - 1); s >= 0 && s < c.sources {
				w[t*taps+j] = math.Log(c.at(0, t, s) / far)
			}
		}
	}
	return tensor.FromFloat64s(tensor.Float64, []int{c.queries, taps}, w)
}

// logs is W of AFTFull. What a causal layer does not see is 0.
func (c *cube) logs(causal bool) (*tensor.Tensor, error) {
	w := make([]float64, c.queries*c.sources)
	for t := range c.queries {
		for s := range c.seen(t, causal) {
			w[t*c.sources+s] = math.Log(c.at(0, t, s))
		}
	}
	return tensor.FromFloat64s(tensor.Float64, []int{c.queries, c.sources}, w)
}

// classifyConv reads the kernel of a convolution off the row of one query in the middle of a sequence, or grid, that is larger
// than the kernel, and holds it against C.
func (c *coefficients) classifyConv(l *layer, causal bool) error {
	rank := len(l.queries)
	if rank < 1 || rank > 2 || !c.square() {
		return missf("heads have biases over %d axes, want 1 or 2", rank)
	}
	reach := 1
	for _, p := range slices.Concat(c.below) {
		for _, f := range p.fixed {
			switch f.base.kind {
			case tapsOf:
				for i, d := range f.base.taps.dilation {
					if w := c.elements(f.base.name, 0); w != nil && len(w.Shape) > 2+i {
						reach = max(reach, d*w.Shape[2+i])
					}
				}
			case beforeOf:
			default:
				if f.base.depends(slices.Concat(l.queries, l.sources)) {
					return missf("heads have biases that no convolution makes")
				}
			}
		}
	}
	side := 2*reach + 3
	w := &world{
		sizes: func(d digit) int {
			if slices.Contains(l.queries, d) || slices.Contains(l.sources, d) {
				return side
			}
			return c.sizes[d][0]
		},
		elements: func(name string) *tensor.Tensor { return c.elements(name, 0) },
		query:    slices.Repeat([]int{reach + 1}, rank),
	}
	row, err := c.compute(c.below, l, w)
	if err != nil {
		return err
	}
	k := row.kernel(rank, side, reach+1, causal)
	for p, cube := range c.cubes {
		if err := k.explains(cube, c.lengths(l.queries, p), causal); err != nil {
			return err
		}
	}
	return k.apply(l)
}

func (c *coefficients) lengths(list []digit, p int) []int {
	var n []int
	for _, d := range list {
		n = append(n, c.sizes[d][p])
	}
	return n
}

// kernel is a relative bias: w[head, offset] for offsets low .. low+size-1 in every dimension.
type kernel struct {
	heads     int
	low, size []int
	far       []float64 // what a source outside weighs, by head
	w         []float64 // exp of the bias, times far
}

// kernel finds the smallest box outside which all sources weigh alike; it holds the offset 0.
func (c *cube) kernel(rank, side, middle int, causal bool) *kernel {
	k := &kernel{heads: c.heads, low: make([]int, rank), size: make([]int, rank)}
	high := make([]int, rank)
	here := 0
	for range rank {
		here = here*side + middle
	}
	for h := range c.heads {
		k.far = append(k.far, c.at(h, 0, 0)) // the first corner is outside, and no future
		for s := range c.sources {
			if causal && s > here || equal(c.at(h, 0, s), k.far[h]) {
				continue
			}
			for i, x := range tensor.Unravel(s, slices.Repeat([]int{side}, rank)) {
				k.low[i], high[i] = min(k.low[i], x-middle), max(high[i], x-middle)
			}
		}
	}
	n := 1
	for i := range rank {
		k.size[i] = high[i] - k.low[i] + 1
		n *= k.size[i]
	}
	for h := range c.heads {
		for j := range n {
			s := 0
			for i, x := range tensor.Unravel(j, k.size) {
				s = s*side + x + k.low[i] + middle
			}
			x := c.at(h, 0, s)
			if causal && s > here {
				x = k.far[h] // dropped, whatever stands there
			}
			k.w = append(k.w, x)
		}
	}
	return k
}

// explains holds the kernel against C at the size of a probe.
func (k *kernel) explains(c *cube, shape []int, causal bool) error {
	for h := range c.heads {
		for t := range c.queries {
			for s := range c.seen(t, causal) {
				want, j := k.far[h], 0
				at, inside := tensor.Unravel(t, shape), true
				for i, x := range tensor.Unravel(s, shape) {
					x -= at[i] + k.low[i]
					inside = inside && x >= 0 && x < k.size[i]
					j = j*k.size[i] + x
				}
				if inside {
					n := len(k.w) / k.heads
					want = k.w[h*n+j]
				}
				if !equal(c.at(h, t, s), want) {
					return missf("heads have biases that no convolution makes")
				}
			}
		}
	}
	return nil
}

func (k *kernel) apply(l *layer) error {
	w := make([]float64, len(k.w))
	n := len(k.w) / k.heads
	for i, x := range k.w {
		if k.far[i/n] == 0 {
			return missf("sources outside the kernel weigh nothing: AFT gives them the bias 0")
		}
		w[i] = math.Log(x / k.far[i/n])
	}
	l.op, l.attrs["pad_left"] = "AFTConv1D", []int64{int64(-k.low[0])}
	if len(k.low) == 2 {
		l.op, l.attrs["pads"] = "AFTConv2D", []int64{int64(-k.low[0]), int64(-k.low[1])}
		delete(l.attrs, "pad_left")
	}
	var err error
	l.weight, err = tensor.FromFloat64s(tensor.Float64, append([]int{k.heads}, k.size...), w)
	return err
}

// complete reports whether the layer has every attribute of its operator.
func (l *layer) complete(d *ops.Def) bool {
	return !slices.ContainsFunc(d.Attrs, func(a ops.Attr) bool { return l.attrs[a.Name] == nil })
}
