package verify

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// A sweep has a row for every setting, and those about the weights once.
func TestModels(t *testing.T) {
	needRuntime(t)
	path := writeModel(t, exported(t, newMaker(t).language(), export.Options{}))
	r, _, err := Models(t.Context(), path, Options{Seed: 5, Engines: []Engine{Kernel}}, Sweep{
		Threads: []int{1, 2}, Optimizations: ort.Optimizations(), Batches: []int{1}, Sequences: []int{1, 7}, Seeds: 2})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	var settings []string
	digests := 0
	for _, row := range r.Results {
		if row.Kind == KindOutput {
			settings = append(settings, row.Setting)
		} else {
			digests++
		}
	}
	if len(settings) != 32 || digests != 1 || settings[0] != "optimization none, threads 1, sequence 1, seed 5" ||
		settings[31] != "optimization all, threads 2, sequence 7, seed 6" {
		t.Errorf("%d settings, %d rows of digests: %q", len(settings), digests, settings)
	}
	if diff := cmp.Diff([]string{"input_ids (1,1)", "input_ids (1,7)"}, slices.DeleteFunc(r.Covered, func(s string) bool { return strings.HasPrefix(s, "all") })); diff != "" {
		t.Errorf("covered (-want +got):\n%s", diff)
	}
}

// What ONNX Runtime's rewriting of a graph breaks shows at the levels that do it: it takes a factor into the weights of the convolution
// before it, and 1e30 * 1e30 is no float, while the convolution's result times 1e30 is one.
func TestModels_optimization(t *testing.T) {
	needRuntime(t)
	one := []onnxpb.Dim{onnxpb.Fixed(1), onnxpb.Fixed(1), onnxpb.Fixed(1), onnxpb.Fixed(1)}
	large := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1e30))
	p := &onnxpb.ModelProto{IrVersion: 8, OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", 17)}, Graph: &onnxpb.GraphProto{
		Name: "g", Input: []*onnxpb.ValueInfoProto{onnxpb.ValueInfo("x", tensor.Float32, one...)},
		Output: []*onnxpb.ValueInfoProto{onnxpb.ValueInfo("y", tensor.Float32, one...)},
		Node:   []*onnxpb.NodeProto{onnxpb.Node("Conv", []string{"x", "w"}, []string{"c"}), onnxpb.Node("Mul", []string{"c", "factor"}, []string{"y"})},
		Initializer: []*onnxpb.TensorProto{{Name: "w", DataType: 1, Dims: []int64{1, 1, 1, 1}, RawData: large},
			{Name: "factor", DataType: 1, Dims: []int64{1, 1, 1, 1}, RawData: large}}}}
	r, _, err := Models(t.Context(), writeModel(t, p), Options{Engines: []Engine{Portable},
		Ranges: []Range{{Low: 1e-30, High: 2e-30}}}, Sweep{Optimizations: ort.Optimizations()})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Results {
		if pass := row.Setting == "optimization none"; row.Pass != pass {
			t.Errorf("%s: pass %v, want %v", row.Setting, row.Pass, pass)
		}
	}
}

// A sequence longer than the biases reach is refused in the reference's words, whatever engines there are.
func TestModels_tooLong(t *testing.T) {
	needRuntime(t)
	path := writeModel(t, exported(t, newMaker(t).language(), export.Options{}))
	_, _, err := Models(t.Context(), path, Options{}, Sweep{Sequences: []int{testLength, testLength + 1}})
	if err == nil || !strings.Contains(err.Error(), "sequence 13: engine reference: ") {
		t.Error(err)
	}
}

// The options of a setting that fails come back: what is wrong shows from the fifth position on.
func TestModels_failed(t *testing.T) {
	good, bad := lateFault(t)
	r, o, err := Models(t.Context(), good, Options{Other: bad, Engines: []Engine{Native}}, Sweep{Sequences: []int{4, 5, 6}})
	if err != nil || r.Pass || o.Sequence != 5 {
		t.Errorf("pass %v, sequence %d, %v", r.Pass, o.Sequence, err)
	}
}

// Range draws tokens and numbers from where it says.
func TestSeededInputs_ranges(t *testing.T) {
	g, err := onnxgraph.New(exported(t, newMaker(t).language(), export.Options{AttentionMask: true}), onnxgraph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	in, _, err := SeededInputs(g, nil, InputSizes{Batch: 8, Sequence: 9, Ranges: []Range{{"", 100, 200}, {"input*", 2.5, 5}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[float64]bool{}
	for _, v := range in["input_ids"].Float64s() {
		seen[v] = true
	}
	if diff := cmp.Diff(map[float64]bool{3: true, 4: true, 5: true}, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if slices.Max(in["attention_mask"].Float64s()) != 1 {
		t.Error("a mask was drawn")
	}
	x := graphOf(t, "stack", export.Options{})
	if in, _, err = SeededInputs(x, nil, InputSizes{Ranges: []Range{{"x", -2, -1}}}, 1); err != nil {
		t.Fatal(err)
	}
	if v := in["x"].Float64s(); slices.Min(v) < -2 || slices.Max(v) > -1 || slices.Min(v) > -1.9 {
		t.Errorf("from %v to %v", slices.Min(v), slices.Max(v))
	}
}
