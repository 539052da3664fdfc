package ops

func aftFull() *Def {
	return &Def{
		Name:    "AFTFull",
		Stem:    "aft_full",
		Summary: "AFT-full: a learned bias for every pair of positions (arXiv:2105.14103, eq. 2)",
		Doc: `Y[b,t,d] = gate(Q[b,t,d]) * sum_s exp(K[b,s,d] + W[t,s]) V[b,s,d] / sum_s exp(K[b,s,d] + W[t,s])

causal limits the sums to s <= t and needs S = T. W may be larger than (T,S): its leading block is used.`,
		Inputs: []Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "S", "D"}, "keys; -inf removes the source position"},
			{"V", T1, []string{"B", "S", "D"}, "values"},
			{"W", T1, []string{">=T", ">=S"}, "pairwise position biases; -inf removes the pair"},
		},
		Outputs: []Port{{"Y", T1, []string{"B", "T", "D"}, "the gated weighted mean"}},
		Attrs:   []Attr{causalAttr(), gateAttr()},
		check: func(c *call) error {
			if c.attrs.Int("causal") == 1 && c.dims["S"] != c.dims["T"] {
				return c.errorf("input %q: has %d positions, want S = T = %d because causal is 1", "K", c.dims["S"], c.dims["T"])
			}
			if err := c.atLeast(3, 0, c.dims["T"], "T"); err != nil {
				return err
			}
			return c.atLeast(3, 1, c.dims["S"], "S")
		},
		body: aftFullBody,
	}
}

func causalAttr() Attr {
	return Attr{Name: "causal", Doc: "1: a position sees itself and what comes before it; 0: every position"}
}

func gateAttr() Attr {
	return Attr{Name: "gate", Doc: "what is done to Q: 0 sigmoid, 1 tanh, 2 identity, 3 absent (Y is the ratio of sums)"}
}

func aftFullBody(b *builder) string {
	_, batch, t, d := b.queries()
	s := b.choose(b.causal(), t, b.dim("K", 1))
	// A product over no sources at all leaves memory as it was in some runtimes: better no answer than that.
	s = b.require(b.or(b.less(fixed(0), s), b.equal(t, fixed(0))), s)
	k := b.compute(b.expect("K", batch, s, d))
	v := b.compute(b.expect("V", batch, s, d))
	block := b.op("Slice", []string{"W", b.ints(0, 0), b.vector(t, s), b.ints(0, 1)})
	w := b.compute(b.expect(block, t, s)) // Slice stops at the end of a W that is too small
	return b.dense(b.hideFuture(w, t, s), k, v, s, d)
}
