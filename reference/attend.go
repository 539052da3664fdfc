package reference

// attention is what the operators with a position bias have in common: K has one column a head, channel d belongs to head
// d / (D/H), and all that differs is where the bias of a row comes from. AFT-full and AFT-local have H = D.
type attention struct {
	q, k, v Array
	heads   int
	o       Options
	// bias fills row, of the sources that row t sees, with w[h,t,s].
	bias func(row []float64, h, t int)
}

// rowsAtOnce is how many rows one goroutine computes for the columns it has gathered.
const rowsAtOnce = 64

// run computes Y[b,t,d] = gate(Q[b,t,d]) * sum_s exp(K[b,s,h] + w[h,t,s]) V[b,s,d] / sum_s exp(K[b,s,h] + w[h,t,s]).
func (a *attention) run() (Array, error) {
	y, err := newLike(a.q)
	if err != nil || len(y.Data) == 0 {
		return y, err
	}
	rows := a.q.Shape[1]
	blocks := (rows + rowsAtOnce - 1) / rowsAtOnce
	parallel(a.q.Shape[0]*a.heads*blocks, func(i int) {
		b, h, first := i/blocks/a.heads, i/blocks%a.heads, i%blocks*rowsAtOnce
		a.head(y, b, h, first, min(first+rowsAtOnce, rows))
	})
	return y, nil
}

// head computes rows first..end-1 of the channels of head h in batch entry b.
func (a *attention) head(y Array, b, h, first, end int) {
	channels := a.q.Shape[2] / a.heads
	k := column(a.k, b, h)
	v := make([][]float64, channels)
	for c := range v {
		v[c] = column(a.v, b, h*channels+c)
	}
	bias, weight := make([]float64, len(k)), make([]float64, len(k))
	for t := first; t < end; t++ {
		n := len(k)
		if a.o.Causal {
			n = t + 1
		}
		a.bias(bias[:n], h, t)
		den := weigh(weight[:n], k[:n], bias[:n])
		for c := range v {
			i := (b*a.q.Shape[1]+t)*a.q.Shape[2] + h*channels + c
			y.Data[i] = a.o.Gate.times(a.q.Data[i], mean(weight[:n], v[c][:n], den))
		}
	}
}

// column copies a[b,:,c] of a (B,S,C) array.
func column(a Array, b, c int) []float64 {
	steps, width := a.Shape[1], a.Shape[2]
	out := make([]float64, steps)
	for s := range out {
		out[s] = a.Data[(b*steps+s)*width+c]
	}
	return out
}
