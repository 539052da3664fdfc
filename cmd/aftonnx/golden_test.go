package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ops/optest"
)

// layerCase is a checkpoint of a layer with an input and the truth, and the flags that its names do not say.
type layerCase struct {
	ID         string   `json:"id"`
	Checkpoint string   `json:"checkpoint"`
	Flags      []string `json:"flags"`
	X          string   `json:"x"`
	Y          string   `json:"y64"`
	Tolerance  float64  `json:"tolerance"`
	swapped    bool     // x and y are (T,B,D)
	wide       bool     // a portable body need only be finite
}

// TestLayers brings every checkpoint of testdata/golden from the file through the command line: export, then run on each
// engine. The truth was computed in float64 from the same weights by testdata/make_layers.py.
func TestLayers(t *testing.T) {
	path := optest.Find("testdata/golden/manifest.json")
	if path == "" {
		t.Fatal("testdata/golden/manifest.json not found")
	}
	var manifest struct {
		Layers []layerCase `json:"layers"`
	}
	readManifest(t, path, &manifest)
	if len(manifest.Layers) == 0 {
		t.Fatal("no layers")
	}
	for _, c := range manifest.Layers {
		t.Run(c.ID, func(t *testing.T) { c.run(t, filepath.Dir(path)) })
	}
}

// TestThirdPartyLayers does the same for the checkpoints of six public implementations, where they are at hand.
func TestThirdPartyLayers(t *testing.T) {
	path := optest.Find("shared/golden/manifest.json")
	if path == "" {
		t.Skip("no shared/golden beside the checkout")
	}
	var manifest struct {
		Cases []thirdPartyCase `json:"cases"`
	}
	readManifest(t, path, &manifest)
	for _, c := range manifest.Cases {
		if c.Group == "thirdparty" && !strings.Contains(c.Variant, "model") {
			t.Run(c.ID, func(t *testing.T) {
				layer := c.layer()
				layer.run(t, filepath.Dir(path))
			})
		}
	}
}

type thirdPartyCase struct {
	ID, Group, Variant, Layout string
	Needs                      []string
	Tolerance                  float64
	Params                     struct {
		Causal bool
		Window int
		Grid   []int
	}
	Files struct{ Checkpoint, X, Y64 string }
}

// layer adds the flags that follow from how the layer was built and that its names do not say.
func (c *thirdPartyCase) layer() layerCase {
	l := layerCase{ID: c.ID, Checkpoint: c.Files.Checkpoint, X: c.Files.X, Y: c.Files.Y64, Tolerance: c.Tolerance,
		swapped: c.Layout == "TBD", wide: slices.Contains(c.Needs, "row-max")}
	causal := "--causal=" + strconv.FormatBool(c.Params.Causal)
	dialect, _, _ := strings.Cut(c.ID, "-")
	switch {
	case dialect == "labml":
		l.Flags = []string{causal}
	case c.Variant == "local":
		l.Flags = []string{"--variant", "local", "--window", strconv.Itoa(c.Params.Window), causal}
	case dialect == "nid" && c.Variant == "full":
		l.Flags = []string{"--variant", "full"}
	case len(c.Params.Grid) == 2:
		l.Flags = []string{"--grid", strconv.Itoa(c.Params.Grid[0]) + "," + strconv.Itoa(c.Params.Grid[1])}
	}
	return l
}

func (c *layerCase) run(t *testing.T, golden string) {
	dir := t.TempDir()
	model := filepath.Join(dir, "model.onnx")
	engines := []string{"kernel", "portable", "native"}
	args := append([]string{"export", filepath.Join(golden, c.Checkpoint), "-o", model}, c.Flags...)
	if kernel.Available() != nil {
		engines, args = engines[2:], append(args, "--verify", "off")
	}
	mustRun(t, args...)
	x, want := readFloat(t, filepath.Join(golden, c.X)), readFloat(t, filepath.Join(golden, c.Y))
	if c.swapped {
		x, want = swap(x), swap(want)
	}
	input := filepath.Join(dir, "x.npy")
	stored, err := x.Tensor(tensor.Float32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(input, npy.Encode(stored), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, engine := range engines {
		out := filepath.Join(dir, engine)
		mustRun(t, "run", model, "--input", "x="+input, "--output-dir", out, "--engine", engine)
		y, err := npy.ReadFile(filepath.Join(out, "y.npy"))
		if err != nil {
			t.Fatal(err)
		}
		diff, err := optest.Compare(y, want)
		if err != nil {
			t.Fatal(err)
		}
		if allowed := c.allowed(engine); diff.Max > allowed {
			t.Errorf("%s: y%v is %v, want %v: off by %.3g, allowed %.3g", engine, diff.Index, diff.Got, diff.Want, diff.Max, allowed)
		}
	}
}

// allowed is the case's tolerance. A body on data beyond its range need only be finite: any finite float32 passes.
func (c *layerCase) allowed(engine string) float64 {
	if engine == "portable" && c.wide {
		return 0x1p128
	}
	return c.Tolerance
}

func mustRun(t *testing.T, args ...string) {
	t.Helper()
	var out, messages bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &messages); code != 0 {
		t.Fatalf("aftonnx %s: exit %d\n%s%s", strings.Join(args, " "), code, out.String(), messages.String())
	}
}

func readManifest(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func readFloat(t *testing.T, path string) tensor.Array {
	t.Helper()
	x, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return x.Array()
}

// swap exchanges the first two axes: (T,B,D) and (B,T,D).
func swap(a tensor.Array) tensor.Array {
	n, m, d := a.Shape[0], a.Shape[1], a.Shape[2]
	out := tensor.Array{Shape: []int{m, n, d}, Data: make([]float64, len(a.Data))}
	for i, v := range a.Data {
		row := i / d
		out.Data[(row%m*n+row/m)*d+i%d] = v
	}
	return out
}
