//go:build cgo

package kernel

import (
	"math"
	"math/big"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// exactTruth is Y with the gate absent, from logits K+W that are formed without rounding: what the equations say where
// K+W overflows a double, or swallows W. O(T*S) big numbers a channel: for small problems.
func (p *problem) exactTruth(inputs []*tensor.Tensor) tensor.Array {
	q, k, v := inputs[0].Array(), inputs[1].Array(), inputs[2].Array()
	steps, d := q.Shape[1], q.Shape[2]
	sources, heads := k.Shape[1], k.Shape[2]
	y := tensor.Array{Shape: q.Shape, Data: make([]float64, len(q.Data))}
	for i := range y.Data {
		b, t, c := i/d/steps, i/d%steps, i%d
		var logits []*big.Float
		var values []float64
		for s := range sources {
			head := c / (d / heads)
			key, bias := k.Data[(b*sources+s)*heads+head], p.bias(inputs, t, s, head)
			if math.IsInf(key, -1) || math.IsInf(bias, -1) || p.causal && s > t {
				continue
			}
			logits = append(logits, new(big.Float).Add(exactly(key), exactly(bias)))
			values = append(values, v.Data[(b*sources+s)*d+c])
		}
		y.Data[i] = exactMean(logits, values)
	}
	return y
}

// exactly holds every digit of any sum of two doubles.
func exactly(x float64) *big.Float { return new(big.Float).SetPrec(2200).SetFloat64(x) }

// exactMean is sum exp(l) v / sum exp(l), 0 of nothing.
func exactMean(logits []*big.Float, values []float64) float64 {
	if len(logits) == 0 {
		return 0
	}
	top, largest := logits[0], 0.0
	for i, l := range logits {
		if l.Cmp(top) > 0 {
			top = l
		}
		largest = max(largest, math.Abs(values[i]))
	}
	if largest == 0 {
		return 0
	}
	num, den := 0.0, 0.0
	for i, l := range logits {
		x, _ := new(big.Float).Sub(l, top).Float64()
		num += math.Exp(x) * (values[i] / largest)
		den += math.Exp(x)
	}
	return max(-1, min(1, num/den)) * largest
}

// bias is w[h,t,s] as the operators' declarations define it.
func (p *problem) bias(inputs []*tensor.Tensor, t, s, head int) float64 {
	at := func(index ...int) float64 {
		w, i := inputs[3], 0
		for axis, x := range index {
			if x < 0 || x >= w.Shape[axis] {
				return 0
			}
			i = i*w.Shape[axis] + x
		}
		return w.At(i)
	}
	switch p.op {
	case "AFTFull":
		return at(t, s)
	case "AFTLocal":
		return at(t, s-t+int(p.attrs["window"][0])-1)
	case "AFTConv1D":
		return at(head, s-t+int(p.attrs["pad_left"][0]))
	case "AFTConv2D":
		w := int(p.grid[1])
		return at(head, s/w-t/w+int(p.attrs["pads"][0]), s%w-t%w+int(p.attrs["pads"][1]))
	default:
		return 0
	}
}
