package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// constant is an initialiser, in memory or in a file beside the model.
type constant struct {
	held *tensor.Tensor // nil: in a file
	file tensor.Weight
}

func newConstant(t *onnxpb.TensorProto, dir *onnxpb.Folder) (*constant, error) {
	if _, external, err := onnxpb.ExternalData(t); err != nil {
		return nil, err
	} else if external {
		w, err := dir.Weight(t)
		return &constant{file: w}, err
	}
	v, err := onnxpb.TensorFromProto(t)
	return &constant{held: v}, err
}

// isExternal reports whether the elements are in a file; a nil constant is none.
func (c *constant) isExternal() bool { return c != nil && c.held == nil }

// isHeld reports whether the elements are in memory.
func (c *constant) isHeld() bool { return c != nil && c.held != nil }

// described is the constant's type and shape, perhaps without data.
func (c *constant) described() *tensor.Tensor {
	if c.isExternal() {
		return &tensor.Tensor{DType: c.file.DType(), Shape: c.file.Shape()}
	}
	return c.held
}

// read returns the elements. Those of a file count in the budget, which bounds what a file of holes can make us allocate.
func (c *constant) read(b *budget) (*tensor.Tensor, error) {
	if !c.isExternal() {
		return c.held, nil
	}
	n := int64(c.file.Len())
	if n > b.limit-b.alive {
		return nil, fmt.Errorf("an initialiser of shape %s takes %d elements with %d alive, want at most %d in all",
			tensor.FormatShape(c.file.Shape()), n, b.alive, b.limit)
	}
	t, err := tensor.New(c.file.DType(), c.file.Shape())
	if err != nil {
		return nil, err
	}
	done := 0
	err = c.file.Parts(func(part *tensor.Tensor) error {
		done += copy(t.Data[done:], part.Data)
		return nil
	})
	if err != nil {
		return nil, err
	}
	b.alive += n
	return t, nil
}
