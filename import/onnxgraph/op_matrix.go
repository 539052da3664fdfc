package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/dense"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// matrixOperators multiply matrices.
func matrixOperators() []operator {
	return []operator{
		{name: "MatMul", in: span{2, 2}, run: runMatMul},
		{name: "Gemm", in: span{2, 3},
			attrs: kinds{"alpha": attrFloat, "beta": attrFloat, "transA": attrInt, "transB": attrInt}, run: runGemm},
		{name: "Einsum", in: span{1, many}, since: 12, attrs: kinds{"equation": attrString}, run: runEinsum},
	}
}

// runMatMul follows numpy: a vector on the left is a row, on the right a column, and the axes before the last two
// broadcast.
func runMatMul(c *call) ([]*value, error) {
	x, y := c.in[0], c.in[1]
	if x.dtype != y.dtype || x.dtype == tensor.Bool {
		return nil, fmt.Errorf("operands are %s and %s, want numbers of one type", x.dtype, y.dtype)
	}
	if len(x.shape) == 0 || len(y.shape) == 0 {
		return nil, fmt.Errorf("an operand is a scalar, want rank 1 or more")
	}
	xs, ys := x.shape, y.shape
	if len(xs) == 1 {
		xs = []int{1, xs[0]}
	}
	if len(ys) == 1 {
		ys = []int{ys[0], 1}
	}
	m, k, n := xs[len(xs)-2], xs[len(xs)-1], ys[len(ys)-1]
	if ys[len(ys)-2] != k {
		return nil, fmt.Errorf("shapes %s and %s do not multiply", tensor.FormatShape(x.shape),
			tensor.FormatShape(y.shape))
	}
	batch, err := broadcastShape(xs[:len(xs)-2], ys[:len(ys)-2])
	if err != nil {
		return nil, err
	}
	out, err := c.alloc(x.dtype, append(append([]int{}, batch...), m, n))
	if err != nil {
		return nil, err
	}
	p := product{m: m, k: k, n: n}
	if out.len() > 0 {
		p.locate(batch, xs[:len(xs)-2], ys[:len(ys)-2])
	}
	switch {
	case c.hollow && x.isFloat():
	case x.isFloat():
		err = multiply(c, p, out.f, x.f, y.f)
	default:
		err = multiply(c, p, out.i, x.i, y.i)
		for i, v := range out.i {
			out.i[i] = wrap(x.dtype, v)
		}
	}
	if err != nil {
		return nil, err
	}
	shape := append([]int{}, batch...)
	if len(x.shape) > 1 {
		shape = append(shape, m)
	}
	if len(y.shape) > 1 {
		shape = append(shape, n)
	}
	out.shape = shape
	return []*value{out}, nil
}

// product is a batch of products of m x k by k x n matrices.
type product struct {
	m, k, n int
	x, y    []int // where the operands of each matrix begin
}

func (p *product) locate(batch, xs, ys []int) {
	t := newTraversal(batch, broadcastStrides(xs, batch), broadcastStrides(ys, batch))
	t.run(false, func(_, n int, at, step []int) {
		for i := range n {
			p.x = append(p.x, (at[0]+i*step[0])*p.m*p.k)
			p.y = append(p.y, (at[1]+i*step[1])*p.k*p.n)
		}
	})
}

// multiply shares the rows of all matrices among the cores. A row is summed in the order of k, whoever computes it. No term is left out because a factor is zero: 0 x Inf must give NaN.
func multiply[T elem](c *call, p product, out, x, y []T) error {
	if len(out) == 0 {
		return nil
	}
	const block = 128
	parallel(len(p.x)*p.m, p.k*p.n, func(lo, hi int) {
		for lo < hi && c.ctx.Err() == nil {
			b := lo / p.m
			last := min(hi, (b+1)*p.m, lo+block)
			rows := last - lo
			addProducts(out[lo*p.n:last*p.n], x[p.x[b]+lo%p.m*p.k:][:rows*p.k], y[p.y[b]:][:p.k*p.n], rows)
			lo = last
		}
	})
	return c.ctx.Err()
}

// addProducts adds rows of x times y to out.
func addProducts[T elem](out, x, y []T, rows int) {
	if rows == 0 || len(x) == 0 {
		return
	}
	k, n := len(x)/rows, len(out)/rows
	if out, ok := any(out).([]float64); ok {
		dense.Multiply(out, any(x).([]float64), any(y).([]float64), rows, k, n)
		return
	}
	for r := range rows {
		row := out[r*n : (r+1)*n]
		for i, v := range x[r*k : (r+1)*k] {
			for j, w := range y[i*n : (i+1)*n] {
				row[j] += v * w
			}
		}
	}
}

// runGemm is alpha*A*B + beta*C with either matrix transposed on demand; C broadcasts to the result.
func runGemm(c *call) ([]*value, error) {
	var operands [2]*value
	for i, name := range []string{"transA", "transB"} {
		v := c.in[i]
		if len(v.shape) != 2 {
			return nil, fmt.Errorf("operand %d has shape %s, want rank 2", i, tensor.FormatShape(v.shape))
		}
		if operands[i] = v; c.int(name, 0) != 0 {
			t, err := c.strided(v, []int{v.shape[1], v.shape[0]}, 0, []int{1, v.shape[1]})
			if err != nil {
				return nil, err
			}
			operands[i] = t
		}
	}
	out, err := runMatMul(&call{ctx: c.ctx, node: c.node, in: operands[:], budget: c.budget, hollow: c.hollow})
	if err != nil {
		return nil, err
	}
	y := out[0]
	scale(y, c.float("alpha", 1))
	bias := c.input(2)
	if bias == nil {
		return out, nil
	}
	scaled, err := c.strided(bias, bias.shape, 0, strides(bias.shape))
	if err != nil {
		return nil, err
	}
	scale(scaled, c.float("beta", 1))
	sum, err := c.zip(y, scaled, add[float64], add[int64])
	if err != nil {
		return nil, err
	}
	if !tensor.SameShape(sum.shape, y.shape) {
		return nil, fmt.Errorf("C has shape %s, want one that broadcasts to %s", tensor.FormatShape(bias.shape),
			tensor.FormatShape(y.shape))
	}
	return []*value{sum}, nil
}

// scale multiplies a value that no one else has seen yet.
func scale(v *value, by float64) {
	if by == 1 {
		return
	}
	for i := range v.f {
		v.f[i] *= by
	}
	for i := range v.i {
		v.i[i] = wrap(v.dtype, int64(float64(v.i[i])*by))
	}
}
