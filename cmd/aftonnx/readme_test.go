package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/ops/kernel"
)

// TestReadme types the README's commands, in their order, in a folder that holds testdata and nothing else. The two that
// build, test and install are .ci/run's.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("verifies and evaluates whole models; the scripts cover the same verbs on small ones")
	}
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
	shown, printed := readmeTable(t, string(readme)), [][]string(nil)
	count := 0
	for line := range strings.Lines(string(readme)) {
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if !ok {
			continue
		}
		command, _, _ = strings.Cut(command, "#")
		words := shellWords(strings.TrimPrefix(command, "go run ./cmd/"))
		if len(words) == 0 || words[0] != "aftonnx" {
			continue
		}
		count++
		var out, messages bytes.Buffer
		if code := run(t.Context(), words[1:], strings.NewReader(""), &out, &messages); code != 0 {
			t.Errorf("%s: exit %d\n%s%s", command, code, out.String(), messages.String())
		}
		if strings.Join(words[1:], " ") == "export testdata/model.bin" {
			for line := range strings.Lines(out.String()) {
				if cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); len(cells) > 1 {
					printed = append(printed, cells[:9]) // the further columns are those of piped output alone
				}
			}
		}
	}
	if count < 5 {
		t.Errorf("found %d commands in README.md, want the ones it shows", count)
	}
	if diff := cmp.Diff(verdicts(printed), verdicts(shown)); diff != "" {
		t.Errorf("README.md shows another table (-printed +shown):\n%s", diff)
	}
	for _, made := range []string{"model.onnx", "local.onnx", "simple.onnx", "imagenet-conv-tiny-k11-h32.safetensors", "out/y.npy"} {
		if _, err := os.Stat(made); err != nil {
			t.Error(err)
		}
	}
}

// shellWords splits a command at spaces outside of single quotes.
func shellWords(command string) []string {
	var words []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}

// readmeTable takes the README's table of a terminal apart: a column begins where its name does.
func readmeTable(t *testing.T, readme string) [][]string {
	t.Helper()
	_, text, found := strings.Cut(readme, "\n    RESULT ")
	text, _, ended := strings.Cut(text, "\n\n")
	if !found || !ended {
		t.Fatal("README.md shows no table")
	}
	lines := strings.Split("    RESULT "+text, "\n")
	names := regexp.MustCompile(`\S+( \S+)*`).FindAllStringIndex(lines[0], -1)
	var table [][]string
	for _, line := range lines {
		cells := make([]string, len(names))
		for i, at := range names {
			end := len(line)
			if i+1 < len(names) {
				end = min(end, names[i+1][0])
			}
			cells[i] = strings.TrimSpace(line[min(at[0], end):end])
		}
		table = append(table, cells)
	}
	for i, name := range table[0] {
		table[0][i] = strings.ToLower(name)
	}
	return table
}

// verdicts is what does not change from machine to machine: the header, and of every row result, engine and verdict.
func verdicts(table [][]string) []string {
	set := map[string]bool{}
	for i, cells := range table {
		if i > 0 {
			cells = []string{cells[0], cells[1], cells[8]}
		}
		set[strings.Join(cells, ", ")] = true
	}
	return slices.Sorted(maps.Keys(set))
}
