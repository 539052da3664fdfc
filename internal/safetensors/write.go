package safetensors

import (
	"fmt"
	"io"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Tensor is one entry of a file.
type Tensor struct {
	Name   string
	DType  tensor.DType // how the elements are stored; Invalid: as the weight gives them
	Weight tensor.Weight
}

// Write writes a file of these tensors and texts. Of each tensor it holds one piece, as its weight gives them, rounded to
// DType (to nearest, ties to even).
//
// The same arguments give the same bytes: metadata is sorted, and tensors are in the order given, except that those with
// larger elements come first, so that each begins at a multiple of its element's size.
//
// Errors: two tensors of one name, a name or text that is not UTF-8, the name "__metadata__", an element type or a header
// that the format cannot hold, a weight that fails or gives another number of elements than its shape says, and what w says.
// By then part of the file may be written.
func Write(w io.Writer, metadata map[string]string, tensors []Tensor) error {
	order := slices.Clone(tensors)
	for i, t := range order {
		if t.DType == tensor.Invalid {
			order[i].DType = t.Weight.DType()
		}
	}
	slices.SortStableFunc(order, func(a, b Tensor) int { return b.DType.Size() - a.DType.Size() })
	header, err := encodeHeader(metadata, order)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range order {
		if err := writeData(w, t); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// writeData writes the elements. Weight.Parts sees to it that there are as many as the header says.
func writeData(w io.Writer, t Tensor) error {
	return t.Weight.Parts(func(part *tensor.Tensor) error {
		part, err := part.Cast(t.DType)
		if err != nil {
			return err
		}
		_, err = w.Write(part.Data)
		return err
	})
}
