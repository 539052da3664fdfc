package onnxgraph

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// nativeCase is one call of an ai.aft operator.
type nativeCase struct {
	op     string
	attrs  ops.Attrs
	shapes [][]int
	grid   []int64
}

// B = 2, T = 6, D = 4, H = 2; every attribute takes several values.
func nativeCases() []nativeCase {
	btd, bth := []int{2, 6, 4}, []int{2, 6, 2}
	var cases []nativeCase
	for causal := range int64(2) {
		for gate := range int64(4) {
			both := func(more ops.Attrs) ops.Attrs {
				a := ops.Attrs{"causal": {causal}, "gate": {gate}}
				for name, v := range more {
					a[name] = v
				}
				return a
			}
			band := []int{6, 5}
			if causal == 1 {
				band = []int{6, 3}
			}
			cases = append(cases,
				nativeCase{op: "AFTFull", attrs: both(nil), shapes: [][]int{btd, btd, btd, {7, 8}}},
				nativeCase{op: "AFTSimple", attrs: both(nil), shapes: [][]int{btd, btd, btd}},
				nativeCase{op: "AFTLocal", attrs: both(ops.Attrs{"window": {3}}), shapes: [][]int{btd, btd, btd, band}},
				nativeCase{op: "AFTConv1D",
					attrs: both(ops.Attrs{"pad_left": {1 + causal}}), shapes: [][]int{btd, bth, btd, {2, 3}}},
				nativeCase{op: "AFTConv2D",
					attrs: both(ops.Attrs{"pads": {1, 0}}), shapes: [][]int{btd, bth, btd, {2, 3, 2}},
					grid: []int64{2, 3}})
		}
	}
	return cases
}

// inputs fills the float inputs with a fixed pseudo-random sequence in (-2, 2).
func (c nativeCase) inputs(t *testing.T, d *ops.Def) map[string]*tensor.Tensor {
	inputs, state := map[string]*tensor.Tensor{}, uint32(12345)
	for i, shape := range c.shapes {
		n, err := tensor.NumElements(shape)
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float64, n)
		for k := range values {
			state = state*1664525 + 1013904223
			values[k] = float64(state)/(1<<30) - 2
		}
		inputs[d.Inputs[i].Name] = floats(t, shape, values...)
	}
	if c.grid != nil {
		inputs["grid"] = ints(t, []int{2}, c.grid...)
	}
	return inputs
}

func (c nativeCase) model(t *testing.T) (*onnxpb.ModelProto, *ops.Def) {
	d, ok := ops.Lookup(c.op)
	if !ok {
		t.Fatalf("no operator %s", c.op)
	}
	types, names := map[string]tensor.DType{}, []string{}
	for _, p := range d.Inputs {
		if types[p.Name] = tensor.Float32; p.Type == ops.Int64 {
			types[p.Name] = tensor.Int64
		}
		names = append(names, p.Name)
	}
	m := graphModel(17, types, infos{anyShape("Y", tensor.Float32)}, ops.Node(d, "aft", names, []string{"Y"}, c.attrs))
	m.OpsetImport = append(m.OpsetImport, onnxpb.Opset(ops.Domain, ops.Version))
	return m, d
}

// A node runs as the definition, to the last bit, whether or not the model has a body for it; here the body is wrong.
func TestNativeNodesEqualReference(t *testing.T) {
	for _, c := range nativeCases() {
		proto, d := c.model(t)
		wrong := &onnxpb.FunctionProto{Name: d.Name, Domain: ops.Domain, Output: []string{"Y"},
			OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", 17)},
			Node:        []*onnxpb.NodeProto{onnxpb.Node("Neg", []string{"Q"}, []string{"Y"})}}
		for _, p := range d.Inputs {
			wrong.Input = append(wrong.Input, p.Name)
		}
		for _, a := range d.Attrs {
			wrong.Attribute = append(wrong.Attribute, a.Name)
		}
		proto.Functions = []*onnxpb.FunctionProto{wrong}
		inputs, arrays := c.inputs(t, d), []tensor.Array{}
		for _, p := range d.Inputs {
			arrays = append(arrays, inputs[p.Name].Array())
		}
		want, err := reference.Call(c.op, c.attrs, arrays)
		if err != nil {
			t.Fatal(err)
		}
		m := decode(t, proto)
		got := run(t, m, inputs, RunOptions{Wide: true})["Y"]
		if d := worst(got.Float64s(), want[0].Data); d > 1e-14 || !tensor.SameShape(got.Shape, want[0].Shape) {
			t.Errorf("%s %v: %v differs from the reference by %g", c.op, c.attrs, got.Shape, d)
		}
		if n := m.Nodes(); len(n) != 1 || n[0].Op != c.op || n[0].Domain != ops.Domain || n[0].Version != 1 {
			t.Errorf("%s: nodes are %+v", c.op, n)
		}
	}
}

// The bodies that package ops writes, executed node by node, against the definition. The inputs' ranges are far inside
// what a body computes exactly up to rounding.
func TestInlinedBodiesMatchReference(t *testing.T) {
	for _, c := range nativeCases() {
		proto, d := c.model(t)
		for _, opset := range []int{13, 17, 18, 21} {
			body, err := d.Function(ops.BodySpec{Opset: opset, DType: tensor.Float32, Attrs: c.attrs, Heads: 2,
				Channels: 4})
			if err != nil {
				t.Fatal(err)
			}
			proto.Functions, proto.OpsetImport[0].Version = []*onnxpb.FunctionProto{body}, int64(opset)
			m, err := New(proto, Options{Inline: true})
			if err != nil {
				t.Fatalf("%s at opset %d: %v", c.op, opset, err)
			}
			inputs, arrays := c.inputs(t, d), []tensor.Array{}
			for _, p := range d.Inputs {
				arrays = append(arrays, inputs[p.Name].Array())
			}
			want, err := reference.Call(c.op, c.attrs, arrays)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, m, inputs, RunOptions{Wide: true})["Y"]
			if d := worst(got.Float64s(), want[0].Data); d > 1e-12 || !tensor.SameShape(got.Shape, want[0].Shape) {
				t.Errorf("%s %v at opset %d: %v differs from the reference by %g", c.op, c.attrs, opset, got.Shape, d)
			}
			if len(m.Nodes()) < 2 {
				t.Errorf("%s: the body was not inlined", c.op)
			}
		}
	}
}

func TestNativeNodesRefuse(t *testing.T) {
	tests := []struct {
		name   string
		change func(m *onnxpb.ModelProto, n *onnxpb.NodeProto, inputs map[string]*tensor.Tensor)
		want   string
	}{
		{"O14 unknown operator", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.OpType = "AFTful"
		},
			"ai.aft.AFTful is no operator of this version, and the model holds no function of that name, " +
				"want one of AFTConv1D, AFTConv1DStep, AFTConv2D, AFTFull, AFTFullStep, AFTLocal, AFTLocalStep, AFTSimple, AFTSimpleStep (nearest: AFTFull)"},
		{"O13 no import", func(m *onnxpb.ModelProto, _ *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			m.OpsetImport = m.OpsetImport[:1]
		},
			`node "aft" (ai.aft.AFTFull): domain "ai.aft" is not imported, want one of ""`},
		{"O13 lookalike", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Domain = "ai.aft "
		},
			`domain "ai.aft " is not imported, want one of "", "ai.aft"`},
		{"O14 version 2", func(m *onnxpb.ModelProto, _ *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			m.OpsetImport[1].Version = 2
		},
			`version of domain "ai.aft" is 2, want 1..1`},
		{"O21 attribute missing", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Attribute = n.Attribute[:1]
		},
			`attribute "gate" is missing`},
		{"O21 attribute unknown", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Attribute = append(n.Attribute, onnxpb.IntAttr("window", 1))
		}, `attribute "window" is not known`},
		{"O21 attribute of another type", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Attribute[0] = onnxpb.FloatAttr("causal", 1)
		}, `attribute "causal" is of type FLOAT, want INT`},
		{"O21 attribute out of range", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Attribute[1] = onnxpb.IntAttr("gate", 1<<40)
		},
			`node "aft" (ai.aft.AFTFull): ai.aft.AFTFull: attribute "gate": is 1099511627776`},
		{"O30 inputs missing", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Input = n.Input[:3]
		},
			"has 3 inputs, want 4..4"},
		{"O30 input left out", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Input[3] = ""
		}, "leaves out input 3"},
		{"O30 two outputs", func(_ *onnxpb.ModelProto, n *onnxpb.NodeProto, _ map[string]*tensor.Tensor) {
			n.Output = append(n.Output, "Z")
		},
			"has 2 outputs, want 1"},
		{"O29 shapes", func(_ *onnxpb.ModelProto, _ *onnxpb.NodeProto, in map[string]*tensor.Tensor) {
			in["W"] = floats(t, []int{1, 1}, 0)
		},
			`input "W": has shape (1,1), want at least T = 6 at axis 0`},
		{"O29 rank", func(_ *onnxpb.ModelProto, _ *onnxpb.NodeProto, in map[string]*tensor.Tensor) {
			in["Q"] = floats(t, []int{1}, 0)
		},
			`input "Q": has shape (1), want rank 3`},
		{"O29 type", func(m *onnxpb.ModelProto, _ *onnxpb.NodeProto, in map[string]*tensor.Tensor) {
			m.Graph.Input[1].GetType().GetTensorType().ElemType = onnxpb.DataType(tensor.Float64)
			in["Q"] = typed(t, tensor.Float64, []int{2, 6, 4}, make([]float64, 48)...)
		}, `input "K": is float32, but Q is float64`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := nativeCases()[0]
			proto, d := c.model(t)
			inputs := c.inputs(t, d)
			test.change(proto, proto.Graph.Node[0], inputs)
			m, err := New(proto, Options{})
			if err == nil {
				_, err = m.Run(context.Background(), inputs, RunOptions{})
			}
			var bad *Error
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want an *Error that says %q", err, test.want)
			}
		})
	}
}

// Where both engines must agree on what is not a number: a masked position, a row with nothing left.
func TestNativeMasks(t *testing.T) {
	c := nativeCases()[1]
	proto, d := c.model(t)
	inputs := c.inputs(t, d)
	k := inputs["K"].Float64s()
	for i := range 24 { // batch entry 0: nothing is left
		k[i] = math.Inf(-1)
	}
	inputs["K"] = floats(t, []int{2, 6, 4}, k...)
	got := run(t, decode(t, proto), inputs, RunOptions{Wide: true})["Y"].Float64s()
	for i, y := range got {
		if i < 24 && y != 0 || math.IsNaN(y) {
			t.Fatalf("element %d is %v", i, y)
		}
	}
}
