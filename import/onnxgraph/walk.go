package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops"
)

// scope holds the value names that are visible at one point of a graph; a sub-graph sees its parents' too.
type scope struct {
	parent *scope
	names  map[string]bool
}

func newScope(parent *scope) *scope { return &scope{parent: parent, names: map[string]bool{}} }

func (s *scope) sees(name string) bool {
	for ; s != nil; s = s.parent {
		if s.names[name] {
			return true
		}
	}
	return false
}

func (s *scope) define(name string) error {
	if err := checkName("name", name); err != nil {
		return err
	}
	if s.sees(name) {
		return &Error{Found: "name " + quote(name) + " is defined twice", Allowed: "once"}
	}
	s.names[name] = true
	return nil
}

// walker checks the nodes of a graph or of a function body, sub-graphs included, and adds up what they call.
type walker struct {
	imports   map[string]int64
	functions map[functionID]*function
	known     *catalog
	params    map[string]bool // attribute parameters; nil outside a function body
	depth     int             // of sub-graphs
	calls     []functionID    // once for every calling node
	size      int64           // of the nodes that call no function
}

func (w *walker) nodes(nodes []*onnxpb.NodeProto, s *scope) error {
	producer := map[string]int{}
	for i, n := range nodes {
		for _, name := range n.GetOutput() {
			if _, ok := producer[name]; !ok {
				producer[name] = i
			}
		}
	}
	for _, n := range nodes {
		if err := w.node(n, s, producer); err != nil {
			return within(nodePlace(n.GetName(), normalDomain(n.GetDomain()), n.GetOpType(), n.GetOutput()), err)
		}
	}
	return nil
}

// node checks one node: names, arity, domain and attributes, and what the operator or function it calls says of them.
func (w *walker) node(n *onnxpb.NodeProto, s *scope, producer map[string]int) error {
	if err := checkName("op_type", n.GetOpType()); err != nil {
		return err
	}
	if n.GetName() != "" {
		if err := checkName("name", n.GetName()); err != nil {
			return err
		}
	}
	in, out := len(n.GetInput()), len(n.GetOutput())
	switch {
	case in > maxArity || out > maxArity:
		return &Error{Found: fmt.Sprintf("has %d inputs and %d outputs", in, out),
			Allowed: fmt.Sprintf("at most %d each", maxArity)}
	case out == 0:
		return &Error{Found: "has no outputs", Allowed: "at least one"}
	}
	if _, ok := w.imports[normalDomain(n.GetDomain())]; !ok {
		return &Error{Found: "domain " + quote(n.GetDomain()) + " is not imported",
			Allowed: "one of " + list(sorted(w.imports))}
	}
	if err := checkOperands(n, s, producer); err != nil {
		return err
	}
	if err := w.attributes(n, s); err != nil {
		return err
	}
	if err := w.callee(n); err != nil {
		return err
	}
	for _, name := range n.GetOutput() {
		if name == "" {
			continue
		}
		if err := s.define(name); err != nil {
			return err
		}
	}
	return nil
}

// checkOperands requires every input to exist before the node, which rules out cycles.
func checkOperands(n *onnxpb.NodeProto, s *scope, producer map[string]int) error {
	for _, name := range n.GetInput() {
		if name == "" || s.sees(name) {
			continue
		}
		if later, ok := producer[name]; ok {
			return &Error{Found: fmt.Sprintf("input %s is the output of node %d, which does not come before",
				quote(name), later),
				Allowed: "nodes in topological order, without cycles"}
		}
		return &Error{Found: "nothing produces input " + quote(name)}
	}
	return nil
}

// callee holds a node against the function, the ai.aft operator or the standard operator that it names.
func (w *walker) callee(n *onnxpb.NodeProto) error {
	id := functionID{normalDomain(n.GetDomain()), n.GetOpType(), n.GetOverload()}
	f, isCall := w.functions[id]
	if isCall {
		w.calls = append(w.calls, id)
	}
	native := w.known.native(id)
	if !isCall || native != nil { // a native operator may run without its body
		w.size += nodeSize(n)
	}
	switch {
	case isCall:
		if err := f.checkCall(n); err != nil || native == nil {
			return err
		}
		return checkNative(native, n)
	case native != nil:
		return checkNative(native, n)
	case id.domain == ops.Domain:
		return w.known.unknownNative(id)
	case id.domain == "" && w.known.standard[id.name] != nil:
		return w.known.standard[id.name].check(n, w.imports[""])
	}
	return nil // an operator that this engine does not know is refused when it is to run
}

// nodeSize is what a node costs when onnx-go reads it: an edge for every pair of output and input.
func nodeSize(n *onnxpb.NodeProto) int64 {
	return 1 + int64(len(n.GetOutput()))*int64(1+len(n.GetInput()))
}

func (w *walker) attributes(n *onnxpb.NodeProto, s *scope) error {
	seen := map[string]bool{}
	for i, a := range n.GetAttribute() {
		if err := checkName("name", a.GetName()); err != nil {
			return within(fmt.Sprintf("attribute %d", i), err)
		}
		if seen[a.GetName()] {
			return &Error{Place: "attribute " + quote(a.GetName()), Found: "is present twice", Allowed: "once"}
		}
		seen[a.GetName()] = true
		if err := w.attribute(a, s); err != nil {
			return within("attribute "+quote(a.GetName()), err)
		}
	}
	return nil
}

// attribute visits all that an attribute holds, so that no tensor of a file escapes the checks.
func (w *walker) attribute(a *onnxpb.AttributeProto, s *scope) error {
	if err := checkAttribute(a, w.params); err != nil {
		return err
	}
	if a.GetT() != nil {
		if _, err := onnxpb.TensorFromProto(a.GetT()); err != nil {
			return fromProtobuf(err)
		}
	}
	for _, t := range a.GetTensors() {
		if _, err := onnxpb.TensorFromProto(t); err != nil {
			return fromProtobuf(err)
		}
	}
	if a.GetG() != nil {
		if err := w.subgraph(a.GetG(), s); err != nil {
			return err
		}
	}
	for _, g := range a.GetGraphs() {
		if err := w.subgraph(g, s); err != nil {
			return err
		}
	}
	return nil
}

// subgraph checks the graph in an attribute of If, Loop and their like. This engine runs none of them, but a model that
// holds one in a part nobody asks for stays readable.
func (w *walker) subgraph(g *onnxpb.GraphProto, outer *scope) error {
	w.depth++
	defer func() { w.depth-- }()
	if w.depth > maxSubgraphs {
		return &Error{Found: "sub-graphs are nested too deep", Allowed: fmt.Sprintf("at most %d levels", maxSubgraphs)}
	}
	if len(g.GetSparseInitializer()) > 0 {
		return &Error{Place: "sparse_initializer", Found: "sparse tensors are not supported",
			Allowed: "dense initialisers"}
	}
	s := newScope(outer)
	for i, info := range g.GetInput() {
		if err := s.define(info.GetName()); err != nil {
			return within(fmt.Sprintf("input[%d]", i), err)
		}
	}
	for i, t := range g.GetInitializer() {
		if err := s.define(t.GetName()); err != nil {
			return within(fmt.Sprintf("initializer[%d]", i), err)
		}
		if _, err := onnxpb.TensorFromProto(t); err != nil {
			return within(fmt.Sprintf("initializer[%d]", i), fromProtobuf(err))
		}
	}
	if err := w.nodes(g.GetNode(), s); err != nil {
		return err
	}
	for i, info := range g.GetOutput() {
		if !s.sees(info.GetName()) {
			return &Error{Place: fmt.Sprintf("output[%d]", i), Found: "nothing produces " + quote(info.GetName())}
		}
	}
	return nil
}
