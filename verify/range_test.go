package verify

import (
	"path/filepath"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Keys thirty times larger span more than exp(80), and less than exp(600). A body in float owes finite numbers there and the row must not
// look like a comparison; one that computes in double, or the kernel, owes the tolerance.
func TestModel_beyondTheRange(t *testing.T) {
	needRuntime(t)
	m, _, err := importer.Load(filepath.Join("..", "testdata", "full.bin"), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := m.Blocks[0].K.Weight.Array()
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys.Data {
		keys.Data[i] *= 30
	}
	m.Blocks[0].K.Weight = tensor.Hold(keys)
	for _, double := range []bool{false, true} {
		p, err := export.Model(m, export.Options{DoublePortable: double})
		if err != nil {
			t.Fatal(err)
		}
		report, err := Model(t.Context(), writeModel(t, p), Options{Engines: []Engine{Kernel, Portable}})
		if err != nil {
			t.Fatal(err)
		}
		wantPass(t, report)
		if row := find(t, report, "y", Kernel); row.Finite != 0 || row.Worst == nil {
			t.Errorf("double=%v: the kernel only had to be finite in %d of %d cases", double, row.Finite, row.Cases)
		}
		row := find(t, report, "y", Portable)
		if double && (row.Finite != 0 || row.Worst == nil) {
			t.Errorf("bodies in double only had to be finite in %d of %d cases", row.Finite, row.Cases)
		}
		if !double && (row.Finite == 0 || row.FiniteMaxAbs == 0) {
			t.Errorf("bodies in float were held to the tolerance in all %d cases, FiniteMaxAbs %g", row.Cases, float64(row.FiniteMaxAbs))
		}
	}
}
