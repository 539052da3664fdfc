package onnxpb

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

func TestDecodeTensor(t *testing.T) {
	want, err := tensor.FromFloat64s(tensor.Float32, []int{2, 2}, []float64{1, 2, 3, -0.5})
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(TensorToProto("x", want))
	if err != nil {
		t.Fatal(err)
	}
	name, got, err := DecodeTensor(data)
	if err != nil || name != "x" {
		t.Fatalf("name %q, error %v", name, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for n := range data { // a file cut off anywhere is an error, or holds no data
		var e *Error
		if _, _, err := DecodeTensor(data[:n]); err == nil || !errors.As(err, &e) {
			t.Errorf("cut after %d of %d bytes: error %v, want an *Error", n, len(data), err)
		}
	}
}

func TestDecodeTensor_refused(t *testing.T) {
	tests := map[string]struct{ data, want string }{
		"not protobuf": {"{\"dims\": [1]}", "JSON"},
		"npy":          {"\x93NUMPY\x01\x00", ".npy"},
		"dims twice as large as the data": {string(mustMarshal(t, &TensorProto{
			Dims: []int64{1 << 40}, DataType: 1, RawData: make([]byte, 8)})), "raw_data has 8 bytes"},
		"in another file": {string(mustMarshal(t, &TensorProto{
			Dims: []int64{1}, DataType: 1, DataLocation: TensorProto_EXTERNAL})), "another file"},
	}
	for name, test := range tests {
		if _, _, err := DecodeTensor([]byte(test.data)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, test.want)
		}
	}
}

func mustMarshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
