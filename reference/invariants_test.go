package reference

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// TestBounds: the ratio is a weighted mean, so it lies between the least and the largest V that the row sees.
func TestBounds(t *testing.T) {
	for _, p := range problems(1, GateAbsent, 20, 20) {
		y, v := p.run(t), p.inputs[2]
		steps := v.Shape[1]
		for i, got := range y.Data {
			at := tensor.Unravel(i, y.Shape)
			low, high := math.Inf(1), math.Inf(-1)
			for s := range steps {
				if p.sees(at[1], s) {
					value := v.Data[(at[0]*steps+s)*v.Shape[2]+at[2]]
					low, high = min(low, value), max(high, value)
				}
			}
			if slack := 4e-16 * max(-low, high); !(got >= low-slack && got <= high+slack) {
				t.Errorf("%v: Y%v is %v, outside %v..%v", p, at, got, low, high)
			}
		}
	}
}

// TestShift: a constant added to all keys of a column cancels.
func TestShift(t *testing.T) {
	for _, p := range problems(2, GateSigmoid, 1, 1) {
		k := clone(p.inputs[1])
		for i := range k.Data {
			k.Data[i] += 512 * float64(i%k.Shape[2]-1) // a power of two: the sum loses about 512 * 1e-16
		}
		near(t, p.String(), p.with(1, k).run(t), p.run(t), 1e-12)
	}
}

// TestPermutation: sources may come in any order when the columns of W come in the same.
//
// Rule N9 of docs/hostile.md.
func TestPermutation(t *testing.T) {
	r := seeded(3)
	q, k, v, w := random(r, 1, 2, 5, 3), random(r, 1, 2, 9, 3), random(r, 1, 2, 9, 3), random(r, 1, 5, 9)
	order := r.Perm(9)
	k2, v2, w2 := clone(k), clone(v), clone(w)
	for to, from := range order {
		for b := range 2 {
			copy(k2.Data[(b*9+to)*3:][:3], k.Data[(b*9+from)*3:][:3])
			copy(v2.Data[(b*9+to)*3:][:3], v.Data[(b*9+from)*3:][:3])
		}
		for row := range 5 {
			w2.Data[row*9+to] = w.Data[row*9+from]
		}
	}
	near(t, "full", must(t)(AFTFull(q, k2, v2, w2, Options{})), must(t)(AFTFull(q, k, v, w, Options{})), 1e-14)
	near(t, "simple", must(t)(AFTSimple(q, k2, v2, Options{})), must(t)(AFTSimple(q, k, v, Options{})), 1e-14)
}

// TestSimpleIsFull with W = 0, also across lengths.
func TestSimpleIsFull(t *testing.T) {
	for _, c := range []struct {
		t, s int
		o    Options
		std  float64
	}{
		{6, 6, Options{}, 1}, {6, 6, Options{Causal: true}, 1}, {4, 7, Options{}, 1},
		{40, 40, Options{Causal: true}, 100}, {7, 4, Options{}, 100},
	} {
		r := seeded(4)
		q, k, v := random(r, 1, 2, c.t, 3), random(r, c.std, 2, c.s, 3), random(r, 1, 2, c.s, 3)
		want := must(t)(AFTFull(q, k, v, random(r, 0, c.t, c.s), c.o))
		near(t, fmt.Sprint(c), must(t)(AFTSimple(q, k, v, c.o)), want, 1e-14)
	}
}

// TestLocalIsFull: the dense bias has what is inside the window and 0 elsewhere.
func TestLocalIsFull(t *testing.T) {
	const steps = 9
	for _, causal := range []bool{false, true} {
		for _, s := range []int{1, 2, 4, steps, steps + 3} {
			r := seeded(5)
			q, k, v := random(r, 1, 2, steps, 4), random(r, 3, 2, steps, 4), random(r, 1, 2, steps, 4)
			w := random(r, 3, steps, steps)
			band := must(t)(FoldBand(w, s, causal))
			dense := clone(w)
			for i := range dense.Data {
				if row, column := i/steps, i%steps; max(row-column, column-row) >= s {
					dense.Data[i] = 0
				}
			}
			want := must(t)(AFTFull(q, k, v, dense, Options{Causal: causal}))
			got := must(t)(AFTLocal(q, k, v, band, LocalOptions{Options{Causal: causal}, s}))
			same(t, fmt.Sprintf("s=%d causal=%v", s, causal), got, want)
		}
	}
}

// TestConvIsFull: with a head for every channel, channel d is AFTFull with a bias W[t,t'] that depends on the difference.
// The dense bias is filled tap by tap, the other way round than the operators read theirs.
func TestConvIsFull(t *testing.T) {
	const h, w, d = 3, 4, 3
	const steps = h * w
	r := seeded(6)
	q, k, v := random(r, 1, 2, steps, d), random(r, 3, 2, steps, d), random(r, 1, 2, steps, d)
	for _, causal := range []bool{false, true} {
		o := Options{Causal: causal}
		for _, c := range []struct {
			kh, kw int
			pads   [2]int
		}{{1, 1, [2]int{}}, {3, 3, [2]int{1, 1}}, {2, 5, [2]int{0, 4}}, {7, 9, [2]int{6, 3}}} {
			kernel := random(r, 3, d, c.kh, c.kw)
			got := must(t)(AFTConv2D(q, k, v, kernel, Conv2DOptions{o, [2]int{h, w}, c.pads}))
			for channel := range d {
				dense := random(r, 0, steps, steps)
				for from := range steps {
					for a := range c.kh {
						for b := range c.kw {
							y, x := from/w+a-c.pads[0], from%w+b-c.pads[1]
							if y >= 0 && y < h && x >= 0 && x < w {
								dense.Data[from*steps+y*w+x] = kernel.Data[(channel*c.kh+a)*c.kw+b]
							}
						}
					}
				}
				want := must(t)(AFTFull(slice(q, channel), slice(k, channel), slice(v, channel), dense, o))
				same(t, fmt.Sprintf("%dx%d causal=%v channel %d", c.kh, c.kw, causal, channel), slice(got, channel), want)
			}
		}
		kernel := random(r, 3, d, 5)
		one := must(t)(AFTConv1D(q, k, v, kernel, Conv1DOptions{o, 3}))
		row := must(t)(AFTConv2D(q, k, v, Array{Shape: []int{d, 1, 5}, Data: kernel.Data},
			Conv2DOptions{o, [2]int{1, steps}, [2]int{0, 3}}))
		column := must(t)(AFTConv2D(q, k, v, Array{Shape: []int{d, 5, 1}, Data: kernel.Data},
			Conv2DOptions{o, [2]int{steps, 1}, [2]int{3, 0}}))
		same(t, "a grid of one row", row, one)
		same(t, "a grid of one column", column, one)
	}
}

// slice is channel c of a (B,T,D) array as (B,T,1).
func slice(a Array, c int) Array {
	out := Array{Shape: []int{a.Shape[0], a.Shape[1], 1}}
	for i := c; i < len(a.Data); i += a.Shape[2] {
		out.Data = append(out.Data, a.Data[i])
	}
	return out
}

// TestEquation6 is the paper's own form of AFT-conv, conv(exp(K) V, exp(w)-1) + sum exp(K) V, for heads of several channels
// and keys small enough for it.
func TestEquation6(t *testing.T) {
	const steps, d, heads, taps = 10, 6, 3, 4
	for _, causal := range []bool{false, true} {
		r := seeded(7)
		q, k, v, w := random(r, 1, 2, steps, d), random(r, 1, 2, steps, heads), random(r, 1, 2, steps, d), random(r, 1, heads, taps)
		for pad := range taps {
			got := must(t)(AFTConv1D(q, k, v, w, Conv1DOptions{Options{Causal: causal}, pad}))
			want := clone(got)
			for i := range want.Data {
				b, row, h := i/d/steps, i/d%steps, i%d/(d/heads)
				num, den := 0.0, 0.0
				add := func(source int, factor float64) {
					e := factor * math.Exp(k.Data[(b*steps+source)*heads+h])
					num += e * v.Data[(b*steps+source)*d+i%d]
					den += e
				}
				last := steps - 1
				if causal {
					last = row
				}
				for source := range last + 1 {
					add(source, 1)
				}
				for tap := range taps {
					if source := row + tap - pad; source >= 0 && source <= last {
						add(source, math.Exp(w.Data[h*taps+tap])-1)
					}
				}
				want.Data[i] = 1 / (1 + math.Exp(-q.Data[i])) * num / den
			}
			near(t, fmt.Sprintf("causal=%v pad=%d", causal, pad), got, want, 1e-13)
		}
	}
}

// TestSameBits: neither the number of goroutines nor the other entries of the batch change a bit.
func TestSameBits(t *testing.T) {
	r := seeded(8)
	q, k, v := random(r, 1, 3, 150, 5), random(r, 5, 3, 150, 5), random(r, 1, 3, 150, 5)
	w := random(r, 1, 150, 150)
	ones := map[string]func(b int) (Array, error){
		"full": func(b int) (Array, error) { return AFTFull(entry(q, b), entry(k, b), entry(v, b), w, Options{}) },
		"simple causal": func(b int) (Array, error) {
			return AFTSimple(entry(q, b), entry(k, b), entry(v, b), Options{Causal: true})
		},
		"linear": func(b int) (Array, error) {
			return Linear{Weight: tensor.Hold(random(seeded(9), 1, 7, 5))}.Forward(entry(q, b))
		},
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for name, f := range ones {
		runtime.GOMAXPROCS(1)
		all := must(t)(f(-1))
		for _, n := range []int{2, 8} {
			runtime.GOMAXPROCS(n)
			same(t, fmt.Sprintf("%s on %d threads", name, n), must(t)(f(-1)), all)
		}
		for b := range 3 {
			same(t, fmt.Sprintf("%s, entry %d alone", name, b), must(t)(f(b)), entry(all, b))
		}
	}
}

// entry is batch entry b alone, everything for b < 0.
func entry(a Array, b int) Array {
	if b < 0 {
		return a
	}
	per := len(a.Data) / a.Shape[0]
	return Array{Shape: append([]int{1}, a.Shape[1:]...), Data: a.Data[b*per : (b+1)*per]}
}

// TestInputsAreRead: no operator writes into what it is given.
func TestInputsAreRead(t *testing.T) {
	for _, p := range problems(9, GateSigmoid, 1, 1) {
		before := make([]Array, len(p.inputs))
		for i, a := range p.inputs {
			before[i] = clone(a)
		}
		p.run(t)
		for i, a := range p.inputs {
			same(t, fmt.Sprintf("%v: input %d", p, i), a, before[i])
		}
	}
}
