package reference

// AFTFullStep is causal AFTFull over the next tokens of sequences whose past is a cache of all their keys and values: token i
// is in slot i of Keys and Values (B,C,D). C, the capacity, ends the positions, as do the rows of W, which is at least (R,C)
// with R the largest position + length. AFT-full has no smaller state: a row may weigh every token anew. However a sequence
// is cut into chunks, the rows are those of AFTFull over the whole.
func AFTFullStep(q, k, v, w Array, past State, at Chunk, g Gate) (Array, State, error) {
	c := newCall("AFTFullStep", Options{Gate: g})
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "T", "D")
	c.input("V", v, "B", "T", "D")
	c.input("W", w, "", "")
	c.input("keys", past.Keys, "B", "C", "D")
	c.input("values", past.Values, "B", "C", "D")
	c.atLeast("W", w, 1, c.sizes["C"], "C")
	if c.err == nil {
		c.chunk(at, w.Shape[0], "rows of W")
	}
	c.chunk(at, c.sizes["C"], "slots of keys")
	if c.err != nil {
		return Array{}, State{}, c.err
	}
	columns := w.Shape[1]
	x := &stepping{q: q, k: k, v: v, heads: c.sizes["D"], past: State{Keys: past.Keys, Values: past.Values}, at: at, gate: g,
		window: everything, cache: true,
		bias: func(row []float64, _, position int) { copy(row, w.Data[position*columns:]) }}
	return x.run()
}
