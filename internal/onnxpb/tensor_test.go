package onnxpb

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

func TestDataTypesPair(t *testing.T) {
	for d := tensor.Float32; d <= tensor.Bool; d++ {
		code := DataType(d)
		if back, ok := DType(code); !ok || back != d || code == 0 {
			t.Errorf("%s is data type %d, which is %s", d, code, back)
		}
		if DataTypeName(code) != d.String() {
			t.Errorf("data type %d is called %s, want %s", code, DataTypeName(code), d)
		}
	}
	for _, code := range []int32{-1, 0, 8, 14, 17, 22, 999} {
		if d, ok := DType(code); ok {
			t.Errorf("data type %d is %s, want none", code, d)
		}
	}
	if DataType(tensor.Invalid) != 0 {
		t.Error("invalid has a data type")
	}
}

func TestTensorRoundTrip(t *testing.T) {
	for d := tensor.Float32; d <= tensor.Bool; d++ {
		for _, shape := range [][]int{{}, {2, 3}, {0, 4}} {
			want, err := tensor.New(d, shape)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want.Data {
				want.Data[i] = byte(i & 1)
			}
			got, err := TensorFromProto(TensorToProto("w", want))
			if err != nil {
				t.Fatalf("%s %v: %v", d, shape, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %v (-want +got):\n%s", d, shape, diff)
			}
		}
	}
}

// Typed fields, values chosen at the ends of each type's range; the bit patterns are those of IEEE 754.
func TestTypedFields(t *testing.T) {
	tests := []struct {
		name string
		in   *TensorProto
		want []float64
	}{
		{"float32", &TensorProto{DataType: 1, FloatData: []float32{0.5, -2}}, []float64{0.5, -2}},
		{"float64", &TensorProto{DataType: 11, DoubleData: []float64{0.1, math.MaxFloat64}}, []float64{0.1,
			math.MaxFloat64}},
		{"float16", &TensorProto{DataType: 10, Int32Data: []int32{0x3c00, 0xc000}}, []float64{1, -2}},
		{"bfloat16", &TensorProto{DataType: 16, Int32Data: []int32{0x3f80, 0xff80}}, []float64{1, math.Inf(-1)}},
		{"int8", &TensorProto{DataType: 3, Int32Data: []int32{-128, 127}}, []float64{-128, 127}},
		{"uint8", &TensorProto{DataType: 2, Int32Data: []int32{0, 255}}, []float64{0, 255}},
		{"int16", &TensorProto{DataType: 5, Int32Data: []int32{-32768, 32767}}, []float64{-32768, 32767}},
		{"uint16", &TensorProto{DataType: 4, Int32Data: []int32{0, 65535}}, []float64{0, 65535}},
		{"int32", &TensorProto{DataType: 6, Int32Data: []int32{math.MinInt32, math.MaxInt32}},
			[]float64{math.MinInt32, math.MaxInt32}},
		{"uint32", &TensorProto{DataType: 12, Uint64Data: []uint64{0, math.MaxUint32}}, []float64{0, math.MaxUint32}},
		{"int64", &TensorProto{DataType: 7, Int64Data: []int64{-1 << 53, 1 << 53}}, []float64{-1 << 53, 1 << 53}},
		{"uint64", &TensorProto{DataType: 13, Uint64Data: []uint64{0, 1 << 63}}, []float64{0, 1 << 63}},
		{"bool", &TensorProto{DataType: 9, Int32Data: []int32{1, 0}}, []float64{1, 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Dims = []int64{2}
			got, err := TensorFromProto(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Float64s()); diff != "" || got.DType.String() != test.name {
				t.Errorf("%s (-want +got):\n%s", got.DType, diff)
			}
		})
	}
}

func TestTensorFromProtoRefuses(t *testing.T) {
	four := []byte{0, 0, 0, 0}
	tests := []struct {
		name string
		in   *TensorProto
		want string
	}{
		{"nil", nil, "data type is UNDEFINED"},
		{"O25 data type 0", &TensorProto{RawData: four}, "UNDEFINED, want float32, float64"},
		{"O25 data type 999", &TensorProto{DataType: 999}, "data type 999, want float32"},
		{"O25 string", &TensorProto{DataType: 8, StringData: [][]byte{{1}}}, "STRING"},
		{"O25 float8", &TensorProto{DataType: 17, RawData: four[:1]}, "FLOAT8E4M3FN"},
		{"O23 int4", &TensorProto{DataType: 22, Dims: []int64{2}, RawData: four[:1]}, "INT4"},
		{"O25 complex", &TensorProto{DataType: 14, FloatData: []float32{1, 2}}, "COMPLEX64"},
		{"O22 negative", &TensorProto{DataType: 1, Dims: []int64{2, -1}, RawData: four}, "dims[1] is -1"},
		{"O22 overflow", &TensorProto{DataType: 1, Dims: []int64{1 << 40, 1 << 40}}, "more than"},
		{"O22 overflow hidden by 0", &TensorProto{DataType: 1, Dims: []int64{0, 1 << 62, 4}}, "more than"},
		{"O22 bytes overflow", &TensorProto{DataType: 11, Dims: []int64{1 << 61}}, "bytes"},
		{"O22 rank", &TensorProto{DataType: 1, Dims: make([]int64, 1e5)}, "100000 dimensions, want at most 16"},
		{"O23 short", &TensorProto{DataType: 1, Dims: []int64{2}, RawData: four}, "raw_data has 4 bytes, want 8"},
		{"O23 long", &TensorProto{DataType: 1, RawData: make([]byte, 8)}, "raw_data has 8 bytes, want 4"},
		{"O23 none", &TensorProto{DataType: 1, Dims: []int64{2}},
			"no data, want 8 bytes of raw_data or 2 elements of float_data"},
		{"O23 both", &TensorProto{DataType: 1, RawData: four, FloatData: []float32{1}}, "in raw_data and in float_data"},
		{"O23 two typed", &TensorProto{DataType: 1, Int64Data: []int64{1}, FloatData: []float32{1}},
			"float_data and in int64_data"},
		{"O23 wrong field", &TensorProto{DataType: 1, Int64Data: []int64{1}},
			"float32 tensor is in int64_data, want raw_data or float_data"},
		{"O23 string beside numbers", &TensorProto{DataType: 1, StringData: [][]byte{{1}}}, "string_data"},
		{"O23 count", &TensorProto{DataType: 1, Dims: []int64{2}, FloatData: []float32{1}},
			"float_data has 1 elements, want 2"},
		{"O24 empty with data", &TensorProto{DataType: 1, Dims: []int64{0}, RawData: four}, "raw_data has 4 bytes, want 0"},
		{"O24 empty with typed data", &TensorProto{DataType: 1, Dims: []int64{0}, FloatData: []float32{1}},
			"float_data has 1 elements, want 0"},
		{"float16 bits", &TensorProto{DataType: 10, Int32Data: []int32{70000}}, "int32_data[0] is 70000, want 0..65535"},
		{"int8 range", &TensorProto{DataType: 3, Int32Data: []int32{200}}, "want -128..127"},
		{"bool range", &TensorProto{DataType: 9, Int32Data: []int32{2}}, "want 0..1"},
		{"uint32 range", &TensorProto{DataType: 12, Uint64Data: []uint64{1 << 32}}, "want 0..4294967295"},
		{"O27 external", &TensorProto{DataType: 1, DataLocation: TensorProto_EXTERNAL,
			ExternalData: []*StringStringEntryProto{{Key: "location", Value: "../w\x1b"}}},
			`in another file, "../w\x1b"`},
		{"O27 external entries alone", &TensorProto{DataType: 1, RawData: four,
			ExternalData: []*StringStringEntryProto{{Key: "offset", Value: "0"}}}, "another file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.in != nil {
				test.in.Name = "w\n"
			}
			_, err := TensorFromProto(test.in)
			var typed *Error
			if !errors.As(err, &typed) {
				t.Fatalf("error %v, want an *Error", err)
			}
			if !strings.Contains(err.Error(), test.want) || test.in != nil && !strings.Contains(err.Error(),
				`tensor "w\n"`) {
				t.Errorf("error %q does not say %q and the quoted name", err, test.want)
			}
		})
	}
}
