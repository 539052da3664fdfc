package ops

func aftSimpleStep() *Def {
	state := sumPorts("D")
	return &Def{
		Name:    "AFTSimpleStep",
		Stem:    "aft_simple_step",
		Whole:   "AFTSimple",
		Summary: "causal AFTSimple a chunk at a time, with a state of 3D numbers",
		Doc: `Y[b,t,d] = gate(Q[b,t,d]) * (exp(m) n + sum_{i<=t} exp(K[b,i,d]) V[b,i,d]) / (exp(m) d + sum_{i<=t} exp(K[b,i,d]))

m, n and d at [b,d]. However a sequence is cut into chunks, Y is that of AFTSimple with causal = 1 over the whole.`,
		Inputs: append(append([]Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "T", "D"}, "keys; -inf removes the source position"},
			{"V", T1, []string{"B", "T", "D"}, "values"},
		}, state...), positionPort(), lengthPort()),
		Outputs: stepOutputs(state...),
		Attrs:   []Attr{gateAttr()},
		check:   func(c *call) error { return c.checkChunk(noLimit, "") },
		body:    aftSimpleStepBody,
	}
}

func aftSimpleStepBody(b *builder) string {
	x := newStep(b)
	k := x.keys(b.expect("K", x.batch, x.t, x.d))
	v := x.values(b.expect("V", x.batch, x.t, x.d))
	p := x.past(x.d, fixed(1))

	m := b.op("Max", []string{b.unsqueeze(p.m, 1), b.finiteMax(k, 1)})
	a := b.exp(b.sub(k, m))
	old := b.exp(b.sub(b.unsqueeze(p.m, 1), m))
	num := b.add(b.running(b.mul(a, v)), b.mul(b.unsqueeze(p.n, 1), old))
	den := b.add(b.running(a), b.mul(b.unsqueeze(p.d, 1), old))
	x.keep(p, k, x.d, func(a string) string { return b.mul(a, v) }, func(v string) string { return v })
	return b.ratio(num, den)
}
