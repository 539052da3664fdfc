package onnxpb

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// maxRank is more than any operator uses; it bounds what a shape from a file can make others allocate.
const maxRank = 16

// TensorFromProto checks and converts a tensor that is stored in the model itself. Its elements are in raw_data or in the
// one typed field that belongs to its data type, never in both, and there are exactly as many as dims say. The result
// shares raw_data's memory. Errors are *Error and quote the tensor's name.
func TensorFromProto(t *TensorProto) (*tensor.Tensor, error) {
	fail := func(allowed, format string, args ...any) error {
		return &Error{Place: fmt.Sprintf("tensor %q", t.GetName()), Offset: -1, Found: fmt.Sprintf(format, args...),
			Allowed: allowed}
	}
	if t.GetDataLocation() != TensorProto_DEFAULT || len(t.GetExternalData()) > 0 {
		return nil, fail("the data in the model itself", "the data is in another file, %q", externalLocation(t))
	}
	dtype, ok := DType(t.GetDataType())
	if !ok {
		return nil, fail(supportedTypes(), "the data type is %s", DataTypeName(t.GetDataType()))
	}
	shape, err := tensorShape(t)
	if err != nil {
		return nil, fail("", "%v", err)
	}
	size, err := tensor.ByteLen(dtype, shape)
	if err != nil {
		return nil, fail("", "%v", err)
	}
	fields := dataFields(t)
	want := typedField(dtype)
	switch {
	case len(fields) > 1:
		return nil, fail("one of them", "the data is in %s", strings.Join(fields, " and in "))
	case len(fields) == 0 && size > 0:
		return nil, fail(fmt.Sprintf("%d bytes of raw_data or %d elements of %s", size, size/dtype.Size(), want),
			"there is no data")
	case len(fields) == 0:
		return &tensor.Tensor{DType: dtype, Shape: shape, Data: []byte{}}, nil
	case fields[0] == "raw_data":
		if len(t.RawData) != size {
			return nil, fail(fmt.Sprintf("%d for %s %s", size, dtype, tensor.FormatShape(shape)),
				"raw_data has %d bytes", len(t.RawData))
		}
		return &tensor.Tensor{DType: dtype, Shape: shape, Data: t.RawData}, nil
	case fields[0] != want:
		return nil, fail("raw_data or "+want, "the data of a %s tensor is in %s", dtype, fields[0])
	}
	if n := typedLen(t); n != size/dtype.Size() {
		return nil, fail(fmt.Sprintf("%d for %s %s", size/dtype.Size(), dtype, tensor.FormatShape(shape)),
			"%s has %d elements", want, n)
	}
	data, err := typedBytes(t, dtype)
	if err != nil {
		return nil, fail("", "%v", err)
	}
	return &tensor.Tensor{DType: dtype, Shape: shape, Data: data}, nil
}

// TensorToProto stores t as raw_data, sharing its memory.
func TensorToProto(name string, t *tensor.Tensor) *TensorProto {
	dims := make([]int64, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = int64(d)
	}
	return &TensorProto{Name: name, DataType: DataType(t.DType), Dims: dims, RawData: t.Data}
}

func externalLocation(t *TensorProto) string {
	for _, entry := range t.GetExternalData() {
		if entry.GetKey() == "location" {
			return entry.GetValue()
		}
	}
	return ""
}

func tensorShape(t *TensorProto) ([]int, error) {
	if len(t.GetDims()) > maxRank {
		return nil, fmt.Errorf("there are %d dimensions, want at most %d", len(t.GetDims()), maxRank)
	}
	shape := make([]int, len(t.GetDims()))
	for i, d := range t.GetDims() {
		if d < 0 || d > math.MaxInt {
			return nil, fmt.Errorf("dims[%d] is %d, want 0..%d", i, d, math.MaxInt)
		}
		shape[i] = int(d)
	}
	return shape, nil
}

// dataFields names the fields that hold elements.
func dataFields(t *TensorProto) []string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"raw_data", len(t.RawData) > 0},
		{"float_data", len(t.FloatData) > 0},
		{"int32_data", len(t.Int32Data) > 0},
		{"string_data", len(t.StringData) > 0},
		{"int64_data", len(t.Int64Data) > 0},
		{"double_data", len(t.DoubleData) > 0},
		{"uint64_data", len(t.Uint64Data) > 0},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// typedField is the field that the specification gives to a data type.
func typedField(d tensor.DType) string {
	switch d {
	case tensor.Float32:
		return "float_data"
	case tensor.Float64:
		return "double_data"
	case tensor.Int64:
		return "int64_data"
	case tensor.Uint32, tensor.Uint64:
		return "uint64_data"
	}
	return "int32_data" // the small integers, bool, and the bits of float16 and bfloat16
}

// typedLen is the number of elements in the only field that is set.
func typedLen(t *TensorProto) int {
	return len(t.FloatData) + len(t.Int32Data) + len(t.Int64Data) + len(t.DoubleData) + len(t.Uint64Data)
}

func typedBytes(t *TensorProto, dtype tensor.DType) ([]byte, error) {
	le, data := binary.LittleEndian, make([]byte, 0, typedLen(t)*dtype.Size())
	for _, v := range t.FloatData {
		data = le.AppendUint32(data, math.Float32bits(v))
	}
	for _, v := range t.DoubleData {
		data = le.AppendUint64(data, math.Float64bits(v))
	}
	for _, v := range t.Int64Data {
		data = le.AppendUint64(data, uint64(v))
	}
	for i, v := range t.Uint64Data {
		if dtype == tensor.Uint64 {
			data = le.AppendUint64(data, v)
			continue
		}
		if v > math.MaxUint32 {
			return nil, fmt.Errorf("uint64_data[%d] is %d, want 0..%d for %s", i, v, uint32(math.MaxUint32), dtype)
		}
		data = le.AppendUint32(data, uint32(v))
	}
	lo, hi := int32Range(dtype)
	for i, v := range t.Int32Data {
		if v < lo || v > hi {
			return nil, fmt.Errorf("int32_data[%d] is %d, want %d..%d for %s", i, v, lo, hi, dtype)
		}
		switch dtype.Size() {
		case 1:
			data = append(data, byte(v))
		case 2:
			data = le.AppendUint16(data, uint16(v))
		default:
			data = le.AppendUint32(data, uint32(v))
		}
	}
	return data, nil
}

// int32Range is what int32_data may hold for a data type; for float16 and bfloat16 it holds their bits.
func int32Range(d tensor.DType) (lo, hi int32) {
	switch d {
	case tensor.Bool:
		return 0, 1
	case tensor.Int8:
		return math.MinInt8, math.MaxInt8
	case tensor.Uint8:
		return 0, math.MaxUint8
	case tensor.Int16:
		return math.MinInt16, math.MaxInt16
	case tensor.Uint16, tensor.Float16, tensor.BFloat16:
		return 0, math.MaxUint16
	}
	return math.MinInt32, math.MaxInt32
}
