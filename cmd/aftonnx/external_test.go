package main

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/aftonnx/aftonnx/internal/modelfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// cmdExternal is "external MODEL COPY": a copy of a model with its weights in a data file beside it.
func cmdExternal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: external MODEL COPY")
	}
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	m, err := onnxpb.Decode(data)
	ts.Check(err)
	var weights []onnxpb.Weight
	for _, t := range m.Graph.Initializer {
		w, err := onnxpb.InitializerWeight(t, "")
		ts.Check(err)
		weights = append(weights, onnxpb.Weight{Name: t.Name, DType: w.DType(), Value: w})
	}
	m.Graph.Initializer = nil
	f, err := modelfile.Stage(ts.MkAbs(args[1]), m, weights, modelfile.Options{Placement: modelfile.Always})
	ts.Check(err)
	ts.Check(f.Commit())
}
