package ops

func aftLocalStep() *Def {
	state := append(sumPorts("D"), tokenPorts("s-1", "D", "the last s-1 tokens, the oldest first")...)
	return &Def{
		Name:    "AFTLocalStep",
		Stem:    "aft_local_step",
		Whole:   "AFTLocal",
		Summary: "causal AFTLocal a chunk at a time, with a state of (2s+1)D numbers",
		Doc: `AFTLocal with causal = 1 and window = s, the columns of W. The token at position p takes row p of W: the rows end the
positions. m, n and d sum the tokens that have left the window, with bias 0; keys and values are those of the last s-1
tokens. However a sequence is cut into chunks, Y is that of AFTLocal over the whole.`,
		Inputs: append(append([]Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "T", "D"}, "keys; -inf removes the source position"},
			{"V", T1, []string{"B", "T", "D"}, "values"},
			{"W", T1, []string{">=position+length", "s"}, "band of biases: column j of row p is for source p+j-(s-1)"},
		}, state...), positionPort(), lengthPort()),
		Outputs: stepOutputs(state...),
		Attrs:   []Attr{gateAttr()},
		check: func(c *call) error {
			if err := c.checkRing(7); err != nil {
				return err
			}
			return c.checkChunk(c.inputs[3].Shape[0], "rows of W")
		},
		body: aftLocalStepBody,
	}
}

func aftLocalStepBody(b *builder) string {
	x := newStep(b, b.dim("W", 0))
	s := b.dim("W", 1)
	k, v := b.expect("K", x.batch, x.t, x.d), b.expect("V", x.batch, x.t, x.d)
	p := x.past(x.d, s)
	r, keepTokens := x.ring(k, v, x.d, s)
	n := b.plus(b.minus(s, fixed(1)), x.t) // tokens a window may reach

	m := b.op("Max", []string{b.unsqueeze(p.m, 1), b.finiteMax(r.keys, 1)})
	a := b.exp(b.sub(r.keys, m))
	old := b.exp(b.sub(b.unsqueeze(p.m, 1), m))
	weight, outside := x.band(s, n)
	sum := func(past, terms string) string {
		return b.add(b.product(weight, terms, n, x.d), b.mul(outside, b.mul(b.unsqueeze(past, 1), old)))
	}
	num, den := sum(p.n, b.mul(a, r.values)), sum(p.d, a)

	x.keep(p, x.leaving(r.keys), x.d, func(a string) string {
		return b.mul(a, b.slice(r.values, 1, fixed(0), x.t))
	}, func(v string) string { return v })
	keepTokens()
	return b.ratio(num, den)
}

// band is exp(w - top), (B,T,n), and exp(-top), (B,T,1), top the largest bias of a row: w is W inside the window and 0 before
// it. Entries of W before the first token count for nothing. Where nothing lies before the window exp(-top) is 0.
func (x *stepBody) band(s, n size) (weight, outside string) {
	b := x.b
	row := b.unsqueeze(x.rowOf(), 2)
	w := b.compute(b.op("Gather", []string{"W", b.op("Squeeze", []string{row, b.ints(2)})}))
	w = b.reshape(w, x.batch, x.t, s)
	first := b.op("Sub", []string{b.vec(b.minus(s, fixed(1))), row}) // the column of token 0
	w = b.where(b.op("Less", []string{b.index(s), first}), b.lowest(), w)
	before := b.op("GreaterOrEqual", []string{row, b.vec(s)}) // (B,T,1): tokens lie before the window
	top := b.op("Max", []string{b.max(w, 2), b.where(before, b.real(0), b.lowest())})
	outside = b.where(before, b.exp(b.op("Neg", []string{b.op("Max", []string{top, b.real(0)})})), b.real(0))

	e := b.reshape(b.exp(b.sub(w, top)), x.batch, x.t, s, fixed(1))
	e = b.reshape(b.skew(e, x.batch, x.t, s, fixed(1)), x.batch, x.t, n)
	// Columns before the diagonal have left the window.
	gone := b.op("Less", []string{b.unsqueeze(b.index(n), 0), b.unsqueeze(b.index(x.t), 1)})
	return b.where(gone, outside, e), outside
}
