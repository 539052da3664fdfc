package onnxgraph

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

type infos = []*onnxpb.ValueInfoProto

// node makes a named node of the standard domain.
func namedNode(name, op string, inputs, outputs []string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	n := onnxpb.Node(op, inputs, outputs, attrs...)
	n.Name = name
	return n
}

func TestDeclaredValues(t *testing.T) {
	proto := graphModel(17, nil, infos{onnxpb.ValueInfo("y", tensor.Float16, onnxpb.Dynamic("batch"),
		onnxpb.Dynamic(""), onnxpb.Fixed(3))},
		onnxpb.Node("Add", []string{"x", "w"}, []string{"y"}))
	proto.Graph.Input = infos{
		onnxpb.ValueInfo("x", tensor.Float16, onnxpb.Dynamic("batch"), onnxpb.Fixed(1), onnxpb.Fixed(3)),
		onnxpb.ValueInfo("w", tensor.Float16, onnxpb.Fixed(3)), // an initialiser, as IR 3 wrote it
	}
	proto.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("w", typed(t,
		tensor.Float16, []int{3}, 1, 2, 3))}
	m := decode(t, proto)
	want := []Value{{Name: "x", DType: tensor.Float16, Dims: []Dim{{Size: -1, Name: "batch"}, {Size: 1}, {Size: 3}}}}
	if diff := cmp.Diff(want, m.Inputs()); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	want = []Value{{Name: "y", DType: tensor.Float16, Dims: []Dim{{Size: -1, Name: "batch"}, {Size: -1}, {Size: 3}}}}
	if diff := cmp.Diff(want, m.Outputs()); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	unknown := decode(t, graphModel(17, map[string]tensor.DType{"x": tensor.Bool}, infos{anyShape("y", tensor.Bool)},
		onnxpb.Node("Not", []string{"x"}, []string{"y"})))
	if v := unknown.Inputs()[0]; v.Dims != nil {
		t.Errorf("an input without a shape has dims %v, want nil", v.Dims)
	}
	if m.Proto().GetGraph().GetName() != "test" {
		t.Error("Proto is not the model that was decoded")
	}
}

// What onnx-go has its own way with: several outputs, an operand used twice, nodes without inputs, optional inputs and
// outputs left out, a graph output that is an input or an initialiser.
func TestTopologies(t *testing.T) {
	x := floats(t, []int{4}, 1, 2, 3, 4)
	tests := []struct {
		name    string
		outputs []string
		nodes   []*onnxpb.NodeProto
		want    map[string][]float64
	}{
		{"split in two", []string{"a", "b"}, []*onnxpb.NodeProto{onnxpb.Node("Split", []string{"x"}, []string{"a", "b"})},
			map[string][]float64{"a": {1, 2}, "b": {3, 4}}},
		{"both parts used", []string{"y"}, []*onnxpb.NodeProto{
			onnxpb.Node("Split", []string{"x"}, []string{"a", "b"}),
			onnxpb.Node("Sub", []string{"b", "a"}, []string{"y"})},
			map[string][]float64{"y": {2, 2}}},
		{"one operand twice", []string{"y"}, []*onnxpb.NodeProto{onnxpb.Node("Sub", []string{"x", "x"}, []string{"y"})},
			map[string][]float64{"y": {0, 0, 0, 0}}},
		{"one operand three times", []string{"y"}, []*onnxpb.NodeProto{onnxpb.Node("Concat", []string{"x", "w", "x"},
			[]string{"y"}, onnxpb.IntAttr("axis", 0))},
			map[string][]float64{"y": {1, 2, 3, 4, 10, 1, 2, 3, 4}}},
		{"no inputs", []string{"y"}, []*onnxpb.NodeProto{
			onnxpb.Node("Constant", nil, []string{"c"}, onnxpb.FloatAttr("value_float", 1)),
			onnxpb.Node("Constant", nil, []string{"d"}, onnxpb.FloatAttr("value_float", 2)),
			onnxpb.Node("Sub", []string{"d", "c"}, []string{"y"})},
			map[string][]float64{"y": {1}}},
		{"an optional input in the middle", []string{"y"}, []*onnxpb.NodeProto{onnxpb.Node("Clip",
			[]string{"x", "", "three"}, []string{"y"})},
			map[string][]float64{"y": {1, 2, 3, 3}}},
		{"trailing optional inputs", []string{"y"}, []*onnxpb.NodeProto{onnxpb.Node("Clip",
			[]string{"x", "three", ""}, []string{"y"})},
			map[string][]float64{"y": {3, 3, 3, 4}}},
		{"an output left out", []string{"b"}, []*onnxpb.NodeProto{onnxpb.Node("Split", []string{"x"}, []string{"", "b"})},
			map[string][]float64{"b": {3, 4}}},
		{"an output that is an input", []string{"x", "y"}, []*onnxpb.NodeProto{onnxpb.Node("Neg", []string{"x"},
			[]string{"y"})},
			map[string][]float64{"x": {1, 2, 3, 4}, "y": {-1, -2, -3, -4}}},
		{"outputs that no node makes", []string{"x", "w"}, []*onnxpb.NodeProto{onnxpb.Node("Neg", []string{"x"},
			[]string{"y"})},
			map[string][]float64{"x": {1, 2, 3, 4}, "w": {10}}},
		{"no nodes", []string{"w"}, nil, map[string][]float64{"w": {10}}},
		{"names that mean something to onnx-go", []string{"n0/input"}, []*onnxpb.NodeProto{
			onnxpb.Node("Constant", nil, []string{"v0"}, onnxpb.FloatAttr("value_float", 1)),
			onnxpb.Node("Add", []string{"v0", "x"}, []string{"n0/input"})},
			map[string][]float64{"n0/input": {2, 3, 4, 5}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var outputs infos
			for _, name := range test.outputs {
				outputs = append(outputs, anyShape(name, tensor.Float32))
			}
			proto := graphModel(13, map[string]tensor.DType{"x": tensor.Float32}, outputs, test.nodes...)
			proto.Graph.Initializer = []*onnxpb.TensorProto{
				onnxpb.TensorToProto("w", floats(t, []int{1}, 10)), onnxpb.TensorToProto("three", floats(t, []int{}, 3)),
			}
			got := map[string][]float64{}
			for name, v := range run(t, decode(t, proto), map[string]*tensor.Tensor{"x": x}, RunOptions{}) {
				got[name] = v.Float64s()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// chain is x -> Exp e -> Neg y.
func chain(t testing.TB) *Model {
	return decode(t, graphModel(13, map[string]tensor.DType{"x": tensor.Float32}, infos{anyShape("y", tensor.Float32)},
		namedNode("first", "Exp", []string{"x"}, []string{"e"}), namedNode("second", "Neg", []string{"e"},
			[]string{"y"})))
}

func TestInnerValues(t *testing.T) {
	got := run(t, chain(t),
		map[string]*tensor.Tensor{"x": floats(t, []int{1}, 0)}, RunOptions{Outputs: []string{"e", "x", "y"}})
	for name, want := range map[string]float64{"e": 1, "x": 0, "y": -1} {
		if v := got[name]; v == nil || v.At(0) != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}

func TestRunRefusesInputs(t *testing.T) {
	proto := graphModel(13, nil, infos{anyShape("y", tensor.Float32)},
		onnxpb.Node("Add", []string{"a", "b"}, []string{"y"}))
	proto.Graph.Input = infos{
		onnxpb.ValueInfo("a", tensor.Float32, onnxpb.Dynamic("n"), onnxpb.Fixed(2)),
		onnxpb.ValueInfo("b", tensor.Float32, onnxpb.Dynamic("n"), onnxpb.Dynamic("m")),
	}
	proto.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("w", floats(t, []int{1}, 10))}
	m := decode(t, proto)
	good := floats(t, []int{1, 2}, 1, 2)
	tests := []struct {
		name    string
		inputs  map[string]*tensor.Tensor
		outputs []string
		want    string
	}{
		{"missing", map[string]*tensor.Tensor{"a": good}, nil, `"b": the input is missing, want float32 (n,m)`},
		{"type", map[string]*tensor.Tensor{"a": ints(t, []int{1, 2}, 1, 2),
			"b": good}, nil, `"a": is int64, want float32`},
		{"rank", map[string]*tensor.Tensor{"a": floats(t, []int{2}, 1, 2),
			"b": good}, nil, `"a": has shape (2), want rank 2, (n,2)`},
		{"size", map[string]*tensor.Tensor{"a": floats(t, []int{1, 1}, 1),
			"b": good}, nil, `"a": has shape (1,1), want (n,2)`},
		{"contradiction", map[string]*tensor.Tensor{"a": good,
			"b": floats(t, []int{2, 1}, 1, 2)}, nil, `"b": has shape (2,1), want (n,m) with n = 1`},
		{"unknown", map[string]*tensor.Tensor{"a": good, "b": good,
			"c\n": good}, nil, `"c\n": the model has no such input, want "a", "b"`},
		{"constant", map[string]*tensor.Tensor{"a": good, "b": good,
			"w": good}, nil, `"w": is an initialiser, a constant of the model`},
		{"bytes", map[string]*tensor.Tensor{"a": {DType: tensor.Float32, Shape: []int{1, 2}, Data: []byte{1}},
			"b": good}, nil, "1 bytes do not fill"},
		{"output", map[string]*tensor.Tensor{"a": good, "b": good}, []string{"z"}, `"z": the model has no such value`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := m.Run(context.Background(), test.inputs, RunOptions{Outputs: test.outputs})
			var input *InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want an *InputError that says %q", err, test.want)
			}
		})
	}
}

func TestUnsupportedOperator(t *testing.T) {
	inner := &onnxpb.GraphProto{Name: "then", Node: []*onnxpb.NodeProto{onnxpb.Node("Neg", []string{"x"}, []string{"t"})},
		Output: infos{anyShape("t", tensor.Float32)}}
	branch := &onnxpb.AttributeProto{Name: "then_branch", Type: onnxpb.AttributeProto_GRAPH, G: inner}
	tests := []struct{ op, domain, want string }{
		{"Det", "", `node "odd" (Det): operator "Det" of domain "ai.onnx", opset version 17, is not supported`},
		{"If", "ai.onnx", `node "odd" (If): operator "If" of domain "ai.onnx", opset version 17`},
		{"Attention", "com.microsoft",
			`node "odd" (com.microsoft.Attention): operator "Attention" of domain "com.microsoft", opset version 1,`},
	}
	for _, test := range tests {
		odd := namedNode("odd", test.op, []string{"x"}, []string{"z"})
		if odd.Domain = test.domain; test.op == "If" {
			odd.Attribute = append(odd.Attribute, branch)
		}
		proto := graphModel(17, map[string]tensor.DType{"x": tensor.Float32},
			infos{anyShape("y", tensor.Float32), anyShape("z", tensor.Float32)},
			onnxpb.Node("Neg", []string{"x"}, []string{"y"}), odd)
		proto.OpsetImport = append(proto.OpsetImport, onnxpb.Opset("com.microsoft", 1))
		m := decode(t, proto)
		inputs := map[string]*tensor.Tensor{"x": floats(t, []int{1}, 2)}
		_, err := m.Run(context.Background(), inputs, RunOptions{})
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want an *Error that says %q", test.op, err, test.want)
		}
		if got := run(t, m, inputs, RunOptions{Outputs: []string{"y"}})["y"]; got.At(0) != -2 {
			t.Errorf("%s: the other output is %v, want -2", test.op, got.At(0))
		}
	}
}

// MaxElements holds for what is alive at one time: a long chain needs two values, however long it is.
func TestBudget(t *testing.T) {
	nodes, last := []*onnxpb.NodeProto{}, "x"
	for i := range 20 {
		next := "v" + string(rune('a'+i))
		nodes = append(nodes, onnxpb.Node("Neg", []string{last}, []string{next}))
		last = next
	}
	m := decode(t, graphModel(13, map[string]tensor.DType{"x": tensor.Float32},
		infos{anyShape(last, tensor.Float32)}, nodes...))
	inputs := map[string]*tensor.Tensor{"x": floats(t, []int{4}, 1, 2, 3, 4)}
	run(t, m, inputs, RunOptions{MaxElements: 8})
	_, err := m.Run(context.Background(), inputs, RunOptions{MaxElements: 7})
	if err == nil || !strings.Contains(err.Error(),
		`output of shape (4) takes 4 elements with 4 alive, want at most 7 in all`) {
		t.Errorf("error %v, want one about the budget", err)
	}

	huge := graphModel(13, map[string]tensor.DType{"s": tensor.Int64}, infos{anyShape("y", tensor.Float32)},
		onnxpb.Node("ConstantOfShape", []string{"s"}, []string{"y"}))
	for _, shape := range [][]int64{{1 << 40}, {1 << 40, 1 << 40}, {1 << 20, 1 << 20}} {
		_, err := decode(t, huge).Run(context.Background(),
			map[string]*tensor.Tensor{"s": ints(t, []int{len(shape)}, shape...)}, RunOptions{})
		if err == nil {
			t.Errorf("a result of shape %v was made", shape)
		}
	}
}

// Axes of any size around an empty one must not be walked.
func TestEmptyTensorsOfHugeShapes(t *testing.T) {
	huge, err := tensor.New(tensor.Float32, []int{1 << 31, 0, 1 << 31})
	if err != nil {
		t.Fatal(err)
	}
	axis := onnxpb.IntAttr("axis", 1)
	for _, n := range []*onnxpb.NodeProto{
		onnxpb.Node("Exp", []string{"x"}, []string{"y"}),
		onnxpb.Node("Add", []string{"x", "x"}, []string{"y"}),
		onnxpb.Node("Softmax", []string{"x"}, []string{"y"}, axis),
		onnxpb.Node("CumSum", []string{"x", "one"}, []string{"y"}),
		onnxpb.Node("Transpose", []string{"x"}, []string{"y"}),
		onnxpb.Node("Concat", []string{"x", "x"}, []string{"y"}, axis),
		onnxpb.Node("Gather", []string{"x", "one"}, []string{"y"}),
		onnxpb.Node("Slice", []string{"x", "ones", "ones"}, []string{"y"}),
		onnxpb.Node("MatMul", []string{"x", "x"}, []string{"y"}),
		onnxpb.Node("Trilu", []string{"x"}, []string{"y"}),
		onnxpb.Node("TopK", []string{"x", "ones"}, []string{"y", "i"}),
		onnxpb.Node("ReduceSum", []string{"x"}, []string{"y"}),
		onnxpb.Node("ReduceMax", []string{"x"}, []string{"y"}, onnxpb.IntsAttr("axes", 1)),
		onnxpb.Node("ArgMax", []string{"x"}, []string{"y"}, axis),
		onnxpb.Node("LayerNormalization", []string{"x", "x"}, []string{"y"}),
		onnxpb.Node("BatchNormalization", []string{"x", "none", "none", "none", "none"}, []string{"y"}),
		onnxpb.Node("GlobalAveragePool", []string{"x"}, []string{"y"}),
		onnxpb.Node("Conv", []string{"x", "x"}, []string{"y"}),
		onnxpb.Node("Tile", []string{"x", "threes"}, []string{"y"}),
		onnxpb.Node("Expand", []string{"x", "ones"}, []string{"y"}),
		onnxpb.Node("Pad", []string{"x", "sixes"}, []string{"y"}),
		onnxpb.Node("Pad", []string{"x", "sixes"}, []string{"y"}, onnxpb.StringAttr("mode", "edge")),
		onnxpb.Node("Split", []string{"x"}, []string{"y", "z"}, axis),
		onnxpb.Node("Flatten", []string{"x"}, []string{"y"}),
	} {
		t.Run(n.GetOpType(), func(t *testing.T) {
			proto := graphModel(17, map[string]tensor.DType{"x": tensor.Float32}, infos{anyShape("y", tensor.Float32)}, n)
			proto.Graph.Initializer = []*onnxpb.TensorProto{
				onnxpb.TensorToProto("one", ints(t, []int{}, 1)), onnxpb.TensorToProto("ones", ints(t, []int{1}, 1)),
				onnxpb.TensorToProto("threes", ints(t, []int{3}, 1, 2, 3)),
				onnxpb.TensorToProto("none", floats(t, []int{0})),
				onnxpb.TensorToProto("sixes", ints(t, []int{6}, 1, 1, 1, 1, 1, 1)),
			}
			m := decode(t, proto)
			got, err := m.Run(context.Background(), map[string]*tensor.Tensor{"x": huge}, RunOptions{})
			if err == nil && got["y"].Len() > 1 {
				t.Errorf("result of %d elements", got["y"].Len())
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := chain(t).Run(ctx, map[string]*tensor.Tensor{"x": floats(t, []int{1}, 0)}, RunOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestOutputTypeIsChecked(t *testing.T) {
	m := decode(t, graphModel(13, map[string]tensor.DType{"x": tensor.Float32}, infos{anyShape("y", tensor.Float16)},
		onnxpb.Node("Exp", []string{"x"}, []string{"y"})))
	_, err := m.Run(context.Background(), map[string]*tensor.Tensor{"x": floats(t, []int{1}, 0)}, RunOptions{})
	if err == nil || !strings.Contains(err.Error(), `output "y": the graph computes float32, want float16, as declared`) {
		t.Errorf("error %v, want one about the output's type", err)
	}
}

// Later versions of gorgonia.org/tensor, which onnx-go needs, panic at start under the Go version of this module.
func TestTensorLibraryVersion(t *testing.T) {
	dir, err := os.Getwd()
	for err == nil {
		data, missing := os.ReadFile(filepath.Join(dir, "go.mod"))
		if missing == nil {
			if !strings.Contains(string(data), "gorgonia.org/tensor v0.9.3 ") && !strings.Contains(string(data),
				"gorgonia.org/tensor v0.9.3\n") {
				t.Error("go.mod does not hold gorgonia.org/tensor at v0.9.3")
			}
			return
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no go.mod above this package")
}
