package wiringtest

import (
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// Proto is a model as an export writes it, with its weights and without function bodies.
func Proto(m *reference.Model, o wiring.Options) (*onnxpb.ModelProto, error) {
	g, err := wiring.Build(m, o)
	if err != nil {
		return nil, err
	}
	for _, w := range g.Weights {
		a, err := w.Weight.Array()
		if err != nil {
			return nil, err
		}
		x, err := a.Tensor(o.DType)
		if err != nil {
			return nil, err
		}
		g.Proto.Initializer = append(g.Proto.Initializer, onnxpb.TensorToProto(w.Name, x))
	}
	return &onnxpb.ModelProto{IrVersion: 8, ProducerName: "aftonnx", Graph: g.Proto,
		OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", int64(o.Opset)), onnxpb.Opset(ops.Domain, ops.Version)}}, nil
}
