package fuse

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// layer is an AFT layer found in a graph.
type layer struct {
	root  string // the value that it computes
	op    string
	attrs ops.Attrs
	out   indices // of root

	batch, queries, sources, heads, channels []digit // channels: those of one head
	convolution                              bool    // K has one number a head

	q, k, v poly
	bias    poly           // W where it depends on data, or on shapes without a limit
	weight  *tensor.Tensor // W where it is constant, in float64

	notes []string
}

// miss says why something that looks like AFT is none of the operators; an empty one does not look like AFT.
type miss struct{ reason string }

func (m *miss) Error() string { return m.reason }

func missf(format string, args ...any) error { return &miss{fmt.Sprintf(format, args...)} }

var notAFT = &miss{}

// part is one sum of a numerator or denominator.
type part struct {
	coef  float64
	fixed []factor // what depends on shapes alone
	terms []factor // what depends on data
}

// match reads the normal form of a value as
//
//	gate(Q) * sum_s C exp(K) V / sum_s C exp(K).
func (a *analysis) match(ctx context.Context, root string, idx indices, p poly) (*layer, error) {
	if len(p) != 1 {
		return nil, notAFT
	}
	l := &layer{root: root, out: idx, attrs: ops.Attrs{}}
	var num, den *base
	rest := term{coef: p[0].coef}
	for _, f := range p[0].factors {
		switch {
		case a.isSums(f.base) && f.power == 1 && num == nil:
			num = f.base
		case a.isSums(f.base) && f.power == -1 && den == nil:
			den = f.base
		default:
			rest.factors = append(rest.factors, f)
		}
	}
	if num == nil || den == nil {
		return nil, notAFT
	}
	over := firstBound(den)
	above, err1 := a.parts(num, over, l, &rest, 1)
	below, err2 := a.parts(den, over, l, &rest, -1)
	if err1 != nil || err2 != nil || !slices.ContainsFunc(below[0].terms, func(f factor) bool { return f.base.kind == expOf }) {
		return nil, notAFT
	}
	if err := l.keysAndValues(above, below); err != nil {
		return nil, err
	}
	l.sources = over
	if err := a.gate(l, rest); err != nil {
		return nil, err
	}
	c := &coefficients{analysis: a, ctx: ctx, above: above, below: below}
	if err := a.roles(l, c); err != nil {
		return nil, err
	}
	if len(l.k) == 0 {
		return nil, missf("there are no keys: the weights are of pairs, as those of attention are")
	}
	ratio, err := c.read(l)
	if err != nil {
		return nil, err
	}
	if a.shareHeads(l, c) { // fewer heads than the kernel has rows: read it again
		if ratio, err = c.read(l); err != nil {
			return nil, err
		}
	}
	if scale := rest.coef * ratio; math.Abs(scale-1) > 1e-6 {
		return nil, missf("the ratio of the sums is multiplied by %g", scale)
	}
	if err := c.classify(l); err != nil {
		return nil, err
	}
	for _, guard := range slices.Sorted(maps.Keys(a.guards)) {
		if guard > 1e-30 { // less is lost in every sum of float that has a term
			l.notes = append(l.notes, fmt.Sprintf("without the %v that keeps the denominator from 0", float32(guard)))
		}
	}
	return l, nil
}

// isSums reports whether b is a sum over indices, or a sum of such.
func (a *analysis) isSums(b *base) bool {
	if b.kind == sumOf {
		return true
	}
	if b.kind != polyOf {
		return false
	}
	sums := 0
	for _, t := range b.arg {
		n := 0
		for _, f := range t.factors {
			if f.base.kind == sumOf && f.power == 1 {
				n++
			}
		}
		if n > 1 || n == 0 && (len(t.factors) > 0 || math.Abs(t.coef) > negligible) {
			return false
		}
		sums += n
	}
	return sums > 0
}

func firstBound(b *base) index {
	if b.kind == sumOf {
		return b.bound
	}
	for _, t := range b.arg {
		for _, f := range t.factors {
			if f.base.kind == sumOf {
				return f.base.bound
			}
		}
	}
	return nil
}

// parts takes a numerator or denominator apart, with one name for what all of its sums run over. What every sum is
// multiplied with goes to rest, to the power given.
func (a *analysis) parts(b *base, over index, l *layer, rest *term, sign float64) ([]part, error) {
	sums := b.arg
	if b.kind == sumOf {
		sums = of(b)
	}
	var out []part
	var outer []factor
	for _, t := range sums {
		if len(t.factors) == 0 {
			a.guards[t.coef] = true
			continue
		}
		p, own := part{coef: t.coef}, []factor{}
		var inside *base
		for _, f := range t.factors {
			switch {
			case f.base.kind == sumOf:
				inside = f.base
			case a.isFixed(f.base):
				p.fixed = append(p.fixed, f)
			default:
				own = append(own, f)
			}
		}
		if len(out) > 0 && (term{coef: 1, factors: own}).same() != (term{coef: 1, factors: outer}).same() {
			return nil, errShape
		}
		outer = own
		names, err := a.aligned(inside.bound, over)
		if err != nil {
			return nil, err
		}
		for _, f := range inside.arg.renamed(names)[0].factors {
			if a.isFixed(f.base) {
				p.fixed = append(p.fixed, f)
			} else {
				p.terms = append(p.terms, f)
			}
		}
		out = append(out, p)
	}
	for _, f := range outer {
		r := product(*rest, term{coef: 1, factors: []factor{{f.base, sign * f.power}}})
		*rest = r.asTerm()
	}
	return out, nil
}

// aligned renames bound digits to others of the same sizes.
func (a *analysis) aligned(from, to index) (map[digit]digit, error) {
	if len(from) != len(to) {
		return nil, errShape
	}
	names := map[digit]digit{}
	for i, d := range from {
		if a.sizes[d] != a.sizes[to[i]] {
			return nil, errShape
		}
		names[d] = to[i]
	}
	return names, nil
}

// isFixed reports whether a base depends on shapes and initialisers alone.
func (a *analysis) isFixed(b *base) bool {
	switch b.kind {
	case valueOf, whereOf:
		return a.class[b.name] != data
	case beforeOf, tapsOf:
		return true
	}
	for _, t := range b.arg {
		for _, f := range t.factors {
			if !a.isFixed(f.base) {
				return false
			}
		}
	}
	return true
}

// keysAndValues finds K in what every sum has, V in what only the sums of the numerator have.
func (l *layer) keysAndValues(above, below []part) error {
	shared := term{coef: 1, factors: below[0].terms}
	for _, p := range below[1:] {
		if (term{coef: 1, factors: p.terms}).same() != shared.same() {
			return missf("the sums of the denominator have different terms")
		}
	}
	inverse := power(poly{shared}, -1)[0]
	values := ""
	for i, p := range above {
		v := product(term{coef: 1, factors: p.terms}, inverse)
		if text := v.write(map[digit]string{}); i == 0 {
			l.v, values = v, text
		} else if text != values {
			return missf("the sums of the numerator have different terms")
		}
	}
	if len(l.v) == 1 && len(l.v[0].factors) == 0 {
		return missf("numerator and denominator sum the same terms: there are no values")
	}
	l.k = log(poly{shared})
	return nil
}

// gate reads what the ratio is multiplied with.
func (a *analysis) gate(l *layer, rest term) error {
	switch len(rest.factors) {
	case 0:
		l.attrs["gate"] = []int64{ops.GateAbsent}
		return nil
	case 1:
	default:
		return missf("the ratio of the sums is multiplied by more than a gate")
	}
	f := rest.factors[0]
	l.q = of(f.base)
	l.attrs["gate"] = []int64{ops.GateIdentity}
	if x := sigmoid(f); x != nil {
		l.q, l.attrs["gate"] = x, []int64{ops.GateSigmoid}
		return nil
	}
	if f.power != 1 || f.base.kind != valueOf && f.base.kind != polyOf {
		return missf("the ratio of the sums is multiplied by what is no gate")
	}
	if i, made := a.makers[f.base.name]; made && f.base.kind == valueOf && a.nodes[i].Domain == "" {
		gates := map[string]int64{"Sigmoid": ops.GateSigmoid, "Tanh": ops.GateTanh}
		if gate, ok := gates[a.nodes[i].Op]; ok {
			l.attrs["gate"] = []int64{gate}
			l.q = of(element(a.rep(a.nodes[i].Inputs[0]), f.base.idx))
		}
	}
	return nil
}

// sigmoid reads 1/(1+exp(-x)) and gives x, nil where f is something else.
func sigmoid(f factor) poly {
	if f.power != -1 || f.base.kind != polyOf || len(f.base.arg) != 2 {
		return nil
	}
	for i, t := range f.base.arg {
		other := f.base.arg[1-i]
		if len(t.factors) == 0 && t.coef == 1 && other.coef == 1 && len(other.factors) == 1 && other.factors[0].base.kind == expOf {
			return scaled(other.factors[0].base.arg, -other.factors[0].power)
		}
	}
	return nil
}

// roles says which digit of the result counts what.
func (a *analysis) roles(l *layer, c *coefficients) error {
	values, fixed, out := digitsIn(l.v), c.digits(), l.out.digits()
	source := func(d digit) bool { return slices.Contains(l.sources, d) }
	l.splitBias(values)
	keys := digitsIn(l.k)
	for _, d := range slices.Sorted(maps.Keys(values)) {
		if !source(d) && !slices.Contains(out, d) {
			return notAFT
		}
	}
	for _, d := range slices.Sorted(maps.Keys(keys)) {
		if !source(d) && !values[d] {
			return missf("the keys depend on more than the values do")
		}
	}
	for _, d := range out {
		if !keys[d] && !values[d] {
			l.queries = append(l.queries, d)
		}
	}
	last := map[digit]bool{} // the digits of the axis of channels: the last one that is not the queries'
	for _, x := range slices.Backward(l.out) {
		x = slices.DeleteFunc(slices.Clone(x), func(d digit) bool { return slices.Contains(l.queries, d) })
		if len(x) > 0 {
			for _, d := range x {
				last[d] = true
			}
			break
		}
	}
	for _, d := range out {
		l.convolution = l.convolution || values[d] && (fixed[d] || !keys[d] && last[d])
	}
	for _, d := range out {
		switch {
		case slices.Contains(l.queries, d):
		case l.convolution && fixed[d], l.convolution && keys[d] && last[d]:
			l.heads = append(l.heads, d)
		case l.convolution && !keys[d], !l.convolution && last[d]:
			l.channels = append(l.channels, d)
		default:
			l.batch = append(l.batch, d)
		}
	}
	if len(l.queries) != 0 && len(l.queries) != len(l.sources) {
		return missf("queries and sources are counted along %d and %d axes", len(l.queries), len(l.sources))
	}
	for d := range digitsIn(l.bias) {
		if !source(d) && !slices.Contains(l.queries, d) {
			return missf("a bias of query and source also depends on the batch or the channel, as attention's does")
		}
	}
	for d := range fixed {
		if !source(d) && !slices.Contains(l.queries, d) && !slices.Contains(l.heads, d) {
			return missf("the bias depends on more than query, source and head")
		}
	}
	return nil
}

// shareHeads makes channels of the heads that neither keys nor the numbers of C tell apart: convolutions repeat a head's
// kernel for each of its channels. It reports whether there were any.
func (a *analysis) shareHeads(l *layer, c *coefficients) bool {
	keys := digitsIn(l.k)
	var heads, channels []digit
	for i, d := range l.heads {
		if keys[d] || !c.alike(l, i) {
			heads = append(heads, d)
		} else {
			channels = append(channels, d)
		}
	}
	if len(channels) == 0 {
		return false
	}
	rest := slices.Concat(channels, l.channels)
	l.channels = slices.DeleteFunc(l.out.digits(), func(d digit) bool { return !slices.Contains(rest, d) })
	l.heads = heads
	return true
}

// splitBias takes what depends on the query from the keys: it has a digit of the result that the values do not have.
func (l *layer) splitBias(values map[digit]bool) {
	var keys poly
	for _, t := range l.k {
		own := digitsIn(poly{t})
		if slices.ContainsFunc(l.out.digits(), func(d digit) bool { return own[d] && !values[d] }) {
			l.bias = append(l.bias, t)
		} else {
			keys = append(keys, t)
		}
	}
	l.k = keys
}

func digitsIn(p poly) map[digit]bool {
	set := map[digit]bool{}
	for _, t := range p {
		for _, f := range t.factors {
			f.base.digitsOf(set)
		}
	}
	return set
}
