package main

import (
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
	for name, data := range map[string][]byte{
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
		"an npz for one input": {[]string{"-i", "x=" + at("all.npz")}, "holds several arrays"},
		"words":                {[]string{"--inputs", model}, "conv2d.onnx"},
	} {
		code, _, messages := invoke(t.Context(), append([]string{"run", model, "--engine", "native"}, test.args...)...)
		if (code != exitInput && code != exitUsage) || !strings.Contains(messages, test.want) {
			t.Errorf("%s: exit code %d, messages %q, want %q", name, code, messages, test.want)
		}
	}
}

// Outputs whose names become one file name are refused before anything is written.
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
