package export

import (
	"fmt"
	"slices"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Operator is a model of one node: its inputs and its output are called as the ports of d, and every dimension is
// dynamic, so one model serves every size. Only the body of AFTConv2D serves the number of heads and channels of inputs
// alone; without inputs it serves any.
//
// The shapes of inputs are not checked: the model checks what it is given.
func Operator(d *ops.Def, attrs ops.Attrs, inputs []ops.Input, o Options) (*onnxpb.ModelProto, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	spec := o.spec(attrs)
	if len(inputs) > 2 && len(inputs[1].Shape) == 3 && len(inputs[2].Shape) == 3 {
		spec.Heads, spec.Channels = headsAndChannels(d, inputs[1].Shape[2], inputs[2].Shape[2])
	}
	body, err := d.Function(spec)
	if err != nil {
		return nil, err
	}
	graph := &onnxpb.GraphProto{Name: d.Name}
	var names []string
	for _, p := range d.Inputs {
		names = append(names, p.Name)
		graph.Input = append(graph.Input, portInfo(p, o.DType))
	}
	outputs := make([]string, len(d.Outputs))
	for i, p := range d.Outputs {
		graph.Output, outputs[i] = append(graph.Output, portInfo(p, o.DType)), p.Name
	}
	graph.Node = []*onnxpb.NodeProto{ops.Node(d, d.Stem, names, outputs, attrs)}
	m := o.newModel(graph)
	if err := o.addBodies(m, []*onnxpb.FunctionProto{body}); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name, err)
	}
	return m, nil
}

// headsAndChannels are what a body of d is written for, by the last dimensions of K and V; 0, 0: any.
func headsAndChannels(d *ops.Def, keys, channels int) (int, int) {
	conv := slices.Contains(d.Inputs[1].Dims, "H")
	switch {
	case channels < 1 || conv && (keys < 1 || channels%keys != 0):
		return 0, 0
	case conv:
		return keys, channels
	}
	return 0, channels
}

// portInfo declares a port: letters name dynamic dimensions, expressions are dynamic without a name.
func portInfo(p ops.Port, dtype tensor.DType) *onnxpb.ValueInfoProto {
	dtype = p.Type.DType(dtype)
	dims := make([]onnxpb.Dim, len(p.Dims))
	for i, letter := range p.Dims {
		switch {
		case len(letter) == 1 && letter[0] >= '0' && letter[0] <= '9':
			dims[i] = onnxpb.Fixed(int(letter[0] - '0'))
		case len(letter) <= 2 && letter[0] != '>':
			dims[i] = onnxpb.Dynamic(letter)
		default:
			dims[i] = onnxpb.Dynamic("")
		}
	}
	return onnxpb.ValueInfo(p.Name, dtype, dims...)
}

// addBodies adds the functions and the import of their domain, or with Flatten puts them in the nodes' place.
func (o Options) addBodies(m *onnxpb.ModelProto, bodies []*onnxpb.FunctionProto) error {
	if o.Flatten {
		return inline(m.Graph, bodies)
	}
	m.Functions = bodies
	m.OpsetImport = append(m.OpsetImport, onnxpb.Opset(ops.Domain, ops.Version))
	return nil
}
