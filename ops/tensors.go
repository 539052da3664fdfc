package ops

import (
	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// The helpers here write one standard operator each, in the form that the opset of the body wants.

func (b *builder) reshape(x string, shape ...size) string {
	return b.reshapeTo(x, b.vector(shape...))
}

// reshapeTo takes 0 as a size, where the opset can say so: the other meaning, "copy the dimension", would give an empty
// tensor a wrong shape.
func (b *builder) reshapeTo(x, shape string) string {
	if b.spec.Opset < 14 {
		return b.op("Reshape", []string{x, shape})
	}
	return b.op("Reshape", []string{x, shape}, onnxpb.IntAttr("allowzero", 1))
}

// expect is x if that is its shape; otherwise the body fails.
func (b *builder) expect(x string, shape ...size) string {
	have, want := b.op("Shape", []string{x}), b.vector(shape...)
	same := b.op("Equal", []string{have, want})
	return b.reshapeTo(x, b.op("Where", []string{same, want, b.ints(refused)}))
}

// slice is x[from:to] along one axis.
func (b *builder) slice(x string, axis int64, from, to size) string {
	return b.op("Slice", []string{x, b.vec(from), b.vec(to), b.ints(axis)})
}

// pad adds before and after to one axis of x, of that rank, filled with zeros.
func (b *builder) pad(x string, rank, axis int, before, after size) string {
	pads := make([]size, 2*rank)
	for i := range pads {
		pads[i] = fixed(0)
	}
	pads[axis], pads[rank+axis] = before, after
	return b.op("Pad", []string{x, b.vector(pads...)})
}

// max is the maximum over axes, kept as dimensions of 1.
func (b *builder) max(x string, axes ...int64) string {
	if b.spec.Opset < 18 {
		return b.op("ReduceMax", []string{x}, onnxpb.IntsAttr("axes", axes...))
	}
	return b.op("ReduceMax", []string{x, b.ints(axes...)})
}

// finiteMax is max, at least the lowest finite number.
func (b *builder) finiteMax(x string, axes ...int64) string {
	return b.op("Max", []string{b.max(x, axes...), b.lowest()})
}

// sum is the sum over axes, kept as dimensions of 1.
func (b *builder) sum(x string, axes ...int64) string {
	return b.op("ReduceSum", []string{x, b.ints(axes...)})
}

func (b *builder) transpose(x string, perm ...int64) string {
	return b.op("Transpose", []string{x}, onnxpb.IntsAttr("perm", perm...))
}

func (b *builder) concat(axis int64, parts ...string) string {
	return b.op("Concat", parts, onnxpb.IntAttr("axis", axis))
}

func (b *builder) unsqueeze(x string, axes ...int64) string {
	return b.op("Unsqueeze", []string{x, b.ints(axes...)})
}

// index is the vector 0, 1, ..., n-1.
func (b *builder) index(n size) string {
	end := b.op("Squeeze", []string{b.vec(n), b.ints(0)})
	return b.op("Range", []string{b.integer(0), end, b.integer(1)})
}

// future is the bool matrix (rows, columns) of column > row.
func (b *builder) future(rows, columns size) string {
	return b.op("Greater", []string{b.unsqueeze(b.index(columns), 0), b.unsqueeze(b.index(rows), 1)})
}

// distance is the matrix (rows, columns) of column minus row.
func (b *builder) distance(rows, columns size) string {
	return b.op("Sub", []string{b.unsqueeze(b.index(columns), 0), b.unsqueeze(b.index(rows), 1)})
}

// within is the bool tensor from <= x <= to, for an int64 tensor x.
func (b *builder) within(x string, from, to size) string {
	return b.op("And", []string{
		b.op("GreaterOrEqual", []string{x, b.vec(from)}),
		b.op("LessOrEqual", []string{x, b.vec(to)}),
	})
}

func (b *builder) mul(x, y string) string { return b.op("Mul", []string{x, y}) }
func (b *builder) add(x, y string) string { return b.op("Add", []string{x, y}) }
func (b *builder) sub(x, y string) string { return b.op("Sub", []string{x, y}) }
func (b *builder) exp(x string) string    { return b.op("Exp", []string{x}) }
func (b *builder) matmul(x, y string) string {
	return b.op("MatMul", []string{x, y})
}

// where is x where the bool tensor mask holds and y elsewhere.
func (b *builder) where(mask, x, y string) string { return b.op("Where", []string{mask, x, y}) }

// ratio is num/den, 0 where nothing is left to sum.
func (b *builder) ratio(num, den string) string {
	return b.op("Div", []string{num, b.atLeastTiny(den)})
}

func (b *builder) atLeastTiny(den string) string { return b.op("Clip", []string{den, b.tiny()}) }
