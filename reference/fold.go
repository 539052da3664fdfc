package reference

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// maxFolded is how many values a folded bias may have: 2 GiB of them. Sizes come from checkpoints.
const maxFolded = 1 << 28

// FoldFactors multiplies a factorised bias, equation 7: w[t,t'] = sum_r u[t,r] v[t',r]. u is (T,R), vt is (S,R), the result
// is (T,S).
func FoldFactors(u, vt Array) (Array, error) {
	c := &call{op: "factorised bias", sizes: map[string]int{}}
	c.input("u", u, "T", "R")
	c.input("v", vt, "S", "R")
	if c.err != nil {
		return Array{}, c.err
	}
	w, err := newFolded(c.op, u.Shape[0], vt.Shape[0])
	if err != nil || len(w.Data) == 0 {
		return w, err
	}
	rank, columns := u.Shape[1], vt.Shape[0]
	parallel(u.Shape[0], func(t int) {
		for s := range columns {
			w.Data[t*columns+s] = dot(u.Data[t*rank:(t+1)*rank], vt.Data[s*rank:(s+1)*rank])
		}
	})
	return w, nil
}

// FoldBand cuts a dense bias (T,T) to the band that AFTLocal takes: row t, column j of the result is w[t, t+j-(s-1)], and 0
// where that is outside of w. It has 2s-1 columns, s when causal; s = window >= 1 may exceed T.
func FoldBand(w Array, window int, causal bool) (Array, error) {
	const op = "local bias"
	if err := checkArray(w, 2); err != nil {
		return Array{}, fmt.Errorf("%s: input \"w\": %w", op, err)
	}
	size := w.Shape[0]
	if w.Shape[1] != size {
		return Array{}, fmt.Errorf("%s: input \"w\": has shape %s, want a square", op, tensor.FormatShape(w.Shape))
	}
	if window < 1 || window > math.MaxInt32 {
		return Array{}, fmt.Errorf("%s: window is %d, want 1..%d (the paper's s; 0 is AFT-simple)", op, window, math.MaxInt32)
	}
	columns := 2*window - 1
	if causal {
		columns = window
	}
	band, err := newFolded(op, size, columns)
	if err != nil {
		return Array{}, err
	}
	for t := range size {
		for j := range columns {
			if source := t + j - (window - 1); source >= 0 && source < size {
				band.Data[t*columns+j] = w.Data[t*size+source]
			}
		}
	}
	return band, nil
}

func newFolded(op string, rows, columns int) (Array, error) {
	n, err := tensor.NumElements([]int{rows, columns})
	if err == nil && n > maxFolded {
		err = fmt.Errorf("has %d values, want at most %d", n, maxFolded)
	}
	if err != nil {
		return Array{}, fmt.Errorf("%s: the bias of shape %s: %w", op, tensor.FormatShape([]int{rows, columns}), err)
	}
	return tensor.NewArray(rows, columns)
}

// Reparam says what equation 8 leaves open, and what some implementations add to it.
type Reparam struct {
	Unbiased bool    // the standard deviation divides by n-1, not n
	Eps      float64 // added to the standard deviation; the paper has none
	Limit    float64 // above 0, last of all: w := Limit * tanh(w/Limit)
}

// FoldKernel re-parameterises the kernels of AFT-conv, equation 8, for each head i over its taps:
//
//	w[i] := gamma[i] * (w[i] - mean(w[i])) / (std(w[i]) + Eps) + beta[i]
//
// w is (H,s) or (H,kh,kw), gamma and beta have H values in any shape; the result has the shape of w.
func FoldKernel(w, gamma, beta Array, r Reparam) (Array, error) {
	if err := checkKernel(w, gamma, beta, r); err != nil {
		return Array{}, fmt.Errorf("kernel: %w", err)
	}
	out, err := newLike(w)
	if err != nil || len(out.Data) == 0 {
		return out, err
	}
	taps := len(w.Data) / w.Shape[0]
	for h := range w.Shape[0] {
		head, folded := w.Data[h*taps:(h+1)*taps], out.Data[h*taps:(h+1)*taps]
		std := centre(folded, head, r.Unbiased)
		if std+r.Eps == 0 {
			return Array{}, fmt.Errorf("kernel: head %d: its %d taps are all %v, so that their standard deviation is 0, "+
				"and nothing is added to it", h, taps, head[0])
		}
		for j := range folded {
			folded[j] = gamma.Data[h]*(folded[j]/(std+r.Eps)) + beta.Data[h]
			if r.Limit > 0 {
				folded[j] = r.Limit * math.Tanh(folded[j]/r.Limit)
			}
		}
	}
	return out, nil
}

func checkKernel(w, gamma, beta Array, r Reparam) error {
	if len(w.Shape) != 2 && len(w.Shape) != 3 {
		return fmt.Errorf("input \"w\": has shape %s, want (H,s) or (H,kh,kw)", tensor.FormatShape(w.Shape))
	}
	if err := checkArray(w, len(w.Shape)); err != nil {
		return fmt.Errorf("input \"w\": %w", err)
	}
	if h := w.Shape[0]; r.Unbiased && len(w.Data) == h && h > 0 {
		return fmt.Errorf("input \"w\": has shape %s, want at least 2 taps for a standard deviation over n-1",
			tensor.FormatShape(w.Shape))
	}
	for _, p := range []struct {
		name string
		a    Array
	}{{"gamma", gamma}, {"beta", beta}} {
		if err := checkArray(p.a, len(p.a.Shape)); err != nil {
			return fmt.Errorf("input %q: %w", p.name, err)
		}
		if len(p.a.Data) != w.Shape[0] {
			return fmt.Errorf("input %q: has shape %s, want one value for each of the %d heads",
				p.name, tensor.FormatShape(p.a.Shape), w.Shape[0])
		}
	}
	if !(r.Eps >= 0) || math.IsInf(r.Eps, 1) {
		return fmt.Errorf("eps is %v, want a number >= 0", r.Eps)
	}
	if !(r.Limit >= 0) || math.IsInf(r.Limit, 1) {
		return fmt.Errorf("limit is %v, want a number >= 0", r.Limit)
	}
	return nil
}

// centre sets y to x minus its mean, and returns the standard deviation of x. It works on the differences from the first
// value: a mean far from 0 costs no digits, and equal values have a deviation of exactly 0.
func centre(y, x []float64, unbiased bool) float64 {
	n := float64(len(x))
	var total sum
	for i, v := range x {
		y[i] = v - x[0]
		total.add(y[i])
	}
	mean, largest := total.value()/n, 0.0
	for i := range y {
		y[i] -= mean
		largest = max(largest, math.Abs(y[i]))
	}
	if largest == 0 {
		return 0
	}
	squares := 0.0
	for _, d := range y {
		squares += (d / largest) * (d / largest) // of numbers up to 1: cannot overflow
	}
	if unbiased {
		n--
	}
	return largest * math.Sqrt(squares/n)
}
