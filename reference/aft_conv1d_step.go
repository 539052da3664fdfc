package reference

// AFTConv1DStep is causal AFTConv1D over the next tokens of sequences whose past is the state (M, N, D, Keys, Values). W is
// (H,s); its last tap weighs the token itself (the PadLeft of AFTConv1D is s-1). Q and V are (B,T,D), K is (B,T,H); M and D are
// (B,H), N is (B,D), Keys (B,s-1,H), Values (B,s-1,D). However a sequence is cut into chunks, the rows are those of AFTConv1D
// over the whole.
func AFTConv1DStep(q, k, v, w Array, past State, at Chunk, g Gate) (Array, State, error) {
	c := newCall("AFTConv1DStep", Options{Gate: g})
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "T", "H")
	c.input("V", v, "B", "T", "D")
	c.input("W", w, "H", "s")
	c.heads()
	c.atLeast("W", w, 1, 1, "1 tap")
	c.sums(past, "H")
	c.ring(past, "H")
	c.window(past)
	c.chunk(at, noLimit, "")
	if c.err != nil {
		return Array{}, State{}, c.err
	}
	s := w.Shape[1]
	x := &stepping{q: q, k: k, v: v, heads: c.sizes["H"], past: past, at: at, gate: g, window: s,
		bias: func(row []float64, h, _ int) { copy(row, w.Data[(h+1)*s-len(row):]) }}
	return x.run()
}
