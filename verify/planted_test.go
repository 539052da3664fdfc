//go:build aftonnx_planted_fault

package verify

import (
	"testing"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
)

// A kernel of which one number is wrong fails, in its layer; nobody else does. The tag plants the fault (ort/custom_op.c).
func TestPlantedKernel(t *testing.T) {
	needRuntime(t)
	m, _, err := importer.Load("../testdata/stack.bin", importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := writeModel(t, exported(t, m, export.Options{}))
	r, err := Model(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Engine{Kernel, Portable, Native} {
		row := find(t, r, "y", e)
		if wrong := e == Kernel; row.Pass == wrong || wrong && row.Located != "layers.1.aft" {
			t.Errorf("%s: pass %v, located %q", e, row.Pass, row.Located)
		}
	}
	b, err := Reproduce(t.Context(), path, Options{}, r)
	if err != nil {
		t.Fatal(err)
	}
	if b.Engine != Kernel || b.Layer != "layers.1.aft" {
		t.Errorf("%s, %q", b.Engine, b.Layer)
	}
}
