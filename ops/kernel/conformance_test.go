package kernel_test

import (
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ops/optest"
)

// TestConformance calls the C kernels without ONNX Runtime, on every element type.
func TestConformance(t *testing.T) {
	if err := kernel.Available(); err != nil {
		t.Skip(err)
	}
	for _, dtype := range ops.Types() {
		t.Run(dtype.String(), func(t *testing.T) {
			optest.Run(t, optest.Engine{
				DType: dtype,
				Run: func(d *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) ([]*tensor.Tensor, error) {
					var outputs []*tensor.Tensor
					for i := range d.Outputs {
						like := inputs[d.Past(i)]
						x, err := tensor.New(like.DType, like.Shape)
						if err != nil {
							return nil, err
						}
						outputs = append(outputs, x)
					}
					return outputs, kernel.Run(d.Name, attrs, inputs, outputs, 2)
				},
			})
		})
	}
}
