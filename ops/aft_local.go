package ops

import "math"

func aftLocal() *Def {
	return &Def{
		Name:    "AFTLocal",
		Stem:    "aft_local",
		Summary: "AFT-local: biases inside a window, connectivity everywhere (arXiv:2105.14103, eq. 4)",
		Doc: `AFTFull with S = T and the bias w[t,t'] = W[t, t'-t+s-1] where |t-t'| < s, 0 elsewhere, s = window.

Outside the window the bias is 0, never -inf: the pair still counts. Band entries that point outside the sequence are
ignored, whatever they hold; s may exceed T. causal limits the sums to t' <= t, and W keeps only the columns of t' <= t.
The paper's s = 0 is AFTSimple.`,
		Inputs: []Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "T", "D"}, "keys; -inf removes the source position"},
			{"V", T1, []string{"B", "T", "D"}, "values"},
			{"W", T1, []string{">=T", "2s-1, or s when causal"}, "band of biases: column j of row t is for source t+j-(s-1)"},
		},
		Outputs: []Port{{"Y", T1, []string{"B", "T", "D"}, "the gated weighted mean"}},
		Attrs: []Attr{
			causalAttr(), gateAttr(),
			{Name: "window", Default: 1, Doc: "the paper's s, at least 1: the bias reaches sources with |t-t'| < s"},
		},
		check: func(c *call) error {
			if err := c.within("window", 0, 1, math.MaxInt32, "the paper's s"); err != nil {
				return err
			}
			if err := c.atLeast(3, 0, c.dims["T"], "T"); err != nil {
				return err
			}
			s := int(c.attrs.Int("window"))
			if c.attrs.Int("causal") == 1 {
				return c.exactly(3, 1, s, "window")
			}
			return c.exactly(3, 1, 2*s-1, "2*window-1")
		},
		body: aftLocalBody,
	}
}

func aftLocalBody(b *builder) string {
	_, batch, t, d := b.queries()
	k := b.compute(b.expect("K", batch, t, d))
	v := b.compute(b.expect("V", batch, t, d))
	return b.dense(b.hideFuture(b.band(t), t, t), k, v, t, d)
}

// band is W as a (T,T) matrix of biases, 0 outside the window. Only the columns that can meet the sequence are used: m-1
// before the position, m-1 after it (none when causal), m = min(s,T). The row t is shifted right by t, and the T columns
// from m-1 on are the sources; entries that point outside the sequence are not among them.
func (b *builder) band(t size) string {
	causal, s := b.causal(), b.attr("window", 0)
	m := b.most(b.least(s, t), fixed(1))
	before := b.minus(m, fixed(1))
	after := b.choose(causal, fixed(0), before)
	n := b.plus(m, after)

	full := b.choose(causal, s, b.minus(b.plus(s, s), fixed(1)))
	n = b.require(b.equal(b.dim("W", 1), full), n)
	from, to := b.minus(s, m), b.plus(s, after)
	w := b.op("Slice", []string{"W", b.vector(fixed(0), from), b.vector(t, to), b.ints(0, 1)})
	w = b.compute(b.reshape(w, fixed(1), t, n, fixed(1)))

	w = b.skew(w, fixed(1), t, n, fixed(1))
	return b.reshape(b.slice(w, 2, before, b.plus(before, t)), t, t)
}
