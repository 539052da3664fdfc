package reference

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
)

// normalise is LayerNorm in 200 bits, by the formula.
func normalise(x []float64, n *LayerNorm) []float64 {
	mean, variance := zero(), zero()
	for _, v := range x {
		mean.Add(mean, wide(v))
	}
	mean.Quo(mean, wide(float64(len(x))))
	for _, v := range x {
		d := zero().Sub(wide(v), mean)
		variance.Add(variance, d.Mul(d, d))
	}
	variance.Quo(variance, wide(float64(len(x))))
	root := zero().Sqrt(variance.Add(variance, wide(n.Eps)))
	y := make([]float64, len(x))
	for i, v := range x {
		d := zero().Quo(zero().Sub(wide(v), mean), root)
		d.Mul(d, wide(n.Gain[i]))
		if n.Bias != nil {
			d.Add(d, wide(n.Bias[i]))
		}
		y[i], _ = d.Float64()
	}
	return y
}

// TestLayerNorm holds rows of any size and offset against the formula in 200 bits.
func TestLayerNorm(t *testing.T) {
	r := seeded(71)
	for _, dim := range []int{1, 2, 3, 7, 64} {
		for _, c := range []struct{ std, offset, eps float64 }{
			{1, 0, DefaultEps}, {1, 0, 0.25}, {1, 1e8, DefaultEps}, {1e-3, 1, DefaultEps}, {1e4, -1e4, 0},
			{1e-9, 0, DefaultEps}, {1e-200, 0, 1e-300}, {1e200, 1e200, 1e-5},
		} {
			n := &LayerNorm{Gain: random(r, 1, dim).Data, Eps: c.eps}
			if dim%2 == 1 {
				n.Bias = random(r, 1, dim).Data
			}
			if dim == 1 && c.eps == 0 {
				continue // 0/0, see TestLayerNorm_equal
			}
			x := random(r, c.std, 2, 3, dim)
			for i := range x.Data {
				x.Data[i] += c.offset
			}
			before := clone(x)
			y := must(t)(n.Forward(x))
			same(t, "x", x, before)
			for row := range 6 {
				what := fmt.Sprintf("%d channels, std %v, offset %v, eps %v", dim, c.std, c.offset, c.eps)
				got := Array{Shape: []int{dim}, Data: y.Data[row*dim : (row+1)*dim]}
				want := Array{Shape: []int{dim}, Data: normalise(x.Data[row*dim:(row+1)*dim], n)}
				near(t, what, got, want, 1e-14*(1+maxAbs(want.Data)))
			}
			flat := must(t)(n.Forward(Array{Shape: []int{6, dim}, Data: x.Data}))
			same(t, "rank 2", Array{Shape: y.Shape, Data: flat.Data}, y)
		}
	}
}

// TestLayerNorm_byHand: mean 3, variance (4+1+0+1+4)/5 = 2.
func TestLayerNorm_byHand(t *testing.T) {
	x := of(t, []int{1, 5}, 1, 2, 3, 4, 5)
	n := &LayerNorm{Gain: []float64{1, 1, 1, 2, 1}, Eps: 0}
	s := math.Sqrt2
	near(t, "no eps", must(t)(n.Forward(x)), of(t, []int{1, 5}, -2/s, -1/s, 0, 2/s, 2/s), 1e-15)
	n.Eps, n.Bias = 2, []float64{10, 0, -1, 0, 0} // sqrt(2+2) = 2
	near(t, "eps 2", must(t)(n.Forward(x)), of(t, []int{1, 5}, 9, -0.5, -1, 1, 1), 1e-15)
	near(t, "eps 2, 3 rows alike", must(t)(n.Forward(of(t, []int{3, 1, 5}, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 1, 2, 3, 4, 5))),
		of(t, []int{3, 1, 5}, 9, -0.5, -1, 1, 1, 9, -0.5, -1, 1, 1, 9, -0.5, -1, 1, 1), 1e-15)
}

// A row of equal values is the bias, whatever its mean rounds to; without eps it is 0/0.
func TestLayerNorm_equal(t *testing.T) {
	for _, v := range []float64{0, 0.1, -1e300, 1e-320, 12345.678} {
		for _, dim := range []int{1, 3, 7, 10} {
			n := &LayerNorm{Gain: make([]float64, dim), Bias: make([]float64, dim), Eps: 1e-30}
			x := Array{Shape: []int{1, dim}, Data: make([]float64, dim)}
			for i := range dim {
				n.Gain[i], n.Bias[i], x.Data[i] = 1e3, float64(i), v
			}
			same(t, fmt.Sprint(v, dim), must(t)(n.Forward(x)), Array{Shape: x.Shape, Data: n.Bias})
			n.Eps = 0
			for _, y := range must(t)(n.Forward(x)).Data {
				if !math.IsNaN(y) {
					t.Errorf("%d times %v without eps: %v, want NaN", dim, v, y)
				}
			}
		}
	}
}

// What is no number spoils its row and no other.
func TestLayerNorm_spoiled(t *testing.T) {
	n := &LayerNorm{Gain: []float64{1, 1, 1}, Eps: DefaultEps}
	for _, bad := range []float64{nan, inf, -inf} {
		y := must(t)(n.Forward(of(t, []int{2, 3}, 1, bad, 3, 1, 2, 3)))
		for i, v := range y.Data {
			if math.IsNaN(v) != (i < 3) {
				t.Errorf("%v: value %d is %v", bad, i, v)
			}
		}
	}
}

func TestLayerNorm_refused(t *testing.T) {
	one := []float64{1, 1, 1}
	for _, c := range []struct {
		norm LayerNorm
		x    Array
		want string
	}{
		{LayerNorm{}, random(seeded(1), 1, 1, 3), "weight: has no values"},
		{LayerNorm{Gain: one, Bias: one[:2]}, random(seeded(1), 1, 1, 3), "bias: has 2 values, want 3"},
		{LayerNorm{Gain: one, Bias: []float64{}}, random(seeded(1), 1, 1, 3), "bias: has 0 values, want 3"},
		{LayerNorm{Gain: one, Eps: -1e-9}, random(seeded(1), 1, 1, 3), "eps: is -1e-09, want a number >= 0"},
		{LayerNorm{Gain: one, Eps: nan}, random(seeded(1), 1, 1, 3), "eps: is NaN"},
		{LayerNorm{Gain: one, Eps: inf}, random(seeded(1), 1, 1, 3), "eps: is +Inf"},
		{LayerNorm{Gain: one}, random(seeded(1), 1, 3, 2), "x: has shape (3,2), want 3 channels"},
		{LayerNorm{Gain: one}, of(t, nil, 1), "x: has shape (), want 3 channels"},
		{LayerNorm{Gain: one}, Array{Shape: []int{2, 3}, Data: one}, "x: has 3 values, but shape (2,3) holds 6"},
		{LayerNorm{Gain: one}, Array{Shape: []int{-1, 3}}, "x: shape (-1,3): dimension 0 is -1"},
	} {
		if y, err := c.norm.Forward(c.x); err == nil || !strings.Contains(err.Error(), c.want) || !y.Empty() {
			t.Errorf("%v, %v; want %q", y, err, c.want)
		}
	}
	y, err := (&LayerNorm{Gain: one}).Forward(Array{Shape: []int{2, 0, 3}})
	if err != nil || len(y.Data) != 0 || len(y.Shape) != 3 {
		t.Errorf("no positions: %v, %v", y, err)
	}
}

// bigPrecision lets 1 - Phi(38), about 1e-316, keep more digits than a float64 has.
const bigPrecision = 1500

func long(x float64) *big.Float { return new(big.Float).SetPrec(bigPrecision).SetFloat64(x) }

// bigGELU is x Phi(x), with Phi(x) = 1/2 + phi(x) (x + x^3/3 + x^5/15 + ...), where phi(x) = exp(-x^2/2) / sqrt(2 pi) and
// exp(x^2/2) is its Taylor series, all in 1500 bits.
func bigGELU(x float64, rootTwoPi *big.Float) float64 {
	square := long(0).Mul(long(x), long(x))
	odd, oddTerm, exp, expTerm := long(x), long(x), long(1), long(1)
	for n := 1; n < 6000; n++ {
		oddTerm.Quo(oddTerm.Mul(oddTerm, square), long(float64(2*n+1)))
		expTerm.Quo(expTerm.Mul(expTerm, square), long(float64(2*n)))
		odd.Add(odd, oddTerm)
		exp.Add(exp, expTerm)
		if oddTerm.Sign() == 0 || float64(n) > x*x && oddTerm.MantExp(nil) < odd.MantExp(nil)-bigPrecision {
			break
		}
	}
	odd.Quo(odd, exp.Mul(exp, rootTwoPi))
	y, _ := odd.Mul(odd.Add(odd, long(0.5)), long(x)).Float64()
	return y
}

// bigRootTwoPi is sqrt(2 pi), pi by Machin's formula 16 atan(1/5) - 4 atan(1/239).
func bigRootTwoPi() *big.Float {
	atan := func(inverse float64) *big.Float {
		total, power := long(0), long(0).Quo(long(1), long(inverse))
		for n := 1.0; power.MantExp(nil) > -bigPrecision; n += 2 {
			term := long(0).Quo(power, long(n))
			if math.Mod(n, 4) == 3 {
				term.Neg(term)
			}
			total.Add(total, term)
			power.Quo(power, long(inverse*inverse))
		}
		return total
	}
	pi := long(0).Sub(long(0).Mul(long(16), atan(5)), long(0).Mul(long(4), atan(239)))
	return pi.Sqrt(pi.Mul(pi, long(2)))
}

// TestGELU: a step of the last bit of x moves gelu(x) by x^2 such steps where x is far below 0, so that is what a
// computation in float64 may be off by; everywhere else it is 1e-15.
func TestGELU(t *testing.T) {
	root := bigRootTwoPi()
	if got, _ := root.Float64(); got != 2.50662827463100050242 {
		t.Fatalf("sqrt(2 pi) is %v", got)
	}
	xs := []float64{1e-300, 1e-20, 1e-8, 0.1, 0.5, 0.7, 1, 1.2, 1.5, 2, 3, 4.5, 6, 8, 8.3, 10, 20, 37, 37.5}
	for _, x := range xs {
		for _, x := range []float64{x, -x} {
			want := bigGELU(x, root)
			tolerance := 1e-15 * math.Abs(want)
			if x < -1 {
				tolerance *= x * x
			}
			if got := gelu(x); !(math.Abs(got-want) <= tolerance) || want == 0 {
				t.Errorf("gelu(%v) is %v, want %v: off by %.2g of it", x, got, want, math.Abs(got-want)/math.Abs(want))
			}
		}
	}
	for _, c := range []struct{ x, want float64 }{
		{0, 0}, {math.Copysign(0, -1), math.Copysign(0, -1)}, {inf, inf}, {-inf, 0}, {math.MaxFloat64, math.MaxFloat64},
		{-math.MaxFloat64, math.Copysign(0, -1)}, // gelu(-40) is about -1e-348, which no float64 holds
		{-40, math.Copysign(0, -1)}, {40, 40}, {1, 0.8413447460685429}, {-1, -0.15865525393145707},
	} {
		if got := gelu(c.x); math.Abs(got-c.want) > 1e-16*math.Abs(c.want) || math.Signbit(got) != math.Signbit(c.want) && c.want == 0 {
			t.Errorf("gelu(%v) is %v, want %v", c.x, got, c.want)
		}
	}
	if !math.IsNaN(gelu(nan)) {
		t.Errorf("gelu(NaN) is %v", gelu(nan))
	}
}
