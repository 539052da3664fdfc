package onnxpb

import (
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// dataTypes pairs the element types, in the order in which an error lists them.
func dataTypes() []struct {
	onnx  TensorProto_DataType
	dtype tensor.DType
} {
	return []struct {
		onnx  TensorProto_DataType
		dtype tensor.DType
	}{
		{TensorProto_FLOAT, tensor.Float32},
		{TensorProto_DOUBLE, tensor.Float64},
		{TensorProto_FLOAT16, tensor.Float16},
		{TensorProto_BFLOAT16, tensor.BFloat16},
		{TensorProto_INT8, tensor.Int8},
		{TensorProto_INT16, tensor.Int16},
		{TensorProto_INT32, tensor.Int32},
		{TensorProto_INT64, tensor.Int64},
		{TensorProto_UINT8, tensor.Uint8},
		{TensorProto_UINT16, tensor.Uint16},
		{TensorProto_UINT32, tensor.Uint32},
		{TensorProto_UINT64, tensor.Uint64},
		{TensorProto_BOOL, tensor.Bool},
	}
}

// DType returns the element type of a TensorProto.DataType; false for the types this project does not hold.
func DType(dataType int32) (tensor.DType, bool) {
	for _, pair := range dataTypes() {
		if int32(pair.onnx) == dataType {
			return pair.dtype, true
		}
	}
	return tensor.Invalid, false
}

// DataType is the inverse of DType, 0 (UNDEFINED) for tensor.Invalid.
func DataType(d tensor.DType) int32 {
	for _, pair := range dataTypes() {
		if pair.dtype == d {
			return int32(pair.onnx)
		}
	}
	return int32(TensorProto_UNDEFINED)
}

// DataTypeName writes a TensorProto.DataType for an error: "float32" for a type this project holds, the specification's
// name for another one it knows, the number otherwise.
func DataTypeName(dataType int32) string {
	if d, ok := DType(dataType); ok {
		return d.String()
	}
	later := []string{"FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "UINT4", "INT4", "FLOAT4E2M1",
		"FLOAT8E8M0"}
	if i := int(dataType) - 17; i >= 0 && i < len(later) {
		return later[i]
	}
	if name, ok := TensorProto_DataType_name[dataType]; ok {
		return name
	}
	return fmt.Sprintf("data type %d", dataType)
}

// supportedTypes lists what DType accepts.
func supportedTypes() string {
	var names []string
	for _, pair := range dataTypes() {
		names = append(names, pair.dtype.String())
	}
	return strings.Join(names, ", ")
}
