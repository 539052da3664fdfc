package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// compare holds the graph against the one that export writes for m: the same inputs and outputs, nodes and constants, and no
// initialiser that neither reads. What the weights' names promise is then what the graph computes.
func (g *graph) compare(m *reference.Model) error {
	want, err := wiring.Build(m, g.options())
	if err != nil {
		return &Error{Found: err.Error()}
	}
	got := g.proto.GetGraph()
	for _, edge := range []struct {
		what      string
		got, want []*onnxpb.ValueInfoProto
	}{{"input", got.GetInput(), want.Proto.Input}, {"output", got.GetOutput(), want.Proto.Output}} {
		if g, w := edges(edge.got), edges(edge.want); g != w {
			return &Error{Found: fmt.Sprintf("has the %ss %s", edge.what, g), Allowed: w}
		}
	}
	if err := compareNodes(got.GetNode(), want.Proto.Node); err != nil {
		return err
	}
	return g.compareInitializers(want)
}

// options are what a graph says of how it was written.
func (g *graph) options() wiring.Options {
	o := wiring.Options{DType: g.dtype}
	for _, imported := range g.proto.GetOpsetImport() {
		if imported.GetDomain() == "" {
			o.Opset = int(min(imported.GetVersion(), 1<<20))
		}
	}
	for _, in := range g.proto.GetGraph().GetInput() {
		o.Mask = o.Mask || in.GetName() == wiring.MaskInput
		o.Stateful = o.Stateful || in.GetName() == wiring.PositionInput
	}
	return o
}

// edges lists values as "name type"; dimensions are not compared, they may have been fixed or renamed.
func edges(values []*onnxpb.ValueInfoProto) string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprintf("%q (%s)", v.GetName(), onnxpb.DataTypeName(v.GetType().GetTensorType().GetElemType()))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func compareNodes(got, want []*onnxpb.NodeProto) error {
	for i, n := range got {
		if i >= len(want) {
			return &Error{Place: nodePlace(n), Found: "is " + describeNode(n) + " and belongs to no layer",
				Allowed: "the graph as it was exported"}
		}
		if !proto.Equal(n, want[i]) {
			return &Error{Place: nodePlace(n), Found: "is " + describeNode(n), Allowed: "the graph as it was exported, there " +
				describeNode(want[i]) + " that makes " + quoteAll(want[i].GetOutput())}
		}
	}
	if len(got) < len(want) {
		return &Error{Found: "has no node that makes " + quoteAll(want[len(got)].GetOutput()), Allowed: "the graph as it was exported"}
	}
	return nil
}

func nodePlace(n *onnxpb.NodeProto) string { return "node that makes " + quoteAll(n.GetOutput()) }

// describeNode names an operator, its inputs and its attributes.
func describeNode(n *onnxpb.NodeProto) string {
	text := fmt.Sprintf("%q of %s", n.GetOpType(), quoteAll(n.GetInput()))
	for _, a := range n.GetAttribute() {
		value := fmt.Sprint(a.GetInts())
		switch a.GetType() {
		case onnxpb.AttributeProto_INT:
			value = fmt.Sprint(a.GetI())
		case onnxpb.AttributeProto_FLOAT:
			value = fmt.Sprint(a.GetF())
		}
		text += fmt.Sprintf(" with attribute %q = %s", a.GetName(), value)
	}
	return text
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	if len(quoted) == 0 {
		return "nothing"
	}
	return strings.Join(quoted, ", ")
}

// compareInitializers compares the graph's own constants and makes sure that every other initialiser is a weight that it reads.
func (g *graph) compareInitializers(want *wiring.Graph) error {
	for _, w := range want.Proto.Initializer {
		place := "initializer " + strconv.Quote(w.GetName())
		if !g.has(w.GetName()) {
			return &Error{Place: place, Found: "is missing"}
		}
		var both [2]*tensor.Tensor
		for i, p := range []*onnxpb.TensorProto{g.stored[w.GetName()], w} {
			var err error
			if both[i], err = onnxpb.TensorFromProto(p); err != nil {
				return err
			}
		}
		got, expected := both[0], both[1]
		if got.DType != expected.DType || !slices.Equal(got.Shape, expected.Shape) || !slices.Equal(got.Data, expected.Data) {
			return &Error{Place: place, Found: fmt.Sprintf("is %s %v", got, got.Float64s()),
				Allowed: fmt.Sprintf("%s %v", expected, expected.Float64s())}
		}
	}
	read := map[string]bool{}
	for _, w := range want.Proto.Initializer {
		read[w.GetName()] = true
	}
	for _, w := range want.Weights {
		read[w.Name] = true
	}
	for _, t := range g.proto.GetGraph().GetInitializer() {
		if !read[t.GetName()] {
			return &Error{Place: "initializer " + strconv.Quote(t.GetName()), Found: "belongs to no layer that was read"}
		}
	}
	return nil
}
