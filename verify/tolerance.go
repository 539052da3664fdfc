package verify

import (
	"fmt"
	"math"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

const (
	epsilon32   = 0x1p-23 // distance of 1 and the next float32
	floatUnits  = 16      // kernels and bodies in float: 16 epsilon32 max|V|
	doubleError = 1e-12   // in double, while max|K+W| <= doubleLogit
	doubleLogit = 100
	// Bodies owe the tolerance while range(K) + range(W) of a batch entry is at most this: exp(-80) is a normal float32,
	// exp(-600) a normal double with room for V.
	floatRange  = 80
	doubleRange = 600
)

// opCall is one call of an operator with its inputs as stored, widened: what a tolerance is computed from.
type opCall struct {
	def     *ops.Def
	attrs   ops.Attrs
	dtype   tensor.DType
	q, k, v tensor.Array
	bias    []float64 // the entries of W that some pair uses, 0 included where a pair lies outside the window or kernel
}

func newOpCall(def *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) *opCall {
	c := &opCall{def: def, attrs: attrs, dtype: inputs[0].DType}
	c.q, c.k, c.v = inputs[0].Array(), inputs[1].Array(), inputs[2].Array()
	if len(inputs) > 3 {
		w := inputs[3].Array()
		var grid []int64
		if len(inputs) > 4 {
			grid, _ = inputs[4].Int64s() // Check has seen that it is int64
		}
		c.bias = usedBias(def.Name, attrs, w, extent{t: c.q.Shape[1], s: c.k.Shape[1], grid: grid})
	}
	return c
}

// limit derives what an engine may differ by:
//
//	float            16 * 2^-23 * m
//	double           1e-12 * m, times max|K+W|/100 above 100
//	float16          half a float16 unit in the last place of y, plus the float bound
//	portable, cumSum the float bound plus T/8 * 2^-23 * m
//	step forms       2^-23 * m more a chunk: both sums of the state are rounded
//
// m is max|V| over the source positions of the element's batch entry and channel that K does not remove, times |Q| where
// that multiplies ungated and exceeds 1. Where range(K) + range(W) of a batch entry exceeds 80 (600 for a body that computes
// in double) a body need only be finite.
func (c *opCall) limit(r rule, want tensor.Array) limit {
	l := newLimit(len(want.Data))
	l.finiteOnly = r.engine == Portable && c.beyond(r.bodyRange())
	m, logits := c.largestV(), max(1, c.largestLogit()/doubleLogit)
	for i := range want.Data {
		at := tensor.Unravel(i, want.Shape)
		scale := m[at[0]*want.Shape[2]+at[2]]
		if c.attrs.Int("gate") == ops.GateIdentity {
			scale *= max(1, math.Abs(c.q.Data[i]))
		}
		l.scale[i] = scale
		l.tolerance[i] = r.units(c.k.Shape[1]) * scale
		switch {
		case r.inDouble():
			l.tolerance[i] *= logits
		case r.dtype == tensor.Float16 && scale > 0:
			l.tolerance[i] += halfUnit16(math.Abs(want.Data[i]) + l.tolerance[i])
		}
	}
	return l
}

// rule is whose tolerance is meant.
type rule struct {
	engine Engine
	dtype  tensor.DType
	cumSum bool // portable: a body sums with CumSum
	wide   bool // portable: the bodies compute in double inside, whatever the type
	chunks int  // of a step form: how often the state's sums were rounded
}

// bodyRange is how far range(K) + range(W) may go before a body need only be finite. It is the body's: one written for
// float keeps its guards against float's limits when the native engine runs it in double.
func (r rule) bodyRange() float64 {
	if r.wide || r.dtype == tensor.Float64 {
		return doubleRange
	}
	return floatRange
}

func (r rule) inDouble() bool { return r.engine == Native || r.dtype == tensor.Float64 }

// units is the tolerance over max|V|, but for what float16 and large logits add.
func (r rule) units(sources int) float64 {
	switch {
	case r.inDouble():
		return doubleError
	case r.cumSum:
		return (floatUnits + float64(r.chunks) + float64(sources)/8) * epsilon32
	}
	return (floatUnits + float64(r.chunks)) * epsilon32
}

// String is the rule in words.
func (r rule) String() string {
	units := fmt.Sprint(floatUnits)
	if r.chunks > 0 {
		units += "+chunks"
	}
	if r.cumSum {
		units += "+T/8"
	}
	if strings.Contains(units, "+") {
		units = "(" + units + ")"
	}
	text := units + "*2^-23*max|V|"
	switch {
	case r.inDouble():
		text = fmt.Sprintf("%g*max|V|*max(1,max|K+W|/%d)", doubleError, doubleLogit)
	case r.dtype == tensor.Float16:
		text = "half a float16 ulp of y + " + text
	}
	switch r.engine {
	case Portable:
		text += fmt.Sprintf(" while range(K)+range(W) <= %g, else finite", r.bodyRange())
	case Native:
		text += fmt.Sprintf("; bodies while range(K)+range(W) <= %g, else finite", r.bodyRange())
	}
	return text
}

// halfUnit16 is half the distance of neighbouring float16 numbers at y >= 0, denormal ones included.
func halfUnit16(y float64) float64 {
	if y == 0 {
		return 0x1p-25
	}
	_, exponent := math.Frexp(y) // y = f * 2^exponent, f in [0.5, 1)
	return math.Ldexp(0.5, max(exponent-11, -24))
}

// largestV is max|V| by batch entry and channel over the positions whose key is not -inf. What is no number does not count:
// outputs that it reaches are none either and need no tolerance.
func (c *opCall) largestV() []float64 {
	batch, sources, channels := c.v.Shape[0], c.v.Shape[1], c.v.Shape[2]
	m := make([]float64, batch*channels)
	if len(m) == 0 || len(c.v.Data) == 0 {
		return m
	}
	keys := c.k.Shape[2]
	for i, v := range c.v.Data {
		b, s, d := i/channels/sources, i/channels%sources, i%channels
		if key := c.k.Data[(b*sources+s)*keys+d/(channels/keys)]; !math.IsInf(key, -1) && !isUndefined(v) {
			m[b*channels+d] = max(m[b*channels+d], math.Abs(v))
		}
	}
	return m
}

// largestLogit is max|K| + max|W|, removed positions and pairs left out.
func (c *opCall) largestLogit() float64 {
	return largestFinite(c.k.Data) + largestFinite(c.bias)
}

func largestFinite(values []float64) float64 {
	m := 0.0
	for _, v := range values {
		if !isUndefined(v) {
			m = max(m, math.Abs(v))
		}
	}
	return m
}

// beyond reports whether a batch entry's range(K) + range(W) exceeds what bodies owe a tolerance for. Entries of -inf
// remove a position or pair: no term is formed of them, so they do not widen the range.
func (c *opCall) beyond(limit float64) bool {
	bias := finiteRange(c.bias)
	n := c.k.Shape[1] * c.k.Shape[2]
	for b := range c.k.Shape[0] {
		if finiteRange(c.k.Data[b*n:(b+1)*n])+bias > limit {
			return true
		}
	}
	return false
}

func finiteRange(values []float64) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !isUndefined(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	return max(high-low, 0) // 0 without values
}
