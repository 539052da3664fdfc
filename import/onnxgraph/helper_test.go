package onnxgraph

import (
	"context"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// floats and ints make tensors; a wrong number of elements is a mistake of the test.
func floats(t testing.TB, shape []int, values ...float64) *tensor.Tensor {
	return typed(t, tensor.Float32, shape, values...)
}

func ints(t testing.TB, shape []int, values ...int64) *tensor.Tensor {
	t.Helper()
	v, err := tensor.FromInt64s(shape, values)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func typed(t testing.TB, d tensor.DType, shape []int, values ...float64) *tensor.Tensor {
	t.Helper()
	v, err := tensor.FromFloat64s(d, shape, values)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// graphModel makes a model whose inputs take any shape.
func graphModel(opset int64, inputs map[string]tensor.DType, outputs []*onnxpb.ValueInfoProto,
	nodes ...*onnxpb.NodeProto) *onnxpb.ModelProto {
	g := &onnxpb.GraphProto{Name: "test", Node: nodes, Output: outputs}
	for _, name := range sorted(inputs) {
		g.Input = append(g.Input, anyShape(name, inputs[name]))
	}
	return &onnxpb.ModelProto{IrVersion: 8, Graph: g, OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", opset)}}
}

// anyShape declares a value of unknown rank.
func anyShape(name string, d tensor.DType) *onnxpb.ValueInfoProto {
	v := onnxpb.ValueInfo(name, d)
	v.GetType().GetTensorType().Shape = nil
	return v
}

func decode(t testing.TB, m *onnxpb.ModelProto) *Model {
	t.Helper()
	data, err := onnxpb.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	model, err := Decode(data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return model
}

func run(t testing.TB, m *Model, inputs map[string]*tensor.Tensor, o RunOptions) map[string]*tensor.Tensor {
	t.Helper()
	out, err := m.Run(context.Background(), inputs, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// worst is the largest difference relative to max(|want|, 1); two NaN, and two equal infinities, do not differ.
func worst(got, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	most := 0.0
	for i, w := range want {
		g := got[i]
		if g == w || math.IsNaN(g) && math.IsNaN(w) {
			continue
		}
		d := math.Abs(g-w) / math.Max(math.Abs(w), 1)
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		most = math.Max(most, d)
	}
	return most
}
