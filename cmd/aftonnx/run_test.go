package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// exported puts testdata/NAME.bin as a model into a new folder.
func exported(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".onnx")
	code, _, messages := invoke(t.Context(), "export", filepath.Join("..", "..", "testdata", name+".bin"), "-o", path, "--verify", "off")
	if code != 0 {
		t.Fatalf("export: exit code %d: %s", code, messages)
	}
	return path
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The same inputs from .npy, .npz, a folder and test data sets, named and not, give the same output.
func TestRun_inputs(t *testing.T) {
	model := exported(t, "conv2d")
	x, err := tensor.FromFloat64s(tensor.Float32, []int{1, 6, 6}, make([]float64, 36))
	if err != nil {
		t.Fatal(err)
	}
	for i := range x.Data {
		x.Data[i] = byte(i * 37 % 64) // small positive numbers
	}
	grid, err := tensor.FromInt64s([]int{2}, []int64{2, 3})
	if err != nil {
		t.Fatal(err)
	}
	pb := func(name string, v *tensor.Tensor) []byte {
		data, err := proto.Marshal(onnxpb.TensorToProto(name, v))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	dir := t.TempDir()
	for _, sub := range []string{"folder", "unnamed", "named"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	npz, err := npy.EncodeNPZ(map[string]*tensor.Tensor{"x": x, "grid": grid})
	if err != nil {
		t.Fatal(err)
	}
	one, err := npy.EncodeNPZ(map[string]*tensor.Tensor{"array": x})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"one.npz": one, "zip": one,
		"x.npy": npy.Encode(x), "x.pb": pb("", x), "grid.npy": npy.Encode(grid), "all.npz": npz,
		"folder/x.npy": npy.Encode(x), "folder/grid.npy": npy.Encode(grid),
		"unnamed/input_0.pb": pb("", x), "unnamed/input_1.pb": pb("", grid), "unnamed/output_0.pb": pb("", x),
		"named/input_0.pb": pb("grid", grid), "named/input_1.pb": pb("x", x),
	} {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), data)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	var first []byte
	for name, args := range map[string][]string{
		"npy": {"-i", "x=" + at("x.npy"), "-i", "grid=" + at("grid.npy")}, "pb": {"-i", "x=" + at("x.pb"), "-i", "grid=" + at("grid.npy")},
		"npz": {"--inputs", at("all.npz")}, "folder": {"--inputs", at("folder")},
		"unnamed data set": {"--inputs", at("unnamed")}, "named data set": {"--inputs", at("named")},
		"an npz of one": {"-i", "x=" + at("one.npz"), "-i", "grid=2,3"}, "an npz by content": {"-i", "x=" + at("zip"), "--grid", "2x3"},
		"overridden": {"--inputs", at("unnamed"), "-i", "x=" + at("x.npy")},
	} {
		out := filepath.Join(t.TempDir(), "out")
		code, _, messages := invoke(t.Context(), append([]string{"run", model, "--engine", "native", "--output-dir", out}, args...)...)
		if code != 0 || strings.Contains(messages, "not given") {
			t.Fatalf("%s: exit code %d: %s", name, code, messages)
		}
		y, err := os.ReadFile(filepath.Join(out, "y.npy"))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = y
		}
		if string(y) != string(first) {
			t.Errorf("%s: another output", name)
		}
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"an empty folder":      {[]string{"--inputs", t.TempDir()}, "holds no inputs"},
		"twice":                {[]string{"-i", "x=" + at("x.npy"), "-i", "x=" + at("x.npy")}, "given twice"},
		"an npz for one input": {[]string{"-i", "x=" + at("all.npz")}, `holds 2 arrays ("grid", "x"), want one`},
		"words":                {[]string{"--inputs", model}, "conv2d.onnx"},
	} {
		code, _, messages := invoke(t.Context(), append([]string{"run", model, "--engine", "native"}, test.args...)...)
		if (code != exitInput && code != exitUsage) || !strings.Contains(messages, test.want) {
			t.Errorf("%s: exit code %d, messages %q, want %q", name, code, messages, test.want)
		}
	}
}

// Outputs whose names become one file name are refused before anything is written.
//
// Rule E12 of docs/hostile.md.
func TestWriteOutputs_collision(t *testing.T) {
	v, err := tensor.FromFloat64s(tensor.Float32, []int{1}, []float64{1})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	view := &runView{Outputs: []tensorView{{Name: "a/b"}, {Name: "a:b"}}}
	err = writeOutputs(map[string]*tensor.Tensor{"a/b": v, "a:b": v}, view, &runFlags{outputDir: dir})
	if err == nil || !strings.Contains(err.Error(), `outputs "a/b" and "a:b" would both be written to "a_b.npy"`) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
	// The second output cannot be written: the first one is not either.
	view = &runView{Outputs: []tensorView{{Name: "a"}, {Name: "b"}}}
	if err := os.MkdirAll(filepath.Join(dir, "b.npy"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeOutputs(map[string]*tensor.Tensor{"a": v, "b": v}, view, &runFlags{outputDir: dir, force: true}); err == nil {
		t.Error("wrote over a folder")
	}
	if _, err := os.Stat(filepath.Join(dir, "a.npy")); err == nil {
		t.Error("one of two outputs was written")
	}
}

// The numbers of what is not finite are null, and of what cannot be summed.
func TestViewTensor(t *testing.T) {
	inf, huge := math.Inf(1), math.MaxFloat64
	for name, test := range map[string]struct {
		values []float64
		want   string
	}{
		"numbers":   {[]float64{1, -3, inf}, `"min":-3,"max":1,"mean":-1,"non_finite":1`},
		"none":      {[]float64{inf, math.NaN()}, `"min":null,"max":null,"mean":null,"non_finite":2`},
		"empty":     {nil, `"min":null,"max":null,"mean":null,"non_finite":0`},
		"overflows": {[]float64{huge, huge}, `"mean":null,"non_finite":0`},
	} {
		v, err := tensor.FromFloat64s(tensor.Float64, []int{len(test.values)}, test.values)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(viewTensor("y", v))
		if err != nil || !strings.Contains(string(data), test.want) {
			t.Errorf("%s: %s (error %v), want %s", name, data, err, test.want)
		}
	}
}

// A model of somebody else whose sequence is fixed inside: the guess does not fit, and the advice is to give it.
func TestRun_foreign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign.onnx")
	w, err := tensor.FromFloat64s(tensor.Float32, []int{7, 4}, make([]float64, 28))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string) *onnxpb.ValueInfoProto {
		dims := []*onnxpb.TensorShapeProto_Dimension{
			{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "batch"}},
			{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "sequence"}},
			{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: 4}},
		}
		return &onnxpb.ValueInfoProto{Name: name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
			TensorType: &onnxpb.TypeProto_Tensor{ElemType: 1, Shape: &onnxpb.TensorShapeProto{Dim: dims}},
		}}}
	}
	data, err := onnxpb.Encode(&onnxpb.ModelProto{
		IrVersion: 8, OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: 17}},
		Graph: &onnxpb.GraphProto{
			Name: "g", Initializer: []*onnxpb.TensorProto{onnxpb.TensorToProto("w", w)},
			Input: []*onnxpb.ValueInfoProto{value("x")}, Output: []*onnxpb.ValueInfoProto{value("y")},
			Node: []*onnxpb.NodeProto{{OpType: "Add", Input: []string{"x", "w"}, Output: []string{"y"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, data)
	for _, engine := range engines(t) {
		code, _, messages := invoke(t.Context(), "run", path, "--engine", engine)
		if code != exitUsage || !strings.Contains(messages, "give --sequence N") {
			t.Errorf("%s: exit code %d: %s", engine, code, messages)
		}
		if code, _, messages := invoke(t.Context(), "run", path, "--engine", engine, "--sequence", "7"); code != 0 {
			t.Errorf("%s: exit code %d: %s", engine, code, messages)
		}
	}
}
