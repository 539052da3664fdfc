package onnxpb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

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
		return 0, w.fail("the weight is not set")
	}
	if w.DType != w.Value.DType() && !(w.DType.IsFloat() && w.Value.DType().IsFloat()) {
		return 0, w.fail("is %s, which cannot be rounded to %s", w.Value.DType(), w.DType)
	}
	n, err := tensor.ByteLen(w.DType, w.Value.Shape())
	if err != nil {
		return 0, w.fail("%v", err)
	}
	return n, nil
}

func (w *Weight) fail(format string, args ...any) error {
	return &Error{Place: strconv.Quote(w.Name), Offset: -1, Found: fmt.Sprintf(format, args...)}
}

// proto is the initialiser without its data.
func (w *Weight) proto() *TensorProto {
	return TensorToProto(w.Name, &tensor.Tensor{DType: w.DType, Shape: w.Value.Shape()})
}

// write writes the elements. A finite one that the type cannot hold is an *Error, not an infinity; errors of reading and
// writing are passed on.
func (w *Weight) write(to io.Writer) error {
	done := 0
	var written error
	err := w.Value.Parts(func(part *tensor.Tensor) error {
		data, err := w.round(part, done)
		if err != nil {
			return err
		}
		done += part.Len()
		_, written = to.Write(data)
		return written
	})
	var own *Error
	if err == nil || written != nil || errors.As(err, &own) && own.Place == strconv.Quote(w.Name) {
		return err // which says enough: of a full disk no weight is the cause
	}
	return fmt.Errorf("%q: %w", w.Name, err)
}

// round gives the bytes of a piece that begins at element start.
func (w *Weight) round(part *tensor.Tensor, start int) ([]byte, error) {
	var data []byte
	switch from := part.DType; {
	case from == w.DType:
		return part.Data, nil
	case from == tensor.Float64 && w.DType == tensor.Float32: // what is computed
		data = narrow(part.Data)
	case from == tensor.BFloat16 && w.DType == tensor.Float32: // many checkpoints
		data = widen(part.Data)
	default:
		rounded, err := part.Cast(w.DType)
		if err != nil {
			return nil, err
		}
		data = rounded.Data
	}
	if part.DType.Size() > w.DType.Size() || part.DType == tensor.BFloat16 && w.DType == tensor.Float16 {
		for i := range part.Len() {
			if isInf(w.DType, data, i) && !math.IsInf(part.At(i), 0) {
				return nil, w.fail("element %v is %g, which %s cannot hold", tensor.Unravel(start+i, w.Value.Shape()), part.At(i),
					w.DType)
			}
		}
	}
	return data, nil
}

// narrow rounds float64 to float32.
func narrow(from []byte) []byte {
	to := make([]byte, len(from)/2)
	for i := 0; i < len(from); i += 8 {
		v := math.Float64frombits(binary.LittleEndian.Uint64(from[i:]))
		binary.LittleEndian.PutUint32(to[i/2:], math.Float32bits(float32(v)))
	}
	return to
}

// widen makes float32 of bfloat16, which is its upper half.
func widen(from []byte) []byte {
	to := make([]byte, 2*len(from))
	for i := 0; i < len(from); i += 2 {
		to[2*i+2], to[2*i+3] = from[i], from[i+1]
	}
	return to
}

// isInf reports whether element i is infinite.
func isInf(d tensor.DType, data []byte, i int) bool {
	switch d {
	case tensor.Float32:
		return binary.LittleEndian.Uint32(data[4*i:])&0x7fffffff == 0x7f800000
	case tensor.Float16:
		return binary.LittleEndian.Uint16(data[2*i:])&0x7fff == 0x7c00
	case tensor.BFloat16:
		return binary.LittleEndian.Uint16(data[2*i:])&0x7fff == 0x7f80
	}
	return false
}
