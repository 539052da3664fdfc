package onnxpb

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// full is a writer that has room for so many bytes.
type full struct{ left int }

var errFull = errors.New("no space left on device")

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// Wherever a writer stops taking bytes, that is what the caller learns.
func TestWrite_noSpace(t *testing.T) {
	weights := []Weight{{"a", tensor.Float32, ramp(40_000)}, {"b", tensor.Float64, ramp(0)}, {"c", tensor.Float16, ramp(70_000)}}
	m := everyField(t)
	for name, write := range map[string]func(w io.Writer) error{
		"model": func(w io.Writer) error { return Write(w, m, weights, WriteOptions{DigestKey: "digest"}) },
		"data":  func(w io.Writer) error { _, err := WriteData(w, m, weights, DataOptions{}); return err },
	} {
		taken := &full{1 << 30}
		if err := write(taken); err != nil {
			t.Fatal(err)
		}
		size := 1<<30 - taken.left
		for room := 0; room < size; room += 1 + min(room, size-room)/3 { // closer at both ends
			if err := write(&full{room}); !errors.Is(err, errFull) {
				t.Fatalf("%s, room for %d of %d bytes: %v", name, room, size, err)
			}
		}
	}
}

// What is longer than the buffer between is written past it, so that each part of a model can be where the space ends.
func TestWrite_noSpaceWithin(t *testing.T) {
	const long = 1 << 17
	text := strings.Repeat("x", long)
	for name, m := range map[string]*ModelProto{
		"before the weights": {DocString: text, Graph: &GraphProto{}}, "behind them": {Graph: &GraphProto{DocString: text}},
	} {
		if err := Write(&full{long / 2}, m, []Weight{{"a", tensor.Float32, ramp(1)}}, WriteOptions{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Write(&full{long / 2}, &ModelProto{Graph: &GraphProto{}}, []Weight{{text, tensor.Float32, ramp(1)}},
		WriteOptions{}); !errors.Is(err, errFull) {
		t.Errorf("name of a weight: %v", err)
	}
	// The buffer is empty after the first piece, which is larger, and has 4436 bytes of room when the padding of 65508 comes.
	pieces := []int{70_000, 61_100}
	w := tensor.NewWeight(tensor.WeightOptions{Shape: []int{pieces[0] + pieces[1]}, DType: tensor.Uint8,
		Parts: func(yield func(*tensor.Tensor) error) error {
			for _, n := range pieces {
				if err := yield(&tensor.Tensor{DType: tensor.Uint8, Shape: []int{n}, Data: make([]byte, n)}); err != nil {
					return err
				}
			}
			return nil
		}})
	large := Weight{"large", tensor.Float32, ramp(largeTensor / 4)}
	if _, err := WriteData(&full{pieces[0]}, &ModelProto{Graph: &GraphProto{}}, []Weight{{"pieces", tensor.Uint8, w}, large},
		DataOptions{}); !errors.Is(err, errFull) || strings.Contains(err.Error(), "large") {
		t.Errorf("padding: %v", err)
	}
}

func TestCheckBeneath(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "w"), make([]byte, 16), 0o600), os.Mkdir(filepath.Join(dir, "d"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		location string
		offset   int64
		size     int
		want     string
	}{
		{"w", 8, 8, ""}, {"w", 9, 8, "has 16 bytes, want offset 9 + length 8"}, {"w", -1, 8, "want offset -1"},
		{"../w", 0, 8, `the data's location is "../w"`}, {"none", 0, 8, "no such file"}, {"d", 0, 0, "not a regular file"},
	} {
		err := CheckBeneath(dir, c.location, c.offset, c.size)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, offset %d, %d bytes: %v, want %q", c.location, c.offset, c.size, err, c.want)
		}
	}
	if err := CheckBeneath(filepath.Join(dir, "none"), "w", 0, 8); err == nil {
		t.Error("a folder that does not exist was accepted")
	}
}

// A file with a checksum that goes away, or is another kind of file, before it is hashed.
func TestExternal_checksumOfNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := os.WriteFile(path, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := InitializerWeight(outside("location=w", "checksum="+strings.Repeat("0", 40)), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.Array(); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("error %v", err)
		}
	}
}

// What protobuf cannot write is an error of ours, and says in which file if the caller knows.
func TestEncode_notUTF8(t *testing.T) {
	bad := []byte{0xff}
	for name, m := range map[string]*ModelProto{
		"model": {ProducerName: string(bad), Graph: &GraphProto{}}, "graph": {Graph: &GraphProto{Name: string(bad)}},
	} {
		_, err1 := Encode(m)
		err2 := Write(io.Discard, m, []Weight{{"a", tensor.Float32, ramp(1)}}, WriteOptions{})
		for _, err := range []error{err1, err2} {
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "protobuf refuses to write the model") {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if e.File = "x\n"; !strings.HasPrefix(e.Error(), `"x\n": `) {
				t.Errorf("%s: %v", name, e)
			}
		}
	}
}
