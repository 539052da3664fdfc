package onnxpb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// What protobuf could not read again is not written. The model's size counts before its bytes are made.
func TestEncode_tooLarge(t *testing.T) {
	m := &ModelProto{Graph: &GraphProto{}}
	part := &TensorProto{RawData: make([]byte, 1<<20)}
	for range 2048 {
		m.Graph.Initializer = append(m.Graph.Initializer, part)
	}
	_, err := Encode(m)
	if err == nil || !strings.HasPrefix(err.Error(), "the model takes 2147") ||
		!strings.HasSuffix(err.Error(), "bytes, want at most 2147483647 (protobuf's limit)") {
		t.Errorf("error %v", err)
	}
}

// Rule X7 of docs/hostile.md: the model's own file holds no tensor's data, under whatever name it goes.
func TestFolder_except(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"model.onnx", "w"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 8), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := NewFolder(dir).Except(filepath.Join(dir, ".", "model.onnx"))
	if _, err := folder.Weight(outside("location=w")); err != nil {
		t.Error(err)
	}
	_, err := folder.Weight(outside("location=model.onnx"))
	if want := `tensor "w\x1b": data file "` + filepath.Join(dir, "model.onnx") + `": is the model itself, want another file`; err == nil ||
		err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := NewFolder(dir).Except(filepath.Join(dir, "none")).Weight(outside("location=model.onnx")); err != nil {
		t.Errorf("a model that is not there yet: %v", err)
	}
}

// A tensor of the model itself is refused as TensorFromProto refuses it.
func TestFolder_refusedInside(t *testing.T) {
	_, err := NewFolder(t.TempDir()).Weight(&TensorProto{Name: "w", DataType: 1, Dims: []int64{2}})
	if err == nil || !strings.Contains(err.Error(), `tensor "w": there is no data, want 8 bytes`) {
		t.Errorf("error %v", err)
	}
}

var errDisk = errors.New("input/output error")

// brokenAt is a file of zeros that cannot be read from an offset on.
type brokenAt int64

func (b brokenAt) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > int64(b) {
		return 0, &os.PathError{Op: "read", Path: "elsewhere", Err: errDisk}
	}
	return len(p), nil
}

// A disk that fails is named with the file, and not taken for its end.
func TestExternal_brokenDisk(t *testing.T) {
	e := &external{External: External{Location: "d/w", Offset: 3}, dir: "model", name: "a", size: 2*pieceSize + 5}
	want := fmt.Sprintf("tensor \"a\": data file %q: input/output error", filepath.Join("model", "d", "w"))
	for _, broken := range []brokenAt{0, pieceSize + 3, 2*pieceSize + 7} {
		given := 0
		err := e.pieces(broken, func(piece []byte) error { given += len(piece); return nil })
		if whole := int(broken) / pieceSize * pieceSize; err == nil || err.Error() != want || given != whole {
			t.Errorf("broken from byte %d on: %d bytes, error %v, want %d and %s", broken, given, err, whole, want)
		}
	}
	if _, err := e.hash(iotest.ErrReader(errDisk)); err == nil || err.Error() != want {
		t.Errorf("checksum: error %v, want %s", err, want)
	}
}

// Neither writer takes a model or weights that could not be read again.
func TestWriters_refuse(t *testing.T) {
	const bad = "\xff"
	weights := func(name string, shapes ...[]int) []Weight {
		var out []Weight
		for _, shape := range shapes {
			out = append(out, Weight{name, tensor.Float32, tensor.NewWeight(tensor.WeightOptions{Shape: shape, DType: tensor.Float32,
				Parts: func(func(*tensor.Tensor) error) error { panic("read although it is refused") }})})
		}
		return out
	}
	data := func(m *ModelProto, w []Weight) error {
		_, err := WriteData(io.Discard, m, w, DataOptions{})
		return err
	}
	model := func(m *ModelProto, w []Weight) error { return Write(io.Discard, m, w, WriteOptions{}) }
	both := []func(*ModelProto, []Weight) error{data, model}
	for name, c := range map[string]struct {
		m       *ModelProto
		weights []Weight
		by      []func(*ModelProto, []Weight) error
		want    string
	}{
		"external data": {&ModelProto{Graph: &GraphProto{Initializer: []*TensorProto{outside("location=w")}}}, nil, both,
			`tensor "w\x1b": the data is in another file, "w", want the model's folder to find it in`},
		"initialiser":              {&ModelProto{Graph: &GraphProto{Initializer: []*TensorProto{{Name: bad}}}}, nil, both[1:], "protobuf refuses"},
		"what follows the weights": {&ModelProto{Graph: &GraphProto{DocString: bad}}, nil, both[1:], "protobuf refuses"},
		"what follows the graph": {&ModelProto{Graph: &GraphProto{}, MetadataProps: []*StringStringEntryProto{{Key: bad}}}, nil, both[1:],
			"protobuf refuses"},
		"what precedes the graph": {&ModelProto{DocString: bad, Graph: &GraphProto{}}, nil, both[1:], "protobuf refuses"},
		"name of a weight":        {&ModelProto{Graph: &GraphProto{}}, weights(bad, []int{1}), both[1:], "protobuf refuses"},
		"shape of a weight":       {&ModelProto{Graph: &GraphProto{}}, weights("w", []int{1, -1}), both, `"w": shape (1,-1): dimension 1 is -1`},
		"bytes of a weight":       {&ModelProto{Graph: &GraphProto{}}, weights("w", []int{1 << 61}), both, `"w": shape (2305843009213693952) of float32`},
		"bytes of all weights": {&ModelProto{Graph: &GraphProto{}}, weights("w", []int{1 << 60}, []int{1 << 60}), both[1:],
			`"w": the weights take more than 2^63 bytes`},
	} {
		for _, write := range c.by {
			if err := write(c.m, c.weights); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", name, err, c.want)
			}
		}
	}
}

// Who is asked where a weight lies may fail.
func TestWriteData_reuseFails(t *testing.T) {
	w := Weight{"w", tensor.Float32, lying(tensor.Origin{}, make([]byte, minExternal))}
	_, err := WriteData(io.Discard, &ModelProto{Graph: &GraphProto{}}, []Weight{w}, DataOptions{
		Reuse: func(string, tensor.Origin, int) (string, error) { return "", errDisk }})
	if !errors.Is(err, errDisk) || err.Error() != `"w": input/output error` {
		t.Errorf("error %v", err)
	}
}
