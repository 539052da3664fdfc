package importer

import (
	"fmt"
	"slices"
	"sort"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// layerReader reads one layer.
type layerReader struct {
	g     *graph
	name  string // "layers.0"
	input string // the value it starts from
	src   *Source
}

func (r *layerReader) fail(format string, args ...any) error {
	return &Error{Place: r.name, Found: fmt.Sprintf(format, args...), Allowed: "the layer as it was exported"}
}

// layer reads the layer around an AFT node; y is the value that leaves it.
func (r *layerReader) layer(node *onnxpb.NodeProto, y string) (reference.Layer, error) {
	l := reference.Layer{Variant: variantOf(node)}
	ports := 4
	switch l.Variant {
	case "":
		return l, r.fail("there is no operator %s.%q", opDomain, node.GetOpType())
	case reference.Simple:
		ports = 3
	case reference.Conv2D:
		ports = 5
	}
	if len(node.GetInput()) != ports {
		return l, r.fail("its AFT node has %d inputs, not %d", len(node.GetInput()), ports)
	}
	r.g.read[node] = true
	if err := r.attributes(&l, node); err != nil {
		return l, err
	}
	for i, p := range []struct {
		to   *reference.Linear
		name string
	}{{&l.Q, ".q"}, {&l.K, ".k"}, {&l.V, ".v"}} {
		if err := r.linear(p.to, p.name, node.GetInput()[i], r.input); err != nil {
			return l, err
		}
	}
	if ports > 3 {
		name := node.GetInput()[3]
		if name != r.name+".w" {
			return l, r.fail("its AFT node takes its biases from %q", name)
		}
		var err error
		if l.W, err = r.weight(name); err != nil {
			return l, err
		}
	}
	if l.Variant == reference.Conv2D {
		if err := r.grid(&l, node.GetInput()[4]); err != nil {
			return l, err
		}
	}
	return l, r.out(&l, node.GetOutput()[0], y)
}

// out reads the output projection; without one, the AFT node makes what leaves the layer.
func (r *layerReader) out(l *reference.Layer, aft, y string) error {
	if r.g.weights[r.name+".out"+weightSuffix] != nil {
		l.Out = &reference.Linear{}
		return r.linear(l.Out, ".out", y, aft)
	}
	if aft != y {
		return r.fail("its AFT node makes %q, not %q", aft, y)
	}
	return nil
}

func variantOf(node *onnxpb.NodeProto) reference.Variant {
	all := []reference.Variant{reference.Full, reference.Simple, reference.Local, reference.Conv1D, reference.Conv2D}
	for _, v := range all {
		if node.GetDomain() == opDomain && node.GetOpType() == v.Op() {
			return v
		}
	}
	return ""
}

// attributes reads the node's attributes; every one is always written.
func (r *layerReader) attributes(l *reference.Layer, node *onnxpb.NodeProto) error {
	got := map[string][]int64{}
	for _, a := range node.GetAttribute() {
		switch a.GetType() {
		case onnxpb.AttributeProto_INT:
			got[a.GetName()] = []int64{a.GetI()}
		case onnxpb.AttributeProto_INTS:
			got[a.GetName()] = a.GetInts()
		}
	}
	wanted := l.Attrs()
	for _, name := range sortedKeys(wanted) {
		v, ok := got[name]
		if !ok || len(v) != len(wanted[name]) {
			return r.fail("its AFT node lacks the attribute %q", name)
		}
		for _, n := range v {
			if n < 0 || n > 1<<30 {
				return r.fail("attribute %q is %d", name, n)
			}
		}
		switch name {
		case "causal":
			l.Causal = v[0] == 1
		case "gate":
			l.Gate = reference.Gate(v[0])
		case "window":
			l.Window = int(v[0])
		case "pad_left":
			l.PadLeft = int(v[0])
		case "pads":
			l.Pads = [2]int{int(v[0]), int(v[1])}
		}
	}
	return nil
}

func sortedKeys(m map[string][]int64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// grid is a constant of the model, or its input "grid".
func (r *layerReader) grid(l *reference.Layer, name string) error {
	t := r.g.weights[name]
	if t == nil {
		if name != gridInput {
			return r.fail("its AFT node takes its grid from %q", name)
		}
		return nil
	}
	r.g.used[name] = true
	grid, err := onnxpb.TensorFromProto(t)
	if err != nil {
		return err
	}
	v, err := grid.Int64s()
	if err != nil || len(v) != 2 || v[0] < 1 || v[1] < 1 || v[0] > 1<<30 || v[1] > 1<<30 {
		return r.fail("%q is no height and width", name)
	}
	l.Grid = [2]int{int(v[0]), int(v[1])}
	return nil
}

const weightSuffix = ".weight"

// linear reads a projection of from: value = Add(MatMul(from, Transpose(weight)), bias), or without the bias.
func (r *layerReader) linear(to *reference.Linear, role, value, from string) error {
	name := r.name + role
	bias := name + ".bias"
	if r.g.weights[bias] != nil {
		in, err := r.step("Add", value, "", bias)
		if err != nil {
			return err
		}
		a, err := r.weight(bias)
		if err != nil {
			return err
		}
		to.Bias, value = a.Data, in
	}
	transposed := ""
	if n := r.g.makers[value]; n != nil && len(n.GetInput()) == 2 {
		transposed = n.GetInput()[1]
	}
	if _, err := r.step("MatMul", value, from, transposed); err != nil {
		return err
	}
	if _, err := r.step("Transpose", transposed, name+weightSuffix); err != nil {
		return err
	}
	var err error
	to.Weight, err = r.weight(name + weightSuffix)
	return err
}

// step requires value to be made by op from these inputs, "" being any, and returns the first of them.
func (r *layerReader) step(op, value string, inputs ...string) (string, error) {
	n := r.g.makers[value]
	if n == nil || n.GetDomain() != "" || n.GetOpType() != op || len(n.GetInput()) != len(inputs) {
		return "", r.fail("%q is not made by %s", value, op)
	}
	for i, want := range inputs {
		if got := n.GetInput()[i]; want != "" && got != want {
			return "", r.fail("%q is made by %s from %q, not from %q", value, op, got, want)
		}
	}
	for _, a := range n.GetAttribute() {
		if a.GetName() != "perm" || !slices.Equal(a.GetInts(), []int64{1, 0}) {
			return "", r.fail("%q is made by %s with an attribute %q", value, op, a.GetName())
		}
	}
	r.g.read[n] = true
	return n.GetInput()[0], nil
}

// weight reads an initialiser, in the type it is stored in.
func (r *layerReader) weight(name string) (reference.Array, error) {
	p := r.g.weights[name]
	if p == nil {
		return reference.Array{}, r.fail("there is no initializer %q", name)
	}
	t, err := onnxpb.TensorFromProto(p)
	if err != nil {
		return reference.Array{}, err
	}
	if !t.DType.IsFloat() {
		return reference.Array{}, r.fail("initializer %q is %s", name, t.DType)
	}
	r.g.used[name] = true
	if r.src.DType == tensor.Invalid || t.DType.Size() > r.src.DType.Size() {
		r.src.DType = t.DType
	}
	return t.Array(), nil
}
