package onnxpb

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// external writes the model with its weights in dir/w.data and returns it, decoded from its bytes.
func writeExternal(t *testing.T, dir string, m *ModelProto, weights []Weight, o DataOptions) (*ModelProto, *Data) {
	t.Helper()
	var data bytes.Buffer
	d, err := WriteData(&data, m, weights, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "w.data"), data.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if int64(data.Len()) != d.Size {
		t.Errorf("wrote %d bytes, says %d", data.Len(), d.Size)
	}
	encoded, err := Encode(d.Model(m, "w.data", WriteOptions{DigestKey: "digest"}))
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return decoded, d
}

// What was written to a data file is read back as it would be from the model itself, and hashes to the same digest.
func TestWriteData_roundTrip(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float64, tensor.Float16, tensor.BFloat16} {
		dir := t.TempDir()
		m, _ := writeExternal(t, dir, everyField(t), someWeights(d), DataOptions{})
		want := inMemory(t, everyField(t), someWeights(d))
		if len(m.Graph.Initializer) != len(want.Graph.Initializer) {
			t.Fatalf("%s: %d initialisers, want %d", d, len(m.Graph.Initializer), len(want.Graph.Initializer))
		}
		for i, p := range want.Graph.Initializer {
			stored := m.Graph.Initializer[i]
			if isExternal(stored) != (len(p.RawData) >= minExternal) {
				t.Errorf("%s: %q of %d bytes: external is %t", d, p.Name, len(p.RawData), isExternal(stored))
			}
			got, err := ReadTensor(stored, dir)
			if err != nil {
				t.Fatal(err)
			}
			lazy, err := InitializerWeight(stored, dir)
			if err != nil {
				t.Fatal(err)
			}
			var streamed []byte
			if err := lazy.Parts(func(part *tensor.Tensor) error {
				streamed = append(streamed, part.Data...)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if stored.Name != p.Name || DataType(got.DType) != p.DataType || !bytes.Equal(got.Data, p.RawData) ||
				!bytes.Equal(streamed, p.RawData) || !tensor.SameShape(got.Shape, lazy.Shape()) {
				t.Errorf("%s: %q is read as %s, or with other bytes", d, p.Name, got)
			}
			if at := lazy.Origin(); (at != nil) != isExternal(stored) {
				t.Errorf("%s: origin of %q is %v", d, p.Name, at)
			} else if at != nil {
				checkOrigin(t, at, p.RawData)
			}
		}
		sum, err := WeightsDigest(want.Graph, "")
		if err != nil {
			t.Fatal(err)
		}
		read, err := WeightsDigest(m.Graph, dir)
		if props := m.MetadataProps; err != nil || read != sum || props[len(props)-1].Value != sum {
			t.Errorf("%s: digest is %s, error %v, noted as %v, want %s", d, read, err, props, sum)
		}
	}
}

// checkOrigin looks at the place itself.
func checkOrigin(t *testing.T, at *tensor.Origin, want []byte) {
	t.Helper()
	data, err := os.ReadFile(at.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(data[at.Offset:], want) {
		t.Errorf("%s, offset %d: other bytes", at.Path, at.Offset)
	}
}

// Offsets ascend, begin at pages, and those of large tensors at 64 KiB; what lies between is zero.
func TestWriteData_alignment(t *testing.T) {
	dir := t.TempDir()
	weights := []Weight{{"a", tensor.Float32, ramp(256)}, {"b", tensor.Float32, ramp(300_000)},
		{"inline", tensor.Float32, ramp(255)}, {"c", tensor.Float32, ramp(1025)}, {"d", tensor.Float32, ramp(1024)}}
	m, d := writeExternal(t, dir, &ModelProto{Graph: &GraphProto{}}, weights, DataOptions{})
	var got []int64
	for _, p := range m.Graph.Initializer {
		if e, ok, err := ExternalData(p); err != nil {
			t.Fatal(err)
		} else if ok {
			got = append(got, e.Offset)
		}
	}
	want := []int64{0, 64 << 10, 64<<10 + 1_200_128, 64<<10 + 1_200_128 + 8192}
	if len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("offsets are %d, want %d", got, want)
	}
	data, err := os.ReadFile(filepath.Join(dir, "w.data"))
	if err != nil {
		t.Fatal(err)
	}
	if padding := data[1024 : 64<<10]; d.Size != want[3]+4096 || !bytes.Equal(padding, make([]byte, len(padding))) {
		t.Errorf("the file has %d bytes, want %d, or its padding is not zero", d.Size, want[3]+4096)
	}
}

func TestWriteData_deterministic(t *testing.T) {
	var sums [2][32]byte
	for i := range sums {
		var data bytes.Buffer
		d, err := WriteData(&data, everyField(t), someWeights(tensor.Float16), DataOptions{})
		if err != nil {
			t.Fatal(err)
		}
		model, err := Encode(d.Model(everyField(t), "w.data", WriteOptions{DigestKey: "digest"}))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(append(data.Bytes(), model...))
	}
	if sums[0] != sums[1] {
		t.Error("the same model gave different bytes")
	}
}

// lying is a float32 weight that lies in a file.
func lying(at tensor.Origin, data []byte) tensor.Weight {
	return tensor.NewWeight(tensor.WeightOptions{Shape: []int{len(data) / 4}, DType: tensor.Float32, Origin: &at,
		Parts: func(yield func(*tensor.Tensor) error) error {
			return yield(&tensor.Tensor{DType: tensor.Float32, Shape: []int{len(data) / 4}, Data: data})
		}})
}

// Only a weight that stays as it is, is aligned and large enough is referred to where it lies.
func TestWriteData_reuse(t *testing.T) {
	dir := t.TempDir()
	content := make([]byte, 8192)
	for i := range content {
		content[i] = byte(i % 60)
	}
	path := filepath.Join(dir, "model.safetensors")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	weights := []Weight{
		{"as it is", tensor.Float32, lying(tensor.Origin{Path: path, Offset: 8}, content[8:2056])},
		{"converted", tensor.Float64, lying(tensor.Origin{Path: path, Offset: 8}, content[8:2056])},
		{"misaligned", tensor.Float32, lying(tensor.Origin{Path: path, Offset: 9}, content[9:2057])},
		{"small", tensor.Float32, lying(tensor.Origin{Path: path, Offset: 8}, content[8:16])},
		{"elsewhere", tensor.Float32, ramp(300)},
	}
	m, d := writeExternal(t, dir, &ModelProto{Graph: &GraphProto{}}, weights, DataOptions{
		Reuse: func(name string, origin tensor.Origin, size int) (string, error) {
			if size != 2048 || origin.Path != path {
				t.Errorf("asked for %q, %v, %d bytes", name, origin, size)
			}
			return "model.safetensors", nil
		}})
	if d.Reused != 1 {
		t.Errorf("%d weights reused, want 1", d.Reused)
	}
	for i, want := range []string{"model.safetensors", "w.data", "w.data", "", "w.data"} {
		if e, _, err := ExternalData(m.Graph.Initializer[i]); err != nil || e.Location != want {
			t.Errorf("%q is at %q, error %v, want %q", weights[i].Name, e.Location, err, want)
		}
	}
	sum, err := WeightsDigest(m.Graph, dir)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := WeightsDigest(inMemory(t, &ModelProto{Graph: &GraphProto{}}, weights).Graph, "")
	if err != nil || sum != whole || m.MetadataProps[0].Value != whole {
		t.Errorf("digest %s, error %v, noted %s, want %s", sum, err, m.MetadataProps[0].Value, whole)
	}
}
