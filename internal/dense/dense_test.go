package dense

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func random(r *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	return x
}

// chain is what every element must be, bit for bit: multiply-adds in the order of the inner dimension.
func chain(sum float64, x, y []float64, stride int) float64 {
	for i, w := range x {
		if vectors() {
			sum = math.FMA(w, y[i*stride], sum)
		} else {
			sum += float64(w * y[i*stride])
		}
	}
	return sum
}

func TestMultiply(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, m := range []int{0, 1, 3, 4, 5, 8, 13} {
		for _, k := range []int{0, 1, 7, 255, 256, 257, 600} {
			for _, n := range []int{0, 1, 7, 8, 9, 31, 33, 72} {
				x, y, out := random(r, m*k), random(r, k*n), random(r, m*n)
				before := append([]float64{}, out...)
				Multiply(out, x, y, m, k, n)
				for i := range m {
					for j := range n {
						want := before[i*n+j]
						if k > 0 {
							want = chain(want, x[i*k:(i+1)*k], y[j:], n)
						}
						if got := out[i*n+j]; math.Float64bits(got) != math.Float64bits(want) {
							t.Fatalf("%dx%dx%d: element (%d,%d) is %v, want %v", m, k, n, i, j, got, want)
						}
					}
				}
			}
		}
	}
}

// TestMultiply_special: nothing is left out because a factor is 0.
func TestMultiply_special(t *testing.T) {
	for _, m := range []int{1, 4} {
		for _, n := range []int{1, 9} {
			x, y, out := make([]float64, m*3), make([]float64, 3*n), make([]float64, m*n)
			y[n] = math.Inf(1) // column 0 of the second row
			Multiply(out, x, y, m, 3, n)
			for i, v := range out {
				if math.IsNaN(v) != (i%n == 0) {
					t.Errorf("%dx3x%d: element %d is %v", m, n, i, v)
				}
			}
		}
	}
}

// TestMultiply_bounds: nothing beyond the slices is read or written.
func TestMultiply_bounds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, size := range [][3]int{{4, 5, 8}, {5, 3, 9}, {1, 2, 33}, {6, 300, 40}} {
		m, k, n := size[0], size[1], size[2]
		guarded := func(count int) []float64 {
			all := make([]float64, count+64)
			for i := range all {
				all[i] = math.NaN()
			}
			copy(all[32:], random(r, count))
			return all[32 : 32+count : 32+count]
		}
		x, y := guarded(m*k), guarded(k*n)
		all := make([]float64, m*n+64)
		out := all[32 : 32+m*n : 32+m*n]
		Multiply(out, x, y, m, k, n)
		for i, v := range out {
			if math.IsNaN(v) {
				t.Fatalf("%v: element %d is NaN: something outside was read", size, i)
			}
		}
		for i := range 32 {
			if all[i] != 0 || all[32+m*n+i] != 0 {
				t.Fatalf("%v: wrote outside", size)
			}
		}
	}
}

func TestWeigh(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 8, 31, 32, 47, 100} {
		for _, terms := range []int{0, 1, 5} {
			stride := n + 3
			x, y, out := random(r, terms), random(r, terms*stride), random(r, n)
			before := append([]float64{}, out...)
			Weigh(out, x, y, stride)
			for j := range n {
				want := before[j]
				if terms > 0 {
					want = chain(want, x, y[j:], stride)
				}
				if out[j] != want {
					t.Fatalf("%d columns, %d terms: element %d is %v, want %v", n, terms, j, out[j], want)
				}
			}
		}
	}
}

// TestPlain holds the loops that serve machines without vectors against the sums themselves.
func TestPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	x, y, out := random(r, 30), random(r, 30*11), make([]float64, 9)
	weighPlain(out, x, y, 11)
	for j := range out {
		want := 0.0
		for i := range x {
			want += x[i] * y[i*11+j]
		}
		if math.Abs(out[j]-want) > 1e-13 {
			t.Errorf("element %d is %v, want %v", j, out[j], want)
		}
	}
}

func BenchmarkMultiply(b *testing.B) {
	for _, n := range []int{128, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(9, 10))
			x, y, out := random(r, 256*128), random(r, 128*n), make([]float64, 256*n)
			for b.Loop() {
				Multiply(out, x, y, 256, 128, n)
			}
			b.ReportMetric(2*256*128*float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
