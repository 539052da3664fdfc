package reference

import "math"

// AFTLocal is AFT-local, equation 4: AFTFull with S = T and, with s = Window, the bias
//
//	w[t,t'] = W[t, t'-t+s-1] where |t-t'| < s, 0 elsewhere
//
// Outside the window the bias is 0, never -inf: the pair still counts. Q, K and V are (B,T,D), W is a band of at least T
// rows and 2s-1 columns, s when causal. Band entries that point outside the sequence are ignored, whatever they hold; s may
// exceed T. Causal limits the sums to t' <= t. The paper's s = 0 is AFTSimple.
func AFTLocal(q, k, v, w Array, o LocalOptions) (Array, error) {
	c := newCall("AFTLocal", o.Options)
	c.within("window", o.Window, 1, math.MaxInt32, "the paper's s")
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "T", "D")
	c.input("V", v, "B", "T", "D")
	c.input("W", w, "", "")
	c.atLeast("W", w, 0, c.sizes["T"], "T")
	if o.Causal {
		c.exactly("W", w, 1, o.Window, "window")
	} else {
		c.exactly("W", w, 1, 2*o.Window-1, "2*window-1")
	}
	if c.err != nil {
		return Array{}, c.err
	}
	columns := w.Shape[1]
	a := &attention{q: q, k: k, v: v, heads: c.sizes["D"], o: o.Options, bias: func(row []float64, _, t int) {
		for source := range row {
			row[source] = 0
			if j := source - t + o.Window - 1; j >= 0 && j < columns {
				row[source] = w.Data[t*columns+j]
			}
		}
	}}
	return a.run()
}
