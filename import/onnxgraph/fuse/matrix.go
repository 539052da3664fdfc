package fuse

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// coefficients are the C of a layer, what every pair of query and source is weighed with: one number a head, query and source.
type coefficients struct {
	*analysis
	ctx          context.Context
	above, below []part
	cubes        []*cube // by probe
}

// cube is C at one size.
type cube struct {
	heads, queries, sources int
	c                       []float64 // (heads, queries, sources)
}

func (c *cube) at(h, t, s int) float64 { return c.c[(h*c.queries+t)*c.sources+s] }

// digits are those that C depends on.
func (c *coefficients) digits() map[digit]bool {
	set := map[digit]bool{}
	for _, p := range slices.Concat(c.above, c.below) {
		for _, f := range p.fixed {
			f.base.digitsOf(set)
		}
	}
	return set
}

// world is one size of the model: how far digits count and what values hold.
type world struct {
	sizes    func(digit) int
	elements func(name string) *tensor.Tensor
	query    []int // compute for this query alone
}

// read computes C of numerator and denominator in every probe and gives their ratio, which must be one number.
func (c *coefficients) read(l *layer) (float64, error) {
	ratio := math.NaN()
	c.cubes = nil
	for p := range probes {
		w := &world{
			sizes:    func(d digit) int { return c.sizes[d][p] },
			elements: func(name string) *tensor.Tensor { return c.elements(name, p) },
		}
		num, err := c.compute(c.above, l, w)
		if err != nil {
			return 0, err
		}
		den, err := c.compute(c.below, l, w)
		if err != nil {
			return 0, err
		}
		for i, x := range den.c {
			y := num.c[i]
			if x == 0 && y == 0 {
				continue
			}
			if math.IsNaN(ratio) {
				ratio = y / x
			}
			if !(math.Abs(y-ratio*x) <= 1e-6*math.Abs(ratio*x)) {
				return 0, missf("numerator and denominator weigh the sources differently")
			}
		}
		c.cubes = append(c.cubes, den)
	}
	if math.IsNaN(ratio) {
		return 0, missf("no source is ever seen")
	}
	return ratio, nil
}

// alike reports whether C does not depend on the digit of heads at that place.
func (c *coefficients) alike(l *layer, place int) bool {
	for p, cube := range c.cubes {
		lengths := c.lengths(l.heads, p)
		for h := range cube.heads {
			at := tensor.Unravel(h, lengths)
			at[place] = 0
			first := 0
			for i, n := range lengths {
				first = first*n + at[i]
			}
			for i := range cube.queries * cube.sources {
				if n := cube.queries * cube.sources; !equal(cube.c[h*n+i], cube.c[first*n+i]) {
					return false
				}
			}
		}
	}
	return true
}

// maxPairs bounds a cube.
const maxPairs = 1 << 27

// compute evaluates the sum of the fixed factors of all parts.
func (c *coefficients) compute(parts []part, l *layer, w *world) (*cube, error) {
	length := func(list []digit) int {
		n := 1
		for _, d := range list {
			n *= w.sizes(d)
		}
		return n
	}
	out := &cube{heads: length(l.heads), queries: length(l.queries), sources: length(l.sources)}
	if w.query != nil {
		out.queries = 1
	}
	if n := float64(out.heads) * float64(out.queries) * float64(out.sources); n > maxPairs {
		return nil, missf("there are %g weights of heads, queries and sources, too many to look at", n)
	}
	out.c = make([]float64, out.heads*out.queries*out.sources)
	at := make([]int, len(c.sizes))
	order := slices.Concat(l.heads, l.queries, l.sources)
	if w.query != nil { // one row
		for i, d := range l.queries {
			at[d] = w.query[i]
		}
		order = slices.Concat(l.heads, l.sources)
	}
	for _, p := range parts {
		var factors []func() float64
		for _, f := range p.fixed {
			g, err := w.factor(f, at)
			if err != nil {
				return nil, err
			}
			factors = append(factors, g)
		}
		for _, d := range order {
			at[d] = 0
		}
		for i := range out.c {
			x := p.coef
			for _, g := range factors {
				x *= g()
			}
			out.c[i] += x
			for _, d := range slices.Backward(order) {
				if at[d]++; at[d] < w.sizes(d) {
					break
				}
				at[d] = 0
			}
		}
	}
	if slices.ContainsFunc(out.c, func(x float64) bool { return !(x >= 0) || math.IsInf(x, 1) }) {
		return nil, missf("a source is weighed with a number that is no exp of a bias: negative, NaN or infinite")
	}
	return out, nil
}

// factor makes a function of the digits' positions.
func (w *world) factor(f factor, at []int) (func() float64, error) {
	g, err := w.base(f.base, at)
	if err != nil || f.power == 1 {
		return g, err
	}
	return func() float64 { return math.Pow(g(), f.power) }, nil
}

func (w *world) base(b *base, at []int) (func() float64, error) {
	flat := func(x []digit) func() int {
		return func() (n int) {
			for _, d := range x {
				n = n*w.sizes(d) + at[d]
			}
			return n
		}
	}
	switch b.kind {
	case valueOf, whereOf:
		return w.element(b, at)
	case beforeOf:
		x, y := flat(b.idx[0]), flat(b.idx[1])
		return func() float64 { return truth(x() <= y()) }, nil
	case tapsOf:
		return w.taps(b, at)
	}
	arg, err := w.poly(b.arg, at)
	if err != nil {
		return nil, err
	}
	switch {
	case b.kind == expOf:
		return func() float64 { return math.Exp(arg()) }, nil
	case b.kind == polyOf:
		return arg, nil
	case b.kind == callOf && b.name == "log":
		return func() float64 { return math.Log(arg()) }, nil
	}
	return nil, missf("the weights of the sources are made in a way that is not understood")
}

func (w *world) poly(p poly, at []int) (func() float64, error) {
	type product struct {
		coef    float64
		factors []func() float64
	}
	var terms []product
	for _, t := range p {
		out := product{coef: t.coef}
		for _, f := range t.factors {
			g, err := w.factor(f, at)
			if err != nil {
				return nil, err
			}
			out.factors = append(out.factors, g)
		}
		terms = append(terms, out)
	}
	return func() (sum float64) {
		for _, t := range terms {
			x := t.coef
			for _, g := range t.factors {
				x *= g()
			}
			sum += x
		}
		return sum
	}, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var errElements = errors.New("a value is not known at this size")

// element reads a value of the graph; where it is longer than a digit counts, the rest is cut off.
func (w *world) element(b *base, at []int) (func() float64, error) {
	t := w.elements(b.name)
	if t == nil || len(t.Shape) != len(b.idx) {
		return nil, errElements
	}
	type step struct {
		d  digit
		by int
	}
	var steps []step
	stride := 1
	for i, x := range slices.Backward(b.idx) {
		inner := stride
		for _, d := range slices.Backward(x) {
			steps = append(steps, step{d, inner})
			inner *= w.sizes(d)
		}
		if inner > stride*t.Shape[i] {
			return nil, errElements
		}
		stride *= t.Shape[i]
	}
	x := t.Float64s()
	return func() float64 {
		i := 0
		for _, s := range steps {
			i += at[s.d] * s.by
		}
		if b.kind == whereOf {
			return truth((x[i] != 0) != b.not)
		}
		return x[i]
	}, nil
}

// taps reads the kernel of a convolution.
func (w *world) taps(b *base, at []int) (func() float64, error) {
	t := w.elements(b.name)
	if t == nil || len(t.Shape) != 2+len(b.taps.to) {
		return nil, errElements
	}
	x, k := t.Float64s(), b.taps
	channels := 1
	for _, d := range k.channel {
		channels *= w.sizes(d)
	}
	if channels != t.Shape[0] {
		return nil, errElements
	}
	return func() float64 {
		i := 0
		for _, d := range k.channel {
			i = i*w.sizes(d) + at[d]
		}
		for j := range k.to {
			tap := at[k.from[j]] - at[k.to[j]] + k.pads[j]
			if tap < 0 || tap%k.dilation[j] != 0 || tap/k.dilation[j] >= t.Shape[2+j] {
				return 0
			}
			i = i*t.Shape[2+j] + tap/k.dilation[j]
		}
		return x[i]
	}, nil
}

// grown computes C for n queries and sources where the probes had fewer. What depends on shapes is computed anew, with the
// shapes that would then be.
func (c *coefficients) grown(l *layer, n int) (*cube, error) {
	d, s := l.queries[0], l.sources[0]
	names, given := []string{}, map[string]*tensor.Tensor{}
	for _, p := range c.below {
		for _, f := range p.fixed {
			f.base.valuesOf(&names)
		}
	}
	for _, node := range c.nodes {
		if c.class[node.Outputs[0]] != shaped || !slices.ContainsFunc(node.Inputs, func(in string) bool { return c.class[in] == data }) {
			continue
		}
		t, err := c.shapeAt(node.Outputs[0], c.sizes[d], n)
		if err != nil {
			return nil, err
		}
		given[node.Outputs[0]] = t
	}
	var outputs []string
	for _, name := range names {
		if _, made := c.makers[name]; made {
			outputs = append(outputs, name)
		}
	}
	values := map[string]*tensor.Tensor{}
	if len(outputs) > 0 {
		var err error
		o := onnxgraph.RunOptions{Outputs: outputs, Given: given, Wide: true}
		if values, err = c.model.Run(c.ctx, c.inputs[0], o); err != nil {
			return nil, err
		}
	}
	return c.compute(c.below, l, &world{
		sizes: func(x digit) int {
			if x == d || x == s {
				return n
			}
			return c.sizes[x][0]
		},
		elements: func(name string) *tensor.Tensor {
			if t := values[name]; t != nil {
				return t
			}
			return c.elements(name, 0)
		},
	})
}

// shapeAt is a shape that the probes saw at two lengths of a sequence, at another length.
func (c *coefficients) shapeAt(name string, seen size, n int) (*tensor.Tensor, error) {
	lists := [probes][]int64{}
	for p := range probes {
		t := c.elements(name, p)
		if t == nil {
			return nil, errElements
		}
		var err error
		if lists[p], err = t.Int64s(); err != nil {
			return nil, err
		}
	}
	out := slices.Clone(lists[0])
	for i := range out {
		rise, run := lists[1][i]-lists[0][i], int64(seen[1]-seen[0])
		if run != 0 && rise%run == 0 { // else it follows another size
			out[i] += rise / run * int64(n-seen[0])
		}
	}
	t, err := tensor.FromInt64s(c.elements(name, 0).Shape, out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// valuesOf lists the values of the graph that b is made of.
func (b *base) valuesOf(into *[]string) {
	if b.name != "" && b.kind != callOf && !slices.Contains(*into, b.name) {
		*into = append(*into, b.name)
	}
	for _, t := range b.arg {
		for _, f := range t.factors {
			f.base.valuesOf(into)
		}
	}
}

// limits are the lengths that initialisers which C is made of have, the longest first: a bias of so many positions ends there.
func (c *coefficients) limits(than int) []int {
	var names []string
	for _, p := range c.below {
		for _, f := range p.fixed {
			f.base.valuesOf(&names)
		}
	}
	var lengths []int
	seen := map[string]bool{}
	for len(names) > 0 {
		name := names[0]
		if names = names[1:]; seen[name] {
			continue
		}
		seen[name] = true
		if i, made := c.makers[name]; made && c.class[name] != data {
			if !slices.ContainsFunc(c.nodes[i].Inputs, func(in string) bool { return c.class[in] == data }) {
				names = append(names, c.nodes[i].Inputs...)
			}
			continue
		}
		for _, n := range c.model.ConstantShape(name) {
			if n >= than && !slices.Contains(lengths, n) {
				lengths = append(lengths, n)
			}
		}
	}
	slices.Sort(lengths)
	slices.Reverse(lengths)
	return lengths
}
