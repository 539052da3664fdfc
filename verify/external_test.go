package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/modelfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// writeExternal puts a model into a file of its own and its weights into another, whose paths it returns.
func writeExternal(t *testing.T, p *onnxpb.ModelProto) (model, data string) {
	t.Helper()
	bare, ok := proto.Clone(p).(*onnxpb.ModelProto)
	if !ok {
		t.Fatal("cannot copy the model")
	}
	var weights []onnxpb.Weight
	for _, stored := range bare.Graph.Initializer {
		w, err := onnxpb.InitializerWeight(stored, "")
		if err != nil {
			t.Fatal(err)
		}
		weights = append(weights, onnxpb.Weight{Name: stored.GetName(), DType: w.DType(), Value: w})
	}
	bare.Graph.Initializer = nil
	model = filepath.Join(t.TempDir(), "model.onnx")
	f, err := modelfile.Stage(model, bare, weights, modelfile.Options{Placement: modelfile.Always})
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return model, filepath.Join(filepath.Dir(model), f.Data)
}

// An export whose weights lie in another file is verified as any, layer by layer where asked; and a weight that was changed
// there shows.
func TestModel_externalData(t *testing.T) {
	needRuntime(t)
	_, p := loadTrained(t, export.Options{})
	model, data := writeExternal(t, p)
	report, err := Model(t.Context(), model, Options{Full: true})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, report)
	for _, e := range []Engine{Kernel, Portable, Native} {
		if !find(t, report, "y", e).Pass {
			t.Errorf("engine %s has no passing row", e)
		}
	}
	find(t, report, "digest", Reference)
	both, err := Model(t.Context(), writeModel(t, p), Options{Engines: []Engine{Kernel, Native}, Other: model})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, both)

	content, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	content[1] ^= 1
	if err := os.WriteFile(data, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if report, err = Model(t.Context(), model, Options{Engines: []Engine{Kernel, Portable}}); err != nil {
		t.Fatal(err)
	}
	if row := find(t, report, "digest", Reference); row.Pass || report.Pass {
		t.Errorf("a changed weight passes: %+v", row)
	}
	if err := os.Truncate(data, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Model(t.Context(), model, Options{}); err == nil || !strings.Contains(err.Error(), data) {
		t.Errorf("a data file that was cut off: error %v does not name it", err)
	}
}
