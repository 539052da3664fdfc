package verify

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// The tolerance of a whole model follows from its weights and inputs. Every rounding an engine may make is a source of
// noise of known size; the noise is carried through the layers to first order, as variances, since roundings of
// different numbers do not conspire; the tolerance of an element is deviations times its standard deviation. With u the
// unit roundoff (2^-24 float, 2^-53 double; stored float16 values 2^-11, their sums 2^-24):
//
//	y_o = sum_i w_oi x_i + b_o, n terms with sum s:
//	    var y = sum w^2 var x + u^2 (n/6+1) (sum w^2 x^2 + s^2) + u^2 y^2
//	r = sum_s a_s v_s, a the softmax of k + w:
//	    var r = sum_s a_s (var k_s (v_s-r)^2 + var v_s)
//	a = gate(q) r:
//	    var a = (gate'(q) r)^2 var q + gate(q)^2 var r + (c m)^2 + u^2 a^2
//
// c m is the operator's own tolerance over deviations (16 * 2^-23 * m for a float kernel), so that a layer of nothing but
// the operator gets that. a_s^2 is bounded by a_s, which lets package reference compute the sums.
const deviations = 8

// noise is what one engine's arithmetic adds.
type noise struct {
	stored float64 // unit roundoff of values between operators
	sum    float64 // unit roundoff of the terms of a dot product
	floor  float64 // absolute rounding error of the smallest stored values
	weight float64 // relative rounding of weights, where the engine's and the truth's are of different types
	input  float64 // relative rounding of the inputs, where the engine's are coarser
	op     float64 // tolerance of an AFT operator over max|V|
	cumSum float64 // the same a source position, where a body sums with CumSum
	double bool    // op grows with max|K+W|
	body   float64 // a function body: the range(K) + range(W) in which the operator's tolerance holds; 0: no body
}

// noiseOf is the noise of an engine that runs a model of that type.
func noiseOf(r rule) noise {
	n := noise{stored: 0x1p-24, sum: 0x1p-24, op: r.units(0)}
	if r.engine == Portable || r.engine == Native {
		n.body = r.bodyRange()
	}
	n.cumSum = r.units(1) - r.units(0)
	switch {
	case r.inDouble():
		n.stored, n.sum, n.double = 0x1p-53, 0x1p-53, true
	case r.dtype == tensor.Float16:
		n.stored, n.floor = 0x1p-11, 0x1p-25
	}
	return n
}

// String is the derivation of the tolerance in words.
func (n noise) String() string {
	op := fmt.Sprintf("%d*2^-23", floatUnits)
	switch {
	case n.double:
		op = fmt.Sprintf("%g", doubleError)
	case n.cumSum > 0:
		op = fmt.Sprintf("(%d+T/8)*2^-23", floatUnits)
	}
	s := fmt.Sprintf("%d deviations of rounding noise (2^%.0f in values, 2^%.0f in sums, %s*max|V| an AFT node)",
		deviations, math.Log2(n.stored), math.Log2(n.sum), op)
	if n.weight > 0 {
		s += fmt.Sprintf(", weights rounded to 2^%.0f", math.Log2(n.weight))
	}
	return s
}

// stage is a value that every engine computes: the output of an AFT node, or of a layer.
type stage struct {
	name       string // as the exporter names it
	want       tensor.Array
	variance   []float64
	finiteOnly bool // a body left the range of its tolerance in this layer or before it
	steep      bool // the noise in the keys outgrew what first order covers, in this layer or before it
}

// limit turns the noise into a tolerance.
func (s *stage) limit() limit {
	l := newLimit(len(s.variance))
	l.finiteOnly = s.finiteOnly
	largest := largestFinite(s.want.Data)
	for i, v := range s.variance {
		l.tolerance[i], l.scale[i] = deviations*math.Sqrt(v), largest
	}
	return l
}

// signal is a value with its noise.
type signal struct {
	value    tensor.Array
	variance []float64
}

// steepKeys is the error in a key from which exp(k) is no longer linear in it.
const steepKeys = 0.5

// propagate runs a model in the reference and carries an engine's noise along.
func propagate(m *reference.Model, x tensor.Array, grid [2]int, n noise) ([]stage, error) {
	in := signal{x, make([]float64, len(x.Data))}
	for i, v := range x.Data {
		in.variance[i] = n.input * n.input * v * v
	}
	var stages []stage
	for i := range m.Layers {
		of, y, err := n.layer(m, i, in, grid)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			before := stages[len(stages)-1]
			for j := range of {
				of[j].finiteOnly = of[j].finiteOnly || before.finiteOnly
				of[j].steep = of[j].steep || before.steep
			}
		}
		stages, in = append(stages, of...), y
	}
	return stages, nil
}

// layer carries noise through layer i: the stages are its AFT node's output and, behind a projection, its own.
func (n noise) layer(m *reference.Model, i int, x signal, grid [2]int) ([]stage, signal, error) {
	l := &m.Layers[i]
	mixed, info, err := n.mix(l, x, grid)
	if err != nil {
		return nil, mixed, fmt.Errorf("layer %d: %w", i, err)
	}
	last := fmt.Sprintf("layers.%d.y", i)
	if i == len(m.Layers)-1 {
		last = "y"
	}
	if l.Out == nil {
		return []stage{{last, mixed.value, mixed.variance, info.beyond, info.steep}}, mixed, nil
	}
	y := n.project(l.Out, mixed)
	return []stage{
		{fmt.Sprintf("layers.%d.aft", i), mixed.value, mixed.variance, info.beyond, info.steep},
		{last, y.value, y.variance, info.beyond, info.steep},
	}, y, nil
}

// project is y = x W^T + b.
func (n noise) project(l *reference.Linear, x signal) signal {
	out, in := l.Weight.Shape[0], l.Weight.Shape[1]
	shape := append([]int{}, x.value.Shape...)
	shape[len(shape)-1] = out
	rows := len(x.value.Data) / max(in, 1)
	y := signal{tensor.Array{Shape: shape, Data: make([]float64, rows*out)}, make([]float64, rows*out)}
	growth := n.sum * n.sum * (float64(in)/6 + 1)
	for r := range rows {
		xr, vr := x.value.Data[r*in:(r+1)*in], x.variance[r*in:(r+1)*in]
		for o := range out {
			var s, squares, carried float64
			for i, w := range l.Weight.Data[o*in : (o+1)*in] {
				p := w * xr[i]
				s += p
				squares += p * p
				carried += w * w * vr[i]
			}
			v := s
			if l.Bias != nil {
				v += l.Bias[o]
			}
			y.value.Data[r*out+o] = v
			rounding := growth*(squares+s*s) + n.weight*n.weight*(squares+(v-s)*(v-s)) + n.round(s) + n.round(v)
			y.variance[r*out+o] = carried + rounding
		}
	}
	return y
}

// round is the variance of storing v.
func (n noise) round(v float64) float64 {
	return n.stored*n.stored*v*v + n.floor*n.floor
}

// mixInfo says where the tolerance of an operator ends.
type mixInfo struct {
	beyond bool // a body owes no tolerance for these numbers
	steep  bool // noise in the keys beyond first order
}

// mix is the AFT operator between the projections.
func (n noise) mix(l *reference.Layer, x signal, grid [2]int) (y signal, info mixInfo, err error) {
	q, k, v := n.project(&l.Q, x), n.project(&l.K, x), n.project(&l.V, x)
	bare := *l
	bare.Out = nil
	if y.value, err = bare.Forward(x.value, grid); err != nil {
		return y, info, err
	}
	call, err := n.call(l, q, k, v, grid)
	if err != nil {
		return y, info, err
	}
	ratio, variance, err := call.ratioNoise(k, v)
	if err != nil {
		return y, info, err
	}
	m := call.largestV()
	channels := y.value.Shape[2]
	perBatch := len(y.value.Data) / max(y.value.Shape[0], 1)
	y.variance = make([]float64, len(y.value.Data))
	for i := range y.variance {
		gate, slope := gateAndSlope(l.Gate, q.value.Data[i])
		own := call.op * m[i/perBatch*channels+i%channels] * max(1, math.Abs(gate)) / deviations
		fromGate := slope * ratio.Data[i]
		y.variance[i] = fromGate*fromGate*q.variance[i] + gate*gate*variance[i] + own*own + n.round(y.value.Data[i])
	}
	info.beyond = n.body > 0 && call.beyond(n.body)
	info.steep = deviations*math.Sqrt(largestFinite(k.variance)) > steepKeys
	return y, info, nil
}

// layerCall is a layer's operator with the inputs that its projections give.
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
	var hw []int64
	if !l.W.Empty() {
		c.inputs = append(c.inputs, l.W)
	}
	if l.Variant == reference.Conv2D {
		if l.Grid != [2]int{} {
			grid = l.Grid
		}
		hw = []int64{int64(grid[0]), int64(grid[1])}
		c.inputs = append(c.inputs, tensor.Array{Shape: []int{2}, Data: []float64{float64(grid[0]), float64(grid[1])}})
	}
	if !l.W.Empty() {
		c.bias = usedBias(def.Name, attrs, l.W, extent{t: q.value.Shape[1], s: k.value.Shape[1], grid: hw})
	}
	w := n.weight * largestFinite(c.bias)
	c.biasN = w * w
	c.op = n.op + n.cumSum*float64(k.value.Shape[1])
	if n.double {
		c.op *= max(1, c.largestLogit()/doubleLogit)
	}
	return c, nil
}

// ratioNoise is the ratio of sums r and its variance, before the gate and without the operator's own noise:
// sum_s a_s (var k_s (v_s-r)^2 + var v_s) = A(var k v^2 + var v) - 2 r A(var k v) + r^2 A(var k),
// where A(z) is the operator applied to the values z.
func (c *layerCall) ratioNoise(k, v signal) (tensor.Array, []float64, error) {
	channels, keys := v.value.Shape[2], k.value.Shape[2]
	n := len(v.value.Data)
	terms := [3][]float64{make([]float64, n), make([]float64, n), make([]float64, n)}
	for i, value := range v.value.Data {
		row, d := i/channels, i%channels
		vk := k.variance[row*keys+d/(channels/keys)] + c.biasN
		terms[0][i], terms[1][i], terms[2][i] = vk*value*value+v.variance[i], vk*value, vk
	}
	r, err := c.apply(v.value.Data)
	if err != nil {
		return r, nil, err
	}
	var sums [3]tensor.Array
	for i, z := range terms {
		if sums[i], err = c.apply(z); err != nil {
			return r, nil, err
		}
	}
	variance := make([]float64, len(r.Data))
	for i, ri := range r.Data {
		variance[i] = max(0, sums[0].Data[i]-2*ri*sums[1].Data[i]+ri*ri*sums[2].Data[i])
	}
	return r, variance, nil
}

// apply is the operator with other values.
func (c *layerCall) apply(values []float64) (tensor.Array, error) {
	inputs := append([]tensor.Array{}, c.inputs...)
	inputs[2] = tensor.Array{Shape: c.v.Shape, Data: values}
	return reference.Call(c.def.Name, c.attrs, inputs)
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
