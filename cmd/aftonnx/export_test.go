package main

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// overflowing writes a safetensors checkpoint of one AFT-simple layer whose values reach 6e4 * 6e4: far beyond float16,
// although every weight is within it.
func overflowing(t *testing.T, path string) {
	t.Helper()
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header := map[string]entry{}
	var data []byte
	for _, w := range []struct {
		name  string
		value float32
	}{{"q", 0}, {"k", 0}, {"v", 6e4}, {"out", 6e4}} {
		begin := len(data)
		for range 4 {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(w.value))
		}
		header["layers.0."+w.name+".weight"] = entry{"F32", []int{2, 2}, [2]int{begin, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...))
}

// An export that does not match is not written: the exit code is 1, the old file stays, and nothing else appears.
//
// Rule E14 of docs/hostile.md.
func TestExport_mismatch(t *testing.T) {
	if findRuntime(t) == "" {
		t.Skip("only ONNX Runtime rounds to float16")
	}
	dir := t.TempDir()
	checkpoint, target := filepath.Join(dir, "huge.safetensors"), filepath.Join(dir, "huge.onnx")
	overflowing(t, checkpoint)
	args := []string{"export", checkpoint, "-o", target, "--causal=false"}
	if code, out, messages := invoke(t.Context(), args...); code != 0 {
		t.Fatalf("float32: exit code %d\n%s%s", code, out, messages)
	}
	before, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	code, out, messages := invoke(t.Context(), append(args, "--dtype", "float16")...)
	if code != exitMismatch || !strings.Contains(out, wordFail) {
		t.Errorf("exit code %d, want %d\n%s", code, exitMismatch, out)
	}
	for _, want := range []string{"not written", "does not match", "element ["} {
		if !strings.Contains(messages, want) {
			t.Errorf("messages do not say %q:\n%s", want, messages)
		}
	}
	after, err := os.ReadFile(target)
	if err != nil || string(after) != string(before) {
		t.Errorf("the old file changed (error %v)", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left %v", entries)
	}
	code, out, _ = invoke(t.Context(), append(args, "--dtype", "float16", "--json", "-o", filepath.Join(dir, "new.onnx"))...)
	if code != exitMismatch || !strings.Contains(out, `"written": false`) {
		t.Errorf("JSON: exit code %d\n%s", code, out)
	}
}
