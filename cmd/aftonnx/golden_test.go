package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// layerCase is a checkpoint with an input and the answer to it, computed by others in float64.
type layerCase struct {
	id           string
	checkpoint   string
	flags        []string
	x, y         *tensor.Tensor // (batch, sequence, dim)
	tolerance    float64
	portableOwes bool // keys of ordinary size: function bodies owe the tolerance
	engines      []string
}

// check exports the checkpoint, verified, and runs the model on every engine.
func (c *layerCase) check(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	model, x := filepath.Join(dir, "model.onnx"), filepath.Join(dir, "x.npy")
	write(t, x, npy.Encode(c.x))
	args := append([]string{"export", c.checkpoint, "-o", model, "--threads", "1", "--engine", strings.Join(c.engines, ",")}, c.flags...)
	if code, out, messages := invoke(t.Context(), args...); code != 0 {
		t.Fatalf("export: exit code %d\n%s%s", code, out, messages)
	}
	for _, engine := range c.engines {
		out := filepath.Join(dir, engine)
		code, _, messages := invoke(t.Context(), "run", model, "--engine", engine, "--threads", "1", "-i", "x="+x, "--output-dir", out)
		if code != 0 {
			t.Fatalf("run: exit code %d: %s", code, messages)
		}
		y, err := npy.ReadFile(filepath.Join(out, "y.npy"))
		if err != nil {
			t.Fatal(err)
		}
		off := 0.0
		for i := range c.y.Len() {
			d := math.Abs(y.At(i) - c.y.At(i))
			if math.IsNaN(d) {
				d = math.Inf(1)
			}
			off = max(off, d)
		}
		if engine == "portable" && !c.portableOwes {
			continue // export has verified that the numbers are finite
		}
		if off > c.tolerance {
			t.Errorf("%s: off by %.2g, allowed %.2g", engine, off, c.tolerance)
		}
	}
}

// engines are what this build and machine have.
func engines(t *testing.T) []string {
	t.Helper()
	if findRuntime(t) == "" {
		return []string{"native"}
	}
	return []string{"kernel", "portable", "native"}
}

func readNPY(t *testing.T, path string) *tensor.Tensor {
	t.Helper()
	v, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// From the command line to the numbers: every golden layer of the repository (testdata/README.md).
func TestGoldenLayers(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "golden")
	var manifest struct {
		Layers []struct {
			ID, Checkpoint, X, Y64 string
			Flags                  []string
			Tolerance              float64
		}
	}
	readJSON(t, filepath.Join(dir, "manifest.json"), &manifest)
	if len(manifest.Layers) < 20 {
		t.Fatalf("%d layers in the manifest, want at least 20", len(manifest.Layers))
	}
	available := engines(t)
	for _, l := range manifest.Layers {
		t.Run(l.ID, func(t *testing.T) {
			c := layerCase{
				id: l.ID, checkpoint: filepath.Join(dir, l.Checkpoint), flags: l.Flags, tolerance: l.Tolerance,
				x: readNPY(t, filepath.Join(dir, l.X)), y: readNPY(t, filepath.Join(dir, l.Y64)), portableOwes: true, engines: available,
			}
			c.check(t)
		})
	}
}

// sharedCase is an entry of the manifest of the cases beside the checkout.
type sharedCase struct {
	ID, Group, Variant, Layout string
	Tolerance                  float64
	Params                     struct {
		Causal bool
		Window int
		Grid   []int
		KeyStd float64 `json:"key_std"`
	}
	Files struct{ Checkpoint, X, Y64 string }
}

// flags are what a user has to add, who knows how the layer was built.
func (c *sharedCase) flags() []string {
	causal := fmt.Sprintf("--causal=%v", c.Params.Causal)
	dialect, _, _ := strings.Cut(c.ID, "-")
	switch {
	case dialect == "labml":
		return []string{causal}
	case c.Variant == "local":
		return []string{"--variant", "local", "--window", fmt.Sprint(c.Params.Window), causal}
	case dialect == "nid" && c.Variant == "full":
		return []string{"--variant", "full"}
	case c.Variant == "conv" && len(c.Params.Grid) == 2:
		return []string{"--grid", fmt.Sprintf("%d,%d", c.Params.Grid[0], c.Params.Grid[1])}
	}
	return nil
}

// The layers of public implementations beside the checkout, where there are any.
func TestSharedLayers(t *testing.T) {
	golden := filepath.Join("..", "..", "..", "shared", "golden")
	if _, err := os.Stat(golden); err != nil {
		t.Skip("no shared/golden beside the checkout")
	}
	var manifest struct{ Cases []sharedCase }
	readJSON(t, filepath.Join(golden, "manifest.json"), &manifest)
	available := engines(t)
	count := 0
	for _, s := range manifest.Cases {
		if s.Group != "thirdparty" || !slices.Contains([]string{"full", "simple", "local", "conv"}, s.Variant) {
			continue
		}
		count++
		t.Run(s.ID, func(t *testing.T) {
			c := layerCase{
				id: s.ID, checkpoint: filepath.Join(golden, s.Files.Checkpoint), flags: s.flags(), tolerance: s.Tolerance,
				x: readNPY(t, filepath.Join(golden, s.Files.X)), y: readNPY(t, filepath.Join(golden, s.Files.Y64)),
				portableOwes: s.Params.KeyStd == 0, engines: available,
			}
			if s.Layout == "TBD" {
				c.x, c.y = swapAxes(c.x), swapAxes(c.y)
			}
			c.check(t)
		})
	}
	if count == 0 {
		t.Error("the manifest has no layers")
	}
}

// swapAxes exchanges the first two axes.
func swapAxes(a *tensor.Tensor) *tensor.Tensor {
	n, m, row := a.Shape[0], a.Shape[1], a.Shape[2]*a.DType.Size()
	out := &tensor.Tensor{DType: a.DType, Shape: []int{m, n, a.Shape[2]}, Data: make([]byte, len(a.Data))}
	for i := range n {
		for j := range m {
			copy(out.Data[(j*n+i)*row:(j*n+i+1)*row], a.Data[(i*m+j)*row:(i*m+j+1)*row])
		}
	}
	return out
}
