package verify

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// steepKeys is the error in a key from which exp(k) is no longer linear in it.
const steepKeys = 0.5

// ends says where a tolerance ends.
type ends struct {
	finiteOnly bool // a body left the range of its tolerance
	steep      bool // the noise in the keys outgrew what first order covers
}

func (e ends) or(other ends) ends {
	return ends{e.finiteOnly || other.finiteOnly, e.steep || other.steep}
}

// mix is the AFT operator between the projections. What noise needs of the values, A(v^2), is the same for all engines to
// within what they differ by: squares hands it on from one to the next, nil keeps it.
func (n noise) mix(l *reference.Layer, x signal, at reference.Places, squares *tensor.Array) (y signal, e ends, err error) {
	if squares == nil {
		squares = &tensor.Array{}
	}
	var qkv [3]signal
	for i, p := range []*reference.Linear{&l.Q, &l.K, &l.V} {
		if qkv[i], err = n.project(p, x); err != nil {
			return y, e, fmt.Errorf("%c: %w", "qkv"[i], err)
		}
	}
	q, k, v := qkv[0], qkv[1], qkv[2]
	k.remove(at.Mask)
	call, err := n.call(l, q, k, v, at.Grid)
	if err != nil {
		return y, e, err
	}
	ratio, variance, err := call.ratioNoise(k, v, squares)
	if err != nil {
		return y, e, err
	}
	m := call.largestV()
	channels := ratio.Shape[2]
	perBatch := len(ratio.Data) / max(ratio.Shape[0], 1)
	y = signal{tensor.Array{Shape: ratio.Shape, Data: make([]float64, len(ratio.Data))}, make([]float64, len(ratio.Data))}
	for i, r := range ratio.Data {
		gate, slope := gateAndSlope(l.Gate, q.value.Data[i])
		y.value.Data[i] = gate * r
		own := call.op * m[i/perBatch*channels+i%channels] * max(1, math.Abs(gate)) / deviations
		fromGate := slope * r
		y.variance[i] = fromGate*fromGate*q.variance[i] + gate*gate*variance[i] + own*own + n.round(gate*r)
	}
	e.finiteOnly = n.body > 0 && call.beyond(n.body)
	e.steep = deviations*math.Sqrt(largestFinite(k.variance)) > steepKeys
	return y, e, nil
}

// remove takes positions that a mask (B,T) leaves out from the sources: their keys are -inf.
func (s signal) remove(mask tensor.Array) {
	if mask.Empty() {
		return
	}
	heads := s.value.Shape[2]
	for i := range s.value.Data {
		if mask.Data[i/heads] == 0 {
			s.value.Data[i], s.variance[i] = math.Inf(-1), 0
		}
	}
}

// layerCall is a layer's operator, without its gate, with the inputs that its projections give.
type layerCall struct {
	*opCall
	inputs []tensor.Array // Q, K, V and what else the operator takes
	attrs  map[string][]int64
	op     float64 // its tolerance over max|V|
	biasN  float64 // variance of rounding W
}

func (n noise) call(l *reference.Layer, q, k, v signal, grid [2]int) (*layerCall, error) {
	attrs := l.Attrs()
	attrs["gate"] = []int64{ops.GateAbsent}
	def, ok := ops.Lookup(l.Variant.Op())
	if !ok {
		return nil, fmt.Errorf("no operator %q", l.Variant.Op())
	}
	c := &layerCall{
		opCall: &opCall{def: def, attrs: attrs, dtype: tensor.Float64, q: q.value, k: k.value, v: v.value},
		inputs: []tensor.Array{q.value, k.value, v.value}, attrs: attrs,
	}
	w, err := l.W.Array()
	if err != nil {
		return nil, fmt.Errorf("w: %w", err)
	}
	var hw []int64
	if !w.Empty() {
		c.inputs = append(c.inputs, w)
	}
	if l.Variant == reference.Conv2D {
		if l.Grid != [2]int{} {
			grid = l.Grid
		}
		hw = []int64{int64(grid[0]), int64(grid[1])}
		c.inputs = append(c.inputs, tensor.Array{Shape: []int{2}, Data: []float64{float64(grid[0]), float64(grid[1])}})
	}
	if !w.Empty() {
		c.bias = usedBias(def.Name, attrs, w, extent{t: q.value.Shape[1], s: k.value.Shape[1], grid: hw})
	}
	rounded := n.weight * largestFinite(c.bias)
	c.biasN = rounded * rounded
	c.op = n.op + n.cumSum*float64(k.value.Shape[1])
	if n.double {
		c.op *= max(1, c.largestLogit()/doubleLogit)
	}
	return c, nil
}

// ratioNoise is the ratio of sums r and its variance, before the gate and without the operator's own noise. With the largest
// variances p of a channel's keys and q of its values,
//
//	sum_s a_s (p (v_s-r)^2 + q) = p (A(v^2) - r^2) + q
//
// where A(z) is the operator applied to the values z. A(v^2) is left in squares; one that is there already is taken.
func (c *layerCall) ratioNoise(k, v signal, squares *tensor.Array) (tensor.Array, []float64, error) {
	r, err := c.apply(v.value.Data)
	if err != nil {
		return r, nil, err
	}
	if !tensor.SameShape(squares.Shape, r.Shape) {
		z := make([]float64, len(v.value.Data))
		for i, value := range v.value.Data {
			z[i] = value * value
		}
		if *squares, err = c.apply(z); err != nil {
			return r, nil, err
		}
	}
	p, q := c.largestNoise(k, v)
	channels, perBatch := v.value.Shape[2], len(v.value.Data)/max(v.value.Shape[0], 1)
	variance := make([]float64, len(r.Data))
	for i, ri := range r.Data {
		of := i/perBatch*channels + i%channels
		variance[i] = p[of]*max(0, squares.Data[i]-ri*ri) + q[of]
	}
	return r, variance, nil
}

// largestNoise are the largest variances, by batch entry and channel, of keys and values of sources that are there.
func (c *layerCall) largestNoise(k, v signal) (p, q []float64) {
	channels, keys := v.value.Shape[2], k.value.Shape[2]
	perBatch := len(v.value.Data) / max(v.value.Shape[0], 1)
	p, q = make([]float64, v.value.Shape[0]*channels), make([]float64, v.value.Shape[0]*channels)
	for i, vv := range v.variance {
		of, key := i/perBatch*channels+i%channels, i/channels*keys+i%channels/(channels/keys)
		if math.IsInf(k.value.Data[key], -1) {
			continue
		}
		if vk := k.variance[key] + c.biasN; vk > p[of] && !isUndefined(vk) {
			p[of] = vk
		}
		if vv > q[of] && !isUndefined(vv) {
			q[of] = vv
		}
	}
	return p, q
}

// apply is the operator with other values.
func (c *layerCall) apply(values []float64) (tensor.Array, error) {
	inputs := append([]tensor.Array{}, c.inputs...)
	inputs[2] = tensor.Array{Shape: c.v.Shape, Data: values}
	y, err := reference.Call(c.def.Name, c.attrs, inputs)
	if err != nil {
		return tensor.Array{}, err
	}
	return y[0], nil
}

// gateAndSlope is the gate's value and derivative at q.
func gateAndSlope(g reference.Gate, q float64) (float64, float64) {
	switch g {
	case reference.GateSigmoid:
		s := 1 / (1 + math.Exp(-q))
		return s, s * (1 - s)
	case reference.GateTanh:
		t := math.Tanh(q)
		return t, 1 - t*t
	case reference.GateIdentity:
		return q, 1
	}
	return 1, 0
}
