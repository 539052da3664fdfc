package onnxpb

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// DecodeTensor reads a file that holds one TensorProto, as the test data sets of ONNX do, with the scan and the memory
// limit of Decode, and returns its name and value. Errors are *Error.
func DecodeTensor(data []byte) (string, *tensor.Tensor, error) {
	if len(data) > maxFile {
		return "", nil, &Error{Offset: -1, Found: fmt.Sprintf("the file has %d bytes", len(data)),
			Allowed: fmt.Sprintf("at most %d", maxFile)}
	}
	descriptor := (*TensorProto)(nil).ProtoReflect().Descriptor()
	s := &scanner{data: data, budget: memoryRatio*int64(len(data)) + memoryBase}
	if err := s.message(deriveSchema(descriptor, map[protoreflect.FullName]*schema{}), 0, len(data)); err != nil {
		err.(*Error).Hint = sniff(data)
		return "", nil, err
	}
	p := &TensorProto{}
	if err := proto.Unmarshal(data, p); err != nil {
		return "", nil, &Error{Offset: -1, Found: "protobuf refuses the file: " + err.Error(), Hint: sniff(data)}
	}
	t, err := TensorFromProto(p)
	return p.GetName(), t, err
}
