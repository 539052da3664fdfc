package tensor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"
)

// Tensor is a dense array: row-major, elements little-endian in Data, len(Data) = ByteLen(DType, Shape).
type Tensor struct {
	DType DType
	Shape []int
	Data  []byte
}

// New makes a tensor of zeros.
func New(dtype DType, shape []int) (*Tensor, error) {
	n, err := ByteLen(dtype, shape)
	if err != nil {
		return nil, err
	}
	return &Tensor{DType: dtype, Shape: append([]int{}, shape...), Data: make([]byte, n)}, nil
}

// FromBytes wraps data, which must hold exactly the elements of shape.
func FromBytes(dtype DType, shape []int, data []byte) (*Tensor, error) {
	n, err := ByteLen(dtype, shape)
	if err != nil {
		return nil, err
	}
	if n != len(data) {
		return nil, fmt.Errorf("%s %s takes %d bytes, got %d", dtype, FormatShape(shape), n, len(data))
	}
	return &Tensor{DType: dtype, Shape: append([]int{}, shape...), Data: data}, nil
}

// FromFloat64s rounds values to dtype (to nearest, ties to even; integers truncate towards zero) and stores them.
func FromFloat64s(dtype DType, shape []int, values []float64) (*Tensor, error) {
	t, err := New(dtype, shape)
	if err != nil {
		return nil, err
	}
	if n := t.Len(); n != len(values) {
		return nil, fmt.Errorf("shape %s holds %d elements, got %d values", FormatShape(shape), n, len(values))
	}
	for i, v := range values {
		t.put(i, v)
	}
	return t, nil
}

// FromInt64s stores values as an int64 tensor.
func FromInt64s(shape []int, values []int64) (*Tensor, error) {
	t, err := New(Int64, shape)
	if err != nil {
		return nil, err
	}
	if n := t.Len(); n != len(values) {
		return nil, fmt.Errorf("shape %s holds %d elements, got %d values", FormatShape(shape), n, len(values))
	}
	for i, v := range values {
		binary.LittleEndian.PutUint64(t.Data[8*i:], uint64(v))
	}
	return t, nil
}

// Len is the number of elements.
func (t *Tensor) Len() int {
	if t.DType.Size() == 0 {
		return 0
	}
	return len(t.Data) / t.DType.Size()
}

// String is the type and shape, such as "float32 (2,3)": the elements may be millions.
func (t *Tensor) String() string { return t.DType.String() + " " + FormatShape(t.Shape) }

// At returns element i, in row-major order, as a float64. Integers beyond 2^53 lose digits: use Int64s for those.
func (t *Tensor) At(i int) float64 {
	le := binary.LittleEndian
	switch t.DType {
	case Float32:
		return float64(math.Float32frombits(le.Uint32(t.Data[4*i:])))
	case Float64:
		return math.Float64frombits(le.Uint64(t.Data[8*i:]))
	case Float16:
		return float64(float16.Frombits(le.Uint16(t.Data[2*i:])).Float32())
	case BFloat16:
		return float64(math.Float32frombits(uint32(le.Uint16(t.Data[2*i:])) << 16))
	case Uint64:
		return float64(le.Uint64(t.Data[8*i:]))
	default:
		return float64(t.intAt(i))
	}
}

func (t *Tensor) intAt(i int) int64 {
	le := binary.LittleEndian
	switch t.DType {
	case Int8:
		return int64(int8(t.Data[i]))
	case Uint8:
		return int64(t.Data[i])
	case Bool:
		if t.Data[i] != 0 {
			return 1
		}
		return 0
	case Int16:
		return int64(int16(le.Uint16(t.Data[2*i:])))
	case Uint16:
		return int64(le.Uint16(t.Data[2*i:]))
	case Int32:
		return int64(int32(le.Uint32(t.Data[4*i:])))
	case Uint32:
		return int64(le.Uint32(t.Data[4*i:]))
	default:
		return int64(le.Uint64(t.Data[8*i:]))
	}
}

func (t *Tensor) put(i int, v float64) {
	le := binary.LittleEndian
	switch t.DType {
	case Float32:
		le.PutUint32(t.Data[4*i:], math.Float32bits(float32(v)))
	case Float64:
		le.PutUint64(t.Data[8*i:], math.Float64bits(v))
	case Float16:
		le.PutUint16(t.Data[2*i:], roundToFloat16(v))
	case BFloat16:
		le.PutUint16(t.Data[2*i:], roundToBFloat16(v))
	case Bool:
		t.Data[i] = 0
		if v != 0 {
			t.Data[i] = 1
		}
	case Int8, Uint8:
		t.Data[i] = byte(int64(v))
	case Int16, Uint16:
		le.PutUint16(t.Data[2*i:], uint16(int64(v)))
	case Int32, Uint32:
		le.PutUint32(t.Data[4*i:], uint32(int64(v)))
	case Uint64:
		le.PutUint64(t.Data[8*i:], uint64(v))
	default:
		le.PutUint64(t.Data[8*i:], uint64(int64(v)))
	}
}

// Float64s widens every element. Floating-point types and integers up to 2^53 are exact.
func (t *Tensor) Float64s() []float64 {
	out := make([]float64, t.Len())
	for i := range out {
		out[i] = t.At(i)
	}
	return out
}

// Int64s returns the elements of an integer or bool tensor.
func (t *Tensor) Int64s() ([]int64, error) {
	if t.DType.IsFloat() || t.DType == Invalid {
		return nil, fmt.Errorf("element type %s, want an integer type", t.DType)
	}
	out := make([]int64, t.Len())
	for i := range out {
		out[i] = t.intAt(i)
	}
	return out, nil
}

// Cast converts to another type, rounding as FromFloat64s does; the same type returns t itself.
func (t *Tensor) Cast(dtype DType) (*Tensor, error) {
	if dtype == t.DType {
		return t, nil
	}
	return FromFloat64s(dtype, t.Shape, t.Float64s())
}

// Array widens t to float64.
func (t *Tensor) Array() Array {
	return Array{Shape: append([]int{}, t.Shape...), Data: t.Float64s()}
}
