package onnxgraph

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// scaled is y = x * w + w with a float32 and an int64 initialiser of 1000 elements in a data file: w and the indices that
// Gather takes.
func scaled(t *testing.T, dir string) (inline, external *onnxpb.ModelProto) {
	t.Helper()
	const n = 1000
	w, index := tensor.Array{Shape: []int{n}, Data: make([]float64, n)}, make([]int64, n)
	for i := range w.Data {
		w.Data[i], index[i] = math.Sin(float64(i)), int64(n-1-i)
	}
	indices, err := tensor.FromInt64s([]int{n}, index)
	if err != nil {
		t.Fatal(err)
	}
	m := graphModel(18, nil, infos{onnxpb.ValueInfo("y", tensor.Float32, onnxpb.Fixed(n))},
		onnxpb.Node("Mul", []string{"x", "w"}, []string{"p"}), onnxpb.Node("Add", []string{"p", "w"}, []string{"s"}),
		onnxpb.Node("Gather", []string{"s", "i"}, []string{"y"}))
	m.Graph.Input = infos{onnxpb.ValueInfo("x", tensor.Float32, onnxpb.Fixed(n))}
	weights := []onnxpb.Weight{{Name: "w", DType: tensor.Float32, Value: tensor.Hold(w)},
		{Name: "i", DType: tensor.Int64, Value: tensor.NewWeight(tensor.WeightOptions{Shape: []int{n}, DType: tensor.Int64,
			Parts: func(yield func(*tensor.Tensor) error) error { return yield(indices) }})}}
	var data, whole bytes.Buffer
	written, err := onnxpb.WriteData(&data, m, weights, onnxpb.DataOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "m.data"), data.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := onnxpb.Write(&whole, m, weights, onnxpb.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if inline, err = onnxpb.Decode(whole.Bytes()); err != nil {
		t.Fatal(err)
	}
	return inline, written.Model(m, "m.data", onnxpb.WriteOptions{})
}

func TestExternal_sameAsInline(t *testing.T) {
	dir := t.TempDir()
	inline, external := scaled(t, dir)
	x := map[string]*tensor.Tensor{"x": floats(t, []int{1000}, make([]float64, 1000)...)}
	for i := range 1000 {
		x["x"].Data[4*i+3] = byte(60 + i%4)
	}
	var results [2]map[string]*tensor.Tensor
	for i, m := range []*onnxpb.ModelProto{inline, external} {
		data, err := onnxpb.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		model, err := Decode(data, Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if results[i], err = model.Run(context.Background(), x, RunOptions{Outputs: []string{"y", "w", "i"}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range results[0] {
		if got := results[1][name]; got.String() != want.String() || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s: %s differs from the inline model's %s", name, got, want)
		}
	}
}

// What is wrong with external data shows when the model is decoded, and what happens to it later when it is run.
func TestExternal_refused(t *testing.T) {
	dir := t.TempDir()
	_, m := scaled(t, dir)
	var e *Error
	if _, err := New(m, Options{}); !errors.As(err, &e) || !strings.Contains(err.Error(), "graph.initializer[0]: tensor \"w\": the data is in another file") {
		t.Errorf("without a folder: error %v", err)
	}
	model, err := New(m, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	x := map[string]*tensor.Tensor{"x": floats(t, []int{1000}, make([]float64, 1000)...)}
	if _, err := model.Run(context.Background(), x, RunOptions{MaxElements: 999}); !errors.As(err, &e) ||
		!strings.Contains(err.Error(), "an initialiser of shape (1000) takes 1000 elements with 0 alive, want at most 999") {
		t.Errorf("more than Run may hold: error %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, "m.data"), 100); err != nil {
		t.Fatal(err)
	}
	for _, outputs := range [][]string{nil, {"w"}} {
		if _, err := model.Run(context.Background(), x, RunOptions{Outputs: outputs}); !errors.As(err, &e) ||
			!strings.Contains(err.Error(), "has 100 bytes, want offset 0 + length 4000 within them") {
			t.Errorf("a file that was cut off: error %v", err)
		}
	}
	if _, err := New(m, Options{Dir: dir}); !errors.As(err, &e) || !strings.Contains(err.Error(), "has 100 bytes") {
		t.Errorf("decoding again: error %v", err)
	}
	m.Graph.Input = append(m.Graph.Input, onnxpb.ValueInfo("w", tensor.Float32, onnxpb.Fixed(5)))
	scaled(t, dir)
	if _, err := New(m, Options{Dir: dir}); !errors.As(err, &e) || !strings.Contains(err.Error(), `initializer "w": has shape (1000), want (5)`) {
		t.Errorf("another shape than the input of that name: error %v", err)
	}
}

// External data may hide in attributes, where this engine has no use for it: it is refused there, and not opened.
func TestExternal_onlyInitialisers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w"), make([]byte, 8), 0o644); err != nil {
		t.Fatal(err)
	}
	outside := &onnxpb.TensorProto{DataType: 1, Dims: []int64{2}, DataLocation: onnxpb.TensorProto_EXTERNAL,
		ExternalData: []*onnxpb.StringStringEntryProto{{Key: "location", Value: "w"}}}
	constant := onnxpb.Node("Constant", nil, []string{"y"},
		&onnxpb.AttributeProto{Name: "value", Type: onnxpb.AttributeProto_TENSOR, T: outside})
	m := graphModel(18, nil, infos{anyShape("y", tensor.Float32)}, constant)
	if _, err := New(m, Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "the data is in another file") {
		t.Errorf("in a Constant: error %v", err)
	}
	m.Graph.SparseInitializer = []*onnxpb.SparseTensorProto{{Values: outside}}
	if _, err := New(m, Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "sparse tensors are not supported") {
		t.Errorf("in a sparse initialiser: error %v", err)
	}
}

// A model whose data takes gigabytes is decoded without reading any of it.
func TestExternal_decodeIsLazy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.data")
	if err := errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 4<<30)); err != nil {
		t.Skip("no sparse files here:", err)
	}
	m := graphModel(18, nil, infos{anyShape("y", tensor.Float32)}, onnxpb.Node("Shape", []string{"w"}, []string{"y"}))
	m.Graph.Initializer = []*onnxpb.TensorProto{{Name: "w", DataType: 1, Dims: []int64{1 << 30},
		DataLocation: onnxpb.TensorProto_EXTERNAL, ExternalData: []*onnxpb.StringStringEntryProto{{Key: "location", Value: "m.data"}}}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	model, err := New(m, Options{Dir: dir})
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; err != nil || took > 4<<20 {
		t.Fatalf("allocated %d bytes, error %v", took, err)
	}
	if _, err := model.Run(context.Background(), nil, RunOptions{}); err == nil || !strings.Contains(err.Error(), "takes 1073741824 elements") {
		t.Errorf("running it: error %v, want the budget's", err)
	}
}

// Initialisers can be looked at without a run; what is none has neither elements nor a shape.
func TestModel_constant(t *testing.T) {
	m := decode(t, base(t))
	got, err := m.Constant("w")
	if err != nil || got == nil || got.At(0) != 1 || !tensor.SameShape(m.ConstantShape("w"), []int{1}) {
		t.Errorf("w is %v of shape %v, error %v", got, m.ConstantShape("w"), err)
	}
	if none, err := m.Constant("x"); none != nil || err != nil || m.ConstantShape("x") != nil {
		t.Errorf("an input is the constant %v of shape %v, error %v", none, m.ConstantShape("x"), err)
	}
}
