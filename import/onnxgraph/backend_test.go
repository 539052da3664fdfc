package onnxgraph

import (
	"strings"
	"testing"

	onnx "github.com/owulveryck/onnx-go"
	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/topo"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// decoded has onnx-go decode x -> Split -> a, b -> Sub(b, a) -> y.
func decoded(t *testing.T) *backend {
	t.Helper()
	split := onnxpb.Node("Split", []string{"x"}, []string{"a", "b"}, onnxpb.IntAttr(indexAttribute, 0))
	sub := onnxpb.Node("Sub", []string{"b", "a"}, []string{"y"}, onnxpb.IntAttr(indexAttribute, 1))
	data, err := onnxpb.Encode(&onnxpb.ModelProto{IrVersion: 8, Graph: &onnxpb.GraphProto{
		Node: []*onnxpb.NodeProto{split, sub}, Input: infos{{Name: "x"}}, Output: infos{{Name: "y"}}}})
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{}
	if err := decodeTopology(b, data); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBackendIsADirectedGraph(t *testing.T) {
	b := decoded(t)
	var _ onnx.Backend = b
	ids, byID := map[string]int64{}, map[int64]string{}
	for nodes := b.Nodes(); nodes.Next(); {
		name := nodes.Node().(*vertex).GetName()
		ids[name], byID[nodes.Node().ID()] = nodes.Node().ID(), name
	}
	names := func(nodes graph.Nodes) string {
		text := ""
		for nodes.Next() {
			text += byID[nodes.Node().ID()]
		}
		return text
	}
	for what, pair := range map[string][2]string{
		"inputs of y":     {names(b.From(ids["y"])), "ba"},
		"inputs of a":     {names(b.From(ids["a"])), "x"},
		"consumers of x":  {names(b.To(ids["x"])), "ab"},
		"consumers of y":  {names(b.To(ids["y"])), ""},
		"inputs of none":  {names(b.From(99)), ""},
		"outputs of none": {names(b.To(-1)), ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s are %q, want %q", what, pair[0], pair[1])
		}
	}
	if e, ok := b.Edge(ids["y"], ids["a"]).(edge); !ok || e.Weight() != 1 || e.To().ID() != ids["a"] || e.ReversedEdge() != e {
		t.Errorf("the edge from y to a is %v, want weight 1", b.Edge(ids["y"], ids["a"]))
	}
	if !b.HasEdgeBetween(ids["x"], ids["a"]) || b.HasEdgeFromTo(ids["x"], ids["a"]) || b.Edge(ids["y"], ids["x"]) != nil {
		t.Error("edges lead the wrong way")
	}
	if b.Node(ids["x"]) == nil || b.Node(99) != nil {
		t.Error("Node finds what is not there, or not what is")
	}
	if order, err := topo.Sort(b); err != nil || order[0].ID() != ids["y"] {
		t.Errorf("gonum's topological sort gives %v, %v", order, err)
	}
}

// A Split into two reaches ApplyOperation once, with both outputs in order.
func TestSeveralOutputs(t *testing.T) {
	b := decoded(t)
	if len(b.applied) != 2 || len(b.applied[0].outputs) != 2 || b.applied[0].outputs[1].name != "b" {
		t.Errorf("operations are %+v, want two, the first with outputs a and b", b.applied)
	}
}

// onnx-go dereferences nil when an attribute of type TENSOR has no tensor.
func TestPanicsInTheDecoderAreErrors(t *testing.T) {
	data, err := onnxpb.Encode(&onnxpb.ModelProto{Graph: &onnxpb.GraphProto{Output: infos{{Name: "y"}},
		Node: []*onnxpb.NodeProto{onnxpb.Node("X", nil, []string{"y"}, &onnxpb.AttributeProto{Name: "t", Type: attrTensor})}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := decodeTopology(&backend{}, data); err == nil || !strings.Contains(err.Error(), "panic: ") {
		t.Errorf("error %v, want one about a panic", err)
	}
}

func TestApplyOperationRefuses(t *testing.T) {
	b := &backend{}
	if err := b.ApplyOperation(onnx.Operation{Name: "Add"}); err == nil {
		t.Error("an operation without its index was applied")
	}
	stranger := &vertex{id: 5}
	if err := b.ApplyOperation(onnx.Operation{Attributes: map[string]any{indexAttribute: int64(0)}}, stranger); err == nil {
		t.Error("an operation with an output from nowhere was applied")
	}
}
