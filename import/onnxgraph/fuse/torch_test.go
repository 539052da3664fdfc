package fuse

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Models that PyTorch 1.13 exported, and what must be found in them. The truth is PyTorch's, in float64.
func TestTorchModels(t *testing.T) {
	dir := goldentest.Shared(t, "onnx")
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Models []struct {
			ID, Model, Input, Output string
			FusesTo                  string `json:"fuses_to"`
			Count                    int
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
			m, err := onnxgraph.Decode(data, onnxgraph.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var inputs []*tensor.Tensor
			for _, c := range entry.Cases {
				inputs = append(inputs, readNPY(t, filepath.Join(dir, c.X)))
			}
			o := Options{Probes: [probes]Inputs{{entry.Input: inputs[0]}, {entry.Input: inputs[len(inputs)-1]}}}
			r, err := Fuse(context.Background(), m, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Fusions) != entry.Count || len(r.Misses) > 0 {
				t.Fatalf("fused %+v, missed %+v, want %d %s", r.Fusions, r.Misses, entry.Count, entry.FusesTo)
			}
			for _, f := range r.Fusions {
				if f.Op != entry.FusesTo {
					t.Errorf("%s is %s, want %s", f.Output, f.Op, entry.FusesTo)
				}
			}
			fused := again(t, r.Model)
			for i, c := range entry.Cases {
				got := runWide(t, fused, Inputs{entry.Input: inputs[i]})[entry.Output]
				want := readNPY(t, filepath.Join(dir, c.Y64))
				if d := farthestOf(got.Float64s(), want.Float64s()); !(d <= 1e-6) { // W is rounded to float32 again
					t.Errorf("%s: differs by %g", c.X, d)
				}
			}
		})
	}
}

// again reads a model back from its bytes, as a user of the file would.
func again(t *testing.T, m *onnxpb.ModelProto) *onnxgraph.Model {
	t.Helper()
	data, err := onnxpb.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := onnxgraph.Decode(data, onnxgraph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func runWide(t *testing.T, m *onnxgraph.Model, in Inputs) Inputs {
	t.Helper()
	out, err := m.Run(context.Background(), in, onnxgraph.RunOptions{Wide: true})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// farthestOf is the largest distance of two elements, relative to the largest element.
func farthestOf(got, want []float64) float64 {
	d, scale := 0.0, 0.0
	if len(got) != len(want) {
		return math.Inf(1)
	}
	for i := range got {
		d, scale = max(d, math.Abs(got[i]-want[i])), max(scale, math.Abs(want[i]))
	}
	return d / max(scale, 1e-300)
}

func readNPY(t *testing.T, path string) *tensor.Tensor {
	t.Helper()
	x, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
