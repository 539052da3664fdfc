package reference_test

import (
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/optest"
	"github.com/aftonnx/aftonnx/reference"
)

// TestConformance holds the reference to the suite at the precision of float64.
func TestConformance(t *testing.T) {
	optest.Run(t, optest.Engine{
		DType: tensor.Float64,
		Run: func(d *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) ([]*tensor.Tensor, error) {
			arrays := make([]tensor.Array, len(inputs))
			for i, in := range inputs {
				arrays[i] = in.Array()
			}
			results, err := reference.Call(d.Name, attrs, arrays)
			if err != nil {
				return nil, err
			}
			outputs := make([]*tensor.Tensor, len(results))
			for i, r := range results {
				if outputs[i], err = r.Tensor(tensor.Float64); err != nil {
					return nil, err
				}
			}
			return outputs, nil
		},
	})
}
