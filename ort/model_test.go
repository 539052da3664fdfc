//go:build cgo

package ort_test

import (
	"context"
	"encoding/binary"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
)

// open opens the runtime for one test, which fails where there is none: nothing here can be tested without it.
func open(t testing.TB) *ort.Runtime {
	t.Helper()
	rt, err := ort.Open(context.Background(), ort.Options{Notify: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return rt
}

func load(t testing.TB, rt *ort.Runtime, m *onnxpb.ModelProto, o ort.SessionOptions) *ort.Session {
	t.Helper()
	s, err := rt.LoadBytes(encode(t, m), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func encode(t testing.TB, m *onnxpb.ModelProto) []byte {
	t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// port is an input or output of a model made here. A dimension is an int or a name; dims nil: a scalar.
type port struct {
	name  string
	dtype tensor.DType
	dims  []any
}

func (p port) proto() *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range p.dims {
		dim := &onnxpb.TensorShapeProto_Dimension{}
		switch d := d.(type) {
		case int:
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}
		case string:
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d}
		}
		shape.Dim = append(shape.Dim, dim)
	}
	return &onnxpb.ValueInfoProto{Name: p.name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: onnxpb.DataType(p.dtype), Shape: shape},
	}}}
}

// model makes a model of opset 17 and ai.aft 1.
func model(inputs, outputs []port, nodes ...*onnxpb.NodeProto) *onnxpb.ModelProto {
	g := &onnxpb.GraphProto{Name: "g", Node: nodes}
	for _, p := range inputs {
		g.Input = append(g.Input, p.proto())
	}
	for _, p := range outputs {
		g.Output = append(g.Output, p.proto())
	}
	return &onnxpb.ModelProto{
		IrVersion: 8, Graph: g,
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: "", Version: 17}, {Domain: ops.Domain, Version: ops.Version}},
	}
}

func node(op string, inputs []string, output string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{OpType: op, Name: "node_" + output, Input: inputs, Output: []string{output}, Attribute: attrs}
}

// aftNode is a node of our domain.
func aftNode(op string, inputs []string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	n := node(op, inputs, "y", attrs...)
	n.Domain = ops.Domain
	return n
}

func intAttr(name string, v int64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: name, Type: onnxpb.AttributeProto_INT, I: proto.Int64(v)}
}

func intsAttr(name string, v ...int64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: name, Type: onnxpb.AttributeProto_INTS, Ints: v}
}

// simple is the AFTSimple model of that type, sizes dynamic.
func simple(dtype tensor.DType) *onnxpb.ModelProto {
	dims := []any{"batch", "sequence", "dim"}
	return model([]port{{"q", dtype, dims}, {"k", dtype, dims}, {"v", dtype, dims}}, []port{{"y", dtype, dims}},
		aftNode("AFTSimple", []string{"q", "k", "v"}, intAttr("causal", 0), intAttr("gate", ops.GateAbsent)))
}

func floats(t testing.TB, dtype tensor.DType, shape []int, values ...float64) *ort.Tensor {
	t.Helper()
	x, err := tensor.FromFloat64s(dtype, shape, values)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// ramp fills a tensor with a fixed mixture of values in -1..1.
func ramp(t testing.TB, dtype tensor.DType, phase float64, shape ...int) *ort.Tensor {
	t.Helper()
	n, err := tensor.NumElements(shape)
	if err != nil {
		t.Fatal(err)
	}
	values := make([]float64, n)
	for i := range values {
		values[i] = math.Sin(phase + 0.7*float64(i))
	}
	return floats(t, dtype, shape, values...)
}

func run(t testing.TB, s *ort.Session, inputs map[string]*ort.Tensor) map[string]*ort.Tensor {
	t.Helper()
	out, err := s.Run(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func float32Bits(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}
