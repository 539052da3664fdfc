package importer_test

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

func ptr[T any](v T) *T { return &v }

// readArray reads an .npy file as float64.
func readArray(t *testing.T, path string) tensor.Array {
	t.Helper()
	a, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return a.Array()
}

// swap exchanges the first two axes: (T,B,D) and (B,T,D).
func swap(a tensor.Array) tensor.Array {
	n, m, d := a.Shape[0], a.Shape[1], a.Shape[2]
	out := tensor.Array{Shape: []int{m, n, d}, Data: make([]float64, len(a.Data))}
	for i := range n {
		for j := range m {
			copy(out.Data[(j*n+i)*d:(j*n+i+1)*d], a.Data[(i*m+j)*d:(i*m+j+1)*d])
		}
	}
	return out
}

// distance is the largest difference, +Inf where shapes differ or a value is NaN.
func distance(a, b tensor.Array) float64 {
	if !tensor.SameShape(a.Shape, b.Shape) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range a.Data {
		d := math.Abs(a.Data[i] - b.Data[i])
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

type thirdParty struct {
	ID, Group, Variant, Layout string
	Params                     struct {
		Causal bool
		Window int
		Grid   []int
	}
	Files   struct{ Checkpoint, X, Y64 string }
	Layer   *struct{}                         // of a formats case: what its checkpoint computes is known
	Tensors map[string]struct{ DType string } // of a formats case
}

// options are what the command line has to add, which follows from how the layer was built.
func (c *thirdParty) options() importer.Options {
	var o importer.Options
	dialect, _, _ := strings.Cut(c.ID, "-")
	switch {
	case dialect == "labml":
		o.Causal = &c.Params.Causal
	case c.Variant == "local":
		o.Variant, o.Window = "local", c.Params.Window
		o.Causal = &c.Params.Causal
	case dialect == "nid" && c.Variant == "full":
		o.Variant = "full"
	case c.Variant == "conv" && len(c.Params.Grid) == 2:
		o.Grid = [2]int(c.Params.Grid)
	}
	return o
}

// TestThirdParty runs the layers of six public implementations (shared/golden, groups thirdparty and formats): what the
// reference computes from the imported checkpoint is the truth that was computed from the same weights elsewhere.
func TestThirdParty(t *testing.T) {
	golden := goldentest.Shared(t, "golden")
	var manifest struct{ Cases []thirdParty }
	goldentest.MustReadJSON(t, filepath.Join(golden, "manifest.json"), &manifest)
	count := 0
	for _, c := range manifest.Cases {
		isLayer := c.Group == "thirdparty" && !strings.Contains(c.Variant, "model")
		if !isLayer && (c.Group != "formats" || c.Layer == nil) {
			continue
		}
		count++
		t.Run(c.ID, func(t *testing.T) {
			m, _, err := importer.Load(filepath.Join(golden, c.Files.Checkpoint), c.options())
			if err != nil {
				t.Fatal(err)
			}
			x, want := readArray(t, filepath.Join(golden, c.Files.X)), readArray(t, filepath.Join(golden, c.Files.Y64))
			if c.Layout == "TBD" {
				x, want = swap(x), swap(want)
			}
			y, err := m.Forward(reference.Inputs{X: x})
			if err != nil {
				t.Fatal(err)
			}
			// Both sides compute in float64: nothing of the cases' tolerance for floats is needed.
			if d := distance(y, want); d > 1e-10 {
				t.Errorf("off by %g, want at most 1e-10", d)
			}
		})
	}
	if count < 49 {
		t.Errorf("found %d layers, want at least 49", count)
	}
}

// TestFormats loads every way to save one AFT-full layer, whatever the container and the types; what holds no AFT layer, or
// is damaged, is an error.
func TestFormats(t *testing.T) {
	golden := goldentest.Shared(t, "golden")
	var manifest struct{ Cases []thirdParty }
	goldentest.MustReadJSON(t, filepath.Join(golden, "manifest.json"), &manifest)
	for _, c := range manifest.Cases {
		if c.Group != "formats" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			m, src, err := importer.Load(filepath.Join(golden, c.Files.Checkpoint), importer.Options{})
			widest, isLayer := tensor.Invalid, false
			for name, info := range c.Tensors {
				if d, ok := tensor.ParseDType(info.DType); ok && d.Size() > widest.Size() {
					widest = d
				}
				isLayer = isLayer || strings.HasSuffix(name, "to_q.weight")
			}
			if !isLayer {
				wantBadFile(t, c.ID, err, filepath.Base(c.Files.Checkpoint))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l := m.Blocks[0]; len(m.Blocks) != 1 || l.Variant != reference.Full || l.MaxLen() != 8 || l.Out == nil {
				t.Errorf("got %d layers, the first %s of length %d; want one, full, 8", len(m.Blocks), l.Variant, l.MaxLen())
			}
			if src.DType != widest {
				t.Errorf("widest type %s, want %s", src.DType, widest)
			}
		})
	}
}

// TestWholeModels runs the whole models of shared/golden: what the reference computes from the imported checkpoint is the
// truth that was computed from the same weights elsewhere.
func TestWholeModels(t *testing.T) {
	golden := goldentest.Shared(t, "golden")
	causal := true
	for _, c := range []struct {
		checkpoint string
		options    importer.Options
		blocks     int
	}{
		{"su-lm-local/lm.pt", importer.Options{Window: 5, Causal: &causal}, 2},
		{"su-image-conv/classifier.pth", importer.Options{}, 2},
	} {
		t.Run(c.checkpoint, func(t *testing.T) {
			path := filepath.Join(golden, "thirdparty", c.checkpoint)
			m, src, err := importer.Load(path, c.options)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			y, err := m.Forward(reference.Inputs{X: readArray(t, filepath.Join(filepath.Dir(path), "x.npy"))})
			if err != nil {
				t.Fatal(err)
			}
			// Both sides compute in float64; the truth has eps as 1e-5, ONNX and so we as the float32 next to it.
			if d := distance(y, readArray(t, filepath.Join(filepath.Dir(path), "y64.npy"))); d > 1e-9 {
				t.Errorf("off by %g, want at most 1e-9", d)
			}
			if len(m.Blocks) != c.blocks || m.Norm == nil || m.Head == nil || m.Blocks[1].MLP == nil || m.Tied {
				t.Errorf("got %d blocks, norm %v, head %v", len(m.Blocks), m.Norm, m.Head)
			}
		})
	}
	_, _, err := importer.Load(filepath.Join(golden, "thirdparty", "rwkv4-lm/rwkv4.pth"), importer.Options{})
	wantBadFile(t, "rwkv", err, "RWKV", "time_decay")
}

type goldenLayer struct {
	ID, Checkpoint, X, Y64 string
	Flags                  []string
}

// parseFlags reads the manifest's flags as the command line would.
func parseFlags(t *testing.T, flags []string) importer.Options {
	t.Helper()
	var o importer.Options
	for i := 0; i < len(flags); i++ {
		next := func() string { i++; return flags[i] }
		var err error
		switch flags[i] {
		case "--variant":
			o.Variant = next()
		case "--window":
			o.Window, err = strconv.Atoi(next())
		case "--causal":
			o.Causal = ptr(true)
		case "--causal=false":
			o.Causal = ptr(false)
		case "--grid":
			err = json.Unmarshal([]byte("["+next()+"]"), &o.Grid)
		default:
			t.Fatalf("flag %q", flags[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// TestGoldenLayers runs testdata/golden: the same ground with checkpoints of our own (testdata/README.md says how they were
// made), and the checkpoints of examples/train, which need no flags.
func TestGoldenLayers(t *testing.T) {
	golden := filepath.Join("..", "testdata", "golden")
	var manifest struct{ Layers []goldenLayer }
	goldentest.MustReadJSON(t, filepath.Join(golden, "manifest.json"), &manifest)
	if len(manifest.Layers) < 26 {
		t.Errorf("found %d layers, want at least 26", len(manifest.Layers))
	}
	for _, c := range manifest.Layers {
		t.Run(c.ID, func(t *testing.T) {
			m, src, err := importer.Load(filepath.Join(golden, c.Checkpoint), parseFlags(t, c.Flags))
			if err != nil {
				t.Fatal(err)
			}
			if src.Format != "pytorch-zip" {
				t.Errorf("format %q, want pytorch-zip", src.Format)
			}
			y, err := m.Forward(reference.Inputs{X: readArray(t, filepath.Join(golden, c.X))})
			if err != nil {
				t.Fatal(err)
			}
			if d := distance(y, readArray(t, filepath.Join(golden, c.Y64))); d > 1e-10 {
				t.Errorf("off by %g, want at most 1e-10", d)
			}
		})
	}
}

// TestGoldenModels runs the whole networks of testdata/golden: both sides compute in float64, and LayerNorm's eps is the
// float32 next to what the config says on both.
func TestGoldenModels(t *testing.T) {
	golden := filepath.Join("..", "testdata", "golden")
	var manifest struct {
		Models []struct{ ID, Checkpoint, Input, X, Y64 string }
	}
	goldentest.MustReadJSON(t, filepath.Join(golden, "manifest.json"), &manifest)
	if len(manifest.Models) < 4 {
		t.Errorf("found %d models, want at least 4", len(manifest.Models))
	}
	for _, c := range manifest.Models {
		t.Run(c.ID, func(t *testing.T) {
			m, src, err := importer.Load(filepath.Join(golden, c.Checkpoint), importer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if isText := c.Input == "input_ids"; isText != (m.Tokens != nil) || isText == (m.Patches != nil) || m.Tied != isText {
				t.Errorf("tokens %v, patches %v, tied %v: want what takes %s", m.Tokens, m.Patches, m.Tied, c.Input)
			}
			y, err := m.Forward(reference.Inputs{X: readArray(t, filepath.Join(golden, c.X))})
			if err != nil {
				t.Fatal(err)
			}
			want := readArray(t, filepath.Join(golden, c.Y64))
			if d, limit := distance(y, want), 1e-12*largest(want); d > limit {
				t.Errorf("off by %g, want at most %g", d, limit)
			}
		})
	}
}

// largest is the largest absolute value.
func largest(a tensor.Array) float64 {
	most := 0.0
	for _, v := range a.Data {
		most = max(most, math.Abs(v))
	}
	return most
}
