package onnxgraph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// flatten lists the nodes of the graph with every function call replaced by the function's body. Values of the main
// graph keep their names, values inside a body are called "call/value", with a number where that name is taken.
//
// Names inside sub-graphs are not rewritten: nodes that hold one do not run.
func flatten(c *checked, o Options) ([]*node, error) {
	f := &flattener{checked: c, options: o, taken: map[string]bool{}}
	for name := range c.consts {
		f.taken[name] = true
	}
	for _, v := range c.inputs {
		f.taken[v.Name] = true
	}
	for _, n := range c.graph.GetNode() {
		for _, name := range n.GetOutput() {
			f.taken[name] = true
		}
	}
	top := &frame{imports: c.imports}
	for _, n := range c.graph.GetNode() {
		if err := f.add(n, top); err != nil {
			return nil, err
		}
	}
	return f.nodes, nil
}

type flattener struct {
	*checked
	options Options
	nodes   []*node
	taken   map[string]bool
}

// frame is one graph or call under expansion.
type frame struct {
	prefix  string // "" in the main graph
	imports map[string]int64
	attrs   attributes        // the call's attributes, defaults included
	names   map[string]string // of the body's values so far; nil in the main graph
	calls   []string
}

func (f *flattener) add(n *onnxpb.NodeProto, in *frame) error {
	inputs := make([]string, len(n.GetInput()))
	for i, name := range n.GetInput() {
		inputs[i] = in.resolve(name)
	}
	for len(inputs) > 0 && inputs[len(inputs)-1] == "" {
		inputs = inputs[:len(inputs)-1]
	}
	outputs := make([]string, len(n.GetOutput()))
	for i, name := range n.GetOutput() {
		outputs[i] = f.define(name, in)
	}
	attrs := in.attributes(n)
	id := functionID{normalDomain(n.GetDomain()), n.GetOpType(), n.GetOverload()}
	if callee, ok := f.functions[id]; ok && (f.options.Inline || f.known.native(id) == nil) {
		return f.call(callee, callName(n, in), inputs, outputs, attrs, in)
	}
	return f.append(&node{name: nodeName(n, in), domain: id.domain, op: id.name, version: in.imports[id.domain],
		inputs: inputs, outputs: outputs, attrs: attrs, calls: in.calls})
}

// append adds a node whose operands and attributes are final.
func (f *flattener) append(n *node) error {
	if err := f.known.recheck(n); err != nil {
		return within(n.place(), err)
	}
	n.index = len(f.nodes)
	f.nodes = append(f.nodes, n)
	return nil
}

// call expands one call. Outputs of the body get the names that the caller has for them; an output that is an input of
// the function passes through an Identity.
func (f *flattener) call(callee *function, name string, inputs, outputs []string, attrs attributes, from *frame) error {
	in := &frame{prefix: name, imports: callee.imports, attrs: attrs, names: map[string]string{},
		calls: append(slices.Clip(from.calls), callee.id.String())}
	for attr, value := range callee.defaults {
		if attrs[attr] == nil {
			attrs[attr] = value
		}
	}
	formals := map[string]bool{}
	for i, formal := range callee.proto.GetInput() {
		formals[formal] = true
		if in.names[formal] = ""; i < len(inputs) {
			in.names[formal] = inputs[i]
		}
	}
	var passed []*node
	for i, formal := range callee.proto.GetOutput() {
		if i >= len(outputs) || outputs[i] == "" {
			continue // computed under a name of its own
		}
		if !formals[formal] {
			in.names[formal] = outputs[i]
			continue
		}
		passed = append(passed, &node{name: name + "/" + formal, op: "Identity", version: max(in.imports[""], minOpset),
			inputs: []string{in.names[formal]}, outputs: outputs[i : i+1], calls: in.calls})
	}
	for _, n := range callee.proto.GetNode() {
		if err := f.add(n, in); err != nil {
			return err
		}
	}
	for _, n := range passed {
		if err := f.append(n); err != nil {
			return err
		}
	}
	return nil
}

// resolve gives an operand's name in the whole model; "" stays "", and so does a function's input that the call omits.
func (in *frame) resolve(name string) string {
	if in.names == nil || name == "" {
		return name
	}
	return in.names[name]
}

// define gives an output its name in the whole model. Every output gets one, so that onnx-go meets no empty names.
func (f *flattener) define(name string, in *frame) string {
	if name != "" {
		if in.names == nil {
			return name
		}
		if known, ok := in.names[name]; ok { // an output of the function
			return known
		}
	}
	unique := f.unique(in.prefix, name)
	if name != "" {
		in.names[name] = unique
	}
	return unique
}

// maxPrefix keeps the names of nested calls from growing with the square of the depth.
const maxPrefix = 256

func (f *flattener) unique(prefix, name string) string {
	if name == "" {
		name = "unnamed"
	}
	full := name
	if prefix != "" {
		full = prefix + "/" + name
	}
	for i := len(f.taken); f.taken[full]; i++ {
		full = fmt.Sprintf("%s/%s#%d", prefix, name, i)
	}
	f.taken[full] = true
	return full
}

// callName is the prefix of what a call expands to.
func callName(n *onnxpb.NodeProto, in *frame) string {
	name := nodeName(n, in)
	if name == "" {
		if name = n.GetOutput()[0]; in.prefix != "" {
			name = in.prefix + "/" + name
		}
	}
	if len(name) > maxPrefix {
		name = strings.ToValidUTF8(name[:maxPrefix], "")
	}
	return name
}

func nodeName(n *onnxpb.NodeProto, in *frame) string {
	if in.prefix == "" || n.GetName() == "" {
		return n.GetName()
	}
	return in.prefix + "/" + n.GetName()
}

// attributes returns a node's attributes with references to the call's replaced by their values. A parameter that the
// call leaves out, and that has no default, leaves the attribute out.
func (in *frame) attributes(n *onnxpb.NodeProto) attributes {
	attrs := make(attributes, len(n.GetAttribute()))
	for _, a := range n.GetAttribute() {
		name := a.GetName()
		if ref := a.GetRefAttrName(); ref != "" {
			if a = in.attrs[ref]; a == nil {
				continue
			}
		}
		attrs[name] = a
	}
	return attrs
}
