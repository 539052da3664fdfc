package reference

import "math"

// removed stands in place of a weight where a source does not count; no weight is negative.
const removed = -1

// weigh fills weight[s] with exp(k[s] + w[s] - m), where m is the largest k+w of the row, and returns the sum of the
// weights: the denominator. A source with k or w = -inf is removed. The sum is 0 only when nothing is left: else the
// largest term is exp(0).
func weigh(weight, k, w []float64) float64 {
	// Halves: the sum of two finite numbers may overflow, that of their halves cannot.
	top := exact{total: math.Inf(-1)}
	for s := range k {
		top = larger(top, plus(k[s]/2, w[s]/2))
	}
	var den sum
	for s := range k {
		if math.IsInf(k[s], -1) || math.IsInf(w[s], -1) {
			weight[s] = removed
			continue
		}
		weight[s] = math.Exp(2 * plus(k[s]/2, w[s]/2).minus(top))
		den.add(weight[s])
	}
	return den.value()
}

// exact is the sum of two numbers: rounded, and what the rounding lost. That part alone would cost 1e-12 of a weight where
// |k+w| is 1e4, and all of it where a small w meets a key of 1e30.
type exact struct{ total, lost float64 }

// plus adds without error (Knuth's TwoSum). An infinite total has lost nothing.
func plus(a, b float64) exact {
	x := a + b
	if math.IsInf(x, 0) {
		return exact{total: x}
	}
	c := x - a
	return exact{total: x, lost: (a - (x - c)) + (b - c)}
}

func (e exact) minus(m exact) float64 { return (e.total - m.total) + (e.lost - m.lost) }

// larger is the larger of a and b; a NaN in b does not count here, it makes its own weight NaN.
func larger(a, b exact) exact {
	if b.total > a.total || b.total == a.total && b.lost > a.lost {
		return b
	}
	return a
}

// mean is the ratio of sums for the weights of weigh: sum_s weight[s] v[s] / den, 0 when nothing is left.
func mean(weight, v []float64, den float64) float64 {
	if den == 0 {
		return 0
	}
	var num sum
	for s, p := range weight {
		if p != removed { // skipped, not multiplied by 0: v may be anything there
			num.add(float64(p * v[s]))
		}
	}
	return num.value() / den
}

// sum adds up numbers with a correction for what each addition rounds off (Neumaier 1974), so that the length of a
// sequence costs no digits.
type sum struct{ total, lost float64 }

func (s *sum) add(x float64) {
	t := s.total + x
	if math.Abs(s.total) >= math.Abs(x) {
		s.lost += (s.total - t) + x
	} else {
		s.lost += (x - t) + s.total
	}
	s.total = t
}

func (s *sum) value() float64 {
	if math.IsInf(s.total, 0) {
		return s.total // the correction is NaN then
	}
	return s.total + s.lost
}

// scale multiplies the sum by f.
func (s *sum) scale(f float64) {
	s.total *= f
	s.lost *= f
}
