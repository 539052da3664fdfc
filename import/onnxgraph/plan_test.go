package onnxgraph

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// topologyOf is what onnx-go makes of x -> Exp e -> Neg y.
func topologyOf(t *testing.T) (*topology, *backend) {
	t.Helper()
	top, b := newTopology(chain(t)), &backend{}
	data, err := onnxpb.Encode(top.proto)
	if err != nil {
		t.Fatal(err)
	}
	if err := decodeTopology(b, data); err != nil {
		t.Fatal(err)
	}
	return top, b
}

// The graph that comes back from onnx-go is held against the file's: whatever it does otherwise is an error.
func TestOrder_refuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *backend)
		want   string
	}{
		{"an operation beyond the last", func(b *backend) { b.applied[0].index = 2 }, "onnx-go applied operation 2 out of turn"},
		{"an operation of no number", func(b *backend) { b.applied[0].index = -1 }, "onnx-go applied operation -1 out of turn"},
		{"an operation twice", func(b *backend) { b.applied = append(b.applied, b.applied[0]) }, "onnx-go applied operation 0 out of turn"},
		{"an operation left out", func(b *backend) { b.applied = b.applied[:1] }, "onnx-go applied 1 of 2 operations"},
		{"no operand", func(b *backend) { b.applied[0].outputs[0].operands = nil }, `node "first" (Exp): onnx-go read other operands, want "x"`},
		{"another operand", func(b *backend) { b.applied[1].outputs[0].operands = b.applied[0].outputs[0].operands },
			`node "second" (Neg): onnx-go read other operands, want "e"`},
		{"an operand more", func(b *backend) {
			v := b.applied[0].outputs[0]
			v.operands = slices.Repeat(v.operands, 2)
		}, `node "first" (Exp): onnx-go read other operands, want "x"`},
		{"another output", func(b *backend) { b.applied[0].outputs = b.applied[0].outputs[0].operands[0].to.asOutput(b) },
			`node "first" (Exp): onnx-go read other outputs, want "e"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			top, b := topologyOf(t)
			if _, err := top.order(b); err != nil {
				t.Fatal(err)
			}
			c.change(b)
			_, err := top.order(b)
			var bad *Error
			if !errors.As(err, &bad) || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

// asOutput is the value in the place of the first operation's output, with its operands.
func (v *vertex) asOutput(b *backend) []*vertex {
	other := *v
	other.operands = b.applied[0].outputs[0].operands
	return []*vertex{&other}
}

// What the checks of a file rule out is an error for the plan as well, not a wrong order.
func TestPlan_refuses(t *testing.T) {
	neg := func(index int, in, out string) *node {
		return &node{index: index, name: "n", op: "Neg", inputs: []string{in}, outputs: []string{out}}
	}
	for name, c := range map[string]struct {
		m    *Model
		want string
	}{
		"a cycle":         {&Model{nodes: []*node{neg(0, "b", "a"), neg(1, "a", "b")}}, "the graph has a cycle: 0 of 2 nodes can be ordered"},
		"an output twice": {&Model{nodes: []*node{neg(0, "x", "a"), neg(1, "x", "a")}, inputs: []Value{{Name: "x"}}}, `node "n" (Neg): onnx-go read other operands, want "x"`},
	} {
		_, err := plan(c.m)
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want an *Error that says %q", name, err, c.want)
		}
	}
}

// An operator's name that protobuf does not take comes from a model that was made in memory alone.
func TestNew_notUTF8(t *testing.T) {
	m := graphModel(17, nil, infos{anyShape("y", tensor.Float32)}, onnxpb.Node("\xff", nil, []string{"y"}))
	var bad *Error
	if _, err := New(m, Options{}); !errors.As(err, &bad) || !strings.Contains(err.Error(), "protobuf refuses to write the model") {
		t.Errorf("error %v, want an *Error", err)
	}
	if _, err := New(&onnxpb.ModelProto{IrVersion: 8}, Options{}); !errors.As(err, &bad) || err.Error() != "the model holds no graph" {
		t.Errorf("without a graph: error %v", err)
	}
}
