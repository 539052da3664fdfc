package onnxpb

import "github.com/aftonnx/aftonnx/internal/tensor"

// DecodeTensor reads a file that holds one TensorProto, as the test data sets of ONNX do, with the scan and the memory
// limit of Decode, and returns its name and value. Errors are *Error.
func DecodeTensor(data []byte) (string, *tensor.Tensor, error) {
	p := &TensorProto{}
	if err := decode(data, p, ""); err != nil {
		return "", nil, err
	}
	t, err := TensorFromProto(p)
	return p.GetName(), t, err
}
