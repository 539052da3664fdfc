package optest

import (
	"context"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// native runs one-node models in the Go graph: the node itself, or, flattened, its body's standard operators. Neither
// importers nor exporters may know the other, so the test of both together stands here.
func native(flatten bool) func(*ops.Def, ops.Attrs, []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return func(d *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) ([]*tensor.Tensor, error) {
		specs := make([]ops.Input, len(inputs))
		feeds := map[string]*tensor.Tensor{}
		for i, in := range inputs {
			specs[i] = ops.Input{DType: in.DType, Shape: in.Shape}
			feeds[d.Inputs[i].Name] = in
		}
		model, err := export.Operator(d, attrs, specs, export.Options{DType: inputs[0].DType, Flatten: flatten})
		if err != nil {
			return nil, err
		}
		data, err := onnxpb.Encode(model)
		if err != nil {
			return nil, err
		}
		graph, err := onnxgraph.Decode(data, onnxgraph.Options{})
		if err != nil {
			return nil, err
		}
		outputs, err := graph.Run(context.Background(), feeds, onnxgraph.RunOptions{Wide: true})
		if err != nil {
			return nil, err
		}
		return inOrder(d, outputs), nil
	}
}

func inOrder(d *ops.Def, named map[string]*tensor.Tensor) []*tensor.Tensor {
	out := make([]*tensor.Tensor, len(d.Outputs))
	for i, p := range d.Outputs {
		out[i] = named[p.Name]
	}
	return out
}

func TestConformance_native(t *testing.T) {
	Run(t, Engine{DType: tensor.Float64, Run: native(false)})
}

// TestConformance_flattened runs every body in Go, in double: a check of the bodies that owes ONNX Runtime nothing.
func TestConformance_flattened(t *testing.T) {
	Run(t, Engine{DType: tensor.Float64, Run: native(true), Body: true})
}
