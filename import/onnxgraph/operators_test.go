package onnxgraph

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

type attrs = []*onnxpb.AttributeProto

// opCase is one node. An input that is nil is left out.
type opCase struct {
	name   string
	op     string
	opset  int64
	attrs  attrs
	inputs []*tensor.Tensor
	want   []*tensor.Tensor
	fails  string // part of the error's text; want is nil then
}

func (c opCase) run(t *testing.T) {
	t.Helper()
	types, given, names := map[string]tensor.DType{}, map[string]*tensor.Tensor{}, []string{}
	for i, in := range c.inputs {
		if in == nil {
			names = append(names, "")
			continue
		}
		name := string(rune('a' + i))
		names, types[name], given[name] = append(names, name), in.DType, in
	}
	var outputs []string
	var infos []*onnxpb.ValueInfoProto
	for i, w := range c.want {
		name := "y" + string(rune('0'+i))
		outputs, infos = append(outputs, name), append(infos, anyShape(name, w.DType))
	}
	if c.want == nil {
		outputs, infos = []string{"y0"}, []*onnxpb.ValueInfoProto{anyShape("y0", tensor.Float32)}
	}
	m, err := New(graphModel(c.opset, types, infos, onnxpb.Node(c.op, names, outputs, c.attrs...)), Options{})
	var got map[string]*tensor.Tensor
	if err == nil {
		got, err = m.Run(context.Background(), given, RunOptions{})
	}
	if c.fails != "" {
		if err == nil || !strings.Contains(err.Error(), c.fails) {
			t.Fatalf("error %v, want one that says %q", err, c.fails)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range c.want {
		g := got[outputs[i]]
		if !tensor.SameShape(g.Shape, w.Shape) || worst(g.Float64s(), w.Float64s()) > 1e-6 {
			t.Errorf("output %d is %v %v, want %v %v", i, g.Shape, g.Float64s(), w.Shape, w.Float64s())
		}
	}
	starve(t, m, given)
}

// What the conformance cases, which end at opset 11, do not reach. Expected values follow from the operators'
// definitions in the ONNX specification, by hand.
func TestOperators(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	f := func(shape []int, values ...float64) *tensor.Tensor { return floats(t, shape, values...) }
	i := func(shape []int, values ...int64) *tensor.Tensor { return ints(t, shape, values...) }
	b := func(shape []int, values ...float64) *tensor.Tensor { return typed(t, tensor.Bool, shape, values...) }
	one, two, three := []int{1}, []int{2}, []int{3}
	m23 := []int{2, 3}
	in := func(list ...*tensor.Tensor) []*tensor.Tensor { return list }
	for _, c := range []opCase{
		{name: "add int32 wraps", op: "Add", opset: 14,
			inputs: in(typed(t, tensor.Int32, one, math.MaxInt32), typed(t, tensor.Int32, one, 1)),
			want:   in(typed(t, tensor.Int32, one, math.MinInt32))},
		{name: "add uint8 wraps", op: "Add", opset: 14,
			inputs: in(typed(t, tensor.Uint8, one, 255), typed(t, tensor.Uint8, one, 2)),
			want:   in(typed(t, tensor.Uint8, one, 1))},
		{name: "int64 is exact", op: "Add", opset: 14, inputs: in(i(one, 1<<60), i(one, 1)), want: in(i(one, 1<<60+1))},
		{name: "div truncates", op: "Div", opset: 14, inputs: in(i(two, -7, 7), i(one, 2)), want: in(i(two, -3, 3))},
		{name: "div by zero", op: "Div", opset: 14, inputs: in(i(two, 1, 2), i(two, 1, 0)),
			fails: "element 1 of the divisor is 0"},
		{name: "smallest by -1", op: "Div", opset: 14, inputs: in(i(one, math.MinInt64), i(one, -1)),
			want: in(i(one, math.MinInt64))},
		{name: "mod of a negative", op: "Mod", opset: 14, inputs: in(i(two, -7, 7), i(two, 3, -3)),
			want: in(i(two, 2, -2))},
		{name: "two types", op: "Add", opset: 14, inputs: in(i(one, 1), f(one, 1)), fails: "int64 and float32"},
		{name: "no broadcast", op: "Add", opset: 14, inputs: in(f(two, 1, 2), f(three, 1, 2, 3)),
			fails: "(2) and (3) do not broadcast"},
		{name: "broadcast both", op: "Sub", opset: 14, inputs: in(f([]int{2, 1}, 10, 20), f(three, 1, 2, 3)),
			want: in(f(m23, 9, 8, 7, 19, 18, 17))},
		{name: "broadcast inside", op: "Mul", opset: 14,
			inputs: in(f([]int{2, 1, 2}, 1, 2, 3, 4), f([]int{1, 2, 1}, 10, 100)),
			want:   in(f([]int{2, 2, 2}, 10, 20, 100, 200, 30, 40, 300, 400))},
		{name: "max keeps NaN", op: "Max", opset: 13, inputs: in(f(three, nan, 1, inf), f(three, inf, nan, 3)),
			want: in(f(three, nan, nan, inf))},
		{name: "min of three", op: "Min", opset: 13, inputs: in(f(two, 3, 1), f(one, 2), f(two, 5, -1)),
			want: in(f(two, 2, -1))},
		{name: "pow of ints", op: "Pow", opset: 15, inputs: in(i(three, 2, -3, 2), i(three, 10, 3, -1)),
			want: in(i(three, 1024, -27, 0))},
		{name: "pow of int by float", op: "Pow", opset: 15, inputs: in(i(one, 9), f(one, 0.5)), want: in(i(one, 3))},
		{name: "pow of float by int", op: "Pow", opset: 15, inputs: in(f(two, 2, 0.5), i(one, 3)),
			want: in(f(two, 8, 0.125))},
		{name: "sigmoid", op: "Sigmoid", opset: 13, inputs: in(f(three, 0, 1000, -1000)), want: in(f(three, 0.5, 1, 0))},
		{name: "round to even", op: "Round", opset: 11, inputs: in(f(three, 0.5, 1.5, -2.5)),
			want: in(f(three, 0, 2, -2))},
		{name: "gelu", op: "Gelu", opset: 20, inputs: in(f(two, 1, -1)),
			want: in(f(two, 0.8413447460685429, -0.15865525393145707))},
		{name: "gelu tanh", op: "Gelu", opset: 20, attrs: attrs{onnxpb.StringAttr("approximate", "tanh")},
			inputs: in(f(one, 1)),
			want:   in(f(one, 0.8411919906082768))},
		{name: "gelu of a wrong kind", op: "Gelu", opset: 20, attrs: attrs{onnxpb.StringAttr("approximate", "x")},
			inputs: in(f(one, 1)), fails: `"x"`},
		{name: "gelu too early", op: "Gelu", opset: 17, inputs: in(f(one, 1)), fails: "want opset 20"},
		{name: "exp of ints", op: "Exp", opset: 13, inputs: in(i(one, 1)), fails: "int64, want a floating-point type"},
		{name: "clip by inputs", op: "Clip", opset: 13, inputs: in(f(three, -5, 0, 5), nil, f([]int{}, 2)),
			want: in(f(three, -5, 0, 2))},
		{name: "relu keeps NaN", op: "Relu", opset: 14, inputs: in(f(three, -1, nan, 2)), want: in(f(three, 0, nan, 2))},
		{name: "dropout mask", op: "Dropout", opset: 13, inputs: in(f(two, 1, 2), f([]int{}, 0.5)),
			want: in(f(two, 1, 2), b(two, 1, 1))},
		{name: "dropout in training", op: "Dropout", opset: 13, inputs: in(f(two, 1, 2), nil, b([]int{}, 1)),
			fails: "training_mode"},

		{name: "greater or equal", op: "GreaterOrEqual", opset: 16, inputs: in(f(three, 1, 2, nan), f(one, 2)),
			want: in(b(three, 0, 1, 0))},
		{name: "less or equal", op: "LessOrEqual", opset: 16, inputs: in(i(three, 1, 2, 3), i(one, 2)),
			want: in(b(three, 1, 1, 0))},
		{name: "equal bools", op: "Equal", opset: 13, inputs: in(b(two, 1, 0), b(two, 1, 1)), want: in(b(two, 1, 0))},
		{name: "xor", op: "Xor", opset: 13, inputs: in(b(two, 1, 0), b(two, 1, 1)), want: in(b(two, 0, 1))},
		{name: "and of ints", op: "And", opset: 13, inputs: in(i(two, 1, 0), i(two, 1, 1)), fails: "want bool"},
		{name: "is inf", op: "IsInf", opset: 13, attrs: attrs{onnxpb.IntAttr("detect_negative", 0)},
			inputs: in(f(three, inf, -inf, 1)), want: in(b(three, 1, 0, 0))},
		{name: "where", op: "Where", opset: 16, inputs: in(b([]int{2, 1}, 1, 0), f(two, 1, 2), f([]int{}, -inf)),
			want: in(f([]int{2, 2}, 1, 2, -inf, -inf))},

		{name: "sum over an input's axes", op: "ReduceSum", opset: 13, attrs: attrs{onnxpb.IntAttr("keepdims", 0)},
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i(one, -1)),
			want:   in(f(two, 6, 15))},
		{name: "sum over an attribute too late", op: "ReduceSum", opset: 13, attrs: attrs{onnxpb.IntsAttr("axes", 0)},
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6)),
			fails:  "since opset 13"},
		{name: "max over an attribute's axes", op: "ReduceMax", opset: 17, attrs: attrs{onnxpb.IntsAttr("axes", 0)},
			inputs: in(f(m23, 1, 7, 3, 4, 5, nan)),
			want:   in(f([]int{1, 3}, 4, 7, nan))},
		{name: "max over an input's axes", op: "ReduceMax", opset: 18,
			inputs: in(f(m23, 1, 7, 3, 4, 5, 6), i(two, 0, 1)), want: in(f([]int{1, 1}, 7))},
		{name: "max over nothing", op: "ReduceMax", opset: 20, inputs: in(f([]int{2, 0}), i(one, 1)),
			want: in(f([]int{2, 1}, -inf, -inf))},
		{name: "mean", op: "ReduceMean", opset: 18, inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i(one, 0)),
			want: in(f([]int{1, 3}, 2.5, 3.5, 4.5))},
		{name: "noop", op: "ReduceSum", opset: 13, attrs: attrs{onnxpb.IntAttr("noop_with_empty_axes", 1)},
			inputs: in(f(two, 1, 2)), want: in(f(two, 1, 2))},
		{name: "min of ints", op: "ReduceMin", opset: 18, attrs: attrs{onnxpb.IntAttr("keepdims", 0)},
			inputs: in(i(three, 3, 1, 2)), want: in(i([]int{}, 1))},
		{name: "product", op: "ReduceProd", opset: 18, attrs: attrs{onnxpb.IntAttr("keepdims", 0)},
			inputs: in(i(three, 3, 1, 2)), want: in(i([]int{}, 6))},
		{name: "log of a sum of huge exponentials", op: "ReduceLogSumExp", opset: 18,
			attrs:  attrs{onnxpb.IntAttr("keepdims", 0)},
			inputs: in(f(two, 1000, 1000)), want: in(f([]int{}, 1000+math.Ln2))},
		{name: "axis too far", op: "ReduceSum", opset: 13, inputs: in(f(two, 1, 2), i(one, 1)),
			fails: "axis is 1, want -1..0"},
		{name: "axis twice", op: "ReduceSum", opset: 13, inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i(two, 0, -2)),
			fails: "listed twice"},
		{name: "last of equals", op: "ArgMax", opset: 13,
			attrs:  attrs{onnxpb.IntAttr("select_last_index", 1), onnxpb.IntAttr("keepdims", 0)},
			inputs: in(f(three, 2, 1, 2)), want: in(i([]int{}, 2))},

		{name: "softmax over the last axis", op: "Softmax", opset: 13, inputs: in(f([]int{2, 2}, 0, 0, 1000, 0)),
			want: in(f([]int{2, 2}, 0.5, 0.5, 1, 0))},
		{name: "softmax over the first axis", op: "Softmax", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 0)},
			inputs: in(f([]int{2, 2}, 0, -inf, 0, 0)),
			want:   in(f([]int{2, 2}, 0.5, 0, 0.5, 1))},
		{name: "softmax of a row of -Inf", op: "Softmax", opset: 13, inputs: in(f(two, -inf, -inf)),
			want: in(f(two, nan, nan))},
		{name: "running sum", op: "CumSum", opset: 14, inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i([]int{}, 1)),
			want: in(f(m23, 1, 3, 6, 4, 9, 15))},
		{name: "exclusive", op: "CumSum", opset: 14, attrs: attrs{onnxpb.IntAttr("exclusive", 1)},
			inputs: in(f(three, 1, 2, 3), i([]int{}, 0)), want: in(f(three, 0, 1, 3))},
		{name: "reverse", op: "CumSum", opset: 14, attrs: attrs{onnxpb.IntAttr("reverse", 1)},
			inputs: in(i(three, 1, 2, 3), i([]int{}, -1)), want: in(i(three, 6, 5, 3))},
		{name: "both", op: "CumSum", opset: 14,
			attrs:  attrs{onnxpb.IntAttr("reverse", 1), onnxpb.IntAttr("exclusive", 1)},
			inputs: in(f(three, 1, 2, 3), i(one, 0)),
			want:   in(f(three, 5, 3, 0))},
		{name: "layer norm", op: "LayerNormalization", opset: 17, attrs: attrs{onnxpb.FloatAttr("epsilon", 0)},
			inputs: in(f([]int{2, 2}, 1, 3, -2, 2), f(two, 2, 3), f(two, 10, 20)),
			want:   in(f([]int{2, 2}, 8, 23, 8, 23), f([]int{2, 1}, 2, 0), f([]int{2, 1}, 1, 0.5))},

		{name: "matrix by vector", op: "MatMul", opset: 13, inputs: in(f(m23, 1, 2, 3, 4, 5, 6), f(three, 1, 0, -1)),
			want: in(f(two, -2, -2))},
		{name: "vector by matrix", op: "MatMul", opset: 13, inputs: in(f(two, 1, 10), f(m23, 1, 2, 3, 4, 5, 6)),
			want: in(f(three, 41, 52, 63))},
		{name: "dot product", op: "MatMul", opset: 13, inputs: in(f(three, 1, 2, 3), f(three, 1, 0, 2)),
			want: in(f([]int{}, 7))},
		{name: "batches broadcast", op: "MatMul", opset: 13,
			inputs: in(f([]int{2, 1, 1, 2}, 1, 2, 3, 4), f([]int{2, 2, 1}, 1, 1, 10, 1)),
			want:   in(f([]int{2, 2, 1, 1}, 3, 12, 7, 34))},
		{name: "zero times Inf", op: "MatMul", opset: 13, inputs: in(f([]int{1, 2}, 0, 1), f([]int{2, 1}, inf, 1)),
			want: in(f([]int{1, 1}, nan))},
		{name: "nothing to sum", op: "MatMul", opset: 13, inputs: in(f([]int{2, 0}), f([]int{0, 1})),
			want: in(f([]int{2, 1}, 0, 0))},
		{name: "inner sizes differ", op: "MatMul", opset: 13, inputs: in(f(m23, 1, 2, 3, 4, 5, 6), f(two, 1, 2)),
			fails: "(2,3) and (2) do not multiply"},
		{name: "gemm", op: "Gemm", opset: 13,
			attrs: attrs{onnxpb.IntAttr("transA", 1), onnxpb.IntAttr("transB", 1), onnxpb.FloatAttr("alpha", 2),
				onnxpb.FloatAttr("beta", 0.5)},
			inputs: in(f([]int{2, 1}, 1, 2), f([]int{3, 2}, 1, 0, 0, 1, 1, 1), f([]int{}, 4)),
			want:   in(f([]int{1, 3}, 4, 6, 8))},
		{name: "gemm with a C too large", op: "Gemm", opset: 13,
			inputs: in(f([]int{1, 1}, 1), f([]int{1, 1}, 1), f([]int{2, 1}, 4, 4)), fails: "broadcasts to (1,1)"},

		{name: "conv in one dimension", op: "Conv", opset: 11, attrs: attrs{onnxpb.IntsAttr("pads", 2, 0)},
			inputs: in(f([]int{1, 1, 3}, 1, 2, 3), f([]int{1, 1, 3}, 1, 10, 100)),
			want:   in(f([]int{1, 1, 3}, 100, 210, 321))},
		{name: "groups, strides, dilations, bias", op: "Conv", opset: 11,
			attrs: attrs{onnxpb.IntAttr("group", 2), onnxpb.IntsAttr("strides", 2), onnxpb.IntsAttr("dilations", 2),
				onnxpb.StringAttr("auto_pad", "VALID")},
			inputs: in(f([]int{1, 2, 5}, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), f([]int{2, 1, 2}, 1, 1, 1, -1),
				f(two, 100, 0)), want: in(f([]int{1, 2, 2}, 104, 108, -2, -2))},
		{name: "two dimensions", op: "Conv", opset: 11,
			attrs:  attrs{onnxpb.IntsAttr("pads", 0, 1, 0, 0), onnxpb.IntsAttr("kernel_shape", 2, 2)},
			inputs: in(f([]int{1, 1, 2, 2}, 1, 2, 3, 4), f([]int{1, 1, 2, 2}, 1, 10, 100, 1000)),
			want:   in(f([]int{1, 1, 1, 2}, 3010, 4321))},
		{name: "a kernel that does not fit", op: "Conv", opset: 11,
			inputs: in(f([]int{1, 1, 2}, 1, 2), f([]int{1, 1, 3}, 1, 1, 1)), fails: "want at least 3"},
		{name: "groups that do not divide", op: "Conv", opset: 11, attrs: attrs{onnxpb.IntAttr("group", 2)},
			inputs: in(f([]int{1, 3, 1}, 1, 2, 3), f([]int{2, 1, 1}, 1, 1)), fails: "group is 2"},
		{name: "stride 0", op: "Conv", opset: 11, attrs: attrs{onnxpb.IntsAttr("strides", 0)},
			inputs: in(f([]int{1, 1, 2}, 1, 2), f([]int{1, 1, 1}, 1)), fails: "strides"},

		{name: "part of a shape", op: "Shape", opset: 15,
			attrs:  attrs{onnxpb.IntAttr("start", -2), onnxpb.IntAttr("end", 9)},
			inputs: in(f([]int{4, 1, 1}, 1, 2, 3, 4)), want: in(i(two, 1, 1))},
		{name: "reshape 0 and -1", op: "Reshape", opset: 14, inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i(three, 0, -1, 1)),
			want: in(f([]int{2, 3, 1}, 1, 2, 3, 4, 5, 6))},
		{name: "reshape allowzero", op: "Reshape", opset: 14, attrs: attrs{onnxpb.IntAttr("allowzero", 1)},
			inputs: in(f([]int{0, 2}), i(two, 5, 0)), want: in(f([]int{5, 0}))},
		{name: "reshape -2", op: "Reshape", opset: 14, inputs: in(f(two, 1, 2), i(one, -2)), fails: "holds -2"},
		{name: "reshape -1 twice", op: "Reshape", opset: 14, inputs: in(f(two, 1, 2), i(two, -1, -1)),
			fails: "two dimensions -1"},
		{name: "reshape to another size", op: "Reshape", opset: 14, inputs: in(f(two, 1, 2), i(one, 3)),
			fails: "(3) does not hold the 2 elements"},
		{name: "squeeze all", op: "Squeeze", opset: 13, inputs: in(f([]int{1, 2, 1}, 1, 2)), want: in(f(two, 1, 2))},
		{name: "squeeze one", op: "Squeeze", opset: 13, inputs: in(f([]int{1, 2, 1}, 1, 2), i(one, -1)),
			want: in(f([]int{1, 2}, 1, 2))},
		{name: "squeeze a 2", op: "Squeeze", opset: 13, inputs: in(f([]int{1, 2}, 1, 2), i(one, 1)),
			fails: "is 2, want 1"},
		{name: "unsqueeze", op: "Unsqueeze", opset: 13, inputs: in(f(two, 1, 2), i(two, 0, -1)),
			want: in(f([]int{1, 2, 1}, 1, 2))},

		{name: "transpose", op: "Transpose", opset: 13, attrs: attrs{onnxpb.IntsAttr("perm", 2, 0, 1)},
			inputs: in(i([]int{1, 2, 3}, 1, 2, 3, 4, 5, 6)), want: in(i([]int{3, 1, 2}, 1, 4, 2, 5, 3, 6))},
		{name: "concat ints", op: "Concat", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", -1)},
			inputs: in(i([]int{2, 1}, 1, 2), i([]int{2, 0}), i([]int{2, 2}, 3, 4, 5, 6)),
			want:   in(i(m23, 1, 3, 4, 2, 5, 6))},
		{name: "concat of other shapes", op: "Concat", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 0)},
			inputs: in(i([]int{2, 1}, 1, 2), i([]int{1, 2}, 3, 4)), fails: "operand 1 has shape (1,2)"},
		{name: "split by an input", op: "Split", opset: 13, inputs: in(f(three, 1, 2, 3), i(two, 1, 2)),
			want: in(f(one, 1), f(two, 2, 3))},
		{name: "split on axis 1", op: "Split", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 1)},
			inputs: in(f([]int{2, 2}, 1, 2, 3, 4)), want: in(f([]int{2, 1}, 1, 3), f([]int{2, 1}, 2, 4))},
		{name: "split with a smaller rest", op: "Split", opset: 18, attrs: attrs{onnxpb.IntAttr("num_outputs", 2)},
			inputs: in(f(three, 1, 2, 3)), want: in(f(two, 1, 2), f(one, 3))},
		{name: "split with a rest too early", op: "Split", opset: 13, inputs: in(f(three, 1, 2, 3)),
			want: in(f(two, 1, 2), f(one, 3)), fails: "does not split into 2"},
		{name: "expand", op: "Expand", opset: 13, inputs: in(f([]int{2, 1}, 1, 2), i(three, 2, 1, 3)),
			want: in(f([]int{2, 2, 3}, 1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2))},
		{name: "tile", op: "Tile", opset: 13, inputs: in(f([]int{1, 2}, 1, 2), i(two, 2, 2)),
			want: in(f([]int{2, 4}, 1, 2, 1, 2, 1, 2, 1, 2))},
		{name: "pad some axes", op: "Pad", opset: 18,
			inputs: in(f([]int{1, 2}, 1, 2), i(two, 1, 1), f([]int{}, 9), i(one, 1)),
			want:   in(f([]int{1, 4}, 9, 1, 2, 9))},
		{name: "pad crops", op: "Pad", opset: 13, inputs: in(f(three, 1, 2, 3), i(two, -1, 1)),
			want: in(f(three, 2, 3, 0))},
		{name: "pad crops too much", op: "Pad", opset: 13, inputs: in(f(three, 1, 2, 3), i(two, -2, -2)),
			fails: "at least -3 together"},
		{name: "pad wraps", op: "Pad", opset: 19, attrs: attrs{onnxpb.StringAttr("mode", "wrap")},
			inputs: in(f(three, 1, 2, 3), i(two, 2, 1)), want: in(f([]int{6}, 2, 3, 1, 2, 3, 1))},
		{name: "upper triangle", op: "Trilu", opset: 14, inputs: in(f([]int{2, 2}, 1, 2, 3, 4), i([]int{}, 1)),
			want: in(f([]int{2, 2}, 0, 2, 0, 0))},
		{name: "lower triangle", op: "Trilu", opset: 14, attrs: attrs{onnxpb.IntAttr("upper", 0)},
			inputs: in(i(m23, 1, 2, 3, 4, 5, 6)), want: in(i(m23, 1, 0, 0, 4, 5, 0))},

		{name: "einsum over dots", op: "Einsum", opset: 12, attrs: attrs{onnxpb.StringAttr("equation", "...ij, j -> ...i")},
			inputs: in(f([]int{1, 2, 3}, 1, 2, 3, 4, 5, 6), f(three, 1, 0, -1)), want: in(f([]int{1, 2}, -2, -2))},
		{name: "einsum without an arrow", op: "Einsum", opset: 12, attrs: attrs{onnxpb.StringAttr("equation", "ba,ca")},
			inputs: in(i(m23, 1, 2, 3, 4, 5, 6), i([]int{1, 3}, 1, 0, 1)), want: in(i([]int{2, 1}, 4, 10))},
		{name: "einsum of a diagonal", op: "Einsum", opset: 12, attrs: attrs{onnxpb.StringAttr("equation", "ii->i")},
			inputs: in(f([]int{2, 2}, 1, 2, 3, 4)), want: in(f(two, 1, 4))},
		{name: "einsum of sizes that differ", op: "Einsum", opset: 12, attrs: attrs{onnxpb.StringAttr("equation", "i,i->")},
			inputs: in(f(two, 1, 2), f(three, 1, 2, 3)), fails: "has 3 values, want 2"},
		{name: "einsum of an index from nowhere", op: "Einsum", opset: 12, attrs: attrs{onnxpb.StringAttr("equation", "i->j")},
			inputs: in(f(two, 1, 2)), fails: "one that no operand has"},
		{name: "einsum of too many terms", op: "Einsum", opset: 12, attrs: attrs{onnxpb.StringAttr("equation", "a,b,c,d,e,f,g,h,i,j->")},
			inputs: in(f([]int{8}, make([]float64, 8)...), f([]int{8}, make([]float64, 8)...), f([]int{8}, make([]float64, 8)...),
				f([]int{8}, make([]float64, 8)...), f([]int{8}, make([]float64, 8)...), f([]int{8}, make([]float64, 8)...),
				f([]int{8}, make([]float64, 8)...), f([]int{8}, make([]float64, 8)...), f([]int{8}, make([]float64, 8)...),
				f([]int{8}, make([]float64, 8)...)), fails: "elements with"},
		{name: "einsum of another rank", op: "Einsum", opset: 12, attrs: attrs{onnxpb.StringAttr("equation", "ij->i")},
			inputs: in(f(two, 1, 2)), fails: "has rank 1, want 2"},

		{name: "max pool with places", op: "MaxPool", opset: 12, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 2), onnxpb.IntsAttr("strides", 2),
			onnxpb.IntAttr("ceil_mode", 1)}, inputs: in(f([]int{1, 1, 5}, 1, 3, 2, nan, 5)),
			want: in(f([]int{1, 1, 3}, 3, nan, 5), i([]int{1, 1, 3}, 1, 3, 4))},
		{name: "max pool of integers, padded", op: "MaxPool", opset: 12, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 2, 1),
			onnxpb.IntsAttr("pads", 1, 0, 0, 0)}, inputs: in(typed(t, tensor.Int8, []int{1, 1, 2, 1}, -4, -3)),
			want: in(typed(t, tensor.Int8, []int{1, 1, 2, 1}, -4, -3))},
		{name: "a pool that does not fit", op: "MaxPool", opset: 12, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 3)},
			inputs: in(f([]int{1, 1, 2}, 1, 2)), fails: "want at least 3"},
		{name: "mean pool", op: "AveragePool", opset: 11, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 3), onnxpb.IntsAttr("pads", 1, 1)},
			inputs: in(f([]int{1, 1, 3}, 1, 2, 6)), want: in(f([]int{1, 1, 3}, 1.5, 3, 4))},
		{name: "a window of nothing but padding", op: "AveragePool", opset: 11, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 1<<30, 1<<30),
			onnxpb.IntsAttr("pads", 1<<30, 1<<30, 0, 0), onnxpb.IntAttr("count_include_pad", 1), onnxpb.IntsAttr("strides", 1<<30, 1<<30)},
			inputs: in(f([]int{1, 1, 1, 1}, 1)), want: in(f([]int{1, 1, 1, 1}, 0))},
		{name: "mean pool that counts the padding", op: "AveragePool", opset: 11, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 3),
			onnxpb.IntsAttr("pads", 1, 1), onnxpb.IntAttr("count_include_pad", 1)},
			inputs: in(f([]int{1, 1, 3}, 1, 2, 6)), want: in(f([]int{1, 1, 3}, 1, 3, 8.0/3))},

		{name: "gather elements", op: "GatherElements", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 1)},
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i([]int{2, 2}, 0, -1, 1, 1)), want: in(f([]int{2, 2}, 1, 3, 5, 5))},
		{name: "gather elements beyond the end", op: "GatherElements", opset: 13,
			inputs: in(f(two, 1, 2), i(one, 2)), fails: "an index is 2, want -2..1"},
		{name: "gather elements of another rank", op: "GatherElements", opset: 13,
			inputs: in(f(two, 1, 2), i([]int{1, 1}, 0)), fails: "want rank 1"},
		{name: "gather nd in batches", op: "GatherND", opset: 13, attrs: attrs{onnxpb.IntAttr("batch_dims", 1)},
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i([]int{2, 1}, 2, -3)), want: in(f(two, 3, 4))},
		{name: "gather nd of too many indices", op: "GatherND", opset: 13, inputs: in(f(two, 1, 2), i([]int{1, 2}, 0, 0)),
			fails: "a last axis of at most 1"},
		{name: "scatter elements that add", op: "ScatterElements", opset: 16, attrs: attrs{onnxpb.StringAttr("reduction", "add")},
			inputs: in(f(three, 1, 2, 3), i(two, 1, 1), f(two, 10, 100)), want: in(f(three, 1, 112, 3))},
		{name: "scatter elements, the last wins", op: "ScatterElements", opset: 13,
			inputs: in(i(three, 1, 2, 3), i(two, -1, 2), i(two, 7, 8)), want: in(i(three, 1, 2, 8))},
		{name: "scatter by another rule", op: "ScatterElements", opset: 16, attrs: attrs{onnxpb.StringAttr("reduction", "mean")},
			inputs: in(f(one, 1), i(one, 0), f(one, 1)), fails: "\"reduction\" is \"mean\""},
		{name: "scatter slices", op: "ScatterND", opset: 13,
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i([]int{1, 1}, -1), f([]int{1, 3}, 7, 8, 9)), want: in(f(m23, 1, 2, 3, 7, 8, 9))},
		{name: "scatter too little", op: "ScatterND", opset: 13,
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i([]int{1, 1}, 0), f(two, 7, 8)), fails: "2 elements, want 3"},
		{name: "one hot", op: "OneHot", opset: 11, attrs: attrs{onnxpb.IntAttr("axis", 0)},
			inputs: in(i(three, 0, -1, 5), i([]int{}, 2), f(two, 0, 9)), want: in(f(m23, 9, 0, 0, 0, 9, 0))},
		{name: "one hot of a negative depth", op: "OneHot", opset: 11, inputs: in(i(one, 0), i([]int{}, -2), f(two, 0, 1)),
			fails: "depth is -2"},

		{name: "gather from the back", op: "Gather", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 1)},
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i([]int{1, 2}, -1, 0)), want: in(f([]int{2, 1, 2}, 3, 1, 6, 4))},
		{name: "gather a scalar", op: "Gather", opset: 13, inputs: in(i(three, 7, 8, 9), i([]int{}, 1)),
			want: in(i([]int{}, 8))},
		{name: "gather beyond the end", op: "Gather", opset: 13, inputs: in(f(two, 1, 2), i(one, 2)),
			fails: "index 0 is 2, want -2..1"},
		{name: "slice backwards", op: "Slice", opset: 13,
			inputs: in(f(three, 1, 2, 3), i(one, -1), i(one, math.MinInt64), i(one, 0), i(one, -2)),
			want:   in(f(two, 3, 1))},
		{name: "slice far", op: "Slice", opset: 13,
			inputs: in(f(m23, 1, 2, 3, 4, 5, 6), i(one, 1), i(one, math.MaxInt64), i(one, -1)),
			want:   in(f([]int{2, 2}, 2, 3, 5, 6))},
		{name: "slice by the longest step", op: "Slice", opset: 13,
			inputs: in(f(three, 1, 2, 3), i(one, -1), i(one, -9), nil, i(one, math.MinInt64)), want: in(f(one, 3))},
		{name: "slice nothing", op: "Slice", opset: 13, inputs: in(f(three, 1, 2, 3), i(one, 2), i(one, 1)),
			want: in(f([]int{0}))},
		{name: "step 0", op: "Slice", opset: 13, inputs: in(f(three, 1, 2, 3), i(one, 0), i(one, 1), nil, i(one, 0)),
			fails: "step 0 is 0"},
		{name: "top of equals", op: "TopK", opset: 13, inputs: in(f([]int{4}, 1, 3, 3, nan), i(one, 3)),
			want: in(f(three, nan, 3, 3), i(three, 3, 1, 2))},
		{name: "smallest", op: "TopK", opset: 13,
			attrs:  attrs{onnxpb.IntAttr("largest", 0), onnxpb.IntAttr("axis", 0)},
			inputs: in(i([]int{3, 1}, 5, 4, 6), i(one, 1)),
			want:   in(i([]int{1, 1}, 4), i([]int{1, 1}, 1))},

		{name: "constant floats", op: "Constant", opset: 13, attrs: attrs{onnxpb.FloatsAttr("value_floats", 1, 2)},
			want: in(f(two, 1, 2))},
		{name: "constant float", op: "Constant", opset: 13, attrs: attrs{onnxpb.FloatAttr("value_float", 0)},
			want: in(f([]int{}, 0))},
		{name: "constant ints", op: "Constant", opset: 13, attrs: attrs{onnxpb.IntsAttr("value_ints", 1, 2)},
			want: in(i(two, 1, 2))},
		{name: "constant int", op: "Constant", opset: 13, attrs: attrs{onnxpb.IntAttr("value_int", 7)},
			want: in(i([]int{}, 7))},
		{name: "constant without a value", op: "Constant", opset: 13, want: nil, fails: "0 values"},
		{name: "constant of two values", op: "Constant", opset: 13,
			attrs: attrs{onnxpb.IntAttr("value_int", 7), onnxpb.FloatAttr("value_float", 1)}, fails: "2 values"},
		{name: "constant string", op: "Constant", opset: 13, attrs: attrs{onnxpb.StringAttr("value_string", "s")},
			fails: `"value_string" is not known`},
		{name: "bools of a shape", op: "ConstantOfShape", opset: 9,
			attrs: attrs{onnxpb.TensorAttr("value", b(one, 1))}, inputs: in(i(one, 2)), want: in(b(two, 1, 1))},
		{name: "range of floats", op: "Range", opset: 11, inputs: in(f([]int{}, 1), f([]int{}, 2), f([]int{}, 0.5)),
			want: in(f(two, 1, 1.5))},
		{name: "range down", op: "Range", opset: 11, inputs: in(i([]int{}, 3), i([]int{}, 0), i([]int{}, -2)),
			want: in(i(two, 3, 1))},
		{name: "range of nothing", op: "Range", opset: 11, inputs: in(i([]int{}, 3), i([]int{}, 0), i([]int{}, 2)),
			want: in(i([]int{0}))},
		{name: "range without end", op: "Range", opset: 11, inputs: in(i([]int{}, 3), i([]int{}, 5), i([]int{}, 0)),
			fails: "no size"},
		{name: "range over all of int64", op: "Range", opset: 11,
			inputs: in(i([]int{}, math.MinInt64), i([]int{}, math.MaxInt64), i([]int{}, 1)), fails: "no size"},

		{name: "float to int truncates", op: "Cast", opset: 13, attrs: attrs{onnxpb.IntAttr("to", 7)},
			inputs: in(f([]int{5}, 1.9, -1.9, nan, inf, -inf)),
			want:   in(i([]int{5}, 1, -1, 0, math.MaxInt64, math.MinInt64))},
		{name: "int to smaller wraps", op: "Cast", opset: 13, attrs: attrs{onnxpb.IntAttr("to", 3)},
			inputs: in(i(two, 200, -1)), want: in(typed(t, tensor.Int8, two, -56, -1))},
		{name: "float to bool", op: "Cast", opset: 13, attrs: attrs{onnxpb.IntAttr("to", 9)},
			inputs: in(f(three, 0, 0.5, nan)), want: in(b(three, 0, 1, 1))},
		{name: "to string", op: "Cast", opset: 13, attrs: attrs{onnxpb.IntAttr("to", 8)}, inputs: in(f(one, 1)),
			fails: "STRING"},
		{name: "to nothing", op: "Cast", opset: 13, inputs: in(f(one, 1)), fails: "UNDEFINED"},
		{name: "cast like", op: "CastLike", opset: 15, inputs: in(i(two, 1, 2), f([]int{0})), want: in(f(two, 1, 2))},
		{name: "cast like too early", op: "CastLike", opset: 13, inputs: in(i(two, 1, 2), f([]int{0})),
			fails: "want opset 15"},

		{name: "an attribute of another operator", op: "Add", opset: 14, attrs: attrs{onnxpb.IntAttr("axis", 1)},
			inputs: in(f(one, 1), f(one, 1)), fails: `attribute "axis" is not known`},
		{name: "an attribute of another type", op: "Concat", opset: 13, attrs: attrs{onnxpb.FloatAttr("axis", 1)},
			inputs: in(f(one, 1)), fails: "is of type FLOAT, want INT"},
		{name: "too many inputs", op: "Exp", opset: 13, inputs: in(f(one, 1), f(one, 1)),
			fails: "has 2 inputs, want 1..1"},
		{name: "a required input left out", op: "Add", opset: 14, inputs: in(nil, f(one, 1)),
			fails: "leaves out input 0"},
	} {
		t.Run(c.op+"/"+c.name, c.run)
	}
}

// Elements of float types are not rounded inside a graph, and once where they leave it.
func TestRounding(t *testing.T) {
	half := onnxpb.Node("Cast", []string{"x"}, []string{"h"}, onnxpb.IntAttr("to", int64(onnxpb.TensorProto_FLOAT16)))
	third := onnxpb.Node("Div", []string{"h", "three"}, []string{"y"})
	three := typed(t, tensor.Float16, []int{}, 3)
	proto := graphModel(17,
		map[string]tensor.DType{"x": tensor.Float32},
		[]*onnxpb.ValueInfoProto{anyShape("y", tensor.Float16)}, half, third)
	proto.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("three", three)}
	m := decode(t, proto)
	inputs := map[string]*tensor.Tensor{"x": floats(t, []int{2}, 1, 1+0x1p-20)}
	wide := run(t, m, inputs, RunOptions{Wide: true})["y"]
	want := []float64{1.0 / 3, (1 + 0x1p-20) / 3}
	if diff := cmp.Diff(want, wide.Float64s()); diff != "" || wide.DType != tensor.Float64 {
		t.Errorf("wide: %s, differs (-want +got):\n%s", wide.DType, diff)
	}
	narrow := run(t, m, inputs, RunOptions{})["y"]
	if diff := cmp.Diff([]float64{0.333251953125, 0.333251953125}, narrow.Float64s()); diff != "" ||
		narrow.DType != tensor.Float16 {
		t.Errorf("rounded: %s, differs (-want +got):\n%s", narrow.DType, diff)
	}
}

// The same product comes out the same whatever the number of rows, hence of goroutines, it is part of.
func TestProductsDoNotDependOnTheSplit(t *testing.T) {
	const k, n = 301, 130
	x, y := make([]float64, 400*k), make([]float64, k*n)
	for i := range x {
		x[i] = math.Sin(float64(i))
	}
	for i := range y {
		y[i] = math.Cos(float64(i))
	}
	m := decode(t, graphModel(13, map[string]tensor.DType{"x": tensor.Float64, "w": tensor.Float64},
		[]*onnxpb.ValueInfoProto{anyShape("y", tensor.Float64)},
		onnxpb.Node("MatMul", []string{"x", "w"}, []string{"y"})))
	w := typed(t, tensor.Float64, []int{k, n}, y...)
	all := run(t, m, map[string]*tensor.Tensor{"x": typed(t, tensor.Float64, []int{400, k}, x...),
		"w": w}, RunOptions{})["y"].Float64s()
	row := run(t, m, map[string]*tensor.Tensor{"x": typed(t, tensor.Float64, []int{1, k}, x[377*k:378*k]...),
		"w": w}, RunOptions{})["y"].Float64s()
	if diff := cmp.Diff(all[377*n:378*n], row); diff != "" {
		t.Errorf("row 377 differs:\n%s", diff)
	}
	sum := 0.0
	for i := range k {
		sum += x[377*k+i] * y[i*n+5]
	}
	if math.Abs(sum-row[5]) > 1e-12 {
		t.Errorf("element (377,5) is %v, want %v", row[5], sum)
	}
}
