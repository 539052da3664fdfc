package ops

func aftSimple() *Def {
	return &Def{
		Name:    "AFTSimple",
		Stem:    "aft_simple",
		Summary: "AFT-simple: no position bias, O(B(T+S)D) time (arXiv:2105.14103, eq. 5)",
		Doc: `Y[b,t,d] = gate(Q[b,t,d]) * sum_s exp(K[b,s,d]) V[b,s,d] / sum_s exp(K[b,s,d])

causal limits the sums to s <= t and needs S = T.`,
		Inputs: []Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "S", "D"}, "keys; -inf removes the source position"},
			{"V", T1, []string{"B", "S", "D"}, "values"},
		},
		Outputs: []Port{{"Y", T1, []string{"B", "T", "D"}, "the gated weighted mean"}},
		Attrs:   []Attr{causalAttr(), gateAttr()},
		check: func(c *call) error {
			if c.attrs.Int("causal") == 1 && c.dims["S"] != c.dims["T"] {
				return c.errorf("input %q: has %d positions, want S = T = %d because causal is 1", "K", c.dims["S"], c.dims["T"])
			}
			return nil
		},
		body: aftSimpleBody,
	}
}

func aftSimpleBody(b *builder) string {
	_, batch, t, d := b.queries()
	causal := b.causal()
	s := b.choose(causal, t, b.dim("K", 1))
	a := b.keys(b.compute(b.expect("K", batch, s, d)))
	av := b.mul(a, b.compute(b.expect("V", batch, s, d)))
	if causal.known && !causal.value {
		return b.ratio(b.total(av, batch, s, d), b.total(a, batch, s, d))
	}
	ratio := b.ratio(b.running(av), b.running(a))
	if causal.known {
		return ratio
	}
	from := b.choose(causal, fixed(0), b.minus(s, fixed(1))) // the last running sum is the total
	return b.slice(ratio, 1, from, s)
}
