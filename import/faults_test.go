package importer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/import/checkpoint"
)

// A model that goes away after its first bytes were read.
func TestLoadONNX_gone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	_, err := loadONNX(path, Options{}, &Source{})
	var bad *Error
	if !errors.As(err, &bad) || bad.File != path || !strings.HasSuffix(err.Error(), "want a readable file") {
		t.Errorf("error %v, want an Error that names the file", err)
	}
}

// A checkpoint that becomes shorter after it was opened has no sum that would be that of what was read.
func TestRecognise_shrunk(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "testdata", "simple.bin"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.bin")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.Truncate(path, int64(len(data)-1)); err != nil { // of the directory, which was read
		t.Fatal(err)
	}
	_, err = recognise(file, path, Options{}, &Source{})
	var bad *checkpoint.Error
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "its size when it was opened") {
		t.Errorf("error %v, want one about the file's size", err)
	}
}

// A config that leads in a circle is there and cannot be read, which is not the same as none.
func TestReadConfig_loop(t *testing.T) {
	for _, name := range []string{"config.json", "preprocessor_config.json"} {
		dir := t.TempDir()
		if err := os.Symlink(name, filepath.Join(dir, name)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
		_, err := configBeside(dir)
		var bad *Error
		if !errors.As(err, &bad) || bad.File != filepath.Join(dir, name) || bad.Allowed != "a readable file" {
			t.Errorf("%s: error %v, want an Error that names it", name, err)
		}
	}
}

// What can be neither opened nor read is left to the checkpoint reader, whose error says why.
func TestLoad_unreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.bin")
	if err := os.WriteFile(path, []byte("\x08\x08\x12\x07aftonnx"), 0o200); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(path); err == nil {
		f.Close()
		t.Skip("every file can be read here")
	}
	_, _, err := Load(path, Options{})
	var bad *checkpoint.Error
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("error %v, want one of permissions", err)
	}
}
