package reference

// AFTFull is AFT-full, equation 2:
//
//	Y[b,t,d] = gate(Q[b,t,d]) * sum_s exp(K[b,s,d] + W[t,s]) V[b,s,d] / sum_s exp(K[b,s,d] + W[t,s])
//
// Q is (B,T,D), K and V are (B,S,D), W is at least (T,S): its leading block is used. Causal limits the sums to s <= t and
// needs S = T. An error names the input whose shape does not fit.
func AFTFull(q, k, v, w Array, o Options) (Array, error) {
	c := newCall("AFTFull", o)
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "S", "D")
	c.input("V", v, "B", "S", "D")
	c.input("W", w, "", "")
	c.causal(o)
	c.atLeast("W", w, 0, c.sizes["T"], "T")
	c.atLeast("W", w, 1, c.sizes["S"], "S")
	if c.err != nil {
		return Array{}, c.err
	}
	columns := w.Shape[1]
	a := &attention{q: q, k: k, v: v, heads: c.sizes["D"], o: o, bias: func(row []float64, _, t int) {
		copy(row, w.Data[t*columns:])
	}}
	return a.run()
}
