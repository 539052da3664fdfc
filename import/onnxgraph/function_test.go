package onnxgraph

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

const local = "test.local"

// call makes a node that calls a function.
func callNode(name, function string, inputs, outputs []string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	n := namedNode(name, function, inputs, outputs, attrs...)
	n.Domain = local
	return n
}

// function makes a model-local function for opset 17.
func functionProto(name string, inputs, outputs []string, nodes ...*onnxpb.NodeProto) *onnxpb.FunctionProto {
	return &onnxpb.FunctionProto{Name: name, Domain: local, Input: inputs, Output: outputs, Node: nodes,
		OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", 17), onnxpb.Opset(local, 1)}}
}

// withFunctions makes a model of float32 x -> y from calls.
func withFunctions(functions []*onnxpb.FunctionProto, nodes ...*onnxpb.NodeProto) *onnxpb.ModelProto {
	m := graphModel(17, map[string]tensor.DType{"x": tensor.Float32}, infos{anyShape("y", tensor.Float32)}, nodes...)
	m.OpsetImport = append(m.OpsetImport, onnxpb.Opset(local, 1))
	m.Functions = functions
	return m
}

func TestFunctionsAreInlined(t *testing.T) {
	// scale(v) = v*factor + 1, twice(v) = scale(scale(v)); both name their inner values alike.
	factor := onnxpb.Node("Constant", nil, []string{"k"}, onnxpb.RefAttr("value_float", "factor", attrFloat))
	one := onnxpb.Node("Constant", nil, []string{"one"}, onnxpb.FloatAttr("value_float", 1))
	scale := functionProto("Scale", []string{"v"}, []string{"r"}, factor, one,
		onnxpb.Node("Mul", []string{"v", "k"}, []string{"t"}), namedNode("sum", "Add", []string{"t", "one"},
			[]string{"r"}))
	scale.Attribute = []string{"factor"}
	twice := functionProto("Twice", []string{"v"}, []string{"r"},
		callNode("in", "Scale", []string{"v"}, []string{"t"}, onnxpb.RefAttr("factor", "by", attrFloat)),
		callNode("out", "Scale", []string{"t"}, []string{"r"}, onnxpb.FloatAttr("factor", 10)))
	twice.AttributeProto = []*onnxpb.AttributeProto{onnxpb.FloatAttr("by", 3)}
	m := decode(t, withFunctions([]*onnxpb.FunctionProto{twice, scale}, // a callee may come after its caller
		callNode("a", "Twice", []string{"x"}, []string{"t"}),
		callNode("", "Twice", []string{"t"}, []string{"y"}, onnxpb.FloatAttr("by", 2))))
	got := run(t, m, map[string]*tensor.Tensor{"x": floats(t, []int{1}, 1)}, RunOptions{Outputs: []string{"t", "y",
		"a/in/t", "y/out/t"}})
	for name, want := range map[string]float64{
		"t":       41,  // (1*3+1)*10+1
		"a/in/t":  3,   // 1*3
		"y":       831, // (41*2+1)*10+1
		"y/out/t": 830,
	} {
		if v := got[name]; v.At(0) != want {
			t.Errorf("%s is %v, want %v", name, v.At(0), want)
		}
	}
	var names, calls []string
	for _, n := range m.Nodes() {
		if n.Op == "Add" {
			names, calls = append(names, n.Name), append(calls, strings.Join(n.Calls, " "))
		}
	}
	if diff := cmp.Diff([]string{"a/in/sum", "a/out/sum", "y/in/sum", "y/out/sum"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if want := `function "test.local.Twice" function "test.local.Scale"`; calls[0] != want {
		t.Errorf("calls are %q, want %q", calls[0], want)
	}
}

func TestFunctionEdges(t *testing.T) {
	clip := functionProto("Bound", []string{"v", "low", "high"}, []string{"r"},
		onnxpb.Node("Clip", []string{"v", "low", "high"}, []string{"r"}))
	pass := functionProto("Pass", []string{"v", "w"}, []string{"w", "v", "n"},
		onnxpb.Node("Neg", []string{"v"}, []string{"n"}))
	overload := functionProto("Bound", []string{"v"}, []string{"r"}, onnxpb.Node("Neg", []string{"v"}, []string{"r"}))
	overload.Overload = "negative"
	standard := functionProto("Neg", []string{"v"}, []string{"r"}, onnxpb.Node("Abs", []string{"v"}, []string{"r"}))
	standard.Domain = ""
	second := callNode("b", "Bound", []string{"x"}, []string{"y"})
	second.Overload = "negative"
	early := functionProto("Early", []string{"v"}, []string{"r"},
		onnxpb.Node("ReduceMax", []string{"v"}, []string{"r"}, onnxpb.IntsAttr("axes", 0)))
	tests := []struct {
		name      string
		functions []*onnxpb.FunctionProto
		nodes     []*onnxpb.NodeProto
		want      []float64
	}{
		{"optional inputs left out", []*onnxpb.FunctionProto{clip}, []*onnxpb.NodeProto{
			onnxpb.Node("Constant", nil, []string{"two"}, onnxpb.FloatAttr("value_float", 2)),
			callNode("b", "Bound", []string{"x", "", "two"}, []string{"y"})}, []float64{1, 2, 2}},
		{"trailing inputs missing", []*onnxpb.FunctionProto{clip}, []*onnxpb.NodeProto{
			onnxpb.Node("Constant", nil, []string{"two"}, onnxpb.FloatAttr("value_float", 2)),
			callNode("b", "Bound", []string{"x", "two"}, []string{"y"})}, []float64{2, 2, 3}},
		{"outputs that are inputs", []*onnxpb.FunctionProto{pass}, []*onnxpb.NodeProto{
			onnxpb.Node("Exp", []string{"x"}, []string{"e"}),
			callNode("p", "Pass", []string{"x", "e"}, []string{"", "y"})}, []float64{1, 2, 3}},
		{"names already taken", []*onnxpb.FunctionProto{pass}, []*onnxpb.NodeProto{
			onnxpb.Node("Abs", []string{"x"}, []string{"p/n"}),
			callNode("p", "Pass", []string{"p/n", "p/n"}, []string{"a"}),
			onnxpb.Node("Add", []string{"a", "p/n"}, []string{"y"})}, []float64{2, 4, 6}},
		{"overloads", []*onnxpb.FunctionProto{clip, overload}, []*onnxpb.NodeProto{second}, []float64{-1, -2, -3}},
		{"a function in place of a standard operator", []*onnxpb.FunctionProto{standard}, []*onnxpb.NodeProto{
			onnxpb.Node("Neg", []string{"x"}, []string{"y"})}, []float64{1, 2, 3}},
		{"the function's own opset", []*onnxpb.FunctionProto{early}, []*onnxpb.NodeProto{callNode("e", "Early",
			[]string{"x"}, []string{"y"})}, []float64{3}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := withFunctions(test.functions, test.nodes...)
			if test.name == "the function's own opset" { // axes became an input at 18; the body says 17
				m.OpsetImport[0].Version = 18
			}
			got := run(t, decode(t, m), map[string]*tensor.Tensor{"x": floats(t, []int{3}, 1, 2, 3)}, RunOptions{})["y"]
			if diff := cmp.Diff(test.want, got.Float64s()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// nested makes functions F0, F1, ... of which each calls the next, times over.
func nested(depth, times int) []*onnxpb.FunctionProto {
	var list []*onnxpb.FunctionProto
	for i := range depth {
		f := functionProto(name("F", i), []string{"v"}, []string{name("r", times-1)})
		for k := range times {
			from := "v"
			if k > 0 {
				from = name("r", k-1)
			}
			n := callNode("", name("F", i+1), []string{from}, []string{name("r", k)})
			if i == depth-1 {
				n = onnxpb.Node("Neg", []string{from}, []string{name("r", k)})
			}
			f.Node = append(f.Node, n)
		}
		list = append(list, f)
	}
	return list
}

func name(prefix string, i int) string {
	digits := ""
	for ; i >= 10; i /= 10 {
		digits = string(rune('0'+i%10)) + digits
	}
	return prefix + string(rune('0'+i)) + digits
}

func TestDeepCalls(t *testing.T) {
	m := decode(t, withFunctions(nested(101, 1), callNode("c", "F0", []string{"x"}, []string{"y"})))
	if got := run(t, m, map[string]*tensor.Tensor{"x": floats(t, []int{1}, 5)}, RunOptions{})["y"]; got.At(0) != -5 {
		t.Errorf("y is %v, want -5", got.At(0))
	}
}
