package reference

import "math"

// AFTSimple is AFT-simple, equation 5: AFTFull with W = 0.
//
//	Y[b,t,d] = gate(Q[b,t,d]) * sum_s exp(K[b,s,d]) V[b,s,d] / sum_s exp(K[b,s,d])
//
// Q is (B,T,D), K and V are (B,S,D). Causal limits the sums to s <= t and needs S = T. It takes O(B(T+S)D) time: without
// causal the ratio is the same for every t, with it the sums grow by a term a step.
func AFTSimple(q, k, v Array, o Options) (Array, error) {
	c := newCall("AFTSimple", o)
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "S", "D")
	c.input("V", v, "B", "S", "D")
	c.causal(o)
	if c.err != nil {
		return Array{}, c.err
	}
	y, err := newLike(q)
	if err != nil || len(y.Data) == 0 {
		return y, err
	}
	rows, channels := q.Shape[1], q.Shape[2]
	parallel(q.Shape[0]*channels, func(i int) {
		b, d := i/channels, i%channels
		keys, values := column(k, b, d), column(v, b, d)
		ratio := func(int) float64 { return 0 }
		if o.Causal {
			var past prefix
			ratio = func(t int) float64 {
				past.add(keys[t], values[t])
				return past.mean()
			}
		} else {
			all := meanOf(keys, values)
			ratio = func(int) float64 { return all }
		}
		for t := range rows {
			j := (b*rows+t)*channels + d
			y.Data[j] = o.Gate.times(q.Data[j], ratio(t))
		}
	})
	return y, nil
}

// meanOf is sum_s exp(k[s]) v[s] / sum_s exp(k[s]).
func meanOf(k, v []float64) float64 {
	weight := make([]float64, len(k))
	den := weigh(weight, k, make([]float64, len(k)))
	return mean(weight, v, den)
}

// prefix holds the sums over the sources so far, both divided by exp(ref).
type prefix struct {
	begun    bool
	ref      float64
	num, den sum
}

// headroom is how far a key may lie above ref: exp(30) per term cannot overflow a sum. Moving ref only then, and not with
// every new maximum, keeps the number of roundings small: a slowly growing key would cost one a step.
const headroom = 30

func (p *prefix) add(k, v float64) {
	if math.IsInf(k, -1) {
		return
	}
	switch {
	case !p.begun:
		p.begun, p.ref = true, k
	case k > p.ref+headroom:
		f := math.Exp(p.ref - k)
		p.num.scale(f)
		p.den.scale(f)
		p.ref = k
	}
	weight := math.Exp(k - p.ref)
	p.den.add(weight)
	p.num.add(float64(weight * v))
}

func (p *prefix) mean() float64 {
	if !p.begun {
		return 0
	}
	return p.num.value() / p.den.value()
}
