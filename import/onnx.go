package importer

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// What an export of ours is known by: its producer, and names. Layer N's tensors are layers.N.q.weight and so on; what leaves
// the layer is layers.N.y, or the graph's output when it is the last.
const (
	producer    = "aftonnx"
	opDomain    = ops.Domain
	graphInput  = "x"
	graphOutput = "y"
	gridInput   = "grid"
	outSuffix   = ".y"
)

// looksLikeONNX knows a ModelProto by its first fields: ir_version, a small number, then the producer, an opset or the graph.
func looksLikeONNX(head []byte) bool {
	return len(head) > 2 && head[0] == 0x08 && head[1] > 0 && head[1] < 0x40 &&
		strings.IndexByte("\x12\x1a\x22\x28\x32\x3a\x42", head[2]) >= 0
}

// loadONNX reads an exported model; flags have nothing to add to it.
func loadONNX(path string, o Options, src *Source) (*reference.Model, error) {
	if flags := given(o); len(flags) > 0 {
		return nil, &FlagError{File: path, Given: flags,
			Reason: strings.Join(flags, ", ") + ": of no use, an exported model says everything itself"}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{File: path, Found: err.Error(), Allowed: "a readable file"}
	}
	p, err := onnxpb.Decode(data)
	if err != nil {
		return nil, onnxError(path, err)
	}
	return FromONNX(path, p, src)
}

// FromONNX reads back what export wrote: the weights as they are stored, variants and windows from the AFT nodes. It fills in
// the format, the dialect and the type of src; path is for errors.
func FromONNX(path string, p *onnxpb.ModelProto, src *Source) (*reference.Model, error) {
	if name := p.GetProducerName(); name != producer {
		return nil, &Error{File: path, Found: "is an ONNX model made by " + strconv.Quote(name),
			Allowed: "one that aftonnx exported, or a checkpoint"}
	}
	src.Format, src.Dialect, src.DType = "onnx", producer, tensor.Invalid
	g, err := newGraph(p.GetGraph())
	if err != nil {
		return nil, onnxError(path, err)
	}
	m, err := g.model(src)
	if err != nil {
		return nil, onnxError(path, err)
	}
	return m, nil
}

// given names the flags that were set.
func given(o Options) []string {
	var flags []string
	for _, f := range []struct {
		flag string
		set  bool
	}{{"--variant", o.Variant != ""}, {"--causal", o.Causal != nil}, {"--window", o.Window != 0}, {"--heads", o.Heads != 0},
		{"--grid", o.Grid != [2]int{}}} {
		if f.set {
			flags = append(flags, f.flag)
		}
	}
	return flags
}

func onnxError(path string, err error) error {
	var bad *Error
	if !errors.As(err, &bad) {
		bad = &Error{Found: err.Error()}
	}
	bad.File = path
	return bad
}

// graph is an exported graph by names.
type graph struct {
	proto   *onnxpb.GraphProto
	weights map[string]*onnxpb.TensorProto
	makers  map[string]*onnxpb.NodeProto // by the value they make
	read    map[*onnxpb.NodeProto]bool   // nodes that belong to a layer
	used    map[string]bool              // weights that do
}

func newGraph(p *onnxpb.GraphProto) (*graph, error) {
	g := &graph{proto: p, weights: map[string]*onnxpb.TensorProto{}, makers: map[string]*onnxpb.NodeProto{},
		read: map[*onnxpb.NodeProto]bool{}, used: map[string]bool{}}
	for _, t := range p.GetInitializer() {
		if g.weights[t.GetName()] != nil {
			return nil, &Error{Place: "initializer " + strconv.Quote(t.GetName()), Found: "there are two of that name"}
		}
		g.weights[t.GetName()] = t
	}
	for _, n := range p.GetNode() {
		for _, out := range n.GetOutput() {
			if g.makers[out] != nil {
				return nil, &Error{Place: "value " + strconv.Quote(out), Found: "two nodes make it"}
			}
			g.makers[out] = n
		}
	}
	return g, nil
}

// model reads the layers one after the other, each on what the one before it gives, and makes sure that nothing is left.
func (g *graph) model(src *Source) (*reference.Model, error) {
	nodes := slices.DeleteFunc(slices.Clone(g.proto.GetNode()), func(n *onnxpb.NodeProto) bool {
		return n.GetDomain() != opDomain
	})
	if len(nodes) == 0 {
		return nil, &Error{Found: "holds no AFT layers", Allowed: "a model exported with its AFT operators, not with --flatten"}
	}
	outputs := g.proto.GetOutput()
	if len(outputs) != 1 || outputs[0].GetName() != graphOutput {
		names := make([]string, len(outputs))
		for i, o := range outputs {
			names[i] = strconv.Quote(o.GetName())
		}
		return nil, &Error{Found: fmt.Sprintf("has %d outputs: %s", len(outputs), strings.Join(names, ", ")),
			Allowed: "one, " + strconv.Quote(graphOutput) + ", what the last layer gives"}
	}
	m := &reference.Model{}
	x := graphInput
	for i, node := range nodes {
		r := &layerReader{g: g, name: "layers." + strconv.Itoa(i), input: x, src: src}
		if len(node.GetOutput()) != 1 {
			return nil, r.fail("its AFT node has %d outputs", len(node.GetOutput()))
		}
		x = node.GetOutput()[0]
		switch {
		case g.makers[r.name+outSuffix] != nil:
			x = r.name + outSuffix
		case i == len(nodes)-1:
			x = outputs[0].GetName()
		}
		l, err := r.layer(node, x)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, l)
	}
	if err := g.complete(x); err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, &Error{Found: err.Error()}
	}
	return m, nil
}

// complete reports what is in the graph beside its layers.
func (g *graph) complete(last string) error {
	for _, n := range g.proto.GetNode() {
		if !g.read[n] {
			return &Error{Place: "node that makes " + strconv.Quote(strings.Join(n.GetOutput(), ", ")),
				Found: "is " + strconv.Quote(n.GetOpType()) + " and belongs to no layer", Allowed: "a layer or a stack of layers"}
		}
	}
	for _, t := range g.proto.GetInitializer() {
		if name := t.GetName(); !g.used[name] && isLayerTensor(name) {
			return &Error{Place: "initializer " + strconv.Quote(name), Found: "belongs to no layer that was read"}
		}
	}
	if out := g.proto.GetOutput()[0].GetName(); out != last {
		return &Error{Found: "its output is " + strconv.Quote(out), Allowed: "what its last layer gives, " + strconv.Quote(last)}
	}
	return nil
}

func isLayerTensor(name string) bool {
	return regexp.MustCompile(`^layers\.[0-9]+\.((q|k|v|out)\.(weight|bias)|w)$`).MatchString(name)
}
