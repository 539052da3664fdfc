package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/aftonnx/aftonnx/infer"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/task"
	"github.com/aftonnx/aftonnx/verify"
)

// The program writes what task.ByteModel makes of the same model on the same engine.
func TestGenerate(t *testing.T) {
	if err := kernel.Available(); err != nil {
		t.Skip(err)
	}
	const prompt = "func "
	m, err := infer.OpenCheckpoint("../../testdata/model.bin", infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.As(true); err != nil {
		t.Fatal(err)
	}
	session, err := m.Load(t.Context(), verify.Kernel, infer.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	model, err := task.NewByteModel(m.Ports())
	if err != nil {
		t.Fatal(err)
	}
	want := []byte(prompt)
	options := task.GenerateOptions{Tokens: count}
	err = model.Continue(t.Context(), m.Decoder(session, 0), want, options, func(b byte) error {
		want = append(want, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	data, err := onnxpb.Encode(m.Graph.Proto())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := generate(t.Context(), &got, file, prompt); err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want)+"\n" {
		t.Errorf("generated %q, want %q", got.String(), string(want)+"\n")
	}
	if err := generate(t.Context(), &got, file, ""); err == nil {
		t.Error("an empty text is continued")
	}
}
