package ops

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The parts that the bodies share. All of them keep to two rules. Exponents are shifted by a maximum before exp, per
// channel for keys and per row (or kernel) for biases: exp(K + w) = exp(K - max K) exp(w - max w) times a factor that
// cancels in the ratio. And nothing is ever subtracted from a sum: a small sum inside or outside a window keeps its
// digits however large the rest is.

// queries is Q, checked to have rank 3, and its dimensions.
func (b *builder) queries() (q string, batch, t, d size) {
	q = b.def.Inputs[0].Name
	batch, t, d = b.dim(q, 0), b.dim(q, 1), b.dim(q, 2)
	if b.spec.Attrs == nil && b.def.Whole == "" {
		causal, gate := b.attr("causal", 0), b.attr("gate", 0)
		batch = b.require(b.and(b.between(causal, 0, 1), b.between(gate, GateSigmoid, GateAbsent)), batch)
	}
	return b.expect(q, batch, t, d), batch, t, d
}

// between is lo <= x <= hi.
func (b *builder) between(x size, lo, hi int64) cond {
	return b.and(b.less(fixed(lo-1), x), b.less(x, fixed(hi+1)))
}

// keys is exp(K - max K), the maximum over the positions.
func (b *builder) keys(k string) string {
	return b.exp(b.sub(k, b.finiteMax(k, 1)))
}

// hideFuture sets a (T,S) matrix of biases to -inf where s > t, if the operator is causal.
func (b *builder) hideFuture(bias string, t, s size) string {
	causal := b.causal()
	if causal.known && !causal.value {
		return bias
	}
	future := b.future(t, s)
	if !causal.known {
		future = b.op("And", []string{future, causal.name})
	}
	return b.where(future, b.real(math.Inf(-1)), bias)
}

// dense is the ratio of sums for biases (T,S), keys (B,S,D) and values (B,S,D): two products of (T,S) by (S,D).
func (b *builder) dense(bias, k, v string, s, d size) string {
	if b.spec.Channels >= goodColumns {
		d = fixed(int64(b.spec.Channels)) // enough: no need to look
	}
	e := b.exp(b.sub(bias, b.finiteMax(bias, 1)))
	a := b.keys(k)
	return b.ratio(b.product(e, b.mul(a, v), s, d), b.product(e, a, s, d))
}

// ONNX Runtime adds up a float product in runs of 128 terms where it has more than 64 columns, and in longer ones the
// fewer the columns are: with 8 columns a thousand terms, which costs 80 units in the last place if all are the same.
const (
	goodColumns = 72
	goodTerms   = 128
)

// product is m (..,T,terms) times x (.,terms,columns), a tensor of rank 3. Few columns are filled up with zeros where
// there are many terms.
func (b *builder) product(m, x string, terms, columns size) string {
	missing := b.most(b.minus(fixed(goodColumns), columns), fixed(0))
	if b.computeType() == tensor.Float64 || missing.known && missing.value == 0 {
		return b.matmul(m, x)
	}
	missing = b.choose(b.less(fixed(goodTerms), terms), missing, fixed(0))
	wide := b.matmul(m, b.pad(x, 3, 2, fixed(0), missing))
	return b.slice(wide, 2, fixed(0), columns)
}

// skew shifts row i of x (outer, rows, n, inner) right by i, filling with zeros: (outer, rows, n+rows-1, inner). In rows
// that are padded to n+rows and then read as rows of n+rows-1 every row starts one later than the one before.
func (b *builder) skew(x string, outer, rows, n, inner size) string {
	wide := b.plus(n, rows)
	width := b.minus(wide, fixed(1))
	x = b.pad(x, 4, 2, fixed(0), rows)
	x = b.reshape(x, outer, b.times(rows, b.times(wide, inner)))
	x = b.slice(x, 1, fixed(0), b.times(rows, b.times(width, inner)))
	return b.reshape(x, outer, rows, width, inner)
}

// sumBlock is how many numbers the bodies add up one after the other in float before they go on in double.
const sumBlock = 32

// total is the sum of x (B,S,D) over S: (B,1,D). A float sum of thousands of numbers would lose digits.
func (b *builder) total(x string, batch, s, d size) string {
	if b.computeType() == tensor.Float64 {
		return b.sum(x, 1)
	}
	block := b.most(b.least(s, fixed(sumBlock)), fixed(1))
	n := b.blocks(s, block)
	padded := b.pad(x, 3, 1, fixed(0), b.minus(b.times(n, block), s))
	parts := b.sum(b.reshape(padded, batch, n, block, d), 2)
	whole := b.sum(b.cast(parts, tensor.Float64), 1)
	return b.reshape(b.cast(whole, tensor.Float32), batch, fixed(1), d)
}

// running sums x along axis 1: up to each position, from it with reverse; without it with exclusive.
func (b *builder) running(x string, attrs ...*onnxpb.AttributeProto) string {
	return b.op("CumSum", []string{x, b.integer(1)}, attrs...)
}

// sums are the two sums of the ratio, over the same sources: num has one axis more, the channels of a head.
type sums struct{ num, den string }

// blend is the ratio of sums over the sources inside a window, weighted by exp(w - top), and outside it, weighted by 1.
// Where both occur the larger of the exponents top and 0 is taken out of both; where one is missing the other stays as
// it is: a window of very negative biases still decides where nothing lies outside it. The shape of top broadcasts to
// den's; axis is the one that num has more.
func (b *builder) blend(inside, outside sums, top string, axis int64) string {
	zero, one := b.real(0), b.real(1)
	factor := func(exponent, other string) string {
		occurs := b.op("Greater", []string{other, zero})
		return b.where(occurs, b.exp(b.op("Min", []string{exponent, zero})), one)
	}
	in, out := factor(top, outside.den), factor(b.op("Neg", []string{top}), inside.den)
	num := b.add(b.mul(inside.num, b.unsqueeze(in, axis)), b.mul(outside.num, b.unsqueeze(out, axis)))
	den := b.add(b.mul(inside.den, in), b.mul(outside.den, out))
	return b.op("Div", []string{num, b.unsqueeze(b.atLeastTiny(den), axis)})
}
