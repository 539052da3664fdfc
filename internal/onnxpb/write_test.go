package onnxpb

import (
	"bytes"
	"errors"
	"io"
	"math"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// ramp is a weight of n elements in memory, of float64 values that no narrower type holds.
func ramp(n int) tensor.Weight {
	a := tensor.Array{Shape: []int{n}, Data: make([]float64, n)}
	for i := range a.Data {
		a.Data[i] = math.Sin(float64(i)) / 3
	}
	return tensor.Hold(a)
}

// everyField is a model with something in every field of ModelProto and GraphProto.
func everyField(t *testing.T) *ModelProto {
	t.Helper()
	grid, err := tensor.FromInt64s([]int{2}, []int64{3, 4})
	if err != nil {
		t.Fatal(err)
	}
	m := &ModelProto{IrVersion: 8, ProducerName: "p", ProducerVersion: "1", Domain: "d", ModelVersion: 2, DocString: "doc",
		OpsetImport:   []*OperatorSetIdProto{Opset("", 17)},
		MetadataProps: []*StringStringEntryProto{{Key: "a", Value: "b"}},
		Functions:     []*FunctionProto{{Name: "f", Domain: "d"}},
		Graph: &GraphProto{Name: "g", DocString: "doc",
			Node:              []*NodeProto{Node("Identity", []string{"x"}, []string{"y"})},
			Initializer:       []*TensorProto{TensorToProto("grid", grid)},
			Input:             []*ValueInfoProto{ValueInfo("x", tensor.Float32, Dynamic("n"))},
			Output:            []*ValueInfoProto{ValueInfo("y", tensor.Float32, Dynamic("n"))},
			ValueInfo:         []*ValueInfoProto{ValueInfo("z", tensor.Float32)},
			SparseInitializer: []*SparseTensorProto{{Dims: []int64{1}}}}}
	m.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 1}) // field 1023
	m.Graph.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 2})
	for _, message := range []proto.Message{m, m.Graph} {
		fields := message.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if !message.ProtoReflect().Has(fields.Get(i)) {
				t.Fatalf("field %s is not set", fields.Get(i).FullName())
			}
		}
	}
	return m
}

func someWeights(d tensor.DType) []Weight {
	matrix := tensor.Array{Shape: []int{40, 300}, Data: make([]float64, 12000)}
	for i := range matrix.Data {
		matrix.Data[i] = math.Cos(float64(i)) * 7
	}
	return []Weight{{"small", d, ramp(5)}, {"matrix", d, tensor.Hold(matrix)}, {"empty", d, ramp(0)},
		{"many", d, ramp(300_000)}, {"last", d, ramp(700)}}
}

// inMemory is the model with the weights as ordinary initialisers.
func inMemory(t *testing.T, m *ModelProto, weights []Weight) *ModelProto {
	t.Helper()
	m = proto.Clone(m).(*ModelProto)
	for _, w := range weights {
		a, err := w.Value.Array()
		if err != nil {
			t.Fatal(err)
		}
		v, err := a.Tensor(w.DType)
		if err != nil {
			t.Fatal(err)
		}
		m.Graph.Initializer = append(m.Graph.Initializer, TensorToProto(w.Name, v))
	}
	return m
}

// Write gives the bytes that Encode gives for the same model in memory, and the digest that is computed from it.
func TestWrite_sameAsEncode(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float64, tensor.Float16, tensor.BFloat16} {
		for _, key := range []string{"", "digest"} {
			m := everyField(t)
			before := proto.Clone(m)
			var got bytes.Buffer
			if err := Write(&got, m, someWeights(d), WriteOptions{DigestKey: key}); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(before, m) {
				t.Errorf("%s: the model was changed", d)
			}
			whole := inMemory(t, m, someWeights(d))
			if key != "" {
				sum, err := WeightsDigest(whole.Graph, "")
				if err != nil {
					t.Fatal(err)
				}
				whole.MetadataProps = append(whole.MetadataProps, &StringStringEntryProto{Key: key, Value: sum})
			}
			want, err := Encode(whole)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: %d bytes differ from Encode's %d", d, got.Len(), len(want))
			}
		}
	}
}

// A weight of the model's type is copied: NaN payloads, infinities and signed zeros stay.
//
// Rule E10 of docs/hostile.md.
func TestWrite_copiesBits(t *testing.T) {
	data := []byte{1, 0, 0xc0, 0xff, 0, 0, 0x80, 0x7f, 0, 0, 0, 0x80, 1, 0, 0, 0}
	w := tensor.NewWeight(tensor.WeightOptions{Shape: []int{4}, DType: tensor.Float32,
		Parts: func(yield func(*tensor.Tensor) error) error {
			return yield(&tensor.Tensor{DType: tensor.Float32, Shape: []int{4}, Data: data})
		}})
	var got bytes.Buffer
	if err := Write(&got, &ModelProto{Graph: &GraphProto{}}, []Weight{{"w", tensor.Float32, w}}, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	m, err := Decode(got.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if raw := m.Graph.Initializer[0].RawData; !bytes.Equal(raw, data) {
		t.Errorf("stored % x, want % x", raw, data)
	}
}

func TestWrite_refuses(t *testing.T) {
	big := tensor.Hold(tensor.Array{Shape: []int{2, 3}, Data: []float64{0, math.Inf(1), math.NaN(), 0, 1e39, 0}})
	half := tensor.NewWeight(tensor.WeightOptions{Shape: []int{1}, DType: tensor.Float32,
		Parts: func(yield func(*tensor.Tensor) error) error {
			return yield(&tensor.Tensor{DType: tensor.Float32, Shape: []int{1}, Data: []byte{0, 0, 0x80, 0x47}}) // 65536
		}})
	ints := tensor.NewWeight(tensor.WeightOptions{Shape: []int{1}, DType: tensor.Int64,
		Parts: func(func(*tensor.Tensor) error) error { return nil }})
	short := tensor.NewWeight(tensor.WeightOptions{Shape: []int{1}, DType: tensor.Float32,
		Parts: func(func(*tensor.Tensor) error) error { return nil }})
	broken := tensor.Computed([]int{1}, func() (tensor.Array, error) { return tensor.Array{}, errors.New("disk on fire") })
	huge := tensor.NewWeight(tensor.WeightOptions{Shape: []int{1 << 29}, DType: tensor.Float32,
		Parts: func(func(*tensor.Tensor) error) error { panic("read although the model is too large") }})
	for _, test := range []struct {
		name  string
		dtype tensor.DType
		value tensor.Weight
		want  string
	}{
		{"float64 to float32", tensor.Float32, big, `"w": element [1 1] is 1e+39, which float32 cannot hold`},
		{"float64 to bfloat16", tensor.BFloat16, big, `"w": element [1 1] is 1e+39, which bfloat16 cannot hold`},
		{"float32 to float16", tensor.Float16, half, `"w": element [0] is 65536, which float16 cannot hold`},
		{"int64 to float32", tensor.Float32, ints, `"w": is int64, which cannot be rounded to float32`},
		{"not set", tensor.Float32, tensor.Weight{}, `"w": the weight is not set`},
		{"too few elements", tensor.Float32, short, `"w": 1 of the 1 elements of shape (1) are missing`},
		{"cannot be read", tensor.Float32, broken, `"w": disk on fire`},
		{"too large", tensor.Float32, huge, "the model takes 2147483678 bytes, want at most 2147483647 (protobuf's limit) (--external-data"},
	} {
		err := Write(io.Discard, &ModelProto{Graph: &GraphProto{}}, []Weight{{"w", test.dtype, test.value}}, WriteOptions{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v does not say %q", test.name, err, test.want)
		}
		var own *Error
		if reading := strings.HasSuffix(test.want, "missing") || strings.HasSuffix(test.want, "fire"); errors.As(err, &own) == reading {
			t.Errorf("%s: error %v is an *Error: %t", test.name, err, !reading)
		}
	}
	full := errors.New("no space left on device")
	if err := Write(failing{full}, everyField(t), someWeights(tensor.Float32), WriteOptions{}); err != full {
		t.Errorf("a writer that fails: error %v, want %v and no weight's name", err, full)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A weight of 1 GiB is written with a piece of it in memory.
func TestWrite_memory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 1 GiB")
	}
	const size, limit = 1 << 30, 64 << 20
	piece := &tensor.Tensor{DType: tensor.Float32, Shape: []int{1 << 16}, Data: make([]byte, 1<<18)}
	w := tensor.NewWeight(tensor.WeightOptions{Shape: []int{1 << 12, 1 << 16}, DType: tensor.Float32,
		Parts: func(yield func(*tensor.Tensor) error) error {
			for range size / len(piece.Data) {
				if err := yield(piece); err != nil {
					return err
				}
			}
			return nil
		}})
	weights := []Weight{{"w", tensor.Float32, w}}
	m := &ModelProto{Graph: &GraphProto{}}
	for name, write := range map[string]func(io.Writer) error{
		"inline": func(to io.Writer) error { return Write(to, m, weights, WriteOptions{}) },
		"external": func(to io.Writer) error {
			_, err := WriteData(to, m, weights, DataOptions{})
			return err
		},
	} {
		runtime.GC()
		to := &heapWatcher{start: heap()}
		if err := write(to); err != nil {
			t.Fatal(err)
		}
		if to.written < size || to.peak > limit {
			t.Errorf("%s: %d bytes written with %d bytes more on the heap, want %d and at most %d", name, to.written, to.peak, size,
				limit)
		}
	}
}

// heapWatcher discards what is written and notes how large the heap was meanwhile.
type heapWatcher struct{ start, peak, written int64 }

func (h *heapWatcher) Write(data []byte) (int, error) {
	if h.written += int64(len(data)); h.written>>22 != (h.written-int64(len(data)))>>22 {
		h.peak = max(h.peak, heap()-h.start)
	}
	return len(data), nil
}

func heap() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
