package onnxpb

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Weight is an initialiser whose elements are read while the model is written, so that a model of gigabytes is written with
// a piece of one weight in memory.
type Weight struct {
	Name  string
	DType tensor.DType // of the initialiser: each element is rounded to it once; one of the same type is copied, bit for bit
	Value tensor.Weight
}

// size is the number of bytes that the elements take in the model.
func (w *Weight) size() (int, error) {
	if w.Value.Empty() {
		return 0, fmt.Errorf("%q: the weight is not set", w.Name)
	}
	if w.DType != w.Value.DType() && !(w.DType.IsFloat() && w.Value.DType().IsFloat()) {
		return 0, fmt.Errorf("%q: is %s, which cannot be rounded to %s", w.Name, w.Value.DType(), w.DType)
	}
	n, err := tensor.ByteLen(w.DType, w.Value.Shape())
	if err != nil {
		return 0, fmt.Errorf("%q: %w", w.Name, err)
	}
	return n, nil
}

// proto is the initialiser without its data.
func (w *Weight) proto() *TensorProto {
	return TensorToProto(w.Name, &tensor.Tensor{DType: w.DType, Shape: w.Value.Shape()})
}

// write writes the elements. A finite one that the type cannot hold is an error, not an infinity.
func (w *Weight) write(to io.Writer) error {
	done := 0
	err := w.Value.Parts(func(part *tensor.Tensor) error {
		data, err := w.round(part, done)
		if err != nil {
			return err
		}
		done += part.Len()
		_, err = to.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("%q: %w", w.Name, err)
	}
	return nil
}

// round gives the bytes of a piece that begins at element start.
func (w *Weight) round(part *tensor.Tensor, start int) ([]byte, error) {
	if part.DType == w.DType {
		return part.Data, nil
	}
	overflow := func(i int) error {
		return &Error{Offset: -1, Found: fmt.Sprintf("element %v is %g, which %s cannot hold",
			tensor.Unravel(start+i, w.Value.Shape()), part.At(i), w.DType)}
	}
	if part.DType == tensor.Float64 && w.DType == tensor.Float32 { // what is computed: without a switch for every element
		data := make([]byte, 0, 4*part.Len())
		for i := range part.Len() {
			v := math.Float64frombits(binary.LittleEndian.Uint64(part.Data[8*i:]))
			f := float32(v)
			if math.IsInf(float64(f), 0) && !math.IsInf(v, 0) {
				return nil, overflow(i)
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(f))
		}
		return data, nil
	}
	rounded, err := part.Cast(w.DType)
	if err != nil {
		return nil, err
	}
	for i := range part.Len() {
		if math.IsInf(rounded.At(i), 0) && !math.IsInf(part.At(i), 0) {
			return nil, overflow(i)
		}
	}
	return rounded.Data, nil
}
