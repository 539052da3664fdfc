package export

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops"
	"google.golang.org/protobuf/proto"
)

// inline replaces the nodes of the domain ai.aft by their bodies. A value inside the body of the node "layers.0.aft" is
// called "layers.0.aft/NAME"; names of nodes are the names of what they make.
func inline(graph *onnxpb.GraphProto, bodies []*onnxpb.FunctionProto) error {
	byName := map[string]*onnxpb.FunctionProto{}
	for _, f := range bodies {
		byName[f.Name] = f
	}
	var nodes []*onnxpb.NodeProto
	for _, n := range graph.Node {
		if n.Domain != ops.Domain {
			nodes = append(nodes, n)
			continue
		}
		f, ok := byName[n.OpType]
		if !ok {
			return fmt.Errorf("node %q: no body for %s.%s", n.Name, n.Domain, n.OpType)
		}
		expanded, err := expand(n, f)
		if err != nil {
			return fmt.Errorf("node %q: %w", n.Name, err)
		}
		nodes = append(nodes, expanded...)
	}
	graph.Node = nodes
	return nil
}

// expand is the body f with the inputs, outputs and attributes of its call n.
func expand(n *onnxpb.NodeProto, f *onnxpb.FunctionProto) ([]*onnxpb.NodeProto, error) {
	names := map[string]string{}
	for i, in := range f.Input {
		names[in] = n.Input[i]
	}
	for i, out := range f.Output {
		names[out] = n.Output[i]
	}
	attrs := map[string]*onnxpb.AttributeProto{}
	for _, a := range n.Attribute {
		attrs[a.Name] = a
	}
	rename := func(list []string) {
		for i, name := range list {
			if name == "" { // an optional input that is left out
				continue
			}
			if _, ok := names[name]; !ok {
				names[name] = n.Name + "/" + name
			}
			list[i] = names[name]
		}
	}
	var nodes []*onnxpb.NodeProto
	for _, inner := range f.Node {
		c, ok := proto.Clone(inner).(*onnxpb.NodeProto)
		if !ok {
			return nil, fmt.Errorf("body node %s: cannot be copied", inner.OpType)
		}
		rename(c.Input)
		rename(c.Output)
		c.Name = c.Output[0]
		for _, a := range c.Attribute {
			if err := resolve(a, attrs); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, c)
	}
	return nodes, nil
}

// resolve gives an attribute that refers to one of the call its value.
func resolve(a *onnxpb.AttributeProto, of map[string]*onnxpb.AttributeProto) error {
	if a.RefAttrName == "" {
		return nil
	}
	from, ok := of[a.RefAttrName]
	if !ok || from.Type != a.Type {
		return fmt.Errorf("attribute %q of type %s: missing", a.RefAttrName, a.Type)
	}
	a.RefAttrName, a.I, a.Ints = "", from.I, from.Ints
	return nil
}
