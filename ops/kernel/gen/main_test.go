package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/ops"
)

// The generated files are checked in: whoever changes a declaration runs go generate in ops/kernel.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	for name, want := range map[string][]byte{"zops.h": header(ops.All()), "zops.c": source(ops.All())} {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not what the declarations give, run go generate ./ops/kernel (-want +got):\n%s", name, diff)
		}
	}
}

func TestCheckRefusesWhatTheHeaderCannotHold(t *testing.T) {
	for name, def := range map[string]*ops.Def{
		"inputs":     {Inputs: make([]ops.Port, maxInputs+1)},
		"outputs":    {Outputs: make([]ops.Port, maxOutputs+1)},
		"rank":       {Inputs: []ops.Port{{Dims: make([]string, maxRank+1)}}},
		"attributes": {Attrs: make([]ops.Attr, maxAttrs+1)},
	} {
		if err := check([]*ops.Def{def}); err == nil {
			t.Errorf("%s: one too many was accepted", name)
		}
	}
	if err := check(ops.All()); err != nil {
		t.Error(err)
	}
}
