package bench

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// samples is how many elements of the kernel's output are computed anew from the equations.
const samples = 24

// checkKernel holds some elements of Y against the equations in float64; the tolerance is the operator set's.
func (d *data) checkKernel(y *tensor.Tensor) error {
	rng := rand.New(rand.NewPCG(1, 2))
	allowed := 16 * 0x1p-23
	if y.DType == tensor.Float16 {
		allowed = 0x1p-9 // its inputs were rounded too
	}
	for range samples {
		b, t, ch := rng.IntN(d.c.B), rng.IntN(d.c.T), rng.IntN(d.c.D)
		want, largest := d.truth(b, t, ch)
		got := y.At((b*d.c.T+t)*d.c.D + ch)
		if off := math.Abs(got - want); !(off <= allowed*largest) {
			return fmt.Errorf("Y[%d %d %d] is %g, want %g: off by %.3g, allowed %.3g", b, t, ch, got, want, off, allowed*largest)
		}
	}
	return nil
}

// truth is one element of Y and the channel's largest |V|: O(T).
func (d *data) truth(b, t, ch int) (y, largest float64) {
	c, top := d.c, math.Inf(-1)
	end := c.T
	if c.Causal {
		end = t + 1
	}
	logits := make([]float64, end)
	for s := range logits {
		key := float64(d.k[(b*c.T+s)*c.keys()+ch/(c.D/c.keys())])
		logits[s] = key + d.biasAt(t, s, ch/(c.D/c.keys()))
		top = max(top, logits[s])
	}
	var num, den float64
	for s := range c.T {
		v := float64(d.v[(b*c.T+s)*c.D+ch])
		largest = max(largest, math.Abs(v))
		if s < end && !math.IsInf(top, -1) {
			e := math.Exp(logits[s] - top)
			num, den = num+e*v, den+e
		}
	}
	if den == 0 {
		return 0, largest
	}
	return num / den / (1 + math.Exp(-float64(d.q[(b*c.T+t)*c.D+ch]))), largest
}

// biasAt is w[h,t,s] as the operators' declarations define it.
func (d *data) biasAt(t, s, head int) float64 {
	c, shape := d.c, d.c.bias()
	tap := func(i, n, j, m int) float64 { // element i*m+j of n x m taps, 0 outside
		if i < 0 || i >= n || j < 0 || j >= m {
			return 0
		}
		return float64(d.w[(head*n+i)*m+j])
	}
	switch c.Op {
	case "AFTFull":
		return float64(d.w[t*c.T+s])
	case "AFTLocal":
		if j := s - t + c.Window - 1; j >= 0 && j < shape[1] {
			return float64(d.w[t*shape[1]+j])
		}
		return 0
	case "AFTConv1D":
		return tap(0, 1, s-t+c.left(), c.Window)
	case "AFTConv2D":
		return tap(s/c.Grid[1]-t/c.Grid[1]+c.Kernel/2, c.Kernel, s%c.Grid[1]-t%c.Grid[1]+c.Kernel/2, c.Kernel)
	default:
		return 0
	}
}

// checkAgainst holds another engine's output against the kernel's, loosely: its own tolerance is for verify.
func checkAgainst(y, kernel *tensor.Tensor, largest float64) error {
	for i := range y.Len() {
		if off := math.Abs(y.At(i) - kernel.At(i)); !(off <= 1e-3*largest) {
			return fmt.Errorf("element %d is %g, the kernel's %g: allowed to differ by %.3g", i, y.At(i), kernel.At(i), 1e-3*largest)
		}
	}
	return nil
}

func largestOf(x []float32) float64 {
	top := 0.0
	for _, v := range x {
		top = max(top, math.Abs(float64(v)))
	}
	return top
}
