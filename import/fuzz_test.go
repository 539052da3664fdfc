package importer_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	writer "github.com/aftonnx/aftonnx/internal/safetensors"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// fileOf makes a file of lines "name dim dim ...", the tensors, and "key=value", the metadata; nil if they make none.
func fileOf(text string, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 71))
	var tensors []writer.Tensor
	metadata := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			metadata[key] = value
			continue
		}
		name, dims, _ := strings.Cut(line, " ")
		shape, n := []int{}, 1
		for _, d := range strings.Fields(dims) {
			size, err := strconv.Atoi(d)
			if err != nil || size < 0 || size > 64 || len(shape) == 5 {
				return nil
			}
			shape, n = append(shape, size), n*size
		}
		if n > 4096 {
			return nil
		}
		values := make([]float64, n)
		for i := range values {
			values[i] = rng.NormFloat64()
		}
		dtype := []tensor.DType{tensor.Float32, tensor.Float16, tensor.Float64}[seed%3]
		x, err := tensor.FromFloat64s(dtype, shape, values)
		if err != nil {
			return nil
		}
		w := tensor.Hold(x.Array())
		tensors = append(tensors, writer.Tensor{Name: name, DType: dtype, Weight: w})
	}
	var file bytes.Buffer
	if writer.Write(&file, metadata, tensors) != nil {
		return nil
	}
	return file.Bytes()
}

// FuzzRoundTrip is the importer from end to end: whatever file comes in, either raw bytes or a sound file of any tensors, it
// is refused as a bad file, or it is a model that is exported and read back as it was, bit for bit.
func FuzzRoundTrip(f *testing.F) {
	for _, pattern := range []string{"golden/layers/*.pt", "golden/models/*.pt"} {
		paths, err := filepath.Glob(testdata(pattern))
		if err != nil || len(paths) == 0 {
			f.Fatal(paths, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if len(data) < 8<<10 {
				f.Add(data, "", uint64(0))
			}
		}
	}
	for seed, text := range []string{
		"q.weight 6 4\nk.weight 6 4\nv.weight 6 4\nout.weight 4 6\nw 5 5\nvariant=full\ncausal=true",
		"layers.0.q.weight 6 4\nlayers.0.k.weight 6 4\nlayers.0.v.weight 6 4\nlayers.0.q.bias 6\nlayers.0.w 5 5\nvariant=local\nwindow=3\ncausal=true",
		"q.weight 6 6\nk.weight 3 6\nv.weight 6 6\nout.weight 6 6\nw 3 3 3\ngamma 3\nbeta 3\nvariant=conv\nheads=3\ncausal=false",
		"q.weight 6 6\nk.weight 2 6\nv.weight 6 6\nw 2 4\nvariant=conv\nheads=2\ncausal=true",
		"to_q.weight 6 6\nto_k.weight 6 6\nto_v.weight 6 6\nproject.weight 6 6\nproject.bias 6\nvariant=simple\ncausal=false",
		"embed.weight 9 6\nlayers.0.norm1.weight 6\nlayers.0.norm1.bias 6\nlayers.0.q.weight 6 6\nlayers.0.k.weight 6 6\n" +
			"layers.0.v.weight 6 6\nlayers.0.out.weight 6 6\nlayers.0.u 7 2\nlayers.0.v_t 7 2\nlayers.0.norm2.weight 6\n" +
			"layers.0.norm2.bias 6\nlayers.0.fc1.weight 8 6\nlayers.0.fc1.bias 8\nlayers.0.fc2.weight 6 8\nlayers.0.fc2.bias 6\n" +
			"norm.weight 6\nnorm.bias 6\nhead.weight 9 6\nvariant=full\ncausal=true\neps=1e-05",
	} {
		f.Add([]byte(nil), text, uint64(seed))
	}
	path := filepath.Join(f.TempDir(), strconv.Itoa(os.Getpid())) // one a worker
	f.Fuzz(func(t *testing.T, data []byte, text string, seed uint64) {
		if len(data) == 0 {
			data = fileOf(text, seed)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		roundTrip(t, path)
	})
}

func roundTrip(t *testing.T, path string) {
	t.Helper()
	m, src, err := importer.Load(path, importer.Options{})
	var flag *importer.FlagError
	if errors.As(err, &flag) { // an answer to what it asks for
		causal := true
		m, src, err = importer.Load(path, importer.Options{Causal: &causal, Window: 2, Variant: "local"})
	}
	if err != nil {
		if !errors.As(err, &flag) {
			wantBadFile(t, "load", err, path)
		}
		return
	}
	defer src.Close()
	if err := m.Check(); err != nil {
		t.Fatalf("a model that does not hold together: %v", err)
	}
	p, err := export.Model(m, export.Options{DType: export.Float64}) // which holds what an import computes
	if err != nil {
		wantBadFile(t, "export", err, path) // weights are read late
		return
	}
	again, err := importer.FromONNX("x.onnx", p, &importer.Source{})
	if err != nil {
		t.Fatalf("exported, but not read back: %v", err)
	}
	if diff := cmp.Diff(m, again, byElements(t), cmpopts.EquateNaNs()); diff != "" {
		t.Fatalf("(-imported +read back):\n%s", diff)
	}
}
