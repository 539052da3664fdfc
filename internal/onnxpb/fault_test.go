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
