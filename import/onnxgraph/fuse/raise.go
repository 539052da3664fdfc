package fuse

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// raiser rewrites nodes of opsets 7 to 12 as opset 13 wants them: attributes that became inputs, and axes that Softmax merged.
// The operators that the native engine knows are all there is: of any other it cannot tell what changed.
type raiser struct {
	*rewriter
	from   int64
	consts []*onnxpb.TensorProto
}

// raise rewrites the model's own nodes where they are of an opset that no function body is written for.
func (r *rewriter) raise() error {
	if r.opset >= ops.MinOpset {
		return nil
	}
	up, known := &raiser{rewriter: r, from: r.opset}, r.model.Computable()
	for i, n := range r.nodes {
		if n == nil {
			continue
		}
		if n.GetDomain() != "" && n.GetDomain() != "ai.onnx" || !known[n.Output[0]] {
			return fmt.Errorf("the model is of opset %d, and %s cannot be raised to %d: it is not known what changed in between", r.opset,
				n.GetOpType(), ops.MinOpset)
		}
		c, ok := proto.Clone(n).(*onnxpb.NodeProto)
		if !ok {
			return fmt.Errorf("node %q cannot be copied", n.GetName())
		}
		if err := up.node(c); err != nil {
			return fmt.Errorf("the model is of opset %d: node %q (%s): %w", r.opset, n.GetName(), n.GetOpType(), err)
		}
		r.nodes[i] = c
	}
	r.proto.Graph.Initializer = append(r.proto.Graph.Initializer, up.consts...)
	for _, o := range r.proto.OpsetImport {
		if o.GetDomain() == "" || o.GetDomain() == "ai.onnx" {
			o.Version = ops.MinOpset
		}
	}
	r.opset = ops.MinOpset
	return nil
}

func (u *raiser) node(n *onnxpb.NodeProto) error {
	switch n.GetOpType() {
	case "Squeeze", "Unsqueeze", "ReduceSum":
		return u.intsToInput(n, "axes")
	case "Split":
		return u.intsToInput(n, "split")
	case "Softmax", "LogSoftmax":
		return u.softmax(n)
	case "Slice":
		if u.from < 10 {
			for _, name := range []string{"starts", "ends", "axes"} {
				if err := u.intsToInput(n, name); err != nil {
					return err
				}
			}
		}
	case "TopK":
		if k := take(n, "k"); k != nil {
			return u.input(n, []int{1}, []int64{k.GetI()})
		}
	case "Dropout":
		take(n, "ratio") // what a model for inference has no use for
	case "Scatter":
		n.OpType = "ScatterElements"
	case "Clip":
		return u.floatsToInputs(n, "min", "max")
	case "Pad":
		if u.from < 11 {
			if err := u.intsToInput(n, "pads"); err != nil {
				return err
			}
			return u.floatsToInputs(n, "value")
		}
	}
	return nil
}

// take removes an attribute and gives it, nil where there is none.
func take(n *onnxpb.NodeProto, name string) *onnxpb.AttributeProto {
	i := slices.IndexFunc(n.Attribute, func(a *onnxpb.AttributeProto) bool { return a.GetName() == name })
	if i < 0 {
		return nil
	}
	a := n.Attribute[i]
	n.Attribute = slices.Delete(n.Attribute, i, i+1)
	return a
}

// intsToInput makes an attribute the next input.
func (u *raiser) intsToInput(n *onnxpb.NodeProto, name string) error {
	a := take(n, name)
	if a == nil {
		return nil
	}
	return u.input(n, []int{len(a.GetInts())}, a.GetInts())
}

func (u *raiser) input(n *onnxpb.NodeProto, shape []int, list []int64) error {
	t, err := tensor.FromInt64s(shape, list)
	if err != nil {
		return err
	}
	n.Input = append(n.Input, u.add(n, t))
	return nil
}

// floatsToInputs makes scalar attributes the next inputs; one that is not there is left out.
func (u *raiser) floatsToInputs(n *onnxpb.NodeProto, names ...string) error {
	if u.from >= 11 {
		return nil
	}
	dtype := u.dtypes[n.Output[0]]
	for _, name := range names {
		a := take(n, name)
		if a == nil {
			n.Input = append(n.Input, "")
			continue
		}
		t, err := tensor.FromFloat64s(dtype, []int{}, []float64{float64(a.GetF())})
		if err != nil {
			return err
		}
		n.Input = append(n.Input, u.add(n, t))
	}
	for len(n.Input) > 0 && n.Input[len(n.Input)-1] == "" {
		n.Input = n.Input[:len(n.Input)-1]
	}
	return nil
}

func (u *raiser) add(n *onnxpb.NodeProto, t *tensor.Tensor) string {
	name := n.Output[0] + "/input"
	for i := 1; u.taken[name]; i++ {
		name = fmt.Sprintf("%s/input_%d", n.Output[0], i)
	}
	u.taken[name] = true
	u.consts = append(u.consts, onnxpb.TensorToProto(name, t))
	return name
}

// softmax: before opset 13 the axes from the given one on were one.
func (u *raiser) softmax(n *onnxpb.NodeProto) error {
	axis, shape := int64(1), u.shapeOf(n.Input[0])
	if a := take(n, "axis"); a != nil {
		axis = a.GetI()
	}
	if axis < 0 {
		axis += int64(len(shape))
	}
	if shape == nil || axis != int64(len(shape))-1 {
		return fmt.Errorf("runs over several axes from %d on, which opset %d has no operator for", axis, ops.MinOpset)
	}
	n.Attribute = append(n.Attribute, onnxpb.IntAttr("axis", -1))
	return nil
}
