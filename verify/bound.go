package verify

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The tolerance of a whole model follows from its weights and inputs. Every rounding an engine may make is a source of
// noise of known size; the noise is carried through the layers to first order, as variances, since roundings of
// different numbers do not conspire; the tolerance of an element is deviations times its standard deviation. With u the
// unit roundoff (2^-24 float, 2^-53 double; stored float16 values 2^-11, their sums 2^-24):
//
//	y_o = sum_i w_oi x_i + b_o, n terms with sum s:
//	    var y = sum w^2 (var x + u^2 (n/6+1) x^2) + u^2 (n/6+1) s^2 + u^2 y^2
//	r = sum_s a_s v_s, a the softmax of k + w:
//	    var r = sum_s a_s (max var k (v_s-r)^2 + max var v)
//	a = gate(q) r:
//	    var a = (gate'(q) r)^2 var q + gate(q)^2 var r + (c m)^2 + u^2 a^2
//
// c m is the operator's own tolerance over deviations (16 * 2^-23 * m for a float kernel), so that a layer of nothing but
// the operator gets that. a_s^2 is bounded by a_s, which lets package reference compute the sums. What else a network holds
// follows in boundnet.go.
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
	erf    float64 // error of the error function, which is computed in float
	root   float64 // relative error of the square root of 2 that a model has for it, in its own type
	body   float64 // a function body: the range(K) + range(W) in which the operator's tolerance holds; 0: no body
}

// noiseOf is the noise of an engine that runs a model of that type.
func noiseOf(r rule) noise {
	n := noise{stored: 0x1p-24, sum: 0x1p-24, op: r.units(0)}
	if r.engine == Portable || r.engine == Native {
		n.body = r.bodyRange()
	}
	n.cumSum = r.units(1) - r.units(0)
	n.erf, n.root = erfError, rootError(r.dtype)
	if r.engine == Native {
		n.erf = 0x1p-52
	}
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

// erfError is how far a float error function may be off: two units in the last place of 1.
const erfError = 0x1p-22

// rootError is how far off the square root of 2 is in a type.
func rootError(dtype tensor.DType) float64 {
	t, err := tensor.FromFloat64s(dtype, nil, []float64{math.Sqrt2})
	if err != nil {
		return 0
	}
	return math.Abs(t.At(0)/math.Sqrt2 - 1)
}

// round is the variance of storing v.
func (n noise) round(v float64) float64 {
	return n.stored*n.stored*v*v + n.floor*n.floor
}

// stage is a value that every engine computes: the output of an AFT node, of half a block, of a block.
type stage struct {
	name string // as package wiring names it
	signal
	ends
}

// limit turns the noise into a tolerance.
func (s *stage) limit() limit {
	l := newLimit(len(s.variance))
	l.finiteOnly = s.finiteOnly
	largest := largestFinite(s.value.Data)
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

// shown is a value that an engine has given: it may go on with more digits than it shows.
func (n noise) shown(value tensor.Array) signal {
	s := signal{value, make([]float64, len(value.Data))}
	for i, v := range value.Data {
		s.variance[i] = n.round(v)
	}
	return s
}

// given is an input of a model, which the engine may have in a coarser type.
func (n noise) given(value tensor.Array) signal {
	s := signal{value, make([]float64, len(value.Data))}
	for i, v := range value.Data {
		s.variance[i] = n.input * n.input * v * v
	}
	return s
}
