package npy

import (
	"archive/zip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Failures that need no bytes of an attacker: files that are not there or cannot be read, names too long for an archive.
func TestFaults(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	x, err := tensor.FromFloat64s(tensor.Float32, []int{1}, []float64{1})
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func() error{
		"an array that is not there":     func() error { _, err := ReadFile(none); return err },
		"an archive that is not there":   func() error { _, err := ReadNPZ(none); return err },
		"a failure to read, in an entry": func() error { return archiveError("data", &fs.PathError{Op: "read", Path: "x", Err: fs.ErrNotExist}) },
	} {
		if err := run(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := EncodeNPZ(map[string]*tensor.Tensor{strings.Repeat("x", 1<<16): x}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a name of 64 KiB: %v", err)
	}
	const unreadable = "/proc/self/mem" // a regular file, whose first page is not mapped
	if _, err := os.Stat(unreadable); err == nil {
		var failed *fs.PathError
		if _, err := ReadFile(unreadable); !errors.As(err, &failed) {
			t.Errorf("a file that cannot be read: %v", err)
		}
	}
}

// Each entry may unpack to what it claims; together they may not.
func TestCheckSizes_together(t *testing.T) {
	entry := func(name string) *zip.File {
		return &zip.File{FileHeader: zip.FileHeader{Name: name, Method: zip.Deflate, CompressedSize64: 3 << 20, UncompressedSize64: 3 << 30}}
	}
	err := checkSizes(&zip.Reader{File: []*zip.File{entry("a.npy"), entry("b.npy")}}, 8<<20)
	if err == nil || !strings.Contains(err.Error(), "want at most 4294967296") || !strings.Contains(err.Error(), "b.npy") {
		t.Error(err)
	}
}
