package preset

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The numbers come from a second program, in Python: SHA-256 of name and seed, PCG-DXSM as its author describes it
// (O'Neill's pcg_engines), the rules in float64. They are the same on every machine: where a product and a sum were one
// instruction, the last of Scattered would end in 75.
func TestWeight_known(t *testing.T) {
	lm, conv := get(t, "enwik8-local-12x512"), get(t, "imagenet-conv-tiny-k11-h32")
	for _, c := range []struct {
		preset *Preset
		name   string
		seed   uint64
		init   Init
		want   []float64
	}{
		{&lm, "embed.weight", 0, Paper, []float64{-0.01717437744140625, -0.01468902587890625, 0.00204315185546875, 0.026753845214843752}},
		{&lm, "layers.11.u", 7, Paper, []float64{-0.053225708007812504, 0.08256683349609376, -0.0873504638671875, 0.13680419921875}},
		{&conv, "patch.weight", 0, Paper, []float64{0.018022549399908647, -0.02086397414905546, -0.010911754095704745, -0.012165965615289607}},
		{&conv, "layers.0.gamma", 7, Paper, []float64{0, 0, 0, 0}},
		{&conv, "norm.weight", 7, Paper, []float64{1, 1, 1, 1}},
		{&conv, "norm.weight", 7, Scattered, []float64{1.324560546875, 0.7064971923828125, 0.8916473388671875, 1.0844024658203124,
			0.7081512451171874}},
	} {
		a := find(t, c.preset, c.name).Weight(Options{Seed: c.seed, Init: c.init, DType: tensor.Float64})
		array, err := a.Array()
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			if got := array.Data[i]; got != want {
				t.Errorf("%s, seed %d: element %d is %v, want %v", c.name, c.seed, i, got, want)
			}
		}
	}
}

func find(t *testing.T, p *Preset, name string) *Tensor {
	t.Helper()
	for _, tensor := range p.Tensors() {
		if tensor.Name == name {
			return &tensor
		}
	}
	t.Fatalf("%s has no tensor %q", p.Name, name)
	return nil
}

// Scattered moves every constant, and nothing else. No two elements of any of them are equal, so that none can be taken for
// another.
func TestWeight_scattered(t *testing.T) {
	p := get(t, "imagenet-conv-tiny-k11-h32")
	p.Layers = 1
	for _, x := range p.Tensors() {
		paper, err1 := x.Weight(Options{Seed: 3, Init: Paper, DType: tensor.Float64}).Array()
		moved, err2 := x.Weight(Options{Seed: 3, Init: Scattered, DType: tensor.Float64}).Array()
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if same := slices.Equal(paper.Data, moved.Data); same != (x.Rule.Kind != Constant) {
			t.Errorf("%s, %v: unmoved is %t", x.Name, x.Rule, same)
		}
		if x.Rule.Kind == Constant && len(distinct(moved.Data)) < len(moved.Data)*99/100 {
			t.Errorf("%s: %d different values of %d", x.Name, len(distinct(moved.Data)), len(moved.Data))
		}
	}
}

func distinct(values []float64) map[float64]bool {
	set := map[float64]bool{}
	for _, v := range values {
		set[v] = true
	}
	return set
}

// What is written is what import reads: every tensor with its elements, and the configuration.
func TestWrite_readBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		dtype tensor.DType
		want  dialect.Facts
	}{
		{"enwik8-local-24x256", tensor.Float32, dialect.Facts{Variant: ptr("local"), Causal: ptr(true), Window: ptr(32)}},
		{"cifar10-simple-24x256", tensor.Float32, dialect.Facts{Variant: ptr("simple"), Causal: ptr(true)}},
		{"imagenet-full-tiny", tensor.Float16, dialect.Facts{Variant: ptr("full"), Causal: ptr(false)}},
		{"imagenet-conv-tiny-k11-h192", tensor.Float16, dialect.Facts{Variant: ptr("conv"), Causal: ptr(false), Heads: ptr(192)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := get(t, c.name)
			p.Layers = 2 // full depth adds nothing but time
			o := Options{Seed: 5, Init: Scattered, DType: c.dtype}
			file := readBack(t, &p, o)
			config, err := dialect.MetadataConfig(file.Metadata())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, config.Facts); diff != "" || len(config.Layers) > 0 {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if m := file.Metadata(); m["preset"] != c.name || m["seed"] != "5" || m["init"] != "scattered" {
				t.Errorf("metadata %v", m)
			}
			if got, want := len(file.Names()), len(p.Tensors()); got != want {
				t.Errorf("%d tensors, want %d", got, want)
			}
			for _, x := range p.Tensors() {
				got, err := file.Tensor(x.Name)
				if err != nil {
					t.Fatal(err)
				}
				want, err := x.Weight(o).Array()
				if err != nil {
					t.Fatal(err)
				}
				if got.DType != c.dtype || !slices.Equal(got.Shape, x.Shape) || !slices.Equal(got.Float64s(), want.Data) {
					t.Errorf("%s: %s differs from what was written", x.Name, got)
				}
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func readBack(t *testing.T, p *Preset, o Options) *checkpoint.File {
	t.Helper()
	var data bytes.Buffer
	if err := Write(&data, p, o); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := os.WriteFile(path, data.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Every preset's image configuration, as numbers a reader can take.
func TestConfig_images(t *testing.T) {
	p := get(t, "imagenet-conv-base-k25-h32")
	want := map[string]string{
		"variant": "conv", "causal": "false", "heads": "32", "eps": "1e-06", "image_size.0": "384", "image_size.1": "384",
		"mean.0": "0.485", "mean.1": "0.456", "mean.2": "0.406", "std.0": "0.229", "std.1": "0.224", "std.2": "0.225",
	}
	if diff := cmp.Diff(want, p.Config()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The same options give the same bytes; another seed changes every tensor that is drawn.
func TestWrite_deterministic(t *testing.T) {
	p := get(t, "imagenet-conv-tiny-k11-h32")
	p.Layers = 1
	write := func(seed uint64) string {
		var b strings.Builder
		if err := Write(&b, &p, Options{Seed: seed, Init: Paper, DType: tensor.Float16}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	first := write(1)
	if first != write(1) {
		t.Error("one seed, two files")
	}
	if first == write(2) {
		t.Error("two seeds, one file")
	}
}

// pieces counts what it is given.
type pieces struct{ total, largest int }

func (p *pieces) Write(b []byte) (int, error) {
	p.total += len(b)
	p.largest = max(p.largest, len(b))
	return len(b), nil
}

// A model goes out in pieces of a bounded size, header aside, whatever the size of its tensors: fc1 of this one has 2.4
// million elements.
func TestWrite_pieces(t *testing.T) {
	p := get(t, "imagenet-conv-base-k25-h32")
	p.Layers = 1
	var got pieces
	if err := Write(&got, &p, Options{Init: Paper, DType: tensor.Float32}); err != nil {
		t.Fatal(err)
	}
	if got.total < 4*p.Parameters() || got.largest > 4*pieceElements {
		t.Errorf("%d bytes, at most %d at once, want at most %d", got.total, got.largest, 4*pieceElements)
	}
}

// An element type that is none is an error, not a file.
func TestWrite_noType(t *testing.T) {
	p := get(t, "imagenet-full-tiny")
	if err := Write(io.Discard, &p, Options{}); err == nil {
		t.Error("no error")
	}
}

// A tensor's elements do not depend on how they are cut: drawing them all at once gives the same.
func TestWeight_pieces(t *testing.T) {
	x := Tensor{Name: "x", Shape: []int{pieceElements + 5}, Rule: normal(1)}
	var got []byte
	err := x.Weight(Options{DType: tensor.Float64}).Parts(func(part *tensor.Tensor) error {
		got = append(got, part.Data...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	source := x.source(0)
	for i := range x.Shape[0] {
		if bits := binary.LittleEndian.Uint64(got[8*i:]); bits != math.Float64bits(x.Rule.draw(source)) {
			t.Fatalf("element %d differs", i)
		}
	}
}
