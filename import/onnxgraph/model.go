package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Model is a checked model, ready to run, by several goroutines at once. It does not change, but for what the runs keep of its
// constants.
type Model struct {
	proto   *onnxpb.ModelProto
	inputs  []Value
	outputs []Value
	consts  map[string]*constant // initialisers
	nodes   []*node              // functions inlined, in the file's order
	plan    []step               // the order that the decoded graph gives
	known   *catalog
	makers  map[string]int // the place in plan that computes a value
	kept    *kept
}

// Dim is one dimension of a Value: Size is -1 when it is known only at run time, and Name what the model calls it.
type Dim = onnxpb.Dim

// Value is an input or output of the graph.
type Value struct {
	Name  string
	DType tensor.DType
	Dims  []Dim // nil when the model does not say, empty for a scalar
}

// Node is one node as Run executes it.
type Node struct {
	Name    string // as in the file; inside an inlined function "call/name"
	Domain  string // "" is the standard domain
	Op      string
	Version int64    // the opset version of Domain that holds where the node stands
	Inputs  []string // "" for an optional input that is left out
	Outputs []string
	Attrs   map[string]*onnxpb.AttributeProto
	Calls   []string // the functions it was inlined from, outermost first
}

// Options say how a model is read.
type Options struct {
	Inline bool   // run the function bodies of ai.aft operators where the model has them, instead of package reference
	Dir    string // the model's folder, beneath which the data of initialisers may lie; "" for none
	File   string // the model's own file, in which none may lie; "" where it has none
}

// Decode reads, checks and prepares a model. External data is not read before Run needs it, only looked for. Errors are
// *Error.
func Decode(data []byte, o Options) (*Model, error) {
	m, err := onnxpb.Decode(data)
	if err != nil {
		return nil, fromProtobuf(err)
	}
	return New(m, o)
}

// New checks and prepares a model that is already decoded; it keeps m, which must not change afterwards. Errors are *Error.
func New(m *onnxpb.ModelProto, o Options) (*Model, error) {
	c, err := checkModel(m, onnxpb.NewFolder(o.Dir).Except(o.File))
	if err != nil {
		return nil, err
	}
	nodes, err := flatten(c, o)
	if err != nil {
		return nil, err
	}
	model := &Model{proto: m,
		inputs: c.inputs, outputs: c.outputs, consts: c.consts, nodes: nodes, known: c.known, makers: map[string]int{},
		kept: &kept{room: keptElements}}
	if model.plan, err = plan(model); err != nil {
		return nil, err
	}
	for i, s := range model.plan {
		for _, name := range s.node.outputs {
			model.makers[name] = i
		}
	}
	return model, nil
}

// Inputs returns what Run needs, in the graph's order; initialisers are not among them.
func (m *Model) Inputs() []Value { return append([]Value{}, m.inputs...) }

// Outputs returns the graph's outputs.
func (m *Model) Outputs() []Value { return append([]Value{}, m.outputs...) }

// Proto returns the model as it was decoded. It must not be changed.
func (m *Model) Proto() *onnxpb.ModelProto { return m.proto }

// Nodes returns the nodes with functions inlined, in the order of the file.
func (m *Model) Nodes() []Node {
	out := make([]Node, len(m.nodes))
	for i, n := range m.nodes {
		out[i] = Node{Name: n.name, Domain: n.domain, Op: n.op, Version: n.version, Inputs: n.inputs, Outputs: n.outputs,
			Attrs: n.attrs, Calls: n.calls}
	}
	return out
}

// Computable returns the names of the values that this engine can compute: all that depends on no operator it lacks.
func (m *Model) Computable() map[string]bool {
	known := map[string]bool{"": true}
	for _, v := range m.inputs {
		known[v.Name] = true
	}
	for name := range m.consts {
		known[name] = true
	}
	for _, s := range m.plan {
		able := operatorOf(m.known, s.node) != nil
		for _, name := range s.node.inputs {
			able = able && known[name]
		}
		for _, name := range s.node.outputs {
			known[name] = known[name] || able
		}
	}
	delete(known, "")
	return known
}

// Constant returns the elements of an initialiser, read anew where they lie in a file; nil when name is none.
func (m *Model) Constant(name string) (*tensor.Tensor, error) {
	c := m.consts[name]
	if c == nil {
		return nil, nil
	}
	t, err := c.read(&budget{limit: defaultMaxElements})
	if err != nil {
		return nil, within("initializer "+quote(name), err)
	}
	return t, nil
}

// ConstantShape returns the shape of an initialiser without reading it, nil when name is none.
func (m *Model) ConstantShape(name string) []int {
	if c := m.consts[name]; c != nil {
		return c.described().Shape
	}
	return nil
}

// node is one node after inlining. Names of values are unique in the whole model.
type node struct {
	index   int // in Model.nodes
	name    string
	domain  string
	op      string
	version int64
	inputs  []string
	outputs []string
	attrs   attributes
	calls   []string
}

// attributes are a node's attributes by name, references to a function's parameters resolved.
type attributes map[string]*onnxpb.AttributeProto

// place names the node in errors.
func (n *node) place() string { return nodePlace(n.name, n.domain, n.op, n.outputs) }

// nodePlace calls a node by its name, or by its first output when it has none.
func nodePlace(name, domain, op string, outputs []string) string {
	full := op
	if domain != "" {
		full = domain + "." + op
	}
	for _, output := range outputs {
		if name == "" && output != "" {
			return fmt.Sprintf("node of output %s (%s)", quote(output), printable(full))
		}
	}
	return fmt.Sprintf("node %s (%s)", quote(name), printable(full))
}
