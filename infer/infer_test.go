package infer_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/infer"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/internal/tinynet"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/verify"
)

// checkpoint puts one of tinynet's networks into a file.
func checkpoint(t *testing.T, name string) string {
	t.Helper()
	files, err := tinynet.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	return file(t, name+".safetensors", files[name])
}

func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func openCheckpoint(t *testing.T, name string, o infer.Options) *infer.Model {
	t.Helper()
	m, err := infer.OpenCheckpoint(checkpoint(t, name), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// openONNX exports a checkpoint, lets change edit the model, and opens the file.
func openONNX(t *testing.T, name string, o export.Options, change func(*onnxpb.ModelProto)) *infer.Model {
	t.Helper()
	model, source, err := importer.Load(checkpoint(t, name), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	p, err := export.Model(model, o)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(p)
	}
	data, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	m, err := infer.OpenONNX(file(t, name+".onnx", data))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ids(t *testing.T, tokens ...int64) infer.Tensors {
	t.Helper()
	x, err := tensor.FromInt64s([]int{1, len(tokens)}, tokens)
	if err != nil {
		t.Fatal(err)
	}
	return infer.Tensors{"input_ids": x}
}

// A checkpoint, its export and its flattened export give the same logits on every engine that runs them.
func TestLoad(t *testing.T) {
	in := ids(t, 'a', 'q', 0, 255)
	var want []float64
	for _, m := range []struct {
		name      string
		model     *infer.Model
		reference bool
	}{
		{"checkpoint", openCheckpoint(t, "lm", infer.Options{}), true},
		{"export", openONNX(t, "lm", export.Options{}, nil), true},
		{"flattened", openONNX(t, "lm", export.Options{Flatten: true}, nil), false},
		{"another's", openONNX(t, "lm", export.Options{Flatten: true},
			func(p *onnxpb.ModelProto) { p.ProducerName, p.MetadataProps = "another", nil }), false},
	} {
		for _, e := range verify.Engines() {
			if (e == verify.Kernel || e == verify.Portable) && kernel.Available() != nil {
				continue
			}
			s, err := m.model.Load(t.Context(), e, infer.LoadOptions{Threads: 1})
			if e == verify.Reference && !m.reference {
				if err == nil || !strings.Contains(err.Error(), "cannot run the model") {
					t.Errorf("%s, %s: %v", m.name, e, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s, %s: %v", m.name, e, err)
			}
			out, err := s.Run(t.Context(), in)
			if err != nil {
				t.Fatalf("%s, %s: %v", m.name, e, err)
			}
			got := out["logits"]
			if s := tensor.FormatShape(got.Shape); s != "(1,4,256)" {
				t.Errorf("%s, %s: shape %s", m.name, e, s)
			}
			if want == nil {
				want = got.Float64s()
			}
			for i, v := range got.Float64s() {
				if math.Abs(v-want[i]) > 1e-5 { // logits of up to 8, in float32 behind a few sums of 16
					t.Errorf("%s, %s: logit %d is %v, want %v", m.name, e, i, v, want[i])
					break
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if e == verify.Kernel || e == verify.Portable {
				if _, err := s.Run(t.Context(), in); !errors.Is(err, ort.ErrClosed) {
					t.Errorf("%s, %s: run after Close: %v", m.name, e, err)
				}
			}
		}
	}
}

// What an engine refuses, or a run, is the caller's to report.
func TestLoad_errors(t *testing.T) {
	m := openCheckpoint(t, "lm", infer.Options{})
	missing := errors.New("no library")
	_, err := m.Load(t.Context(), verify.Kernel, infer.LoadOptions{Open: func(context.Context) (*ort.Runtime, error) { return nil, missing }})
	if !errors.Is(err, missing) {
		t.Errorf("got %v", err)
	}
	s, err := m.Load(t.Context(), verify.Reference, infer.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), infer.Tensors{}); err == nil || !strings.Contains(err.Error(), `input "input_ids": is missing`) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Run(t.Context(), ids(t, 256)); err == nil {
		t.Error("ran on token 256 of 0..255")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Run(ctx, ids(t, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := infer.OpenONNX(file(t, "m.onnx", []byte("nothing"))); err == nil {
		t.Error("opened nothing")
	}
	if _, err := infer.OpenCheckpoint(file(t, "m.bin", []byte("nothing")), infer.Options{}); err == nil {
		t.Error("opened nothing")
	}
}

// How far a model reaches is known of any export, flattened or not.
func TestMaxLen(t *testing.T) {
	for name, m := range map[string]*infer.Model{
		"checkpoint": openCheckpoint(t, "lm", infer.Options{}),
		"flattened":  openONNX(t, "lm", export.Options{Flatten: true}, nil),
	} {
		if got := m.MaxLen(); got != 16 {
			t.Errorf("%s: reaches %d positions, want 16", name, got)
		}
	}
}

// An image model says what it wants of a picture, in its metadata and its weights.
func TestImageFacts(t *testing.T) {
	for name, m := range map[string]*infer.Model{
		"checkpoint": openCheckpoint(t, "shades", infer.Options{}),
		"flattened":  openONNX(t, "shades", export.Options{Flatten: true}, nil),
	} {
		f, err := m.ImageFacts()
		if err != nil || f.Size != [2]int{4, 4} || f.Patch != 2 || len(f.Mean) != 1 || f.Mean[0] != 0.5 || len(f.Std) != 1 ||
			f.Std[0] != 0.5 || strings.Join(f.Labels, " ") != "bright dark" {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	f, err := openCheckpoint(t, "as-it-is", infer.Options{}).ImageFacts()
	if err != nil || f.Size != [2]int{} || f.Patch != 2 || f.Mean != nil || f.Std != nil || f.Labels != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

// Metadata that somebody changed are an error, or a size that nobody allocates yet.
func TestImageFacts_damaged(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"image_size", "4", "want height,width"},
		{"image_size", "4,4,4", "want height,width"},
		{"image_size", "4,0.5", "want height,width"},
		{"image_size", "-4,4", "want height,width"},
		{"image_size", "NaN,4", "want height,width"},
		{"image_size", "1e300,4", "want height,width"},
		{"mean", "0.5,,", "want numbers between commas"},
		{"std", "much", "want numbers between commas"},
	} {
		m := openONNX(t, "shades", export.Options{Flatten: true}, func(p *onnxpb.ModelProto) {
			for _, e := range p.MetadataProps {
				if e.Key == export.MetadataPrefix+c.key {
					e.Value = c.value
				}
			}
		})
		if f, err := m.ImageFacts(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %+v, %v", c.key, c.value, f, err)
		}
	}
}

// Position embeddings of 9 + 1 places, or of 9 without a class token, are those of 3 x 3 patches; those of 8 are of no square.
func TestImageFacts_square(t *testing.T) {
	for _, c := range []struct {
		positions int
		class     bool
		want      [2]int
	}{{9, false, [2]int{6, 6}}, {10, true, [2]int{6, 6}}, {8, false, [2]int{}}, {0, true, [2]int{}}} {
		m := openONNX(t, "as-it-is", export.Options{Flatten: true}, func(p *onnxpb.ModelProto) {
			add := func(name string, shape ...int) {
				x, err := tensor.New(tensor.Float32, shape)
				if err != nil {
					t.Fatal(err)
				}
				p.Graph.Initializer = append(p.Graph.Initializer, onnxpb.TensorToProto(name, x))
			}
			add("positions.weight", c.positions, 2)
			if c.class {
				add("class_token", 2)
			}
		})
		if f, err := m.ImageFacts(); err != nil || f.Size != c.want {
			t.Errorf("%d positions: %v, %v, want %v", c.positions, f.Size, err, c.want)
		}
	}
}
