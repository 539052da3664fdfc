package onnxgraph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/import/onnxgraph/factored"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/spelling"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// checkNative holds a node of an ai.aft operator against its declaration, as far as that needs no shapes.
func checkNative(d *ops.Def, n *onnxpb.NodeProto) error {
	if err := checkInputs(n.GetInput(), span{len(d.Inputs), len(d.Inputs)}); err != nil {
		return err
	}
	if want := len(d.Outputs); len(n.GetOutput()) != want {
		return &Error{Found: fmt.Sprintf("has %d outputs", len(n.GetOutput())), Allowed: fmt.Sprint(want)}
	}
	given := map[string]bool{}
	for _, a := range n.GetAttribute() {
		given[a.GetName()] = true
	}
	for _, a := range d.Attrs {
		if !given[a.Name] {
			return &Error{Found: "attribute " + quote(a.Name) + " is missing", Allowed: "every attribute of the operator"}
		}
	}
	return nil
}

// nativeAttrs converts a node's attributes to what ops.Def.Check and reference.Call take.
func nativeAttrs(d *ops.Def, given attributes) (ops.Attrs, error) {
	attrs := ops.Attrs{}
	for name, a := range given {
		i := slices.IndexFunc(d.Attrs, func(declared ops.Attr) bool { return declared.Name == name })
		if i < 0 {
			return nil, &Error{Found: "attribute " + quote(name) + " is not known"}
		}
		want, values := attrInt, []int64{a.GetI()}
		if d.Attrs[i].Len > 0 {
			want, values = attrInts, a.GetInts()
		}
		if a.GetType() != want {
			return nil, &Error{Found: fmt.Sprintf("attribute %s is of type %s", quote(name), a.GetType()),
				Allowed: want.String()}
		}
		attrs[name] = values
	}
	return attrs, nil
}

// runNative executes an ai.aft operator in float64: from products of exponentials where that can be trusted, else with package
// reference, the definition itself.
func runNative(d *ops.Def, c *call) ([]*value, error) {
	attrs, err := nativeAttrs(d, c.node.attrs)
	if err != nil {
		return nil, err
	}
	inputs, arrays := make([]ops.Input, len(c.in)), make([]tensor.Array, len(c.in))
	for i, v := range c.in {
		inputs[i] = ops.Input{DType: v.dtype, Shape: v.shape, Values: v.i}
		arrays[i] = v.array()
	}
	shapes, err := d.Check(attrs, inputs)
	if err != nil {
		return nil, err
	}
	for _, shape := range shapes {
		if _, err := c.charge(shape); err != nil {
			return nil, err
		}
	}
	results, err := callNative(d.Name, attrs, arrays)
	if err != nil {
		return nil, err
	}
	out := make([]*value, len(results))
	for i, r := range results {
		dtype := d.Outputs[i].Type.DType(c.in[0].dtype)
		out[i] = &value{dtype: dtype, shape: shapes[i], f: emptyKeys(r.Data, dtype)}
	}
	return out, nil
}

// callNative asks the definition where products of exponentials do not give the answer, and for what of it they do not.
func callNative(op string, attrs ops.Attrs, in []tensor.Array) ([]tensor.Array, error) {
	quick, ok := factored.Call(op, attrs, in, parallel)
	if ok && len(quick.Unknown) == 0 {
		return []tensor.Array{quick.Y}, nil
	}
	results, err := reference.Call(op, attrs, in)
	if err != nil || !ok {
		return results, err
	}
	for _, i := range quick.Unknown {
		quick.Y.Data[i] = results[0].Data[i]
	}
	return []tensor.Array{quick.Y}, nil
}

// emptyKeys makes of the number that marks an empty slot of a state in float64 the one of the type.
func emptyKeys(data []float64, dtype tensor.DType) []float64 {
	empty := ops.EmptyKey(dtype)
	for i, v := range data {
		if v == reference.EmptyKey {
			data[i] = empty
		}
	}
	return data
}

// unknownNative says which operator of ai.aft an unknown name is nearest to.
func (c *catalog) unknownNative(id functionID) error {
	names := sorted(c.natives)
	nearest := slices.MinFunc(names, func(a, b string) int { return spelling.Distance(a, id.name) - spelling.Distance(b, id.name) })
	return &Error{Found: fmt.Sprintf("%s.%s is no operator of this version, and the model holds no function of that name",
		id.domain, printable(id.name)),
		Allowed: fmt.Sprintf("one of %s (nearest: %s)", strings.Join(names, ", "), nearest)}
}
