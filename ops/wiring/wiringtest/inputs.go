package wiringtest

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// The sizes of the inputs: images of two rows of three patches.
const (
	Batch  = 2
	Length = 6
)

// Inputs are two sequences or images. With a mask the second sequence ends two positions early.
func Inputs(m *reference.Model, mask bool) reference.Inputs {
	var in reference.Inputs
	switch {
	case m.Tokens != nil:
		in.X = tensor.Array{Shape: []int{Batch, Length}}
		for i := range Batch * Length {
			in.X.Data = append(in.X.Data, float64((7*i+3)%Vocabulary))
		}
	case m.Patches != nil:
		in.X = random(5, Batch, Channels, 2*Patch, 3*Patch)
	default:
		in.X = random(5, Batch, Length, Dim)
	}
	if mask {
		in.Mask = tensor.Array{Shape: []int{Batch, Length}, Data: make([]float64, Batch*Length)}
		for i := range in.Mask.Data {
			if i < Batch*Length-2 {
				in.Mask.Data[i] = 1
			}
		}
	}
	return in
}

// Tensors are the inputs of the model's graph in that type.
func Tensors(m *reference.Model, in reference.Inputs, dtype tensor.DType) (map[string]*tensor.Tensor, error) {
	if m.Tokens != nil {
		dtype = tensor.Int64
	}
	list := map[string]*tensor.Tensor{}
	for _, v := range []struct {
		name  string
		array tensor.Array
		dtype tensor.DType
	}{{wiring.InputName(m), in.X, dtype}, {wiring.MaskInput, in.Mask, tensor.Int64}} {
		if len(v.array.Shape) == 0 {
			continue
		}
		var t *tensor.Tensor
		var err error
		if v.dtype == tensor.Int64 {
			whole := make([]int64, len(v.array.Data))
			for i, x := range v.array.Data {
				whole[i] = int64(x)
			}
			t, err = tensor.FromInt64s(v.array.Shape, whole)
		} else {
			t, err = v.array.Tensor(v.dtype)
		}
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", v.name, err)
		}
		list[v.name] = t
	}
	return list, nil
}
