package onnxgraph

import (
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// What opsets 18 to 21 changed of the operators of this engine: the old form before, the new one since, each refused in the
// other's place where ONNX's changelog (docs/Changelog.md of onnx 1.16) says so. All numbers follow by hand.
//
//	18  Reduce*: axes became an input, noop_with_empty_axes came; Split: num_outputs; Pad: axes;
//	    ScatterElements, ScatterND: reduction "min", "max"
//	19  AveragePool: dilations; Pad: mode "wrap"; Cast, CastLike: saturate, which concerns float8 alone; Equal: strings
//	20  Gelu; ReduceMax, ReduceMin: bool; IsInf, IsNaN: more types; ConstantOfShape: more types
//	21  more types, of 4 and 8 bits, which this engine does not have
func TestOpset18to21(t *testing.T) {
	f := func(shape []int, values ...float64) *tensor.Tensor { return floats(t, shape, values...) }
	i := func(shape []int, values ...int64) *tensor.Tensor { return ints(t, shape, values...) }
	b := func(shape []int, values ...float64) *tensor.Tensor { return typed(t, tensor.Bool, shape, values...) }
	one, two, three, m23 := []int{1}, []int{2}, []int{3}, []int{2, 3}
	in := func(list ...*tensor.Tensor) []*tensor.Tensor { return list }
	axes := func(v ...int64) attrs { return attrs{onnxpb.IntsAttr("axes", v...)} }
	var cases []opCase
	add := func(c opCase) { cases = append(cases, c) }

	// Every reduction, in all four forms, of the rows (3, 4) and (0, -4): each keeps its axis.
	for _, r := range []struct {
		op    string
		since int64 // the opset in which axes became an input
		rows  [2]float64
		all   float64
	}{
		{"ReduceSum", 13, [2]float64{7, -4}, 3},
		{"ReduceMean", 18, [2]float64{3.5, -2}, 0.75},
		{"ReduceMax", 18, [2]float64{4, 0}, 4},
		{"ReduceMin", 18, [2]float64{3, -4}, -4},
		{"ReduceProd", 18, [2]float64{12, 0}, 0},
		{"ReduceSumSquare", 18, [2]float64{25, 16}, 41},
		{"ReduceL1", 18, [2]float64{7, 4}, 11},
		{"ReduceL2", 18, [2]float64{5, 4}, math.Sqrt(41)},
		{"ReduceLogSumExp", 18, [2]float64{4 + math.Log1p(math.Exp(-1)), math.Log1p(math.Exp(-4))},
			math.Log(math.Exp(3) + math.Exp(4) + 1 + math.Exp(-4))},
	} {
		x := f([]int{2, 2}, 3, 4, 0, -4)
		kept := f([]int{2, 1}, r.rows[0], r.rows[1])
		for _, opset := range []int64{11, 17, 18, 21} {
			name := r.op + " at " + string(rune('0'+opset/10)) + string(rune('0'+opset%10))
			if opset < r.since {
				add(opCase{name: name + ", attribute", op: r.op, opset: opset, attrs: axes(1), inputs: in(x), want: in(kept)})
				add(opCase{name: name + ", input", op: r.op, opset: opset, inputs: in(x, i(one, 1)), fails: "has input 1"})
				continue
			}
			noop := attrs{onnxpb.IntAttr("noop_with_empty_axes", 1)}
			add(opCase{name: name + ", input", op: r.op, opset: opset, inputs: in(x, i(one, -1)), want: in(kept)})
			add(opCase{name: name + ", attribute", op: r.op, opset: opset, attrs: axes(1), inputs: in(x), fails: "axes"})
			add(opCase{name: name + ", dropped", op: r.op, opset: opset, attrs: attrs{onnxpb.IntAttr("keepdims", 0)},
				inputs: in(x, i(one, 1)), want: in(f(two, r.rows[0], r.rows[1]))})
			add(opCase{name: name + ", no axes", op: r.op, opset: opset, inputs: in(x), want: in(f([]int{1, 1}, r.all))})
			add(opCase{name: name + ", empty axes", op: r.op, opset: opset, inputs: in(x, i([]int{0})), want: in(f([]int{1, 1}, r.all))})
			add(opCase{name: name + ", empty axes and noop", op: r.op, opset: opset, attrs: noop, inputs: in(f(one, 3), i([]int{0})),
				want: in(f(one, 3))})
		}
	}

	cases = append(cases, []opCase{
		{name: "split in equal parts, 13", op: "Split", opset: 13, inputs: in(f([]int{4}, 1, 2, 3, 4)), want: in(f(two, 1, 2), f(two, 3, 4))},
		{name: "num_outputs, 13", op: "Split", opset: 13, attrs: attrs{onnxpb.IntAttr("num_outputs", 2)},
			inputs: in(f(two, 1, 2)), want: in(f(one, 1), f(one, 2)), fails: "num_outputs"},
		{name: "num_outputs, 18", op: "Split", opset: 18, attrs: attrs{onnxpb.IntAttr("num_outputs", 3)},
			inputs: in(f([]int{7}, 1, 2, 3, 4, 5, 6, 7)), want: in(f(three, 1, 2, 3), f(three, 4, 5, 6), f(one, 7))},
		{name: "num_outputs and sizes, 18", op: "Split", opset: 18, attrs: attrs{onnxpb.IntAttr("num_outputs", 2)},
			inputs: in(f(two, 1, 2), i(two, 1, 1)), want: in(f(one, 1), f(one, 2)), fails: "num_outputs"},
		{name: "sizes, 21", op: "Split", opset: 21, attrs: attrs{onnxpb.IntAttr("axis", -1)},
			inputs: in(f([]int{1, 3}, 1, 2, 3), i(two, 0, 3)), want: in(f([]int{1, 0}), f([]int{1, 3}, 1, 2, 3))},

		{name: "pad axes, 13", op: "Pad", opset: 13, inputs: in(f([]int{1, 2}, 1, 2), i(two, 1, 1), f([]int{}, 9), i(one, 1)), fails: "has input 3"},
		{name: "pad negative axes, 18", op: "Pad", opset: 18, inputs: in(f([]int{2, 1}, 1, 2), i([]int{4}, 0, 1, 1, 0), nil, i(two, -1, 0)),
			want: in(f([]int{3, 2}, 0, 0, 1, 0, 2, 0))},
		{name: "pad edge, 18", op: "Pad", opset: 18, attrs: attrs{onnxpb.StringAttr("mode", "edge")},
			inputs: in(f(two, 1, 2), i(two, 2, 1)), want: in(f([]int{5}, 1, 1, 1, 2, 2))},
		{name: "pad wrap, 18", op: "Pad", opset: 18, attrs: attrs{onnxpb.StringAttr("mode", "wrap")},
			inputs: in(f(three, 1, 2, 3), i(two, 1, 1)), fails: "wrap"},
		{name: "pad wrap more than once around, 19", op: "Pad", opset: 19, attrs: attrs{onnxpb.StringAttr("mode", "wrap")},
			inputs: in(f(two, 1, 2), i(two, 3, 2)), want: in(f([]int{7}, 2, 1, 2, 1, 2, 1, 2))},
		{name: "pad wrap over axes, 21", op: "Pad", opset: 21, attrs: attrs{onnxpb.StringAttr("mode", "wrap")},
			inputs: in(f([]int{1, 2}, 1, 2), i(two, 1, 1), nil, i(one, 1)), want: in(f([]int{1, 4}, 2, 1, 2, 1))},

		{name: "scatter max, 16", op: "ScatterElements", opset: 16, attrs: attrs{onnxpb.StringAttr("reduction", "max")},
			inputs: in(f(three, 1, 2, 3), i(two, 0, 2), f(two, 5, -5)), fails: "reduction"},
		{name: "scatter add, 16", op: "ScatterElements", opset: 16, attrs: attrs{onnxpb.StringAttr("reduction", "add")},
			inputs: in(f(three, 1, 2, 3), i(two, 0, 0), f(two, 5, 6)), want: in(f(three, 12, 2, 3))},
		{name: "scatter max, 18", op: "ScatterElements", opset: 18, attrs: attrs{onnxpb.StringAttr("reduction", "max")},
			inputs: in(f(three, 1, 2, 3), i(two, 0, 2), f(two, 5, -5)), want: in(f(three, 5, 2, 3))},
		{name: "scatter min, 18", op: "ScatterND", opset: 18, attrs: attrs{onnxpb.StringAttr("reduction", "min")},
			inputs: in(f(three, 1, 2, 3), i([]int{2, 1}, 0, 2), f(two, 5, -5)), want: in(f(three, 1, 2, -5))},
		{name: "scatter max, ND, 16", op: "ScatterND", opset: 16, attrs: attrs{onnxpb.StringAttr("reduction", "max")},
			inputs: in(f(three, 1, 2, 3), i([]int{1, 1}, 0), f(one, 5)), fails: "reduction"},

		{name: "average with dilations, 17", op: "AveragePool", opset: 17,
			attrs:  attrs{onnxpb.IntsAttr("kernel_shape", 2), onnxpb.IntsAttr("dilations", 2)},
			inputs: in(f([]int{1, 1, 4}, 1, 2, 3, 4)), fails: "dilations"},
		{name: "average with dilations, 19", op: "AveragePool", opset: 19,
			attrs:  attrs{onnxpb.IntsAttr("kernel_shape", 2), onnxpb.IntsAttr("dilations", 2)},
			inputs: in(f([]int{1, 1, 4}, 1, 2, 3, 4)), want: in(f([]int{1, 1, 2}, 2, 3))},

		{name: "cast with saturate, 18", op: "Cast", opset: 18, attrs: attrs{onnxpb.IntAttr("to", 7), onnxpb.IntAttr("saturate", 1)},
			inputs: in(f(one, 2.5)), want: in(i(one, 2)), fails: "saturate"},
		{name: "cast with saturate, 19", op: "Cast", opset: 19, attrs: attrs{onnxpb.IntAttr("to", 7), onnxpb.IntAttr("saturate", 0)},
			inputs: in(f(one, -2.5)), want: in(i(one, -2))},
		{name: "cast to float8, 19", op: "Cast", opset: 19, attrs: attrs{onnxpb.IntAttr("to", 17)}, inputs: in(f(one, 1)), fails: "to"},
		{name: "cast to int4, 21", op: "Cast", opset: 21, attrs: attrs{onnxpb.IntAttr("to", 22)}, inputs: in(f(one, 1)), fails: "to"},

		{name: "gelu, 19", op: "Gelu", opset: 19, inputs: in(f(one, 1)), fails: "Gelu"},
		{name: "gelu of 0, 20", op: "Gelu", opset: 20, inputs: in(f(one, 0)), want: in(f(one, 0))},

		{name: "any and all of bools, 18", op: "ReduceMax", opset: 18, inputs: in(b(two, 0, 1), i(one, 0)), want: in(b(one, 1)), fails: "bool"},
		{name: "any of bools, 20", op: "ReduceMax", opset: 20, inputs: in(b(m23, 0, 1, 0, 0, 0, 0), i(one, 1)), want: in(b([]int{2, 1}, 1, 0))},
		{name: "all of bools, 20", op: "ReduceMin", opset: 20, inputs: in(b(m23, 1, 1, 1, 1, 0, 1), i(one, 1)), want: in(b([]int{2, 1}, 1, 0))},

		{name: "reshape to nothing, 21", op: "Reshape", opset: 21, attrs: attrs{onnxpb.IntAttr("allowzero", 1)},
			inputs: in(f([]int{0, 3}), i(two, 3, 0)), want: in(f([]int{3, 0}))},
		{name: "squeeze, 21", op: "Squeeze", opset: 21, inputs: in(f([]int{1, 2, 1}, 1, 2), i(one, -1)), want: in(f([]int{1, 2}, 1, 2))},
		{name: "unsqueeze, 21", op: "Unsqueeze", opset: 21, inputs: in(f(two, 1, 2), i(two, 0, -1)), want: in(f([]int{1, 2, 1}, 1, 2))},
		{name: "shape of some axes, 21", op: "Shape", opset: 21, attrs: attrs{onnxpb.IntAttr("start", 1), onnxpb.IntAttr("end", -1)},
			inputs: in(f([]int{1, 2, 3, 1}, 1, 2, 3, 4, 5, 6)), want: in(i(two, 2, 3))},
		{name: "equal bools, 19", op: "Equal", opset: 19, inputs: in(b(two, 0, 1), b(two, 1, 1)), want: in(b(two, 0, 1))},
		{name: "constant of shape of bools, 20", op: "ConstantOfShape", opset: 20,
			attrs:  attrs{onnxpb.TensorAttr("value", b(one, 1))},
			inputs: in(i(one, 2)), want: in(b(two, 1, 1))},
		{name: "infinite halves, 20", op: "IsInf", opset: 20, inputs: in(typed(t, tensor.Float16, two, math.Inf(1), 1)), want: in(b(two, 1, 0))},
	}...)
	for _, c := range cases {
		t.Run(c.name, c.run)
	}
}
