package reference

// AFTLocalStep is causal AFTLocal over the next tokens of sequences whose past is the state (M, N, D, Keys, Values). W is the
// causal band (R,s), s = Window >= 1: the token at position p takes row p, so R ends the positions. Q, K and V are (B,T,D),
// Keys and Values (B,s-1,D). However a sequence is cut into chunks, the rows are those of AFTLocal over the whole.
func AFTLocalStep(q, k, v, w Array, past State, at Chunk, g Gate) (Array, State, error) {
	c := newCall("AFTLocalStep", Options{Gate: g})
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "T", "D")
	c.input("V", v, "B", "T", "D")
	c.input("W", w, "", "s")
	c.atLeast("W", w, 1, 1, "1 column")
	c.sums(past, "D")
	c.ring(past, "D")
	c.window(past)
	if c.err == nil {
		c.chunk(at, w.Shape[0], "rows of W")
	}
	if c.err != nil {
		return Array{}, State{}, c.err
	}
	s := w.Shape[1]
	x := &stepping{q: q, k: k, v: v, heads: c.sizes["D"], past: past, at: at, gate: g, window: s,
		bias: func(row []float64, _, position int) { copy(row, w.Data[(position+1)*s-len(row):]) }}
	return x.run()
}

// window requires a ring of s-1 tokens.
func (c *call) window(past State) {
	c.exactly("keys", past.Keys, 1, c.sizes["s"]-1, "s-1")
	c.exactly("values", past.Values, 1, c.sizes["s"]-1, "s-1")
}
