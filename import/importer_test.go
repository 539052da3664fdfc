package importer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// wantBadFile requires an error that means a bad file and says all the texts.
func wantBadFile(t *testing.T, what string, err error, texts ...string) {
	t.Helper()
	var bad *importer.Error
	var refused *checkpoint.Error
	if !errors.As(err, &bad) && !errors.As(err, &refused) {
		t.Errorf("%s: got %v, want an Error", what, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %q, want %q in it", what, err, text)
		}
	}
}

func testdata(name string) string { return filepath.Join("..", "testdata", name) }

func layerFile(id string) string { return testdata(filepath.Join("golden", "layers", id+".pt")) }

// TestModelBin: the trained model needs no flags, and everything about it is in the file.
func TestModelBin(t *testing.T) {
	m, src, err := importer.Load(testdata("stack.bin"), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var variants []reference.Variant
	for _, l := range m.Blocks {
		variants = append(variants, l.Variant)
		if !l.Causal || l.In() != 16 || l.Hidden() != 32 {
			t.Errorf("%s: causal %t, %d channels, %d hidden; want causal, 16, 32", l.Variant, l.Causal, l.In(), l.Hidden())
		}
	}
	if want := []reference.Variant{reference.Conv1D, reference.Local, reference.Full}; !slices.Equal(variants, want) {
		t.Errorf("variants %v, want %v", variants, want)
	}
	if m.Blocks[0].Heads() != 8 || m.Blocks[0].PadLeft != 4 || m.Blocks[1].Window != 8 || m.MaxLen() != 64 {
		t.Errorf("got %d heads, pad_left %d, window %d, length %d; want 8, 4, 8, 64",
			m.Blocks[0].Heads(), m.Blocks[0].PadLeft, m.Blocks[1].Window, m.MaxLen())
	}
	data, err := os.ReadFile(testdata("stack.bin"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	want := importer.Source{Path: testdata("stack.bin"), Format: "pytorch-zip", Dialect: "aftonnx",
		SHA256: hex.EncodeToString(sum[:]), DType: tensor.Float32}
	if src.Path != want.Path || src.Format != want.Format || src.Dialect != want.Dialect || src.SHA256 != want.SHA256 ||
		src.DType != want.DType || len(src.Notes) != 0 {
		t.Errorf("got source %+v, want %+v", *src, want)
	}
}

func TestNotes(t *testing.T) {
	_, src, err := importer.Load(layerFile("rish-training"), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(src.Notes, "\n"); !strings.Contains(notes, `"optimizer/"`) || !strings.Contains(notes, "AFTLocal") {
		t.Errorf("got notes %q, want the optimiser and the assumption in them", notes)
	}
}

func TestStoredType(t *testing.T) {
	for id, want := range map[string]tensor.DType{"rish-full": tensor.Float32, "rish-float16": tensor.Float16} {
		_, src, err := importer.Load(layerFile(id), importer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if src.DType != want {
			t.Errorf("%s: %s, want %s", id, src.DType, want)
		}
	}
}

// copyBeside copies a checkpoint into a folder of its own, with a config.json unless that is empty.
func copyBeside(t *testing.T, checkpoint, config string) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "layer.pt")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestConfigBeside(t *testing.T) {
	cases := []struct {
		name, layer, config string
		o                   importer.Options
		variant             reference.Variant
		window              int
		err                 string
	}{
		{"says all", "nid-local", `{"variant": "local", "window": 3}`, importer.Options{}, reference.Local, 3, ""},
		{"flag wins", "nid-local", `{"variant": "local", "window": 3}`, importer.Options{Window: 2}, reference.Local, 2, ""},
		{"says something else", "rish-full", `{"model_type": "aft", "layers": 1}`, importer.Options{}, reference.Full, 0, ""},
		{"contradicts the file", "rish-simple", `{"variant": "full"}`, importer.Options{}, "", 0, "config.json"},
		{"is no JSON", "rish-simple", `variant: full`, importer.Options{}, "", 0, "config.json"},
		{"has a wrong type", "rish-simple", `{"causal": "yes"}`, importer.Options{}, "", 0, `"causal"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := importer.Load(copyBeside(t, layerFile(c.layer), c.config), c.o)
			if c.err != "" {
				wantBadFile(t, c.name, err, c.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l := m.Blocks[0]; l.Variant != c.variant || l.Window != c.window {
				t.Errorf("got %s with window %d, want %s with %d", l.Variant, l.Window, c.variant, c.window)
			}
		})
	}
}

func TestMissingFlag(t *testing.T) {
	path := layerFile("nid-full")
	_, _, err := importer.Load(path, importer.Options{})
	var flag *importer.FlagError
	if !errors.As(err, &flag) || !slices.Equal(flag.Flags, []string{"--variant"}) || flag.File != path {
		t.Errorf("got %v, want a FlagError about --variant and the file", err)
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, texts := range map[string][]string{
		filepath.Join(dir, "missing.pt"):         {"missing.pt"},
		dir:                                      {"directory"},
		write("empty.bin", ""):                   {"empty.bin"},
		write("text.bin", "hello, world\n"):      {"text.bin"},
		write("cut.onnx", "\x08\x08\x12\x07aft"): {"cut.onnx"},
		write("other.onnx", "\x08\x08\x12\x07pytorch\x3a\x00"): {"other.onnx", `"pytorch"`, "aftonnx exported"},
		write("none.onnx", "\x08\x08\x12\x07aftonnx\x3a\x00"):  {"none.onnx", "no AFT layers"},
	} {
		_, _, err := importer.Load(path, importer.Options{})
		wantBadFile(t, path, err, texts...)
	}
}

// safetensors writes float32 tensors of ones, with metadata.
func safetensors(t *testing.T, metadata map[string]string, shapes map[string][]int) string {
	t.Helper()
	header := map[string]any{"__metadata__": metadata}
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		n, err := tensor.NumElements(shapes[name])
		if err != nil {
			t.Fatal(err)
		}
		start := len(data)
		data = append(data, bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, n)...)
		header[name] = map[string]any{"dtype": "F32", "shape": shapes[name], "data_offsets": []int{start, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	path := filepath.Join(t.TempDir(), "layer.safetensors")
	if err := os.WriteFile(path, append(file, data...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSafetensorsMetadata: the metadata of a safetensors file of ours says what the names do not.
func TestSafetensorsMetadata(t *testing.T) {
	shapes := map[string][]int{"layers.0.q.weight": {4, 4}, "layers.0.k.weight": {4, 4}, "layers.0.v.weight": {4, 4}, "layers.0.w": {9, 9}}
	metadata := map[string]string{"format": "pt", "causal": "true", "layers.0.variant": "local", "layers.0.window": "3"}
	m, src, err := importer.Load(safetensors(t, metadata, shapes), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if l := m.Blocks[0]; l.Variant != reference.Local || !l.Causal || l.Window != 3 || src.Format != "safetensors" {
		t.Errorf("got %s, causal %t, window %d from %s; want local, causal, 3, safetensors", l.Variant, l.Causal, l.Window, src.Format)
	}
	_, _, err = importer.Load(safetensors(t, map[string]string{"format": "pt"}, shapes), importer.Options{})
	var flag *importer.FlagError
	if !errors.As(err, &flag) || !slices.Equal(flag.Flags, []string{"--variant", "--causal"}) {
		t.Errorf("without metadata: got %v, want a FlagError about --variant and --causal", err)
	}
}
