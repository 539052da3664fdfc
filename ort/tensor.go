package ort

import (
	"encoding/binary"
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Tensor is what goes into and comes out of a model. NewTensor and Values convert from and to slices.
//
// Its fields:
//
//	DType DType  // the type of an element
//	Shape []int  // empty for a scalar
//	Data  []byte // the elements, row-major and little-endian, exactly as many as the shape holds
//
// Its methods:
//
//	Len() int                     // the number of elements
//	At(i int) float64             // element i in row-major order; integers beyond 2^53 lose digits
//	Float64s() []float64          // all elements, float16 and bfloat16 too
//	Int64s() ([]int64, error)     // all elements of an integer or bool tensor
//	Cast(DType) (*Tensor, error)  // to another type, as NewRounded rounds; the same type gives the tensor itself
//	String() string               // type and shape, such as "float32 (2,3)"
type Tensor = tensor.Tensor

// DType is the type of a tensor's elements. String gives its name, such as "float32", Size the bytes of an element,
// IsFloat whether it is a floating-point type.
type DType = tensor.DType

// The element types of a Tensor.
const (
	Float32  = tensor.Float32
	Float64  = tensor.Float64
	Float16  = tensor.Float16
	BFloat16 = tensor.BFloat16
	Int8     = tensor.Int8
	Int16    = tensor.Int16
	Int32    = tensor.Int32
	Int64    = tensor.Int64
	Uint8    = tensor.Uint8
	Uint16   = tensor.Uint16
	Uint32   = tensor.Uint32
	Uint64   = tensor.Uint64
	Bool     = tensor.Bool
)

// Element are the Go types with an element type of their own. Float16 and BFloat16 have none: see NewRounded and
// (*Tensor).Float64s.
type Element interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool
}

// NewTensor copies values, which must be as many as shape holds. A nil shape is a scalar's.
func NewTensor[E Element](shape []int, values []E) (*Tensor, error) {
	t, err := tensor.New(elementType[E](), shape)
	if err != nil {
		return nil, err
	}
	if t.Len() != len(values) {
		return nil, fmt.Errorf("shape %s holds %d elements, got %d values", tensor.FormatShape(shape), t.Len(), len(values))
	}
	if _, err := binary.Encode(t.Data, binary.LittleEndian, values); err != nil {
		return nil, err
	}
	return t, nil
}

// NewRounded rounds values to dtype, to nearest and ties to even: the way to a Float16 or BFloat16 tensor. Values beyond
// a floating-point type's largest become infinities, as 65520 does in Float16; integer types truncate towards zero, and
// what they cannot hold comes out as another number.
func NewRounded(dtype DType, shape []int, values []float64) (*Tensor, error) {
	return tensor.FromFloat64s(dtype, shape, values)
}

// Values copies the elements out. E must be the Go type of t.DType: nothing is converted.
func Values[E Element](t *Tensor) ([]E, error) {
	if want := elementType[E](); t.DType != want {
		return nil, fmt.Errorf("the tensor holds %s, not %s", t.DType, want)
	}
	if n, err := tensor.ByteLen(t.DType, t.Shape); err != nil || n != len(t.Data) {
		return nil, fmt.Errorf("%s %s holds %d bytes", t.DType, tensor.FormatShape(t.Shape), len(t.Data))
	}
	values := make([]E, t.Len())
	if _, err := binary.Decode(t.Data, binary.LittleEndian, values); err != nil {
		return nil, err
	}
	return values, nil
}

func elementType[E Element]() DType {
	switch any(*new(E)).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	default:
		return Bool
	}
}
