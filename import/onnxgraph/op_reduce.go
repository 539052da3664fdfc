package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// reduceOperators reduce over axes: an attribute before opset 18 (13 for ReduceSum), an input after it.
func reduceOperators() []operator {
	attrs := kinds{"axes": attrInts, "keepdims": attrInt, "noop_with_empty_axes": attrInt}
	op := func(name string, inputSince int64, f folding) operator {
		return operator{name: name, in: span{1, 2}, attrs: attrs, newer: newer{
			attrs: map[string]int64{"noop_with_empty_axes": inputSince}, inputs: map[int]int64{1: inputSince}},
			run: func(c *call) ([]*value, error) { return f.run(c, inputSince) }}
	}
	arg := kinds{"axis": attrInt, "keepdims": attrInt, "select_last_index": attrInt}
	plus := func(acc, x float64) float64 { return acc + x }
	return []operator{
		op("ReduceSum", 13, folding{float: plus, int: add[int64]}),
		op("ReduceMean", 18, folding{float: plus, int: add[int64],
			finish:    func(acc float64, n int) float64 { return acc / float64(n) },
			finishInt: func(acc int64, n int) int64 { return acc / int64(n) }}),
		op("ReduceProd", 18, folding{start: 1, startInt: ones, float: mul[float64], int: mul[int64]}),
		op("ReduceMax", 18, folding{start: math.Inf(-1), startInt: lowest, float: maximum[float64], int: maximum[int64], bools: 20}),
		op("ReduceMin", 18, folding{start: math.Inf(1), startInt: highest, float: minimum[float64], int: minimum[int64], bools: 20}),
		op("ReduceSumSquare", 18, folding{float: func(acc, x float64) float64 { return acc + x*x },
			int: func(acc, x int64) int64 { return acc + x*x }}),
		op("ReduceL1", 18, folding{float: func(acc, x float64) float64 { return acc + math.Abs(x) },
			int: func(acc, x int64) int64 { return acc + max(x, -x) }}),
		op("ReduceL2", 18, folding{float: math.Hypot}),
		op("ReduceLogSumExp", 18, folding{start: math.Inf(-1), float: logAddExp}),
		{name: "ArgMax", in: span{1, 1}, attrs: arg, run: argBest(func(x, best float64) bool { return x > best })},
		{name: "ArgMin", in: span{1, 1}, attrs: arg, run: argBest(func(x, best float64) bool { return x < best })},
	}
}

// folding is a reduction: the accumulator starts at start and takes in one element after the other.
type folding struct {
	start     float64
	startInt  func(tensor.DType) int64 // nil: 0
	float     func(acc, x float64) float64
	int       func(acc, x int64) int64 // nil: floating-point types only
	finish    func(acc float64, n int) float64
	finishInt func(acc int64, n int) int64
	bools     int64 // the opset since which it takes them; 0: none
}

func ones(tensor.DType) int64 { return 1 }

func lowest(d tensor.DType) int64 {
	if d == tensor.Bool {
		return 0
	}
	low, _ := integerRange(d)
	return low
}

func highest(d tensor.DType) int64 {
	if d == tensor.Bool {
		return 1
	}
	_, high := integerRange(d)
	return high
}

// logAddExp is log(exp(x) + exp(y)) for any magnitudes; -Inf, the empty sum, adds nothing.
func logAddExp(x, y float64) float64 {
	low, high := minimum(x, y), maximum(x, y)
	if math.IsInf(high, 0) {
		return high
	}
	return high + math.Log1p(math.Exp(low-high))
}

func (f folding) run(c *call, inputSince int64) ([]*value, error) {
	v := c.in[0]
	if v.dtype == tensor.Bool && (f.bools == 0 || c.node.version < f.bools) || !v.isFloat() && f.int == nil {
		return nil, fmt.Errorf("the operand is %s, want numbers this reduction takes", v.dtype)
	}
	list, _, err := c.axesOf(1, inputSince)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 && c.int("noop_with_empty_axes", 0) != 0 {
		return c.view(v, v.shape)
	}
	marked, err := axes(list, len(v.shape))
	if err != nil {
		return nil, err
	}
	kept, reduced, count := make([]int, len(v.shape)), []int{}, 1
	for i, d := range v.shape {
		kept[i] = d
		if marked[i] || len(list) == 0 {
			kept[i] = 1
			count *= d
		} else {
			reduced = append(reduced, d)
		}
	}
	out, err := c.alloc(v.dtype, kept)
	if err != nil {
		return nil, err
	}
	t := newTraversal(v.shape, broadcastStrides(kept, v.shape))
	if err := f.fold(t, out, v, count); err != nil {
		return nil, err
	}
	if c.int("keepdims", 1) == 0 {
		out.shape = reduced
	}
	return []*value{out}, nil
}

func (f folding) fold(t *traversal, out, v *value, count int) error {
	if v.isFloat() {
		accumulate(t, out.f, v.f, f.start, f.float)
		if f.finish != nil {
			for i, acc := range out.f {
				out.f[i] = f.finish(acc, count)
			}
		}
		return nil
	}
	if f.finishInt != nil && count == 0 && len(out.i) > 0 {
		return fmt.Errorf("the mean of no integers has no value")
	}
	start := int64(0)
	if f.startInt != nil {
		start = f.startInt(v.dtype)
	}
	accumulate(t, out.i, v.i, start, f.int)
	for i, acc := range out.i {
		if f.finishInt != nil {
			acc = f.finishInt(acc, count)
		}
		out.i[i] = wrap(v.dtype, acc)
	}
	return nil
}

func accumulate[T elem](t *traversal, out, in []T, start T, f func(acc, x T) T) {
	for i := range out {
		out[i] = start
	}
	t.run(false, func(first, n int, at, step []int) {
		if step[0] == 0 {
			acc := out[at[0]]
			for _, x := range in[first : first+n] {
				acc = f(acc, x)
			}
			out[at[0]] = acc
			return
		}
		for k, x := range in[first : first+n] {
			o := at[0] + k*step[0]
			out[o] = f(out[o], x)
		}
	})
}

// argBest finds the first (or last) element along an axis that better prefers to all others; a NaN wins, as in numpy.
func argBest(better func(x, best float64) bool) runFunc {
	return func(c *call) ([]*value, error) {
		v := c.in[0]
		a, err := axis(c.int("axis", 0), len(v.shape))
		if err != nil {
			return nil, err
		}
		outer, size, inner := products(v.shape, a)
		shape := append([]int{}, v.shape...)
		shape[a] = 1
		out, err := c.alloc(tensor.Int64, shape)
		if err != nil {
			return nil, err
		}
		if size == 0 && out.len() > 0 {
			return nil, fmt.Errorf("axis %d of shape %s is empty", a, tensor.FormatShape(v.shape))
		}
		if out.len() == 0 {
			outer = 0 // whatever it is: the other axes may have any size
		}
		data, last := v.array().Data, c.int("select_last_index", 0) != 0
		for o := range outer {
			for i := range inner {
				best := 0
				for k := 1; k < size; k++ {
					x, b := data[(o*size+k)*inner+i], data[(o*size+best)*inner+i]
					if better(x, b) || math.IsNaN(x) && !math.IsNaN(b) || last && x == b {
						best = k
					}
				}
				out.i[o*inner+i] = int64(best)
			}
		}
		if c.int("keepdims", 1) == 0 {
			out.shape = append(shape[:a:a], shape[a+1:]...)
		}
		return []*value{out}, nil
	}
}
