package fuse

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// minIR is the first version of the format in which functions have a domain of their own.
const minIR = 8

// rewriter builds the fused model.
type rewriter struct {
	*graph
	proto *onnxpb.ModelProto
	nodes []*onnxpb.NodeProto // one for every node of the graph; nil where it is replaced
	added [][]*onnxpb.NodeProto
	taken map[string]bool
	calls map[string][]*call
}

// call is a fused node, as far as its function body depends on it.
type call struct {
	attrs           ops.Attrs
	dtype           tensor.DType
	heads, channels int
}

func newRewriter(g *graph) (*rewriter, error) {
	p, ok := proto.Clone(g.model.Proto()).(*onnxpb.ModelProto)
	if !ok {
		return nil, fmt.Errorf("the model cannot be copied")
	}
	r := &rewriter{graph: g, proto: p, taken: map[string]bool{}, calls: map[string][]*call{}}
	for _, n := range g.nodes {
		if len(n.Calls) > 0 { // functions are written out: what is fused may cross their borders
			r.nodes = nil
			break
		}
		r.nodes = append(r.nodes, p.Graph.Node[len(r.nodes)])
	}
	if r.nodes == nil {
		for _, n := range g.nodes {
			r.nodes = append(r.nodes, nodeProto(n))
		}
		p.Functions = slices.DeleteFunc(p.Functions, func(f *onnxpb.FunctionProto) bool { return f.GetDomain() != ops.Domain })
	}
	r.added = make([][]*onnxpb.NodeProto, len(r.nodes))
	for _, n := range r.nodes {
		r.taken[n.GetName()] = true
		for _, name := range slices.Concat(n.Input, n.Output) {
			r.taken[name] = true
		}
	}
	for _, t := range p.Graph.Initializer {
		r.taken[t.GetName()] = true
	}
	for _, v := range slices.Concat(p.Graph.Input, p.Graph.Output) {
		r.taken[v.GetName()] = true
	}
	return r, nil
}

func nodeProto(n onnxgraph.Node) *onnxpb.NodeProto {
	out := onnxpb.Node(n.Op, n.Inputs, n.Outputs)
	out.Name, out.Domain = n.Name, n.Domain
	for _, name := range sortedKeys(n.Attrs) {
		out.Attribute = append(out.Attribute, n.Attrs[name])
	}
	return out
}

// replace puts the nodes of a layer in the place of the node that makes its root.
func (r *rewriter) replace(l *layer, e *emitter) {
	i := r.makers[l.root]
	r.nodes[i], r.added[i] = nil, e.nodes
	r.proto.Graph.Initializer = append(r.proto.Graph.Initializer, e.consts...)
	c := &call{attrs: l.attrs, dtype: e.dtype}
	count := func(list []digit) int {
		n := one
		for _, d := range list {
			n = n.times(e.sizes[d])
		}
		return n[0]
	}
	if l.convolution {
		c.heads = count(l.heads)
	}
	c.channels = count(l.heads) * count(l.channels)
	r.calls[l.op] = append(r.calls[l.op], c)
}

// finish removes what nothing needs any more, and gives the model the functions of its new nodes.
func (r *rewriter) finish() (*onnxpb.ModelProto, error) {
	if err := r.raise(); err != nil {
		return nil, err
	}
	before := live(r.proto.Graph, r.model.Nodes())
	var nodes []*onnxpb.NodeProto
	for i, n := range r.nodes {
		if nodes = append(nodes, r.added[i]...); n != nil {
			nodes = append(nodes, n)
		}
	}
	needed := map[string]bool{}
	for _, v := range r.proto.Graph.Output {
		needed[v.GetName()] = true
	}
	var kept []*onnxpb.NodeProto
	for _, n := range slices.Backward(nodes) {
		isNeeded := slices.ContainsFunc(n.Output, func(name string) bool { return needed[name] || name != "" && !before[name] && !r.isNew(name) })
		if !isNeeded {
			continue
		}
		kept = append(kept, n)
		for _, name := range n.Input {
			needed[name] = true
		}
		for _, a := range n.Attribute {
			namesIn(a, needed)
		}
	}
	slices.Reverse(kept)
	g := r.proto.Graph
	g.Node = kept
	g.Initializer = slices.DeleteFunc(g.Initializer, func(t *onnxpb.TensorProto) bool {
		return !needed[t.GetName()] && (before[t.GetName()] || r.isNew(t.GetName()))
	})
	made := map[string]bool{}
	for _, n := range kept {
		for _, name := range n.Output {
			made[name] = true
		}
	}
	g.ValueInfo = slices.DeleteFunc(g.ValueInfo, func(v *onnxpb.ValueInfoProto) bool { return !made[v.GetName()] })
	g.Input = slices.DeleteFunc(g.Input, func(v *onnxpb.ValueInfoProto) bool { // of initialisers that are gone
		return r.model.ConstantShape(v.GetName()) != nil && !needed[v.GetName()] && before[v.GetName()]
	})
	if err := r.holdData(); err != nil {
		return nil, err
	}
	return r.proto, r.addFunctions()
}

// maxHeld bounds the external data that goes into the fused model, in bytes: a model is one protobuf message of at most 2 GiB.
const maxHeld = 1 << 30

// holdData takes the external data of initialisers into the model: it may be written to another folder.
func (r *rewriter) holdData() error {
	held := 0
	for i, t := range r.proto.Graph.Initializer {
		if t.GetDataLocation() != onnxpb.TensorProto_EXTERNAL {
			continue
		}
		v, err := r.model.Constant(t.GetName())
		if err != nil {
			return err
		}
		if held += len(v.Data); held > maxHeld {
			return fmt.Errorf("the model has more than %d bytes of external data, more than a fused model takes in", maxHeld)
		}
		r.proto.Graph.Initializer[i] = onnxpb.TensorToProto(t.GetName(), v)
	}
	return nil
}

// isNew reports whether a name is not the original model's.
func (r *rewriter) isNew(name string) bool {
	_, made := r.makers[name]
	return !made && r.class[name] == constant && r.model.ConstantShape(name) == nil
}

// live lists the values that outputs depend on.
func live(g *onnxpb.GraphProto, nodes []onnxgraph.Node) map[string]bool {
	needed := map[string]bool{}
	for _, v := range g.Output {
		needed[v.GetName()] = true
	}
	for _, n := range slices.Backward(nodes) {
		if !slices.ContainsFunc(n.Outputs, func(name string) bool { return needed[name] }) {
			continue
		}
		for _, name := range slices.Concat(n.Inputs, n.Outputs) {
			needed[name] = true
		}
		for _, a := range n.Attrs {
			namesIn(a, needed)
		}
	}
	return needed
}

// namesIn adds the values that sub-graphs take from outside.
func namesIn(a *onnxpb.AttributeProto, needed map[string]bool) {
	for _, g := range append(slices.Clone(a.GetGraphs()), a.GetG()) {
		for _, n := range g.GetNode() {
			for _, name := range n.GetInput() {
				needed[name] = true
			}
			for _, inner := range n.GetAttribute() {
				namesIn(inner, needed)
			}
		}
		for _, v := range g.GetOutput() {
			needed[v.GetName()] = true
		}
	}
}

// addFunctions gives the model one function for every operator, for the attributes and sizes that its calls agree on.
func (r *rewriter) addFunctions() error {
	for _, d := range ops.All() {
		calls := r.calls[d.Name]
		if len(calls) == 0 {
			continue
		}
		first := calls[0]
		spec := ops.BodySpec{Opset: int(r.opset), DType: first.dtype, Attrs: first.attrs, Heads: first.heads, Channels: first.channels}
		for _, c := range calls[1:] {
			if !c.attrs.Equal(first.attrs) {
				spec.Attrs = nil
			}
			if c.heads != first.heads || c.channels != first.channels {
				spec.Heads, spec.Channels = 0, 0
			}
		}
		if i := slices.IndexFunc(r.proto.Functions, func(f *onnxpb.FunctionProto) bool {
			return f.GetDomain() == ops.Domain && f.GetName() == d.Name
		}); i >= 0 { // the file's own calls share the function from now on
			spec.Attrs, spec.Heads, spec.Channels = nil, 0, 0
			r.proto.Functions = slices.Delete(r.proto.Functions, i, i+1)
		}
		f, err := d.Function(spec)
		if err != nil {
			return err
		}
		r.proto.Functions = append(r.proto.Functions, f)
	}
	r.proto.IrVersion = max(r.proto.IrVersion, minIR)
	if !slices.ContainsFunc(r.proto.OpsetImport, func(o *onnxpb.OperatorSetIdProto) bool { return o.GetDomain() == ops.Domain }) {
		r.proto.OpsetImport = append(r.proto.OpsetImport, onnxpb.Opset(ops.Domain, ops.Version))
	}
	return nil
}
