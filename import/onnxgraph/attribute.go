package onnxgraph

import (
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// The attribute types that operators here use.
const (
	attrFloat  = onnxpb.AttributeProto_FLOAT
	attrInt    = onnxpb.AttributeProto_INT
	attrString = onnxpb.AttributeProto_STRING
	attrTensor = onnxpb.AttributeProto_TENSOR
	attrFloats = onnxpb.AttributeProto_FLOATS
	attrInts   = onnxpb.AttributeProto_INTS
)

// checkAttribute holds an attribute's type against the value it carries. params are the attribute parameters of the
// function body that the attribute stands in, nil in a graph.
func checkAttribute(a *onnxpb.AttributeProto, params map[string]bool) error {
	values := attributeValues(a)
	if ref := a.GetRefAttrName(); ref != "" {
		switch {
		case params == nil:
			return &Error{Found: "refers to parameter " + quote(ref) + " outside a function", Allowed: "a value"}
		case !params[ref]:
			return &Error{Found: "refers to parameter " + quote(ref), Allowed: "one of " + list(sorted(params))}
		case len(values) > 0:
			return &Error{Found: fmt.Sprintf("has a value (%s) and refers to parameter %s", typeNames(values),
				quote(ref)),
				Allowed: "one of them"}
		}
		return nil
	}
	switch {
	case a.GetType() == onnxpb.AttributeProto_SPARSE_TENSOR, a.GetType() == onnxpb.AttributeProto_SPARSE_TENSORS,
		a.GetSparseTensor() != nil:
		return &Error{Found: "sparse tensors are not supported"}
	}
	name, known := onnxpb.AttributeProto_AttributeType_name[int32(a.GetType())]
	if !known || a.GetType() == onnxpb.AttributeProto_UNDEFINED {
		return &Error{Found: fmt.Sprintf("the type is %d", a.GetType()), Allowed: "1 (FLOAT) to 14 (TYPE_PROTOS)"}
	}
	for _, v := range values {
		if v != a.GetType() {
			return &Error{Found: fmt.Sprintf("the type is %s, but there is a value of type %s", name, typeNames(values))}
		}
	}
	if len(values) == 0 && (a.GetType() == attrTensor || a.GetType() == onnxpb.AttributeProto_GRAPH) {
		return &Error{Found: fmt.Sprintf("the type is %s, but there is no value", name)}
	}
	return nil
}

// attributeValues lists the types of the values present. A number 0 and an empty string say nothing: some producers write
// them for every type, and others leave them out where they are meant.
func attributeValues(a *onnxpb.AttributeProto) []onnxpb.AttributeProto_AttributeType {
	var kinds []onnxpb.AttributeProto_AttributeType
	for _, v := range []struct {
		kind    onnxpb.AttributeProto_AttributeType
		present bool
	}{
		{attrFloat, a.GetF() != 0},
		{attrInt, a.GetI() != 0},
		{attrString, len(a.GetS()) > 0},
		{attrTensor, a.GetT() != nil},
		{onnxpb.AttributeProto_GRAPH, a.GetG() != nil},
		{attrFloats, len(a.GetFloats()) > 0},
		{attrInts, len(a.GetInts()) > 0},
		{onnxpb.AttributeProto_STRINGS, len(a.GetStrings()) > 0},
		{onnxpb.AttributeProto_TENSORS, len(a.GetTensors()) > 0},
		{onnxpb.AttributeProto_GRAPHS, len(a.GetGraphs()) > 0},
		{onnxpb.AttributeProto_SPARSE_TENSOR, a.GetSparseTensor() != nil},
	} {
		if v.present {
			kinds = append(kinds, v.kind)
		}
	}
	return kinds
}

func typeNames(kinds []onnxpb.AttributeProto_AttributeType) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.String()
	}
	return strings.Join(names, " and ")
}
