package ops

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The opsets of the standard domain that bodies are written for.
const (
	MinOpset = 13
	MaxOpset = 21
)

// BodySpec says what a body is written for.
type BodySpec struct {
	Opset  int          // of the model the body goes into: MinOpset..MaxOpset
	DType  tensor.DType // of the T1 ports
	Double bool         // compute in double inside
	Attrs  Attrs        // the attributes of all nodes that call it; nil: read them from the node
	// Heads is H and Channels is D where they are the same for all nodes, 0 where they are not known. A body of AFTConv2D
	// serves these numbers alone and is far smaller and faster for them; for the others they are a hint.
	Heads, Channels int
}

// Function is the decomposition into standard operators: an ONNX function with the operator's name. It has no sub-graphs,
// calls no other function, and fails at run time where the shapes break the operator's rules.
//
// It computes what the kernel computes, in the kernel's tolerance, while the range of K and the range of W add up to no
// more than 80 in every batch entry; beyond that the result is finite. Where K is -inf, V has to be finite. Running sums
// in float (AFTSimple causal, AFTConv1D) cost T/8 units of 2^-23 max|V| more.
//
// No value of a body is larger than 4*B*T*max(T,D), S in the place of T where it is larger, but for these: AFTConv1D
// makes a matrix of 3*L*L a head, L the reach of its window (at most T); AFTConv2D repeats the kernel for every channel,
// and in double, or for a number of heads that is not known, it makes matrices of T*T a head.
//
// Errors: an opset or type there is no body for, attributes that the operator does not have or that it refuses.
func (d *Def) Function(s BodySpec) (*onnxpb.FunctionProto, error) {
	if err := d.checkSpec(s); err != nil {
		return nil, err
	}
	f := &onnxpb.FunctionProto{
		Name:        d.Name,
		Domain:      Domain,
		DocString:   d.Doc,
		OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", int64(s.Opset))},
	}
	for _, p := range d.Inputs {
		f.Input = append(f.Input, p.Name)
	}
	for _, p := range d.Outputs {
		f.Output = append(f.Output, p.Name)
	}
	for _, a := range d.Attrs {
		f.Attribute = append(f.Attribute, a.Name)
	}
	b := newBuilder(d, s)
	y := b.gated(d.body(b))
	if b.rows != "" {
		y = b.where(b.rows, y, b.real(0))
	}
	y = b.store(y)
	f.Node = b.finish(append([]string{y}, b.state...)...)
	return f, nil
}

func (d *Def) checkSpec(s BodySpec) error {
	if s.Opset < MinOpset || s.Opset > MaxOpset {
		return fmt.Errorf("%s.%s: no body for opset %d, want %d..%d", Domain, d.Name, s.Opset, MinOpset, MaxOpset)
	}
	if s.DType != tensor.Float32 && s.DType != tensor.Float16 && s.DType != tensor.Float64 {
		return fmt.Errorf("%s.%s: no body for %s, want float32, float16 or float64", Domain, d.Name, s.DType)
	}
	if s.Heads < 0 || s.Channels < 0 || s.Heads > 0 && s.Channels%s.Heads != 0 {
		return fmt.Errorf("%s.%s: no body for %d heads and %d channels, want a multiple", Domain, d.Name, s.Heads, s.Channels)
	}
	if s.Attrs == nil {
		return nil
	}
	c := &call{def: d, attrs: s.Attrs}
	return c.checkAttrs()
}

// Node is a call of the operator with all its attributes, in the order of the declaration.
func Node(d *Def, name string, inputs, outputs []string, attrs Attrs) *onnxpb.NodeProto {
	n := onnxpb.Node(d.Name, inputs, outputs)
	n.Name, n.Domain = name, Domain
	for _, a := range d.Attrs {
		if a.Len == 0 {
			n.Attribute = append(n.Attribute, onnxpb.IntAttr(a.Name, attrs.Int(a.Name)))
		} else {
			n.Attribute = append(n.Attribute, onnxpb.IntsAttr(a.Name, attrs[a.Name]...))
		}
	}
	return n
}

// gated multiplies the ratio of sums by the gate of Q; ratio broadcasts to Q's shape.
func (b *builder) gated(ratio string) string {
	gate := b.attr("gate", 0)
	checked, _, _, _ := b.queries()
	q := b.compute(checked)
	sigmoid, tanh := b.op("Sigmoid", []string{q}), b.op("Tanh", []string{q})
	if !gate.known {
		is := func(v int64) string { return b.equal(gate, fixed(v)).name }
		factor := b.where(is(GateSigmoid), sigmoid,
			b.where(is(GateTanh), tanh, b.where(is(GateIdentity), q, b.real(1))))
		return b.mul(factor, ratio)
	}
	switch gate.value {
	case GateSigmoid:
		return b.mul(sigmoid, ratio)
	case GateTanh:
		return b.mul(tanh, ratio)
	case GateIdentity:
		return b.mul(q, ratio)
	}
	return b.op("Expand", []string{ratio, b.op("Shape", []string{checked})})
}

// store converts the result to the operator's type.
func (b *builder) store(x string) string {
	if b.spec.DType == b.computeType() {
		return x
	}
	return b.cast(x, b.spec.DType)
}
