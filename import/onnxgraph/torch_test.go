package onnxgraph

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Models that PyTorch 1.13 exported, at opsets 13 and 17, with outputs computed by PyTorch in float64. The engine
// computes in float64 from the same float32 weights; the manifest's tolerance is for float32 engines.
func TestTorchModels(t *testing.T) {
	dir := goldentest.Shared(t, "onnx")
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Models []struct {
			ID, Model, Input, Output string
			Tolerance                float64
			Cases                    []struct{ X, Y64 string }
		}
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Models) == 0 {
		t.Fatal("the manifest lists no models")
	}
	for _, entry := range manifest.Models {
		t.Run(entry.ID, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, entry.Model))
			if err != nil {
				t.Fatal(err)
			}
			m, err := Decode(data, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range entry.Cases {
				x, want := readNPY(t, filepath.Join(dir, c.X)), readNPY(t, filepath.Join(dir, c.Y64))
				got := run(t, m, map[string]*tensor.Tensor{entry.Input: x}, RunOptions{Wide: true})[entry.Output]
				if !tensor.SameShape(got.Shape, want.Shape) {
					t.Fatalf("%s: shape %v, want %v", c.X, got.Shape, want.Shape)
				}
				d := worst(got.Float64s(), want.Float64s())
				if t.Logf("%s: differs by %.2g", c.X, d); d > entry.Tolerance {
					t.Errorf("%s: differs by %g, want at most %g", c.X, d, entry.Tolerance)
				}
			}
		})
	}
}

func readNPY(t *testing.T, path string) *tensor.Tensor {
	t.Helper()
	v, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
