package reference

// AFTSimpleStep is causal AFTSimple over the next tokens of sequences whose past is the state (M, N, D):
//
//	Y[b,t,d] = gate(Q[b,t,d]) * (exp(M[b,d]) N[b,d] + sum_{i<=t} exp(K[b,i,d]) V[b,i,d]) / (exp(M[b,d]) D[b,d] + sum_{i<=t} exp(K[b,i,d]))
//
// Q, K and V are (B,T,D) with T >= 0; the state is of fixed size. It returns Y and the state after the chunk: however a
// sequence is cut into chunks, the rows are those of AFTSimple over the whole.
func AFTSimpleStep(q, k, v Array, past State, at Chunk, g Gate) (Array, State, error) {
	c := newCall("AFTSimpleStep", Options{Gate: g})
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "T", "D")
	c.input("V", v, "B", "T", "D")
	c.sums(past, "D")
	c.chunk(at, noLimit, "")
	if c.err != nil {
		return Array{}, State{}, c.err
	}
	x := &stepping{q: q, k: k, v: v, heads: c.sizes["D"], past: State{M: past.M, N: past.N, D: past.D}, at: at, gate: g,
		window: 1, bias: func(row []float64, _, _ int) { clear(row) }}
	return x.run()
}

// sums checks M, N and D of a state; C is the letter of K's columns.
func (c *call) sums(past State, columns string) {
	c.input("m", past.M, "B", columns)
	c.input("n", past.N, "B", "D")
	c.input("d", past.D, "B", columns)
}

// ring checks Keys and Values of a state.
func (c *call) ring(past State, columns string) {
	c.input("keys", past.Keys, "B", "", columns)
	c.input("values", past.Values, "B", "", "D")
}
