package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/ops/kernel"
)

// TestReadme types the README's commands, in their order, in a folder that holds testdata and nothing else. The two that
// build, test and install are .ci/run's.
func TestReadme(t *testing.T) {
	if err := kernel.Available(); err != nil {
		t.Skip(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	testdata, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(testdata, "testdata"); err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(string(readme)) {
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if !ok {
			continue
		}
		command, _, _ = strings.Cut(command, "#")
		words := strings.Fields(strings.TrimPrefix(command, "go run ./cmd/"))
		if len(words) == 0 || words[0] != "aftonnx" {
			continue
		}
		count++
		var out, messages bytes.Buffer
		if code := run(t.Context(), words[1:], strings.NewReader(""), &out, &messages); code != 0 {
			t.Errorf("%s: exit %d\n%s%s", command, code, out.String(), messages.String())
		}
	}
	if count < 5 {
		t.Errorf("found %d commands in README.md, want the ones it shows", count)
	}
	for _, made := range []string{"model.onnx", "local.onnx", "simple.onnx", "out/y.npy"} {
		if _, err := os.Stat(made); err != nil {
			t.Error(err)
		}
	}
}
