package verify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// goldenLayer is an entry of the manifest beside the golden layers.
type goldenLayer struct {
	ID         string   `json:"id"`
	Checkpoint string   `json:"checkpoint"`
	Flags      []string `json:"flags"`
	X          string   `json:"x"`
	Tolerance  float64  `json:"tolerance"`
}

// goldenLayers reads testdata/golden/manifest.json.
func goldenLayers(t *testing.T) (string, []goldenLayer) {
	t.Helper()
	dir := filepath.Join("..", "testdata", "golden")
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Layers []goldenLayer `json:"layers"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) == 0 {
		t.Fatal("the manifest has no layers")
	}
	return dir, manifest.Layers
}

// options turns a golden layer's command line flags into importer options.
func (g *goldenLayer) options(t *testing.T) importer.Options {
	t.Helper()
	var o importer.Options
	for i := 0; i < len(g.Flags); i++ {
		next := func() string { i++; return g.Flags[i] }
		number := func() int {
			n, err := strconv.Atoi(next())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		switch g.Flags[i] {
		case "--variant":
			o.Variant = next()
		case "--window":
			o.Window = number()
		case "--heads":
			o.Heads = number()
		case "--causal", "--causal=true":
			yes := true
			o.Causal = &yes
		case "--causal=false":
			no := false
			o.Causal = &no
		case "--grid":
			o.Grid = [2]int{}
			next()
		default:
			t.Fatalf("%s: unknown flag %q", g.ID, g.Flags[i])
		}
	}
	return o
}

// The derived tolerance of float32 is of the order of the golden one, which is 16 times the error of plain float32
// arithmetic in numpy (testdata/README.md): a tenth of that could not be met, ten times as much would let mistakes through.
func TestPropagate_goldenLayers(t *testing.T) {
	dir, layers := goldenLayers(t)
	for _, g := range layers {
		t.Run(g.ID, func(t *testing.T) {
			m, _, err := importer.Load(filepath.Join(dir, g.Checkpoint), g.options(t))
			if err != nil {
				t.Fatal(err)
			}
			x, err := npy.ReadFile(filepath.Join(dir, g.X))
			if err != nil {
				t.Fatal(err)
			}
			grid := divide(x.Shape[1])
			stages, err := propagate(m, reference.Inputs{X: x.Array(), Grid: grid}, noiseOf(rule{engine: Kernel, dtype: tensor.Float32}))
			if err != nil {
				t.Fatal(err)
			}
			last := stages[len(stages)-1]
			y, err := m.Forward(reference.Inputs{X: x.Array(), Grid: grid})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range y.Data {
				if got := last.value.Data[i]; excess(got, want, 1e-12*largestFinite(y.Data)) > 1 {
					t.Fatalf("element %d is %v, the reference says %v", i, got, want)
				}
			}
			derived := largestFinite(last.limit().tolerance)
			t.Logf("derived %.2e, golden %.2e: %.1f times", derived, g.Tolerance, derived/g.Tolerance)
			if ratio := derived / g.Tolerance; ratio < 0.1 || ratio > 10 {
				t.Errorf("derived tolerance %.2e is %.1f times the golden one, %.2e", derived, ratio, g.Tolerance)
			}
		})
	}
}
