package verify

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// project is y = x W^T + b. Per weight it costs two products: w x for the value and w^2 z for the variance, where z is what
// carries and what rounds, var x + u^2 (n/6+1) x^2.
func (n noise) project(l *reference.Linear, x signal) (signal, error) {
	weight, err := l.Weight.Array()
	if err != nil {
		return signal{}, fmt.Errorf("weight: %w", err)
	}
	out, in := l.Out(), l.In()
	if in == 0 || len(x.value.Data)%in != 0 || x.value.Shape[len(x.value.Shape)-1] != in {
		return signal{}, fmt.Errorf("takes %d channels, got shape %s", in, tensor.FormatShape(x.value.Shape))
	}
	shape := append([]int{}, x.value.Shape...)
	shape[len(shape)-1] = out
	rows := len(x.value.Data) / in
	y := signal{tensor.Array{Shape: shape, Data: make([]float64, rows*out)}, make([]float64, rows*out)}
	growth, rounded := n.sum*n.sum*(float64(in)/6+1), n.weight*n.weight
	z := make([]float64, len(x.value.Data))
	for i, v := range x.value.Data {
		z[i] = x.variance[i] + (growth+rounded)*v*v
	}
	sums := make([]rowSums, rows*out)
	parallel(out, func(o int) {
		w := weight.Data[o*in : (o+1)*in]
		for r := 0; r < rows; r += rowsAtOnce {
			end := min(r+rowsAtOnce, rows)
			sumRows(sums[o*rows+r:o*rows+end], w, x.value.Data[r*in:end*in], z[r*in:end*in])
		}
		bias := 0.0
		if l.Bias != nil {
			bias = l.Bias[o]
		}
		for r := range rows {
			s, i := sums[o*rows+r], r*out+o
			y.value.Data[i] = s.value + bias
			y.variance[i] = s.variance + growth*s.value*s.value + rounded*bias*bias +
				n.round(s.value) + n.round(y.value.Data[i])
		}
	})
	return y, nil
}

// rowSums are sum w x and sum w^2 z of a row.
type rowSums struct{ value, variance float64 }

// rowsAtOnce is how many rows meet a weight while a core has it: their sums do not wait for one another.
const rowsAtOnce = 4

// sumRows computes the sums of up to rowsAtOnce rows of x and z.
func sumRows(sums []rowSums, w, x, z []float64) {
	in := len(w)
	if len(sums) < rowsAtOnce {
		for r := range sums {
			xr, zr := x[r*in:(r+1)*in], z[r*in:(r+1)*in]
			var s, v float64
			for i, wi := range w {
				s += wi * xr[i]
				v += wi * wi * zr[i]
			}
			sums[r] = rowSums{s, v}
		}
		return
	}
	x0, x1, x2, x3 := x[:in], x[in:2*in], x[2*in:3*in], x[3*in:4*in]
	z0, z1, z2, z3 := z[:in], z[in:2*in], z[2*in:3*in], z[3*in:4*in]
	var s0, s1, s2, s3, v0, v1, v2, v3 float64
	for i, wi := range w {
		square := wi * wi
		s0 += wi * x0[i]
		v0 += square * z0[i]
		s1 += wi * x1[i]
		v1 += square * z1[i]
		s2 += wi * x2[i]
		v2 += square * z2[i]
		s3 += wi * x3[i]
		v3 += square * z3[i]
	}
	sums[0], sums[1], sums[2], sums[3] = rowSums{s0, v0}, rowSums{s1, v1}, rowSums{s2, v2}, rowSums{s3, v3}
}

// parallel calls f(0) .. f(n-1) on all cores and returns when all are done. Every call writes outputs of its own.
func parallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	done.Wait()
}
