package modelfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

const digestKey = "weights"

func values(n int) tensor.Array {
	a := tensor.Array{Shape: []int{n}, Data: make([]float64, n)}
	for i := range a.Data {
		a.Data[i] = math.Sin(float64(i))
	}
	return a
}

// lying is a float32 weight that lies in a file, at offset 8 of it.
func lying(t *testing.T, path string, n int) tensor.Weight {
	t.Helper()
	v, err := values(n).Tensor(tensor.Float32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(make([]byte, 8), v.Data...), 0o644); err != nil {
		t.Fatal(err)
	}
	return tensor.NewWeight(tensor.WeightOptions{Shape: []int{n}, DType: tensor.Float32,
		Origin: &tensor.Origin{Path: path, Offset: 8},
		Parts:  func(yield func(*tensor.Tensor) error) error { return yield(v) }})
}

func model() *onnxpb.ModelProto {
	return &onnxpb.ModelProto{IrVersion: 8, OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", 17)},
		Graph: &onnxpb.GraphProto{Name: "g",
			Node:   []*onnxpb.NodeProto{onnxpb.Node("Identity", []string{"w"}, []string{"y"})},
			Output: []*onnxpb.ValueInfoProto{onnxpb.ValueInfo("y", tensor.Float32, onnxpb.Dynamic("n"))}}}
}

// check reads a model back and holds its weight w against values.
func check(t *testing.T, path string, n int) *onnxpb.ModelProto {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnxpb.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	w, err := onnxpb.ReadTensor(m.Graph.Initializer[0], filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	want, err := values(n).Tensor(tensor.Float32)
	if err != nil || !bytes.Equal(w.Data, want.Data) {
		t.Errorf("%q: other weights than were written, error %v", path, err)
	}
	sum, err := onnxpb.WeightsDigest(m.Graph, filepath.Dir(path))
	if err != nil || len(m.MetadataProps) != 1 || m.MetadataProps[0].Value != sum {
		t.Errorf("%q: notes the digest %v, has %s, error %v", path, m.MetadataProps, sum, err)
	}
	return m
}

func location(t *testing.T, m *onnxpb.ModelProto) string {
	t.Helper()
	e, _, err := onnxpb.ExternalData(m.Graph.Initializer[0])
	if err != nil {
		t.Fatal(err)
	}
	return e.Location
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// Rule E9 of docs/hostile.md.
func TestStage_placements(t *testing.T) {
	for _, placement := range append(Placements(), "") {
		t.Run(string(placement), func(t *testing.T) {
			dir := t.TempDir()
			source := filepath.Join(dir, "model.safetensors")
			weights := []onnxpb.Weight{{Name: "w", DType: tensor.Float32, Value: lying(t, source, 1000)}}
			path := filepath.Join(dir, "m.onnx")
			f, err := Stage(path, model(), weights, Options{Placement: placement, DigestKey: digestKey})
			if err != nil {
				t.Fatal(err)
			}
			check(t, f.Path(), 1000) // what is staged can be read before it is committed
			if err := f.Commit(); err != nil {
				t.Fatal(err)
			}
			m := check(t, path, 1000)
			data, err := os.ReadFile(path)
			if err != nil || int64(len(data)) != f.Bytes || sha256.Sum256(data) != f.SHA256 {
				t.Errorf("the file has %d bytes, error %v, want %d and that hash", len(data), err, f.Bytes)
			}
			want, files, reused := "", "m.onnx model.safetensors", 0
			switch placement {
			case Always:
				want, files = f.Data, "m.onnx "+f.Data+" model.safetensors"
				if !strings.HasPrefix(f.Data, "m.onnx-") || f.DataBytes != 4000 {
					t.Errorf("data file %q of %d bytes", f.Data, f.DataBytes)
				}
			case Reuse:
				want, reused = "model.safetensors", 1
			}
			if got := location(t, m); got != want || f.Reused != reused || names(t, dir) != files {
				t.Errorf("weight at %q, want %q; %d reused; folder holds %s, want %s", got, want, f.Reused, names(t, dir), files)
			}
		})
	}
}

// Auto keeps up to 1 GiB in the model.
func TestOptions_external(t *testing.T) {
	weight := func(n int) onnxpb.Weight {
		return onnxpb.Weight{Name: "w", DType: tensor.Float16, Value: tensor.NewWeight(tensor.WeightOptions{Shape: []int{n},
			DType: tensor.Float32, Parts: func(func(*tensor.Tensor) error) error { return nil }})}
	}
	for _, test := range []struct {
		weights []onnxpb.Weight
		want    bool
	}{
		{nil, false},
		{[]onnxpb.Weight{weight(1 << 28), weight(1 << 28)}, false},
		{[]onnxpb.Weight{weight(1 << 28), weight(1 << 28), weight(1)}, true},
	} {
		o := Options{Placement: Auto}
		if got, err := o.external(test.weights); got != test.want || err != nil {
			t.Errorf("%d weights: %t, error %v, want %t", len(test.weights), got, err, test.want)
		}
	}
	o := Options{Placement: "sometimes"}
	if _, err := o.external(nil); err == nil {
		t.Error("an unknown placement passed")
	}
}

// The same model gives the same two files; --force replaces both, and Discard leaves what was there.
func TestStage_force(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	stage := func(n int, o Options) (*File, error) {
		o.DigestKey = digestKey
		return Stage(path, model(), []onnxpb.Weight{{Name: "w", DType: tensor.Float32, Value: tensor.Hold(values(n))}}, o)
	}
	commit := func(n int, o Options) *File {
		t.Helper()
		f, err := stage(n, o)
		if err == nil {
			err = f.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := commit(1000, Options{Placement: Always})
	if _, err := stage(1000, Options{Placement: Always}); !errors.Is(err, atomicfile.ErrExists) {
		t.Errorf("without Force: error %v, want ErrExists", err)
	}
	again := commit(1000, Options{Placement: Always, Force: true})
	if again.SHA256 != first.SHA256 || again.Data != first.Data {
		t.Error("the same model gave other bytes")
	}
	other, err := stage(2000, Options{Placement: Always, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Discard(); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), "m.onnx "+first.Data; got != want {
		t.Errorf("after a discarded replacement: folder holds %s, want %s", got, want)
	}
	check(t, path, 1000)
	commit(2000, Options{Placement: Never, Force: true})
	check(t, path, 2000)
	if got := names(t, dir); got != "m.onnx" {
		t.Errorf("after a replacement without data file: folder holds %s", got)
	}
}

// Whatever is refused leaves the folder as it was.
func TestStage_refuses(t *testing.T) {
	elsewhere := t.TempDir()
	outside := lying(t, filepath.Join(elsewhere, "model.safetensors"), 1000)
	big := tensor.Hold(tensor.Array{Shape: []int{600}, Data: append(make([]float64, 599), 1e6)})
	for _, test := range []struct {
		name   string
		dtype  tensor.DType
		value  tensor.Weight
		option Options
		want   string
	}{
		{"reuse of a file elsewhere", tensor.Float32, outside, Options{Placement: Reuse}, "can refer only to files in its folder or below"},
		{"nothing to reuse", tensor.Float16, outside, Options{Placement: Reuse}, "--external-data always writes them"},
		{"overflow, inline", tensor.Float16, big, Options{Placement: Never}, "element [599] is 1e+06, which float16 cannot hold"},
		{"overflow, external", tensor.Float16, big, Options{Placement: Always}, "element [599] is 1e+06, which float16 cannot hold"},
		{"placement", tensor.Float16, big, Options{Placement: "sometimes"}, `placement "sometimes": unknown`},
	} {
		dir := t.TempDir()
		weights := []onnxpb.Weight{{Name: "w", DType: test.dtype, Value: test.value}}
		_, err := Stage(filepath.Join(dir, "m.onnx"), model(), weights, test.option)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v does not say %q", test.name, err, test.want)
		}
		if got := names(t, dir); got != "" {
			t.Errorf("%s: folder holds %s", test.name, got)
		}
	}
}

// A link out of the folder is no way to refer to a file: no reader would follow it.
func TestStage_reuseThroughLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	target := filepath.Join(elsewhere, "model.safetensors")
	w := lying(t, target, 1000)
	for name, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
		path := filepath.Join(dir, name)
		if err := link(target, path); err != nil {
			t.Skip("no such links here:", err)
		}
		linked := tensor.NewWeight(tensor.WeightOptions{Shape: w.Shape(), DType: w.DType(), Parts: w.Parts,
			Origin: &tensor.Origin{Path: path, Offset: 8}})
		_, err := Stage(filepath.Join(dir, "m.onnx"), model(), []onnxpb.Weight{{Name: "w", DType: tensor.Float32, Value: linked}},
			Options{Placement: Reuse})
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s link: error %v, want one that names it", name, err)
		}
	}
}
