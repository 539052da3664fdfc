package reference

// AFTConv1D is AFT-conv in one dimension, equation 6. With h = d / (D/H) the head of channel d and
//
//	w[h,t,t'] = W[h, t'-t+PadLeft] where 0 <= t'-t+PadLeft < s, 0 elsewhere
//	Y[b,t,d]  = gate(Q[b,t,d]) * sum_t' exp(K[b,t',h] + w[h,t,t']) V[b,t',d] / sum_t' exp(K[b,t',h] + w[h,t,t'])
//
// Q and V are (B,T,D), K is (B,T,H), W is (H,s); H divides D. Causal limits the sums to t' <= t. The paper writes the sums as
// conv(exp(K) V, exp(w)-1) + sum exp(K) V, which is the same number and loses digits where w is very negative.
func AFTConv1D(q, k, v, w Array, o Conv1DOptions) (Array, error) {
	c := newCall("AFTConv1D", o.Options)
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "T", "H")
	c.input("V", v, "B", "T", "D")
	c.input("W", w, "H", "s")
	c.heads()
	c.atLeast("W", w, 1, 1, "1 tap")
	c.within("pad_left", o.PadLeft, 0, c.sizes["s"]-1, "a tap of W")
	if c.err != nil {
		return Array{}, c.err
	}
	taps := w.Shape[1]
	a := &attention{q: q, k: k, v: v, heads: c.sizes["H"], o: o.Options, bias: func(row []float64, h, t int) {
		for source := range row {
			row[source] = 0
			if j := source - t + o.PadLeft; j >= 0 && j < taps {
				row[source] = w.Data[h*taps+j]
			}
		}
	}}
	return a.run()
}
