package onnxpb

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// sampleModel holds at least one field of every kind: strings, bytes, numbers packed and not, oneofs, nested messages.
func sampleModel(t testing.TB) *ModelProto {
	t.Helper()
	w, err := tensor.FromFloat64s(tensor.Float32, []int{2, 2}, []float64{1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	body := Node("Mul", []string{"a", "b"}, []string{"c"})
	body.Attribute = append(body.Attribute, RefAttr("alpha", "alpha", AttributeProto_FLOAT))
	return &ModelProto{
		IrVersion:     8,
		ProducerName:  "test",
		OpsetImport:   []*OperatorSetIdProto{Opset("", 17), Opset("ai.aft", 1)},
		MetadataProps: []*StringStringEntryProto{{Key: "k", Value: "v"}},
		Graph: &GraphProto{
			Name: "g",
			Node: []*NodeProto{
				Node("MatMul", []string{"x", "w"}, []string{"h"}, FloatAttr("f", 0.5), IntsAttr("axes", 0, -1, 300)),
				Node("Constant", nil,
					[]string{"k"}, TensorAttr("value", w), StringAttr("s", "text"), FloatsAttr("fs", 1, 2)),
			},
			Initializer: []*TensorProto{TensorToProto("w", w), {Name: "d", DataType: 1, Dims: []int64{2},
				FloatData: []float32{1, 2}}},
			Input:  []*ValueInfoProto{ValueInfo("x", tensor.Float32, Dynamic("batch"), Fixed(2))},
			Output: []*ValueInfoProto{ValueInfo("h", tensor.Float32, Dynamic("batch"), Fixed(2))},
		},
		Functions: []*FunctionProto{{Name: "F", Domain: "ai.aft", Input: []string{"a", "b"}, Output: []string{"c"},
			Attribute: []string{"alpha"}, Node: []*NodeProto{body}, OpsetImport: []*OperatorSetIdProto{Opset("", 17)}}},
	}
}

func encode(t testing.TB, m *ModelProto) []byte {
	t.Helper()
	data, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	m := sampleModel(t)
	data := encode(t, m)
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
		t.Errorf("decoded model differs (-want +got):\n%s", diff)
	}
	if again := encode(t, got); !bytes.Equal(data, again) {
		t.Error("encoding a decoded model gives other bytes")
	}
}

// The scan reads every field that protobuf writes, unpacked numbers and fields it does not declare included.
//
// Rule O11 of docs/hostile.md.
func TestDecodeAcceptsLegalForms(t *testing.T) {
	data := encode(t, sampleModel(t))
	unknown := protowire.AppendTag(append([]byte{}, data...), 999, protowire.BytesType)
	unknown = protowire.AppendBytes(unknown, []byte("later"))
	unknown = protowire.AppendVarint(protowire.AppendTag(unknown, 26, protowire.VarintType), 7)
	m, err := Decode(unknown)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encode(t, m), unknown) {
		t.Error("fields that are not declared do not survive a round trip")
	}

	unpacked := message(lenField(7, message( // graph
		lenField(5, message( // initializer
			varint(1, 1), varint(1, 2), // dims, unpacked
			varint(2, uint64(TensorProto_INT64)), varint(7, 5), varint(7, 6),
		)))))
	m, err = Decode(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	got, err := TensorFromProto(m.Graph.Initializer[0])
	if err != nil {
		t.Fatal(err)
	}
	values, _ := got.Int64s()
	if diff := cmp.Diff([]int64{5, 6}, values); diff != "" || !tensor.SameShape(got.Shape, []int{1, 2}) {
		t.Errorf("unpacked tensor: shape %v, values differ:\n%s", got.Shape, diff)
	}
}

// Files that torch.onnx 1.13 wrote: they hold onnx.proto against another producer's bytes.
func TestReadsTorchFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldentest.Shared(t, "onnx"), "*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			if m.ProducerName != "pytorch" || len(m.Graph.Node) == 0 || len(m.Graph.Output) != 1 {
				t.Errorf("producer %q, %d nodes, %d outputs", m.ProducerName, len(m.Graph.Node), len(m.Graph.Output))
			}
			for _, init := range m.Graph.Initializer {
				if _, err := TensorFromProto(init); err != nil {
					t.Error(err)
				}
			}
			if unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0 {
				t.Errorf("%d bytes of unknown fields", len(unknown))
			}
			if !proto.Equal(m, mustDecode(t, encode(t, m))) {
				t.Error("the model changes when it is written and read again")
			}
		})
	}
}

func mustDecode(t *testing.T, data []byte) *ModelProto {
	t.Helper()
	m, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Small writers of the wire form, for files that no encoder makes.
func message(fields ...[]byte) []byte { return bytes.Join(fields, nil) }

func lenField(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

func varint(number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v)
}

func nest(depth int, wrap func([]byte) []byte) []byte {
	var data []byte
	for range depth {
		data = wrap(data)
	}
	return data
}

func TestDecodeRefuses(t *testing.T) {
	subgraph := func(inner []byte) []byte { return lenField(1, lenField(5, lenField(6, inner))) } // node.attribute.g
	sequence := func(inner []byte) []byte { return lenField(4, lenField(1, inner)) }              // sequence_type.elem_type
	good := encode(t, sampleModel(t))
	tests := []struct {
		name string
		data []byte
		want []string // parts of the error's text
	}{
		{"O1 empty", nil, []string{"no graph", "empty"}},
		{"no graph", varint(1, 8), []string{"no graph"}},
		{"O2 zip", []byte("PK\x03\x04\x14\x00\x00\x00"), []string{"zip file", "byte 2"}},
		{"O2 gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), []string{"gzip"}},
		{"O2 json", []byte(`{"a": 1}`), []string{"JSON"}},
		{"O2 safetensors", append([]byte{2, 0, 0, 0, 0, 0, 0, 0}, "{}x"...), []string{"safetensors"}},
		{"O2 text", []byte("hello, world\n"), []string{"text"}},
		{"O2 pickle", []byte("\x80\x02}q\x00."), []string{"pickle"}},
		{"O2 npy", []byte("\x93NUMPY\x01\x00"), []string{".npy"}},
		{"O2 lfs", []byte("version https://git-lfs.github.com/spec/v1\n"), []string{"LFS"}},
		{"O3 varint of 11 bytes", append(varint(1, 0)[:1], bytes.Repeat([]byte{0xff}, 11)...),
			[]string{"ir_version", "longer than 64 bits"}},
		{"O3 varint with high bits", append([]byte{8}, append(bytes.Repeat([]byte{0xff}, 9), 2)...),
			[]string{"longer than 64 bits"}},
		{"O3 varint cut off", []byte{8, 0x80}, []string{"ir_version: byte 1: the number is cut off"}},
		{"O4 field number 0", []byte{0, 0}, []string{"byte 0", "invalid field number"}},
		{"O4 group", []byte{7<<3 | 3, 7<<3 | 4}, []string{"graph: byte 1: the field has wire type 3, want wire type 2"}},
		{"O4 unknown group", []byte{0xa3, 6, 0xa4, 6}, []string{"field 100", "wire type 3"}},
		{"O4 end group", []byte{7<<3 | 4}, []string{"wire type 4"}},
		{"O4 wire type 6", []byte{1<<3 | 6, 0}, []string{"wire type 6"}},
		{"O4 wire type 7", []byte{0x9f, 6, 0}, []string{"field 99", "wire type 7"}},
		{"O5 length beyond the end", []byte{7<<3 | 2, 10, 0},
			[]string{"graph: byte 1: the length is 10, want at most the 1 bytes"}},
		{"O5 length 2^63", append([]byte{7<<3 | 2}, protowire.AppendVarint(nil, 1<<63)...),
			[]string{"the length is 9223372036854775808"}},
		{"O5 length cut off", []byte{7<<3 | 2, 0x80}, []string{"the length is cut off"}},
		{"O6 wrong wire type", varint(7, 1), []string{"graph: byte 1: the field has wire type 0, want wire type 2"}},
		{"O6 wrong wire type of a string", lenField(7, varint(2, 1)), []string{"graph.name"}},
		{"O6 wrong wire type of packed", lenField(7, lenField(5, []byte{4<<3 | 0, 1})),
			[]string{"graph.initializer[0].float_data[0]"}},
		{"index in the place", lenField(7, message(lenField(1, nil), lenField(1, nil), lenField(1, varint(3, 1)))),
			[]string{"graph.node[2].name: byte 9"}},
		{"O8 million nodes", lenField(7, bytes.Repeat(lenField(1, nil), 1e6)),
			[]string{"graph.node[", "more than 73108876 bytes"}},
		{"O8 million initializers", lenField(7, bytes.Repeat(lenField(5, nil), 1e6)), []string{"graph.initializer["}},
		{"O8 million value_infos", lenField(7, bytes.Repeat(lenField(13, nil), 1e6)), []string{"graph.value_info["}},
		{"O8 million inputs of a node", lenField(7, lenField(1, bytes.Repeat(lenField(1, nil), 4e6))),
			[]string{"graph.node[0].input["}},
		{"O8 packed numbers", lenField(7, lenField(5, lenField(7, make([]byte, 20e6)))),
			[]string{"graph.initializer[0].int64_data"}},
		{"packed cut off", lenField(7, lenField(5, lenField(7, []byte{1, 0x80}))),
			[]string{"packed number 1 is cut off"}},
		{"O9 100 subgraphs", lenField(7, nest(100, subgraph)), []string{"nested more than 100 deep"}},
		{"O9 10000 subgraphs", lenField(7, nest(10000, subgraph)), []string{"nested more than 100 deep"}},
		{"O9 10000 sequences", lenField(7, lenField(11, lenField(2, nest(10000, sequence)))),
			[]string{"nested more than 100 deep"}},
		{"O10 graph twice", message(lenField(7, nil), lenField(7, nil)),
			[]string{"graph: byte 2: the field is present twice"}},
		{"O10 two models", append(append([]byte{}, good...), good...), []string{"present twice"}},
		{"O10 raw_data twice", lenField(7, lenField(5, message(lenField(9, []byte{1}), lenField(9, []byte{2})))),
			[]string{"initializer[0].raw_data", "twice"}},
		{"O10 both of a oneof", lenField(7, lenField(11, lenField(2, lenField(1, lenField(2, lenField(1, message(varint(1,
			3), lenField(2, []byte("n"))))))))),
			[]string{"graph.input[0].type.tensor_type.shape.dim[0].dim_param", "twice"}},
		{"O8 numbers that are not packed", lenField(7, message(bytes.Repeat(lenField(1, nil), (memoryBase+24_000)/250-8),
			lenField(5, bytes.Repeat(varint(1, 1), 4000)))), []string{"graph.initializer[0].dims[", "bytes of memory"}},
		{"O32 text that is not UTF-8", lenField(7, lenField(2, []byte{0xff})), []string{"graph.name", "UTF-8"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := allocated()
			_, err := Decode(test.data)
			used := allocated() - before
			var located *Error
			if !errors.As(err, &located) {
				t.Fatalf("error %v, want an *Error", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if limit := uint64(3*len(test.data) + 4<<20); used > limit {
				t.Errorf("allocated %d bytes before refusing, want at most %d", used, limit)
			}
		})
	}
}

// Rules O31, O35 of docs/hostile.md: long texts cost their bytes in the file, and no more than the budget.
func TestDecode_longTexts(t *testing.T) {
	const size = 16 << 20
	text := bytes.Repeat([]byte("x"), size)
	data := message(lenField(6, text), lenField(7, lenField(10, text)), lenField(14, lenField(2, text)))
	before := allocated()
	m, err := Decode(data)
	if err != nil || len(m.DocString)+len(m.Graph.DocString)+len(m.MetadataProps[0].Value) != 3*size {
		t.Fatal(err)
	}
	if used, limit := allocated()-before, uint64(memoryRatio*len(data)+memoryBase); used > limit {
		t.Errorf("allocated %d bytes, want at most %d", used, limit)
	}
}

func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// A scan that passes must not leave proto.Unmarshal anything to refuse, wherever a file is cut off or a bit flips.
func TestScanDecidesAlone(t *testing.T) {
	good := encode(t, sampleModel(t))
	check := func(data []byte) {
		m, err := Decode(data)
		if err != nil {
			if strings.Contains(err.Error(), "protobuf refuses") {
				t.Errorf("%x: the scan accepts what protobuf refuses: %v", data, err)
			}
			return
		}
		if _, err := Encode(m); err != nil {
			t.Errorf("%x: decodes but does not encode: %v", data, err)
		}
	}
	for n := range good {
		check(good[:n])
	}
	for bit := range 8 * len(good) {
		flipped := append([]byte{}, good...)
		flipped[bit/8] ^= 1 << (bit % 8)
		check(flipped)
	}
}

// A truncated model is refused, or it is a shorter legal message; it is never the whole model.
//
// Rule O33 of docs/hostile.md.
func TestTruncation(t *testing.T) {
	m := sampleModel(t)
	good := encode(t, m)
	for n := range good {
		got, err := Decode(good[:n])
		if err == nil && proto.Equal(got, m) {
			t.Errorf("the first %d of %d bytes decode to the whole model", n, len(good))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, sampleModel(f)))
	f.Add([]byte{})
	f.Add([]byte("PK\x03\x04"))
	f.Add(lenField(7, lenField(5, message(varint(1, 1<<62), varint(2, 1)))))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			var located *Error
			if !errors.As(err, &located) {
				t.Fatalf("error %v is no *Error", err)
			}
			return
		}
		for _, init := range m.Graph.Initializer {
			if v, err := TensorFromProto(init); err == nil {
				if n, err := tensor.ByteLen(v.DType, v.Shape); err != nil || n != len(v.Data) {
					t.Fatalf("tensor %v of %d bytes, want %d (%v)", v.Shape, len(v.Data), n, err)
				}
			}
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		if back, err := Decode(again); err != nil || !proto.Equal(m, back) {
			t.Fatalf("a decoded model does not survive a round trip: %v", err)
		}
	})
}
