//go:build cgo

package ort_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/modelfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
)

// weighted is y = AFTSimple(x, x, x * w) with a function body, w (4,1024), 16 KiB of float32.
func weighted(t *testing.T) (*onnxpb.ModelProto, []onnxpb.Weight) {
	t.Helper()
	def, _ := ops.Lookup("AFTSimple")
	attrs := ops.Attrs{"causal": {0}, "gate": {ops.GateAbsent}}
	dims := []any{1, 4, 1024}
	aft := aftNode("AFTSimple", []string{"x", "x", "v"}, intAttr("causal", 0), intAttr("gate", ops.GateAbsent))
	m := model([]port{{"x", tensor.Float32, dims}}, []port{{"y", tensor.Float32, dims}}, node("Mul", []string{"x", "w"}, "v"), aft)
	body, err := def.Function(ops.BodySpec{Opset: 17, DType: tensor.Float32, Attrs: attrs})
	if err != nil {
		t.Fatal(err)
	}
	m.Functions = []*onnxpb.FunctionProto{body}
	w := tensor.Array{Shape: []int{4, 1024}, Data: make([]float64, 4096)}
	for i := range w.Data {
		w.Data[i] = math.Sin(float64(i)) * 3
	}
	return m, []onnxpb.Weight{{Name: "w", DType: tensor.Float32, Value: tensor.Hold(w)}}
}

func store(t *testing.T, path string, placement modelfile.Placement) string {
	t.Helper()
	m, weights := weighted(t)
	if placement == modelfile.Reuse {
		weights[0].Value = placed(t, weights[0].Value, filepath.Join(filepath.Dir(path), "weights", "w.bin"))
	}
	f, err := modelfile.Stage(path, m, weights, modelfile.Options{Placement: placement})
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Data
}

// placed puts a float32 weight into a file, at an offset that no page begins at, as a checkpoint has them.
func placed(t *testing.T, w tensor.Weight, path string) tensor.Weight {
	t.Helper()
	a, err := w.Array()
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.Tensor(tensor.Float32)
	if err != nil {
		t.Fatal(err)
	}
	const offset = 4096 + 8
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, append(make([]byte, offset), v.Data...), 0o644)); err != nil {
		t.Fatal(err)
	}
	return tensor.NewWeight(tensor.WeightOptions{Shape: a.Shape, DType: tensor.Float32,
		Origin: &tensor.Origin{Path: path, Offset: offset},
		Parts:  func(yield func(*tensor.Tensor) error) error { return yield(v) }})
}

// A model gives the same bits whether its weights are in it, beside it or in the file they were read from, and whether it
// is loaded by its path or from memory.
func TestLoad_externalData(t *testing.T) {
	rt := open(t)
	dir := t.TempDir()
	inline, external, reused := filepath.Join(dir, "inline.onnx"), filepath.Join(dir, "external.onnx"), filepath.Join(dir, "reused.onnx")
	store(t, inline, modelfile.Never)
	if name := store(t, reused, modelfile.Reuse); name != "" {
		t.Fatalf("nothing was left to write, and there is %q", name)
	}
	if store(t, external, modelfile.Always) == "" {
		t.Fatal("there is no data file")
	}
	data, err := os.ReadFile(external)
	if err != nil {
		t.Fatal(err)
	}
	x := map[string]*ort.Tensor{"x": ramp(t, tensor.Float32, 0.5, 1, 4, 1024)}
	for _, o := range []ort.SessionOptions{{}, {NoKernels: true}} {
		var want []byte
		for _, load := range []func() (*ort.Session, error){
			func() (*ort.Session, error) { return rt.Load(inline, o) },
			func() (*ort.Session, error) { return rt.Load(external, o) },
			func() (*ort.Session, error) { return rt.Load(reused, o) },
			func() (*ort.Session, error) {
				return rt.LoadBytes(data, ort.SessionOptions{NoKernels: o.NoKernels, Dir: dir})
			},
		} {
			s, err := load()
			if err != nil {
				t.Fatal(err)
			}
			calls := kernelCalls()
			y := run(t, s, x)["y"].Data
			if ran := kernelCalls() > calls; ran == o.NoKernels {
				t.Errorf("no kernels %t: a kernel ran: %t", o.NoKernels, ran)
			}
			if want == nil {
				want = y
			}
			if !bytes.Equal(y, want) {
				t.Errorf("no kernels %t: other bits than with the weights in the model", o.NoKernels)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func kernelCalls() uint64 {
	n := uint64(0)
	for _, calls := range ort.KernelCalls() {
		n += calls
	}
	return n
}

// A data file that is not as the model says is an error that names it, and one that lies in the current directory by chance
// is not taken for it.
func TestLoad_externalDataRefused(t *testing.T) {
	rt := open(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	name := store(t, path, modelfile.Always)
	model, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	refused := func(what string, s *ort.Session, err error, want string) {
		t.Helper()
		var e *ort.ModelError
		if err == nil {
			s.Close()
		}
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v is no *ModelError that says %q", what, err, want)
		}
	}
	s, err := rt.LoadBytes(model, ort.SessionOptions{})
	refused("no folder", s, err, "no folder to find it in was given")
	s, err = rt.LoadBytes(model, ort.SessionOptions{Dir: t.TempDir()})
	refused("another folder", s, err, name)
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	s, err = rt.Load(path, ort.SessionOptions{})
	refused("cut off", s, err, "w")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	s, err = rt.Load(path, ort.SessionOptions{})
	refused("missing", s, err, name)
}
