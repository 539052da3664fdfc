package verify

import (
	"fmt"
	"slices"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// cutting says what a cut takes out of a graph.
type cutting struct {
	from  string       // a value inside the graph that becomes an input; "": none
	to    []string     // the values that become outputs, those of them that there are
	dtype tensor.DType // of values that the graph does not declare
}

// cut takes out of a model what it needs to compute some values: those nodes and weights, and the graph inputs that they
// read. The nodes and weights are the model's own and must not be changed.
func cut(p *onnxpb.ModelProto, c cutting) (*onnxpb.ModelProto, error) {
	g := p.GetGraph()
	makers := map[string]int{}
	for i, n := range g.GetNode() {
		for _, name := range n.GetOutput() {
			makers[name] = i
		}
	}
	if _, ok := makers[c.from]; c.from != "" && !ok {
		return nil, fmt.Errorf("there is no value %q", c.from)
	}
	part := &onnxpb.GraphProto{Name: g.Name}
	var wanted []string
	for _, name := range c.to {
		if _, ok := makers[name]; ok && !slices.Contains(wanted, name) {
			wanted = append(wanted, name)
			part.Output = append(part.Output, declare(g.GetOutput(), name, c.dtype))
		}
	}
	nodes, read := map[int]bool{}, map[string]bool{}
	for len(wanted) > 0 {
		name := wanted[len(wanted)-1]
		wanted = wanted[:len(wanted)-1]
		if read[name] {
			continue
		}
		read[name] = true
		if i, ok := makers[name]; ok && name != c.from && !nodes[i] {
			nodes[i] = true
			wanted = append(wanted, g.GetNode()[i].GetInput()...)
		}
	}
	for i, n := range g.GetNode() {
		if nodes[i] {
			part.Node = append(part.Node, n)
		}
	}
	for _, t := range g.GetInitializer() {
		if read[t.GetName()] {
			part.Initializer = append(part.Initializer, t)
		}
	}
	if c.from != "" {
		part.Input = append(part.Input, declare(nil, c.from, c.dtype))
	}
	for _, v := range g.GetInput() {
		if read[v.GetName()] {
			part.Input = append(part.Input, v)
		}
	}
	return &onnxpb.ModelProto{
		IrVersion: p.IrVersion, ProducerName: p.ProducerName, OpsetImport: p.GetOpsetImport(), Functions: p.GetFunctions(),
		Graph: part,
	}, nil
}

// declare is the declaration of a value, or one of three sizes that are not known: a value between blocks.
func declare(declared []*onnxpb.ValueInfoProto, name string, dtype tensor.DType) *onnxpb.ValueInfoProto {
	for _, v := range declared {
		if v.GetName() == name {
			return v
		}
	}
	return onnxpb.ValueInfo(name, dtype, onnxpb.Dynamic(""), onnxpb.Dynamic(""), onnxpb.Dynamic(""))
}

// countNodes counts the AFT nodes of a model without function calls around them.
func countNodes(p *onnxpb.ModelProto) uint64 {
	n := uint64(0)
	for _, node := range p.GetGraph().GetNode() {
		if node.GetDomain() == ops.Domain {
			n++
		}
	}
	return n
}
