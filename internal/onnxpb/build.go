package onnxpb

import "github.com/aftonnx/aftonnx/internal/tensor"

// Dim is one dimension of a declared shape.
type Dim struct {
	Size int    // -1: known only at run time
	Name string // the dim_param of a dynamic dimension, "" when it has none
}

// Fixed is a dimension of a known size.
func Fixed(size int) Dim { return Dim{Size: size} }

// Dynamic is a dimension known only at run time; the same name means the same size.
func Dynamic(name string) Dim { return Dim{Size: -1, Name: name} }

// ValueInfo declares a tensor value.
func ValueInfo(name string, d tensor.DType, dims ...Dim) *ValueInfoProto {
	shape := &TensorShapeProto{}
	for _, dim := range dims {
		p := &TensorShapeProto_Dimension{}
		switch {
		case dim.Size >= 0:
			p.Value = &TensorShapeProto_Dimension_DimValue{DimValue: int64(dim.Size)}
		case dim.Name != "":
			p.Value = &TensorShapeProto_Dimension_DimParam{DimParam: dim.Name}
		}
		shape.Dim = append(shape.Dim, p)
	}
	return &ValueInfoProto{Name: name, Type: &TypeProto{Value: &TypeProto_TensorType{
		TensorType: &TypeProto_Tensor{ElemType: DataType(d), Shape: shape},
	}}}
}

// Node makes a node of the standard domain, unnamed.
func Node(op string, inputs, outputs []string, attrs ...*AttributeProto) *NodeProto {
	return &NodeProto{OpType: op, Input: inputs, Output: outputs, Attribute: attrs}
}

// IntAttr makes an INT attribute.
func IntAttr(name string, v int64) *AttributeProto {
	return &AttributeProto{Name: name, Type: AttributeProto_INT, I: &v}
}

// IntsAttr makes an INTS attribute.
func IntsAttr(name string, v ...int64) *AttributeProto {
	return &AttributeProto{Name: name, Type: AttributeProto_INTS, Ints: v}
}

// FloatAttr makes a FLOAT attribute.
func FloatAttr(name string, v float32) *AttributeProto {
	return &AttributeProto{Name: name, Type: AttributeProto_FLOAT, F: &v}
}

// FloatsAttr makes a FLOATS attribute.
func FloatsAttr(name string, v ...float32) *AttributeProto {
	return &AttributeProto{Name: name, Type: AttributeProto_FLOATS, Floats: v}
}

// StringAttr makes a STRING attribute.
func StringAttr(name, v string) *AttributeProto {
	return &AttributeProto{Name: name, Type: AttributeProto_STRING, S: []byte(v)}
}

// TensorAttr makes a TENSOR attribute.
func TensorAttr(name string, t *tensor.Tensor) *AttributeProto {
	return &AttributeProto{Name: name, Type: AttributeProto_TENSOR, T: TensorToProto("", t)}
}

// RefAttr makes an attribute of a node in a function body that takes its value from an attribute of the function.
func RefAttr(name, of string, kind AttributeProto_AttributeType) *AttributeProto {
	return &AttributeProto{Name: name, Type: kind, RefAttrName: of}
}

// Opset is one entry of opset_import; the standard domain is "".
func Opset(domain string, version int64) *OperatorSetIdProto {
	return &OperatorSetIdProto{Domain: domain, Version: version}
}
