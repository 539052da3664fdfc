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
	input        string // of the model; empty: x, and the output is y
	x, y         *tensor.Tensor
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
	input, output := "x", "y"
	if c.input != "" {
		input, output = c.input, "logits"
	}
	args := append([]string{"export", c.checkpoint, "-o", model, "--threads", "1", "--engine", strings.Join(c.engines, ",")}, c.flags...)
	if code, out, messages := invoke(t.Context(), args...); code != 0 {
		t.Fatalf("export: exit code %d\n%s%s", code, out, messages)
	}
	for _, engine := range c.engines {
		out := filepath.Join(dir, engine)
		code, _, messages := invoke(t.Context(), "run", model, "--engine", engine, "--threads", "1", "-i", input+"="+x, "--output-dir", out)
		if code != 0 {
			t.Fatalf("run: exit code %d: %s", code, messages)
		}
		y, err := npy.ReadFile(filepath.Join(out, output+".npy"))
		if err != nil {
			t.Fatal(err)
		}
		if !tensor.SameShape(y.Shape, c.y.Shape) {
			t.Fatalf("%s: gives %s, want shape %s", engine, y, tensor.FormatShape(c.y.Shape))
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

// The same for whole networks: tokens or pixels go in, logits come out.
func TestGoldenModels(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "golden")
	var manifest struct {
		Models []struct {
			ID, Checkpoint, Input, X, Y64 string
			Tolerance                     float64
		}
	}
	readJSON(t, filepath.Join(dir, "manifest.json"), &manifest)
	if len(manifest.Models) < 4 {
		t.Fatalf("%d models in the manifest, want at least 4", len(manifest.Models))
	}
	available := engines(t)
	for _, m := range manifest.Models {
		t.Run(m.ID, func(t *testing.T) {
			c := layerCase{
				id: m.ID, checkpoint: filepath.Join(dir, m.Checkpoint), tolerance: m.Tolerance, input: m.Input,
				x: readNPY(t, filepath.Join(dir, m.X)), y: readNPY(t, filepath.Join(dir, m.Y64)), portableOwes: true, engines: available,
			}
			c.check(t)
		})
	}
}

// padded puts so many tokens before every sequence, and makes the mask that takes them out again.
func padded(t *testing.T, tokens *tensor.Tensor, padding int) (ids, mask *tensor.Tensor) {
	t.Helper()
	batch, length := tokens.Shape[0], tokens.Shape[1]
	var id, real []int64
	for i := range batch {
		for range padding {
			id, real = append(id, 10), append(real, 0)
		}
		for at := range length {
			id, real = append(id, int64(tokens.At(i*length+at))), append(real, 1)
		}
	}
	ids, err := tensor.FromInt64s([]int{batch, padding + length}, id)
	if err != nil {
		t.Fatal(err)
	}
	if mask, err = tensor.FromInt64s(ids.Shape, real); err != nil {
		t.Fatal(err)
	}
	return ids, mask
}

// A model that takes attention_mask gives the positions of a padded sequence the answers of the sequence alone. The padding
// comes first, where a causal model would see it; the model has nothing that depends on where a sequence begins.
func TestGoldenModels_padded(t *testing.T) {
	const padding, tolerance = 3, 7.4e-6 // that of lm-simple in the manifest
	golden, dir := filepath.Join("..", "..", "testdata", "golden", "models"), t.TempDir()
	want := readNPY(t, filepath.Join(golden, "lm-simple.y64.npy"))
	ids, mask := padded(t, readNPY(t, filepath.Join(golden, "lm-simple.x.npy")), padding)
	write(t, filepath.Join(dir, "ids.npy"), npy.Encode(ids))
	write(t, filepath.Join(dir, "mask.npy"), npy.Encode(mask))
	model, available := filepath.Join(dir, "model.onnx"), engines(t)
	code, out, messages := invoke(t.Context(), "export", filepath.Join(golden, "lm-simple.pt"), "-o", model, "--attention-mask",
		"--threads", "1", "--engine", strings.Join(available, ","))
	if code != 0 {
		t.Fatalf("export: exit code %d\n%s%s", code, out, messages)
	}
	for _, engine := range available {
		to := filepath.Join(dir, engine)
		code, _, messages := invoke(t.Context(), "run", model, "--engine", engine, "--threads", "1", "--output-dir", to,
			"-i", "input_ids="+filepath.Join(dir, "ids.npy"), "-i", "attention_mask="+filepath.Join(dir, "mask.npy"))
		if code != 0 {
			t.Fatalf("run: exit code %d: %s", code, messages)
		}
		y := readNPY(t, filepath.Join(to, "logits.npy"))
		if !tensor.SameShape(y.Shape, []int{want.Shape[0], padding + want.Shape[1], want.Shape[2]}) {
			t.Fatalf("%s: gives %s", engine, y)
		}
		entry := want.Shape[1] * want.Shape[2]
		for i := range want.Len() {
			got := y.At(i + (1+i/entry)*padding*want.Shape[2])
			if !(math.Abs(got-want.At(i)) <= tolerance) {
				t.Fatalf("%s: logit %v is %v, want %v", engine, tensor.Unravel(i, want.Shape), got, want.At(i))
			}
		}
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
	case c.Variant == "model-lm":
		return []string{"--window", fmt.Sprint(c.Params.Window), causal}
	case c.Variant == "conv" && len(c.Params.Grid) == 2:
		return []string{"--grid", fmt.Sprintf("%d,%d", c.Params.Grid[0], c.Params.Grid[1])}
	}
	return nil
}

// input is what a whole model takes, "" for a layer.
func (c *sharedCase) input() string {
	return map[string]string{"model-lm": "input_ids", "model-image": "pixel_values"}[c.Variant]
}

// The layers and whole models of public implementations beside the checkout, where there are any.
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
		if s.Group != "thirdparty" || s.input() == "" && !slices.Contains([]string{"full", "simple", "local", "conv"}, s.Variant) {
			continue
		}
		count++
		t.Run(s.ID, func(t *testing.T) {
			c := layerCase{
				id: s.ID, checkpoint: filepath.Join(golden, s.Files.Checkpoint), flags: s.flags(), tolerance: s.Tolerance,
				x: readNPY(t, filepath.Join(golden, s.Files.X)), y: readNPY(t, filepath.Join(golden, s.Files.Y64)),
				portableOwes: s.Params.KeyStd == 0, engines: available, input: s.input(),
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
