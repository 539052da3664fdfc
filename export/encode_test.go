package export_test

import (
	"bytes"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/reference"
)

// Encode gives the bytes of Model, and refuses what Model refuses.
func TestEncode(t *testing.T) {
	m := reference.Stack(reference.Layer{
		Variant: reference.Simple,
		Q:       reference.Linear{Weight: reference.Hold(reference.Array{Shape: []int{1, 1}, Data: []float64{2}})},
		K:       reference.Linear{Weight: reference.Hold(reference.Array{Shape: []int{1, 1}, Data: []float64{3}})},
		V:       reference.Linear{Weight: reference.Hold(reference.Array{Shape: []int{1, 1}, Data: []float64{1e6}})},
	})
	p, err := export.Model(m, export.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := onnxpb.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := export.Encode(m, export.Options{})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Encode gives %d bytes (%v), want the %d of Model", len(got), err, len(want))
	}
	if _, err := export.Encode(m, export.Options{DType: export.Float16}); err == nil {
		t.Error("a weight of 1e6 becomes an infinite float16")
	}
}
