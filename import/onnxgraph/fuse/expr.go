package fuse

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// kind is what a base is.
type kind int

const (
	valueOf  kind = iota // an element of a value of the graph
	expOf                // exp of a product
	sumOf                // the sum of a product over indices
	polyOf               // a sum of products
	callOf               // a function of a sum of products: sigmoid, tanh, log, max over indices
	whereOf              // 1 where an element of a bool value of the graph is true (or false), 0 elsewhere
	beforeOf             // 1 where one index is less than another or equal, 0 elsewhere
	tapsOf               // the element of a kernel of a convolution that leads from one index to another, 0 where none does
)

// base is what a product has powers of.
type base struct {
	kind  kind
	name  string  // of the value or function
	idx   indices // of an element
	arg   poly    // of a function; of expOf and sumOf one product with the coefficient 1
	bound index   // what a sum or maximum runs over
	not   bool    // whereOf: where it is false
	taps  *taps   // tapsOf
	text  string  // canonical, for comparison
}

// taps is how a convolution reads its kernel: the weight's element [channel, 0, from-to+...] in every dimension.
type taps struct {
	channel        index
	to, from       []digit // output and input position, one digit a dimension
	pads, dilation []int
}

// factor is a power of a base.
type factor struct {
	base  *base
	power float64
}

// term is a product with a coefficient.
type term struct {
	coef    float64
	factors []factor // by text, no base twice, no power 0
}

// poly is a sum of products, no product twice. Empty is 0.
type poly []term

func number(x float64) poly {
	if x == 0 {
		return nil
	}
	return poly{{coef: x}}
}

func of(b *base) poly { return poly{{coef: 1, factors: []factor{{b, 1}}}} }

// element is [name; idx].
func element(name string, idx indices) *base { return seal(&base{kind: valueOf, name: name, idx: idx}) }

// seal completes a base; it must not change afterwards.
func seal(b *base) *base {
	b.text = b.write(map[digit]string{})
	return b
}

// write is the canonical text of b. Bound digits are called by where they are bound, so that sums that differ in the names of
// their indices alone have one text.
func (b *base) write(names map[digit]string) string {
	if b.text != "" && len(names) == 0 {
		return b.text
	}
	switch b.kind {
	case valueOf:
		return fmt.Sprintf("%q%s", b.name, writeIndices(b.idx, names))
	case whereOf:
		return fmt.Sprintf("where %v %q%s", !b.not, b.name, writeIndices(b.idx, names))
	case beforeOf:
		return "before" + writeIndices(b.idx, names)
	case tapsOf:
		t := b.taps
		return fmt.Sprintf("taps %q%s%v%v", b.name, writeIndices(indices{t.channel, t.to, t.from}, names), t.pads, t.dilation)
	case expOf:
		return "exp(" + b.arg.write(names) + ")"
	case polyOf:
		return "(" + b.arg.write(names) + ")"
	}
	inner := names
	if len(b.bound) > 0 {
		inner = make(map[digit]string, len(names)+len(b.bound))
		for d, name := range names {
			inner[d] = name
		}
		for i, d := range b.bound {
			inner[d] = fmt.Sprintf("b%d.%d", len(names), i)
		}
	}
	if b.kind == sumOf {
		return fmt.Sprintf("sum%d(%s)", len(b.bound), b.arg.write(inner))
	}
	return fmt.Sprintf("%s%d(%s)", b.name, len(b.bound), b.arg.write(inner))
}

func writeIndices(idx indices, names map[digit]string) string {
	var b strings.Builder
	for i, x := range idx {
		b.WriteString([]string{"[", ","}[min(i, 1)])
		for j, d := range x {
			if j > 0 {
				b.WriteByte('.')
			}
			if name, ok := names[d]; ok {
				b.WriteString(name)
			} else {
				fmt.Fprintf(&b, "%d", d)
			}
		}
	}
	b.WriteByte(']')
	return b.String()
}

func (p poly) write(names map[digit]string) string {
	parts := make([]string, len(p))
	for i, t := range p {
		parts[i] = t.write(names)
	}
	slices.Sort(parts)
	return strings.Join(parts, " + ")
}

func (t term) write(names map[digit]string) string {
	parts := make([]string, len(t.factors))
	for i, f := range t.factors {
		parts[i] = fmt.Sprintf("%s^%g", f.base.write(names), f.power)
	}
	slices.Sort(parts)
	return fmt.Sprintf("%g %s", t.coef, strings.Join(parts, " "))
}

// same is the text of the factors alone.
func (t term) same() string { return term{coef: 1, factors: t.factors}.write(map[digit]string{}) }

// depends reports whether p has one of the digits, bound ones aside.
func (p poly) depends(on index) bool {
	return slices.ContainsFunc(p, func(t term) bool {
		return slices.ContainsFunc(t.factors, func(f factor) bool { return f.base.depends(on) })
	})
}

func (b *base) depends(on index) bool {
	has := func(x index) bool {
		return slices.ContainsFunc(x, func(d digit) bool { return slices.Contains(on, d) })
	}
	if b.arg.depends(on) || slices.ContainsFunc(b.idx, has) {
		return true
	}
	return b.taps != nil && (has(b.taps.channel) || has(b.taps.to) || has(b.taps.from))
}

// digitsOf collects the digits that are not bound.
func (b *base) digitsOf(into map[digit]bool) {
	inner := map[digit]bool{}
	for _, t := range b.arg {
		for _, f := range t.factors {
			f.base.digitsOf(inner)
		}
	}
	for _, d := range b.bound {
		delete(inner, d)
	}
	for d := range inner {
		into[d] = true
	}
	for _, d := range b.idx.digits() {
		into[d] = true
	}
	if b.taps != nil {
		for _, d := range slices.Concat(b.taps.channel, b.taps.to, b.taps.from) {
			into[d] = true
		}
	}
}

// renamed is b with other digits.
func (b *base) renamed(to map[digit]digit) *base {
	c := &base{kind: b.kind, name: b.name, not: b.not, arg: b.arg.renamed(to), bound: renamedIndex(b.bound, to)}
	for _, x := range b.idx {
		c.idx = append(c.idx, renamedIndex(x, to))
	}
	if b.taps != nil {
		t := *b.taps
		t.channel, t.to, t.from = renamedIndex(t.channel, to), renamedIndex(t.to, to), renamedIndex(t.from, to)
		c.taps = &t
	}
	return seal(c)
}

func renamedIndex(x index, to map[digit]digit) index {
	out := slices.Clone(x)
	for i, d := range out {
		if e, ok := to[d]; ok {
			out[i] = e
		}
	}
	return out
}

func (p poly) renamed(to map[digit]digit) poly {
	var out poly
	for _, t := range p {
		r := term{coef: t.coef}
		for _, f := range t.factors {
			r.factors = append(r.factors, factor{f.base.renamed(to), f.power})
		}
		r.sort()
		out = append(out, r)
	}
	return out
}

func (t *term) sort() {
	slices.SortFunc(t.factors, func(a, b factor) int { return strings.Compare(a.base.text, b.base.text) })
}

// ---- arithmetic

func plus(p, q poly) poly {
	out := slices.Clone(p)
next:
	for _, t := range q {
		text := t.same()
		for i := range out {
			if out[i].same() == text {
				if out[i].coef += t.coef; out[i].coef == 0 {
					out = slices.Delete(out, i, i+1)
				}
				continue next
			}
		}
		out = append(out, t)
	}
	return out
}

func scaled(p poly, by float64) poly {
	if by == 0 {
		return nil
	}
	out := slices.Clone(p)
	for i := range out {
		out[i].coef *= by
	}
	return out
}

// asTerm is p as one product.
func (p poly) asTerm() term {
	if len(p) == 1 {
		return p[0]
	}
	return term{coef: 1, factors: []factor{{seal(&base{kind: polyOf, arg: p}), 1}}}
}

// times multiplies out only by numbers: elsewhere a sum stays a factor.
func times(p, q poly) poly {
	switch {
	case len(p) == 0 || len(q) == 0:
		return nil
	case len(p) == 1 && len(p[0].factors) == 0:
		return scaled(q, p[0].coef)
	case len(q) == 1 && len(q[0].factors) == 0:
		return scaled(p, q[0].coef)
	}
	return product(p.asTerm(), q.asTerm())
}

func product(a, b term) poly {
	out := term{coef: a.coef * b.coef}
	powers, bases := map[string]float64{}, map[string]*base{}
	for _, f := range slices.Concat(a.factors, b.factors) {
		powers[f.base.text] += f.power
		bases[f.base.text] = f.base
	}
	for text, power := range powers {
		if power != 0 {
			out.factors = append(out.factors, factor{bases[text], power})
		}
	}
	out.sort()
	// a sum to the power 1 that is left alone is a sum again
	if len(out.factors) == 1 && out.factors[0].power == 1 && out.factors[0].base.kind == polyOf {
		return scaled(out.factors[0].base.arg, out.coef)
	}
	return poly{out}
}

// power is p^x.
func power(p poly, x float64) poly {
	if len(p) == 0 {
		return nil
	}
	t := p.asTerm()
	out := term{coef: math.Pow(t.coef, x)}
	for _, f := range t.factors {
		out.factors = append(out.factors, factor{f.base, f.power * x})
	}
	return poly{out}
}

// exp turns sums into products.
func exp(p poly) poly {
	out := number(1)
	for _, t := range p {
		switch {
		case len(t.factors) == 0:
			out = times(out, number(math.Exp(t.coef)))
		case len(t.factors) == 1 && t.factors[0].power == 1 && t.factors[0].base.kind == callOf && t.factors[0].base.name == "log":
			out = times(out, power(t.factors[0].base.arg, t.coef))
		default:
			b := seal(&base{kind: expOf, arg: poly{{coef: 1, factors: t.factors}}})
			out = times(out, poly{{coef: 1, factors: []factor{{b, t.coef}}}})
		}
	}
	return out
}

// log turns products into sums.
func log(p poly) poly {
	t := p.asTerm()
	if len(p) == 0 || t.coef <= 0 {
		return of(seal(&base{kind: callOf, name: "log", arg: p}))
	}
	out := number(math.Log(t.coef))
	for _, f := range t.factors {
		if f.base.kind == expOf {
			out = plus(out, scaled(f.base.arg, f.power))
			continue
		}
		arg := of(f.base)
		if f.base.kind == polyOf {
			arg = f.base.arg
		}
		out = plus(out, scaled(of(seal(&base{kind: callOf, name: "log", arg: arg})), f.power))
	}
	return out
}

// sum adds up over an index. What does not depend on it stands before the sum; sums of sums are one.
func sum(p poly, over index) poly {
	if len(over) == 0 {
		return p
	}
	var out poly
	for _, t := range p {
		outer, inner := term{coef: t.coef}, term{coef: 1}
		for _, f := range t.factors {
			if f.base.depends(over) {
				inner.factors = append(inner.factors, f)
			} else {
				outer.factors = append(outer.factors, f)
			}
		}
		bound := slices.Clone(over)
		if len(inner.factors) == 1 && inner.factors[0].power == 1 && inner.factors[0].base.kind == sumOf {
			b := inner.factors[0].base
			bound, inner = append(bound, b.bound...), b.arg[0]
		}
		b := seal(&base{kind: sumOf, bound: bound, arg: poly{inner}})
		out = plus(out, product(outer, term{coef: 1, factors: []factor{{b, 1}}}))
	}
	return out
}
