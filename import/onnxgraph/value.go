package onnxgraph

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// value is a tensor during execution. It does not change once an operator has returned it; several may share memory.
type value struct {
	dtype tensor.DType
	shape []int
	f     []float64 // the elements of a floating-point type
	i     []int64   // the elements of an integer type, or bool as 0 and 1
}

func (v *value) isFloat() bool { return v.dtype.IsFloat() }

func (v *value) len() int { return len(v.f) + len(v.i) }

// reshaped is v under another shape of as many elements.
func (v *value) reshaped(shape []int) *value {
	return &value{dtype: v.dtype, shape: shape, f: v.f, i: v.i}
}

func (v *value) array() tensor.Array {
	data := v.f
	if !v.isFloat() {
		data = make([]float64, len(v.i))
		for i, x := range v.i {
			data[i] = float64(x)
		}
	}
	return tensor.Array{Shape: v.shape, Data: data}
}

// fromTensor widens a tensor for execution.
func fromTensor(t *tensor.Tensor) (*value, error) {
	v := &value{dtype: t.DType, shape: t.Shape}
	if t.DType == tensor.Float32 { // most weights: a loop without a switch for every element
		v.f = make([]float64, len(t.Data)/4)
		for i := range v.f {
			v.f[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:])))
		}
		return v, nil
	}
	if t.DType.IsFloat() {
		v.f = t.Float64s()
		return v, nil
	}
	ints, err := t.Int64s()
	if err != nil {
		return nil, err
	}
	for i, x := range ints {
		if t.DType == tensor.Uint64 && x < 0 {
			return nil, fmt.Errorf("element %d is %d, want at most %d (uint64 is computed in int64)", i, uint64(x),
				math.MaxInt64)
		}
	}
	v.i = ints
	return v, nil
}

// tensor rounds v to its type; wide leaves floating-point values as float64.
func (v *value) tensor(wide bool) (*tensor.Tensor, error) {
	switch {
	case v.isFloat() && wide:
		return tensor.FromFloat64s(tensor.Float64, v.shape, v.f)
	case v.isFloat():
		return tensor.FromFloat64s(v.dtype, v.shape, v.f)
	}
	t, err := tensor.New(v.dtype, v.shape)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	for i, x := range v.i {
		switch v.dtype.Size() {
		case 1:
			t.Data[i] = byte(x)
		case 2:
			le.PutUint16(t.Data[2*i:], uint16(x))
		case 4:
			le.PutUint32(t.Data[4*i:], uint32(x))
		default:
			le.PutUint64(t.Data[8*i:], uint64(x))
		}
	}
	return t, nil
}

// wrap reduces an integer result to its type, as two's complement does. bool becomes 0 or 1.
func wrap(d tensor.DType, x int64) int64 {
	switch d {
	case tensor.Bool:
		if x != 0 {
			return 1
		}
		return 0
	case tensor.Int8:
		return int64(int8(x))
	case tensor.Int16:
		return int64(int16(x))
	case tensor.Int32:
		return int64(int32(x))
	case tensor.Uint8:
		return int64(uint8(x))
	case tensor.Uint16:
		return int64(uint16(x))
	case tensor.Uint32:
		return int64(uint32(x))
	}
	return x
}
