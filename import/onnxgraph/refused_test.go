package onnxgraph

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// starve runs a model with every budget that is too small for it: whatever an operator makes is charged before it is made, and
// the refusal says so.
func starve(t *testing.T, m *Model, given map[string]*tensor.Tensor) {
	t.Helper()
	for limit := int64(-1); limit < 4096; limit++ {
		if limit == 0 {
			continue // which means the default
		}
		_, err := m.Run(context.Background(), given, RunOptions{MaxElements: limit})
		if err == nil {
			return
		}
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "alive, want at most ") {
			t.Fatalf("with room for %d elements: error %v", limit, err)
		}
	}
	t.Error("4096 elements are not enough")
}

// empty is a tensor without elements, whose other dimensions may be any.
func empty(d tensor.DType, shape ...int) *tensor.Tensor {
	return &tensor.Tensor{DType: d, Shape: shape, Data: []byte{}}
}

// What operators refuse beyond the cases of TestOperators.
func TestOperators_refused(t *testing.T) {
	f := func(shape []int, values ...float64) *tensor.Tensor { return floats(t, shape, values...) }
	i := func(shape []int, values ...int64) *tensor.Tensor { return ints(t, shape, values...) }
	one, two, three := []int{1}, []int{2}, []int{3}
	in := func(list ...*tensor.Tensor) []*tensor.Tensor { return list }
	ones := func(rank int) *tensor.Tensor {
		shape, values := []int{rank}, make([]int64, rank)
		for k := range values {
			values[k] = 1
		}
		return i(shape, values...)
	}
	deep := f(make([]int, 9)) // of rank 9 and no elements
	image, tap := f([]int{1, 1, 2}, 1, 2), f([]int{1, 1, 1}, 1)
	beyond := typed(t, tensor.Uint64, one, 0x1p63)
	mode := func(mode string) attrs { return attrs{onnxpb.StringAttr("mode", mode)} }
	equation := func(text string) attrs { return attrs{onnxpb.StringAttr("equation", text)} }
	for _, c := range []opCase{
		{name: "no data type", op: "Cast", opset: 13, attrs: attrs{onnxpb.IntAttr("to", 1<<40)}, inputs: in(f(one, 1)),
			fails: `attribute "to" is 1099511627776`},
		{name: "uint64 beyond int64", op: "Constant", opset: 13, attrs: attrs{onnxpb.TensorAttr("value", beyond)},
			fails: "element 0 is 9223372036854775808, want at most 9223372036854775807"},
		{name: "uint64 beyond int64", op: "ConstantOfShape", opset: 13, attrs: attrs{onnxpb.TensorAttr("value", beyond)}, inputs: in(i(one, 1)),
			fails: "element 0 is 9223372036854775808, want at most 9223372036854775807"},
		{name: "uint64 beyond int64", op: "Identity", opset: 13, inputs: in(beyond), fails: "element 0 is 9223372036854775808"},

		{name: "bias of another size", op: "Conv", opset: 11, inputs: in(image, tap, f(two, 1, 2)), fails: "the bias is float32 (2), want float32 (1)"},
		{name: "another kernel_shape", op: "Conv", opset: 11, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 2)}, inputs: in(image, tap),
			fails: `attribute "kernel_shape" is [2], want [1]`},
		{name: "two dilations", op: "Conv", opset: 11, attrs: attrs{onnxpb.IntsAttr("dilations", 1, 1)}, inputs: in(image, tap),
			fails: `attribute "dilations" has 2 values, want 1`},
		{name: "negative pads", op: "Conv", opset: 11, attrs: attrs{onnxpb.IntsAttr("pads", 0, -1)}, inputs: in(image, tap),
			fails: `attribute "pads" is [0 -1], want 0..`},
		{name: "places by column in three dimensions", op: "MaxPool", opset: 12, attrs: attrs{onnxpb.IntsAttr("kernel_shape", 1, 1, 1),
			onnxpb.IntAttr("storage_order", 1)}, inputs: in(f([]int{1, 1, 1, 1, 1}, 1)), fails: `"storage_order" is 1 with 3 spatial axes`},

		{name: "no letters", op: "Einsum", opset: 12, attrs: equation("i1->i"), inputs: in(f([]int{1, 1}, 1)), fails: `holds '1', want letters`},
		{name: "more terms than int holds", op: "Einsum", opset: 12, attrs: equation("abc,def->"),
			inputs: in(empty(tensor.Float32, 1<<31, 0, 1<<31), empty(tensor.Float32, 1<<31, 0, 1<<31)), fails: "more than 9223372036854775807 elements"},

		{name: "of a high rank", op: "Gather", opset: 13, inputs: in(deep, empty(tensor.Int64, make([]int, 9)...)), fails: "has 17 dimensions, want at most 16"},
		{name: "axis too far", op: "Slice", opset: 13, inputs: in(f(two, 1, 2), i(one, 0), i(one, 1), i(one, 1)), fails: "axis is 1, want -1..0"},
		{name: "of a high rank", op: "Reshape", opset: 14, inputs: in(f(one, 1), ones(17)), fails: "the shape has 17 dimensions, want at most 16"},
		{name: "no size for -1", op: "Reshape", opset: 14, inputs: in(f(three, 1, 2, 3), i(two, 2, -1)), fails: "leaves no size for -1 with 3 elements"},
		{name: "-1 beside more than int holds", op: "Reshape", opset: 14, inputs: in(f(one, 1), i(three, -1, 1<<40, 1<<40)), fails: "more than"},
		{name: "of a high rank", op: "Unsqueeze", opset: 13, inputs: in(deep, i([]int{8}, 0, 1, 2, 3, 4, 5, 6, 7)), fails: "has 17 dimensions"},
		{name: "of a high rank", op: "Expand", opset: 13, inputs: in(f(one, 1), ones(17)), fails: "the shape has 17 dimensions, want at most 16"},

		{name: "an axis that is too long", op: "Concat", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 1)},
			inputs: in(empty(tensor.Float32, 0, math.MaxInt), empty(tensor.Float32, 0, 1)), fails: "axis 1 is longer than"},
		{name: "an axis that is too long", op: "Tile", opset: 13, inputs: in(empty(tensor.Float32, 0, math.MaxInt), i(two, 1, 2)), fails: "axis 1 is longer than"},
		{name: "sizes of too little", op: "Split", opset: 13, inputs: in(f(three, 1, 2, 3), i(one, 2)), fails: "the sizes are [2], want numbers whose sum is 3"},

		{name: "batches that differ", op: "MatMul", opset: 13, inputs: in(f([]int{2, 1, 1}, 1, 2), f([]int{3, 1, 1}, 1, 2, 3)), fails: "do not broadcast"},
		{name: "C that does not broadcast", op: "Gemm", opset: 13, inputs: in(f([]int{2, 1}, 1, 2), f([]int{1, 1}, 1), f([]int{3, 1}, 1, 2, 3)),
			fails: "do not broadcast"},
		{name: "scale of another size", op: "LayerNormalization", opset: 17, inputs: in(f(two, 1, 2), f(three, 1, 2, 3)), fails: "do not broadcast"},
		{name: "scale of more", op: "LayerNormalization", opset: 17, inputs: in(f(two, 1, 2), f([]int{3, 1}, 1, 2, 3)),
			fails: "scale and bias stretch the result to (3,2), want (2)"},
		{name: "bias of another size", op: "LayerNormalization", opset: 17, inputs: in(f(two, 1, 2), f(two, 1, 1), f(three, 1, 2, 3)), fails: "do not broadcast"},
		{name: "of no integers", op: "ReduceMean", opset: 18, inputs: in(i([]int{0})), fails: "the mean of no integers has no value"},
		{name: "shapes that differ", op: "And", opset: 13, inputs: in(typed(t, tensor.Bool, two, 1, 0), typed(t, tensor.Bool, three, 1, 0, 1)), fails: "do not broadcast"},
		{name: "shapes that differ", op: "Less", opset: 13, inputs: in(f(two, 1, 0), f(three, 1, 0, 1)), fails: "do not broadcast"},
		{name: "shapes that differ", op: "Where", opset: 16, inputs: in(typed(t, tensor.Bool, two, 1, 0), f(three, 1, 2, 3), f(one, 1)), fails: "do not broadcast"},

		{name: "another mode", op: "Pad", opset: 13, attrs: mode("mirror"), inputs: in(f(two, 1, 2), i(two, 1, 1)), fails: `attribute "mode" is "mirror"`},
		{name: "edge of nothing", op: "Pad", opset: 13, attrs: mode("edge"), inputs: in(f([]int{0}), i(two, 1, 1)), fails: "axis 0 is empty and has nothing to repeat"},
		{name: "axes that are no integers", op: "Pad", opset: 18, inputs: in(f(two, 1, 2), i(two, 1, 1), nil, f(one, 0)), fails: "axes is float32 (1), want a list of integers"},
		{name: "axis too far", op: "Pad", opset: 18, inputs: in(f(two, 1, 2), i(two, 1, 1), nil, i(one, 1)), fails: "axis is 1, want -1..0"},
		{name: "pads beyond 32 bits", op: "Pad", opset: 13, inputs: in(f(two, 1, 2), i(two, 0, 1<<31)), fails: "pads of axis 0 are (0,2147483648)"},

		{name: "more indices than elements", op: "GatherElements", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 1)}, inputs: in(f([]int{1, 2}, 1, 2),
			i([]int{2, 1}, 0, 0)), fails: "the indices have shape (2,1), want at most (1,2) but for axis 1"},
		{name: "other batches", op: "GatherND", opset: 13, attrs: attrs{onnxpb.IntAttr("batch_dims", 1)}, inputs: in(f([]int{1, 2}, 1, 2),
			i([]int{2, 1}, 0, 0)), fails: "batch axis 0 of the indices has 2 elements, want 1"},
		{name: "a last axis without end", op: "GatherND", opset: 13, attrs: attrs{onnxpb.IntAttr("batch_dims", 1)}, inputs: in(f([]int{1, 2}, 1, 2),
			empty(tensor.Int64, 0, math.MaxInt)), fails: "want a last axis of at most 1"},
		{name: "updates of another type", op: "ScatterND", opset: 13, inputs: in(f(two, 1, 2), i([]int{1, 1}, 0), i(one, 1)), fails: "the updates are int64, want float32"},
		{name: "axis too far", op: "OneHot", opset: 11, attrs: attrs{onnxpb.IntAttr("axis", 2)}, inputs: in(i(one, 0), i([]int{}, 2), f(two, 0, 1)),
			fails: "axis is 2, want -2..1"},
	} {
		t.Run(c.op+"/"+c.name, c.run)
	}
}

// Indices of no numbers take no bytes in a file, and may name a place each, or be of any number of batches: neither is counted
// through, nor are the slices that have no axis to choose from. Rule O22 of docs/hostile.md.
func TestOperators_placesOfNothing(t *testing.T) {
	const many = 1 << 40
	begin := time.Now()
	for _, c := range []opCase{
		{name: "places", op: "GatherND", opset: 13, inputs: []*tensor.Tensor{floats(t, []int{1}, 1), empty(tensor.Int64, many, 0)},
			fails: "takes 1099511627776 elements"},
		{name: "places", op: "ScatterND", opset: 13, inputs: []*tensor.Tensor{floats(t, []int{1}, 1), empty(tensor.Int64, many, 0), floats(t, []int{1}, 1)},
			fails: "takes 1099511627776 elements"},
		{name: "batches", op: "GatherND", opset: 13, attrs: attrs{onnxpb.IntAttr("batch_dims", 1)},
			inputs: []*tensor.Tensor{empty(tensor.Float32, many, 0), empty(tensor.Int64, many, 0, 1)}, want: []*tensor.Tensor{empty(tensor.Float32, many, 0)}},
		{name: "slices", op: "ArgMax", opset: 13, attrs: attrs{onnxpb.IntAttr("axis", 1)}, inputs: []*tensor.Tensor{empty(tensor.Float32, many, 3, 0)},
			want: []*tensor.Tensor{empty(tensor.Int64, many, 1, 0)}},
	} {
		t.Run(c.op+"/"+c.name, c.run)
	}
	if took := time.Since(begin); took > 20*time.Second { // counting through takes minutes
		t.Errorf("took %v", took)
	}
}

// canceled is a context that is cancelled after it was asked so many times.
type canceled struct {
	context.Context
	left *int
}

func (c canceled) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Matrix products and convolutions stop in the middle.
func TestCancel_within(t *testing.T) {
	image := floats(t, []int{1, 1, 4}, 1, 2, 3, 4)
	kernels := floats(t, []int{4, 1, 2}, 1, 0, 0, 1, 1, 1, 1, -1)
	square := floats(t, []int{2, 2}, 1, 2, 3, 4)
	for _, c := range []struct {
		node *onnxpb.NodeProto
		a, b *tensor.Tensor
		want []float64
	}{
		{onnxpb.Node("MatMul", []string{"a", "b"}, []string{"y"}), square, square, []float64{7, 10, 15, 22}},
		{onnxpb.Node("Einsum", []string{"a", "b"}, []string{"y"}, onnxpb.StringAttr("equation", "ij,jk->ik")), square, square, []float64{7, 10, 15, 22}},
		{onnxpb.Node("Conv", []string{"a", "b"}, []string{"y"}), image, kernels, []float64{1, 2, 3, 2, 3, 4, 3, 5, 7, -1, -1, -1}}, // four outputs: dense
	} {
		m := decode(t, graphModel(13, map[string]tensor.DType{"a": tensor.Float32, "b": tensor.Float32}, infos{anyShape("y", tensor.Float32)}, c.node))
		given := map[string]*tensor.Tensor{"a": c.a, "b": c.b}
		if got := run(t, m, given, RunOptions{})["y"]; worst(got.Float64s(), c.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", c.node.GetOpType(), got.Float64s(), c.want)
		}
		left := 1 // Run asks before the node
		if _, err := m.Run(canceled{context.Background(), &left}, given, RunOptions{}); err != context.Canceled {
			t.Errorf("%s: error %v, want context.Canceled", c.node.GetOpType(), err)
		}
	}
}

// Who watches may stop a run: by an error, or by cancelling it, which is what the run then says.
func TestRunOptions_watchFails(t *testing.T) {
	m, given := probed(t)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch := func(stop func()) RunOptions {
		return RunOptions{Watch: func(string, tensor.DType, []int, func() (*tensor.Tensor, error)) error { stop(); return enough }}
	}
	if _, err := m.Run(ctx, given, watch(func() {})); !errors.Is(err, enough) || !strings.HasPrefix(err.Error(), `node of output "p" (MatMul): `) {
		t.Errorf("error %v, want %v and the node", err, enough)
	}
	if _, err := m.Run(ctx, given, watch(cancel)); err != context.Canceled {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestRunOptions_replaceBeyond(t *testing.T) {
	m := decode(t, graphModel(13, map[string]tensor.DType{"x": tensor.Uint64}, infos{anyShape("y", tensor.Uint64)},
		onnxpb.Node("Add", []string{"x", "x"}, []string{"y"})))
	_, err := m.Run(context.Background(), map[string]*tensor.Tensor{"x": typed(t, tensor.Uint64, []int{1}, 1)},
		RunOptions{Replace: func(string) *tensor.Tensor { return typed(t, tensor.Uint64, []int{1}, 0x1p63) }})
	if err == nil || !strings.Contains(err.Error(), `output "y": element 0 is 9223372036854775808`) {
		t.Errorf("error %v", err)
	}
}

// An initialiser is looked at when it is asked for, and its file may have changed by then.
func TestModel_constantGone(t *testing.T) {
	dir := t.TempDir()
	_, p := scaled(t, dir)
	m, err := New(p, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "m.data"), 100); err != nil {
		t.Fatal(err)
	}
	var bad *Error
	if _, err := m.Constant("w"); !errors.As(err, &bad) || !strings.Contains(err.Error(), `initializer "w": tensor "w": data file`) ||
		!strings.Contains(err.Error(), "has 100 bytes, want offset 0 + length 4000") {
		t.Errorf("error %v", err)
	}
}

// Given values that are no tensors are an error like those of inputs.
func TestRunOptions_givenRefused(t *testing.T) {
	m, given := probed(t)
	for _, c := range []struct {
		p    *tensor.Tensor
		want string
	}{
		{&tensor.Tensor{}, `output "p": "p": element type invalid, want an integer type`},
		{&tensor.Tensor{DType: tensor.Float32, Shape: []int{3}, Data: make([]byte, 4)}, `output "p": shape (3) holds 3 elements, got 1 values`},
	} {
		_, err := m.Run(context.Background(), given, RunOptions{Outputs: []string{"p"}, Given: map[string]*tensor.Tensor{"p": c.p}})
		var bad *Error
		if !errors.As(err, &bad) || err.Error() != c.want {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

// The operators of ai.aft are charged what they make as all others are.
func TestBudget_native(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range nativeCases() {
		if seen[c.op] {
			continue
		}
		seen[c.op] = true
		proto, d := c.model(t)
		starve(t, decode(t, proto), c.inputs(t, d))
	}
}

// Operators without a case of their own above: a value each, and every budget that is too small.
func TestBudget_operators(t *testing.T) {
	image := floats(t, []int{1, 2, 2}, 1, 3, -2, 4)
	two := func(x, y float64) *tensor.Tensor { return floats(t, []int{2}, x, y) }
	for _, c := range []opCase{
		{op: "Not", inputs: []*tensor.Tensor{typed(t, tensor.Bool, []int{2}, 1, 0)}, want: []*tensor.Tensor{typed(t, tensor.Bool, []int{2}, 0, 1)}},
		{op: "Abs", inputs: []*tensor.Tensor{ints(t, []int{2}, -3, 4)}, want: []*tensor.Tensor{ints(t, []int{2}, 3, 4)}},
		{op: "GlobalAveragePool", inputs: []*tensor.Tensor{image}, want: []*tensor.Tensor{floats(t, []int{1, 2, 1}, 2, 1)}},
		{op: "BatchNormalization", attrs: attrs{onnxpb.FloatAttr("epsilon", 0)}, // (x-mean)/sqrt(variance)*scale+bias
			inputs: []*tensor.Tensor{image, two(2, 1), two(10, 0), two(1, 0), two(4, 1)}, want: []*tensor.Tensor{floats(t, []int{1, 2, 2}, 10, 12, -2, 4)}},
	} {
		c.opset = 15
		t.Run(c.op, c.run)
	}
}

// Values at the edges of what operators do, by hand from their definitions.
func TestOperators_edges(t *testing.T) {
	f := func(shape []int, values ...float64) *tensor.Tensor { return floats(t, shape, values...) }
	i := func(shape []int, values ...int64) *tensor.Tensor { return ints(t, shape, values...) }
	int8s := func(shape []int, values ...float64) *tensor.Tensor { return typed(t, tensor.Int8, shape, values...) }
	one, two, three, square := []int{1}, []int{2}, []int{3}, []int{2, 2}
	in := func(list ...*tensor.Tensor) []*tensor.Tensor { return list }
	kernel := onnxpb.IntsAttr("kernel_shape", 1)
	for _, c := range []opCase{
		{name: "of integers", op: "MatMul", inputs: in(i(square, 1, 2, 3, 4), i(square, 5, 6, 7, 8)), want: in(i(square, 19, 22, 43, 50))},
		{name: "of integers that wrap", op: "MatMul", inputs: in(int8s([]int{1, 1}, 100), int8s([]int{1, 1}, 2)), want: in(int8s([]int{1, 1}, -56))},
		{name: "of integers", op: "Gemm", attrs: attrs{onnxpb.FloatAttr("alpha", 2)}, inputs: in(i([]int{1, 2}, 1, 2), i([]int{2, 1}, 3, 4)),
			want: in(i([]int{1, 1}, 22))},
		{name: "of 1 and -1 by negative numbers", op: "Pow", inputs: in(i(three, 1, -1, -1), i(three, -5, -3, -4)), want: in(i(three, 1, -1, 1))},
		{name: "to uint64", op: "Cast", attrs: attrs{onnxpb.IntAttr("to", 13)}, inputs: in(f(three, -1, 5, 0x1p64)),
			want: in(typed(t, tensor.Uint64, three, 0, 5, math.MaxInt64))},
		{name: "of dots without an arrow", op: "Einsum", attrs: attrs{onnxpb.StringAttr("equation", "...i,i")},
			inputs: in(f([]int{2, 3}, 1, 2, 3, 4, 5, 6), f(three, 1, 0, -1)), want: in(f(two, -2, -2))},
		{name: "backwards from before", op: "Slice", inputs: in(f(three, 1, 2, 3), i(one, 0), i(one, 2), nil, i(one, -1)), want: in(f([]int{0}))},
		{name: "axes from the back", op: "Transpose", attrs: attrs{onnxpb.IntsAttr("perm", -1, 0)}, inputs: in(f(square, 1, 2, 3, 4)), want: in(f(square, 1, 3, 2, 4))},
		{name: "one element mirrored", op: "Pad", attrs: attrs{onnxpb.StringAttr("mode", "reflect")}, inputs: in(f(one, 5), i(two, 1, 1)), want: in(f(three, 5, 5, 5))},
		{name: "padding alone", op: "MaxPool", attrs: attrs{kernel, onnxpb.IntsAttr("pads", 1, 0)}, inputs: in(f([]int{1, 1, 1}, 7)),
			want: in(f([]int{1, 1, 2}, math.Inf(-1), 7))},
		{name: "padding alone, of integers", op: "MaxPool", attrs: attrs{kernel, onnxpb.IntsAttr("pads", 1, 0)}, inputs: in(int8s([]int{1, 1, 1}, 7)),
			want: in(int8s([]int{1, 1, 2}, -128, 7))},
		{name: "of -Inf alone", op: "ReduceLogSumExp", attrs: attrs{onnxpb.IntAttr("keepdims", 0)}, inputs: in(f(two, math.Inf(-1), math.Inf(-1))),
			want: in(f([]int{}, math.Inf(-1)))},
		{name: "of integers", op: "GatherElements", inputs: in(i(two, 7, 8), i(three, 1, 0, -1)), want: in(i(three, 8, 7, 8))},
		{name: "of integers", op: "GatherND", inputs: in(i(square, 1, 2, 3, 4), i([]int{1, 1}, -1)), want: in(i([]int{1, 2}, 3, 4))},
	} {
		c.opset = 17
		t.Run(c.op+"/"+c.name, c.run)
	}
}
