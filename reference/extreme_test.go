package reference

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// precision of the independent truth, in bits.
const precision = 200

func wide(x float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(x) }

func zero() *big.Float { return new(big.Float).SetPrec(precision) }

// bigExp is exp(x): x/2^k by its Taylor series, squared k times. The exponent range of big.Float holds exp(1e8).
func bigExp(x *big.Float) *big.Float {
	const halvings, terms = 32, 16 // |x| < 1e5: the 16th term is below 2^-260
	small := zero().SetMantExp(x, -halvings)
	total, term := wide(1), wide(1)
	for n := 1; n <= terms; n++ {
		term = zero().Quo(zero().Mul(term, small), wide(float64(n)))
		total.Add(total, term)
	}
	for range halvings {
		total.Mul(total, total)
	}
	return total
}

// truth is the ratio of sums in 200 bits, without any maximum: sum_s exp(k+w) v / sum_s exp(k+w).
func truth(k, v []float64, w func(s int) float64) float64 {
	num, den := zero(), zero()
	for s := range k {
		e := bigExp(zero().Add(wide(k[s]), wide(w(s))))
		num.Add(num, zero().Mul(e, wide(v[s])))
		den.Add(den, e)
	}
	y, _ := zero().Quo(num, den).Float64()
	return y
}

func TestBigExp(t *testing.T) {
	for _, x := range []float64{0, 1, -1, 0.1, 20, -700, 700} {
		got, _ := bigExp(wide(x)).Float64()
		if want := math.Exp(x); !(math.Abs(got-want) <= 4e-16*want) {
			t.Errorf("exp(%v) is %v, want %v", x, got, want)
		}
	}
}

// TestAnyMagnitude holds every operator against sums in 200 bits. Keys and biases of all sizes up to 1e4 are not
// representable sums: K+W loses digits unless that is looked after.
//
// Rules N1, N2 of docs/hostile.md.
func TestAnyMagnitude(t *testing.T) {
	for _, std := range [][2]float64{{1, 1}, {40, 1}, {1, 40}, {40, 40}, {3000, 3000}, {1e4, 1}, {1, 1e4}} {
		for _, p := range problems(21, GateAbsent, std[0], std[1]) {
			checkTruth(t, fmt.Sprintf("%v std %v", p, std), p)
		}
	}
}

// TestTraps are the inputs that known implementations fail on.
func TestTraps(t *testing.T) {
	for _, p := range problems(22, GateAbsent, 1, 1) {
		steps := p.inputs[1].Shape[1]
		for name, key := range map[string]func(s int) float64{
			"one huge key in the future": func(s int) float64 { return []float64{0, 1e4}[s/(steps-1)] },
			"one huge key in the past":   func(s int) float64 { return []float64{1e4, 0}[min(s, 1)] },
			"keys that fall":             func(s int) float64 { return -800 * float64(s) },
			"keys that rise":             func(s int) float64 { return 800 * float64(s) },
			"keys that differ by little": func(s int) float64 { return 1e4 + float64(s)/1024 },
			"very negative keys":         func(s int) float64 { return -1e4 + float64(s) },
		} {
			k := clone(p.inputs[1])
			for i := range k.Data {
				k.Data[i] = key(i / k.Shape[2] % steps)
			}
			checkTruth(t, fmt.Sprintf("%v %s", p, name), p.with(1, k))
		}
		if p.op == "AFTSimple" {
			continue
		}
		// exp(w)-1 cancels where a very negative bias meets the key that rules the sum.
		w, k := clone(p.inputs[3]), clone(p.inputs[1])
		for i := range w.Data {
			w.Data[i] = -30 - float64(i%7)
		}
		for i := range k.Data {
			if i/k.Shape[2]%steps == 4 {
				k.Data[i] += 25
			}
		}
		checkTruth(t, fmt.Sprintf("%v very negative biases", p), p.with(3, w).with(1, k))
	}
}

// checkTruth compares a problem without gate with truth, to 1e-14 of max|V|.
func checkTruth(t *testing.T, name string, p problem) {
	t.Helper()
	y, k, v := p.run(t), p.inputs[1], p.inputs[2]
	tolerance := 1e-14 * maxAbs(v.Data)
	for i, got := range y.Data {
		at := tensor.Unravel(i, y.Shape)
		keys, values := column(k, at[0], p.headOf(at[2])), column(v, at[0], at[2])
		n := len(keys)
		if p.attrs["causal"][0] == 1 {
			n = at[1] + 1
		}
		want := truth(keys[:n], values[:n], func(s int) float64 { return p.bias(p.headOf(at[2]), at[1], s) })
		if !(math.Abs(got-want) <= tolerance) {
			t.Fatalf("%s: Y%v is %v, want %v (off by %.3g)", name, at, got, want, math.Abs(got-want))
		}
	}
}

// bias is w[h,t,s] as the operators' definitions have it.
func (p problem) bias(h, t, s int) float64 {
	at := func(index ...int) float64 {
		w, offset := p.inputs[3], 0
		for axis, i := range index {
			if i < 0 || i >= w.Shape[axis] {
				return 0
			}
			offset = offset*w.Shape[axis] + i
		}
		return w.Data[offset]
	}
	switch p.op {
	case "AFTFull":
		return at(t, s)
	case "AFTLocal":
		return at(t, s-t+int(p.attrs["window"][0])-1)
	case "AFTConv1D":
		return at(h, s-t+int(p.attrs["pad_left"][0]))
	case "AFTConv2D":
		width := int(p.inputs[4].Data[1])
		return at(h, s/width-t/width+int(p.attrs["pads"][0]), s%width-t%width+int(p.attrs["pads"][1]))
	default:
		return 0
	}
}

// TestLargestNumbers: sums that overflow a float64 on the way.
func TestLargestNumbers(t *testing.T) {
	const huge = math.MaxFloat64
	absent := Options{Gate: GateAbsent}
	q, v := of(t, []int{1, 1, 1}, 0), of(t, []int{1, 2, 1}, 3, 5)
	for _, c := range []struct {
		k, w [2]float64
		want float64
	}{
		{[2]float64{huge, -huge}, [2]float64{huge, -huge}, 3},
		{[2]float64{-huge, huge}, [2]float64{-huge, huge}, 5},
		{[2]float64{huge, huge}, [2]float64{huge, huge}, 4},
		{[2]float64{-huge, -huge}, [2]float64{-huge, -huge}, 4},
		{[2]float64{huge, -huge}, [2]float64{-huge, huge}, 4},
		{[2]float64{-huge, 1}, [2]float64{0, 1}, 5},
	} {
		got := must(t)(AFTFull(q, of(t, []int{1, 2, 1}, c.k[:]...), v, of(t, []int{1, 2}, c.w[:]...), absent))
		if got.Data[0] != c.want {
			t.Errorf("K %v, W %v: %v, want %v", c.k, c.w, got.Data[0], c.want)
		}
	}
	for _, c := range []struct{ k, want [3]float64 }{
		{[3]float64{-huge, huge, -huge}, [3]float64{3, 5, 5}},
		{[3]float64{huge, huge, -huge}, [3]float64{3, 4, 4}},
		{[3]float64{-huge, -huge, huge}, [3]float64{3, 4, 9}},
	} {
		k := of(t, []int{1, 3, 1}, c.k[:]...)
		got := must(t)(AFTSimple(k, k, of(t, []int{1, 3, 1}, 3, 5, 9), Options{Gate: GateAbsent, Causal: true}))
		same(t, fmt.Sprintf("causal simple, K %v", c.k), got, of(t, []int{1, 3, 1}, c.want[:]...))
	}
}

// TestLong: the sums of a long sequence in closed form. With K_s = a*s and V = 1 at the first source alone the ratio is
// 1 / (1 + e^a + .. + e^(a t)) = expm1(a) / expm1(a (t+1)).
func TestLong(t *testing.T) {
	const steps = 1 << 14
	for _, a := range []float64{1.0 / 1024, -1.0 / 1024, 1.0 / 64, -1.0 / 64} { // a*s is exact
		k, v := random(seeded(1), 0, 1, steps, 1), random(seeded(1), 0, 1, steps, 1)
		for s := range k.Data {
			k.Data[s] = a * float64(s)
		}
		v.Data[0] = 1
		got := must(t)(AFTSimple(v, k, v, Options{Causal: true, Gate: GateAbsent}))
		for i, y := range got.Data {
			want := math.Expm1(a) / math.Expm1(a*float64(i+1))
			if !(math.Abs(y-want) <= 1e-13*want) {
				t.Fatalf("a=%v: Y[0,%d,0] is %v, want %v (off by %.2g)", a, i, y, want, (y-want)/want)
			}
		}
	}
	// The mean of 1e8 + i for i = 0 .. steps-1, exact in a float64, without and with a position bias of 0.
	k, v := random(seeded(1), 0, 1, steps, 1), random(seeded(1), 0, 1, steps, 1)
	for i := range v.Data {
		v.Data[i] = 1e8 + float64(i)
	}
	const want = 1e8 + (steps-1)/2.0
	absent := Options{Gate: GateAbsent}
	simple := must(t)(AFTSimple(v, k, v, absent))
	q := of(t, []int{1, 1, 1}, 0)
	full := must(t)(AFTFull(q, k, v, Array{Shape: []int{1, steps}, Data: k.Data}, absent))
	causal := must(t)(AFTSimple(v, k, v, Options{Gate: GateAbsent, Causal: true}))
	if simple.Data[7] != want || full.Data[0] != want || causal.Data[steps-1] != want {
		t.Errorf("means are %v, %v and %v, want %v", simple.Data[7], full.Data[0], causal.Data[steps-1], want)
	}
}

// TestCancellation: Neumaier's own example, 1 + 1e100 + 1 - 1e100 = 2, which a plain sum finds to be 0.
func TestCancellation(t *testing.T) {
	k, v := of(t, []int{1, 4, 1}, 0, 0, 0, 0), of(t, []int{1, 4, 1}, 1, 1e100, 1, -1e100)
	absent := Options{Gate: GateAbsent}
	want := of(t, []int{1, 4, 1}, 0.5, 0.5, 0.5, 0.5)
	same(t, "simple", must(t)(AFTSimple(v, k, v, absent)), want)
	same(t, "full", must(t)(AFTFull(v, k, v, random(seeded(1), 0, 4, 4), absent)), want)
	causal := must(t)(AFTSimple(v, k, v, Options{Gate: GateAbsent, Causal: true}))
	same(t, "simple causal", causal, of(t, []int{1, 4, 1}, 1, 5e99, 1e100/3, 0.5))
}

// TestLostInRounding: a bias that vanishes in K+W still decides between equal keys. exp(1e10) leaves nothing of the other.
func TestLostInRounding(t *testing.T) {
	q := Array{Shape: []int{1, 1, 1}, Data: []float64{0}}
	k := Array{Shape: []int{1, 2, 1}, Data: []float64{1e30, 1e30}}
	v := Array{Shape: []int{1, 2, 1}, Data: []float64{3, 5}}
	for _, c := range []struct {
		w    []float64
		want float64
	}{{[]float64{1e10, 0}, 3}, {[]float64{0, 1e10}, 5}, {[]float64{-1e10, 0}, 5}, {[]float64{7, 7}, 4}} {
		w := Array{Shape: []int{1, 2}, Data: c.w}
		y, err := AFTFull(q, k, v, w, Options{Gate: GateAbsent})
		if err != nil {
			t.Fatal(err)
		}
		if y.Data[0] != c.want {
			t.Errorf("W = %v: Y is %v, want %v", c.w, y.Data[0], c.want)
		}
	}
}
