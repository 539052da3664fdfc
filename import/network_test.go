package importer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	importer "github.com/aftonnx/aftonnx/import"
	writer "github.com/aftonnx/aftonnx/internal/safetensors"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// checkpointOf writes a network into a folder of its own as a safetensors file, and the texts of files beside it.
func checkpointOf(t *testing.T, m *reference.Model, metadata map[string]string, beside map[string]string) string {
	t.Helper()
	g, err := wiring.Build(m, wiring.Options{DType: tensor.Float64, Opset: 17})
	if err != nil {
		t.Fatal(err)
	}
	var tensors []writer.Tensor
	for _, w := range g.Weights { // an export calls them as our own checkpoints do
		tensors = append(tensors, writer.Tensor{Name: w.Name, Weight: w.Weight})
	}
	var b bytes.Buffer
	if err := writer.Write(&b, metadata, tensors); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{"model.safetensors": b.String()}
	for name, text := range beside {
		files[name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "model.safetensors")
}

// TestNetworkCheckpoint reads whole models from files, with what their tensors do not say in the file or beside it.
func TestNetworkCheckpoint(t *testing.T) {
	const classified = "image, class token and positions"
	global := map[string]string{"variant": "full", "causal": "false", "labels": "cat\ndog\na tram, or a bus\nother", "image_size.0": "4",
		"image_size.1": "6", "mean.0": "0.5", "mean.1": "0.25", "mean.2": "0.1", "std.0": "0.25", "std.1": "0.5", "std.2": "1"}
	config := `{"variant": "full", "causal": false, "image_size": [4, 6], "labels": ["cat", "dog", "a tram, or a bus", "other"]}`
	images := `{"do_normalize": true, "image_mean": [0.5, 0.25, 0.1], "image_std": [0.25, 0.5, 1]}`
	conv := map[string]string{"variant": "conv", "causal": "false"}
	cases := []struct {
		name, network    string
		metadata, beside map[string]string
	}{
		{"config inside", classified, global, nil},
		{"configs beside", classified, nil, map[string]string{"config.json": config, "preprocessor_config.json": images}},
		{"beside before inside", classified, map[string]string{"variant": "simple", "mean.0": "9", "std.0": "9", "labels": "x"},
			map[string]string{"config.json": config, "preprocessor_config.json": images}},
		{"pixels alone beside", classified, map[string]string{"variant": "full", "causal": "false", "image_size.0": "4", "image_size.1": "6",
			"labels": "cat\ndog\na tram, or a bus\nother"}, map[string]string{"preprocessor_config.json": images}},
		{"convolutions", "image, conv", conv, nil},
		{"without embedding", "blocks on x, a norm without bias", map[string]string{"variant": "full", "causal": "true"}, nil},
		{"without a head of its own", "language, a norm and no head", map[string]string{"variant": "full", "causal": "true"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want := network(t, c.network)
			if want.Tokens != nil && want.Head == nil { // a checkpoint without a head is a tied one
				want.Head, want.Tied = &reference.Linear{Weight: want.Tokens.Weight}, true
			}
			m, src, err := importer.Load(checkpointOf(t, network(t, c.network), c.metadata, c.beside), importer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if diff := cmp.Diff(want, m, byElements(t)); diff != "" {
				t.Errorf("(-written +read):\n%s", diff)
			}
		})
	}
}

// TestNetworkCheckpoint_refused: a config that fits no part of the model is named.
func TestNetworkCheckpoint_refused(t *testing.T) {
	full := map[string]string{"variant": "full", "causal": "false"}
	for _, c := range []struct {
		name     string
		metadata map[string]string
		beside   map[string]string
		texts    []string
	}{
		{"a mean that is no list", full, map[string]string{"preprocessor_config.json": `{"image_mean": 0.5}`},
			[]string{"preprocessor_config.json", `key "image_mean"`}},
		{"an eps of text", full, map[string]string{"config.json": `{"eps": "1e-5"}`}, []string{"config.json", `key "eps"`}},
		{"an image size of other positions", full, map[string]string{"config.json": `{"image_size": 8}`}, []string{"image_size", "positions"}},
		{"an eps inside", map[string]string{"variant": "full", "causal": "false", "eps": "tiny"}, nil, []string{"model.safetensors", `key "eps"`}},
		{"a label too few", full, map[string]string{"config.json": `{"id2label": {"0": "cat", "1": "dog", "2": "other"}}`}, []string{"labels: are 3, want 4"}},
	} {
		path := checkpointOf(t, network(t, "image, class token and positions"), c.metadata, c.beside)
		_, _, err := importer.Load(path, importer.Options{})
		wantBadFile(t, c.name, err, c.texts...)
	}
}
