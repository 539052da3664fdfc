package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/reference"
)

// trained is a stack of an AFT-conv, an AFT-local and an AFT-full layer (testdata/README.md).
var trained = filepath.Join("..", "testdata", "stack.bin")

// needRuntime skips a test in a build that has no kernels. Where there are some, ONNX Runtime has to be there too.
func needRuntime(t *testing.T) {
	t.Helper()
	if err := kernel.Available(); err != nil {
		t.Skip(err)
	}
	r, err := ort.Open(t.Context(), ort.Options{})
	if err != nil {
		t.Fatalf("needs ONNX Runtime: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// find returns the row of that name and engine.
func find(t *testing.T, r *Report, name string, e Engine) *Result {
	t.Helper()
	for i := range r.Results {
		if r.Results[i].Name == name && r.Results[i].Engine == e {
			return &r.Results[i]
		}
	}
	t.Fatalf("no row %q of engine %s in %+v", name, e, r.Results)
	return nil
}

func wantNote(t *testing.T, r *Report, text string) {
	t.Helper()
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, text) }) {
		t.Errorf("notes %q, want one that says %q", r.Notes, text)
	}
}

func wantPass(t *testing.T, r *Report) {
	t.Helper()
	for _, row := range r.Results {
		if !row.Pass {
			t.Errorf("%s %s %s: %s", row.Name, row.Engine, row.DType, row.Problem)
		}
	}
	if !r.Pass {
		t.Error("the report does not pass")
	}
}

// Every golden layer passes on every engine, in every type; and the tolerance is not so wide that it would hide a mistake:
// the kernels use at least a hundredth of it.
func TestModel_goldenLayers(t *testing.T) {
	needRuntime(t)
	dir, layers := goldenLayers(t)
	for _, g := range layers {
		for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float16, tensor.Float64} {
			t.Run(g.ID+" "+dtype.String(), func(t *testing.T) {
				r, err := Model(t.Context(), filepath.Join(dir, g.Checkpoint), Options{
					Import: g.options(t), Export: export.Options{DType: dtype}, Threads: 1,
				})
				if err != nil {
					t.Fatal(err)
				}
				wantPass(t, r)
				kernel := find(t, r, "y", Kernel)
				if kernel.Calls == 0 || find(t, r, "y", Portable).Calls != 0 {
					t.Errorf("%d kernel calls by the kernel engine, %d by the portable one", kernel.Calls, find(t, r, "y", Portable).Calls)
				}
				if dtype == tensor.Float32 && kernel.ratio < 0.01 {
					t.Errorf("the largest error is %.2g of the tolerance: too loose to find anything", kernel.ratio)
				}
			})
		}
	}
}

// loadTrained imports and exports the trained stack.
func loadTrained(t *testing.T, o export.Options) (*reference.Model, *onnxpb.ModelProto) {
	t.Helper()
	m, _, err := importer.Load(trained, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := export.Model(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return m, p
}

// writeModel puts a model into a file of its own.
func writeModel(t *testing.T, p *onnxpb.ModelProto) string {
	t.Helper()
	data, err := onnxpb.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// mutate returns a copy of p in which one element of an initialiser is larger by 1e-3.
func mutate(t *testing.T, p *onnxpb.ModelProto, name string, element int) *onnxpb.ModelProto {
	t.Helper()
	return edit(t, p, name, func(values []float64) { values[element] += 1e-3 })
}

// edit returns a copy of p with other values in an initialiser.
func edit(t *testing.T, p *onnxpb.ModelProto, name string, change func([]float64)) *onnxpb.ModelProto {
	t.Helper()
	c, ok := proto.Clone(p).(*onnxpb.ModelProto)
	if !ok {
		t.Fatal("cannot copy the model")
	}
	for i, init := range c.Graph.Initializer {
		if init.GetName() != name {
			continue
		}
		v, err := onnxpb.TensorFromProto(init)
		if err != nil {
			t.Fatal(err)
		}
		values := v.Float64s()
		change(values)
		if v, err = tensor.FromFloat64s(v.DType, v.Shape, values); err != nil {
			t.Fatal(err)
		}
		c.Graph.Initializer[i] = onnxpb.TensorToProto(name, v)
		return c
	}
	t.Fatalf("no initialiser %q", name)
	return nil
}

// One weight that is off by 1e-3, whichever it is, fails the verification of an export and that of a file against its
// checkpoint.
func TestModel_mutatedWeight(t *testing.T) {
	exact, p := loadTrained(t, export.Options{})
	for _, init := range p.Graph.Initializer {
		t.Run(init.GetName(), func(t *testing.T) {
			path := writeModel(t, mutate(t, p, init.GetName(), 1))
			r, err := Model(t.Context(), path, Options{Engines: []Engine{Native}, Source: exact, Sequence: 5})
			if err != nil {
				t.Fatal(err)
			}
			row := find(t, r, "weights", Reference)
			if r.Pass || row.Pass || !strings.Contains(row.Problem, init.GetName()+": element [") {
				t.Errorf("export: pass %v, problem %q, want one that names the weight", r.Pass, row.Problem)
			}
			r, err = Model(t.Context(), trained, Options{Engines: []Engine{Native}, Other: path, Sequence: 5})
			if err != nil {
				t.Fatal(err)
			}
			if row := find(t, r, "other weights", Reference); r.Pass || row.Pass {
				t.Errorf("against the checkpoint: pass %v, problem %q", r.Pass, row.Problem)
			}
		})
	}
}

// The outputs alone show a changed weight too, on every engine, and the first layer that differs is named. (A constant
// added to the bias of K cancels in the softmax; every other weight shows.)
func TestModel_locatesLayer(t *testing.T) {
	needRuntime(t)
	_, p := loadTrained(t, export.Options{})
	for _, weight := range []string{"layers.0.w", "layers.1.q.weight", "layers.1.v.bias", "layers.2.out.weight"} {
		t.Run(weight, func(t *testing.T) {
			path := writeModel(t, mutate(t, p, weight, 1))
			r, err := Model(t.Context(), trained, Options{Other: path, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []Engine{Kernel, Portable, Native} {
				row := find(t, r, "other y", e)
				if row.Pass || row.Worst == nil || row.Worst.Ratio() <= 1 {
					t.Errorf("%s: passes", e)
				}
				layer := weight[:len("layers.N")]
				if weight != "layers.2.out.weight" && !strings.HasPrefix(row.Located, layer+".") {
					t.Errorf("%s: located %q, want a value of %s", e, row.Located, layer)
				}
				if first := find(t, r, "y", e); !first.Pass {
					t.Errorf("%s: the checkpoint's own export fails: %s", e, first.Problem)
				}
			}
		})
	}
}

// A second model of another type passes within what rounding its weights and inputs explains, and not by much more.
func TestModel_otherType(t *testing.T) {
	needRuntime(t)
	for _, test := range []struct{ first, second tensor.DType }{
		{tensor.Float32, tensor.Float16}, {tensor.Float16, tensor.Float32},
		{tensor.Float64, tensor.Float32}, {tensor.Float32, tensor.Float64},
	} {
		t.Run(fmt.Sprintf("%s and %s", test.first, test.second), func(t *testing.T) {
			_, first := loadTrained(t, export.Options{DType: test.first})
			_, second := loadTrained(t, export.Options{DType: test.second, Flatten: true})
			r, err := Model(t.Context(), writeModel(t, first), Options{Other: writeModel(t, second), Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			wantPass(t, r)
			if row := find(t, r, "other y", Portable); row.ratio < 0.01 || row.Calls != 0 {
				t.Errorf("a flattened model used %.2g of its tolerance and called %d kernels", row.ratio, row.Calls)
			}
			wantNote(t, r, "other kernel has nothing to run")
		})
	}
}

// A model that says it comes from elsewhere is held against the native engine.
func TestModel_foreign(t *testing.T) {
	needRuntime(t)
	_, p := loadTrained(t, export.Options{Flatten: true})
	p.ProducerName, p.MetadataProps = "somebody", nil
	r, err := Model(t.Context(), writeModel(t, p), Options{Sequence: 9})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	wantNote(t, r, "native engine")
	wantNote(t, r, "kernel has nothing to run")
	if len(r.Results) != 1 || r.Results[0].Engine != Portable {
		t.Errorf("rows %+v, want that of portable: native is the truth, and there are no nodes for kernel", r.Results)
	}
}

// Without ONNX Runtime the other engines are compared, and the report knows what is missing and why.
func TestModel_withoutRuntime(t *testing.T) {
	gone := errors.New("no library")
	open := func(context.Context) (*ort.Runtime, error) { return nil, gone }
	r, err := Model(t.Context(), trained, Options{Open: open})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	if !errors.Is(r.Missing(), gone) {
		t.Errorf("missing: %v, want the opener's error", r.Missing())
	}
	r, err = Model(t.Context(), trained, Options{Open: open, Engines: []Engine{Native}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Missing() != nil {
		t.Errorf("missing: %v, although the engines that were asked for are there", r.Missing())
	}
}

// Engines that leave nothing to compare are refused before anything runs.
func TestModel_nothingToCompare(t *testing.T) {
	_, p := loadTrained(t, export.Options{})
	exported := writeModel(t, p)
	_, p = loadTrained(t, export.Options{Flatten: true})
	flat := writeModel(t, p)
	open := func(context.Context) (*ort.Runtime, error) { return nil, errors.New("was opened") }
	for _, o := range []Options{
		{Engines: []Engine{Reference}}, {Engines: []Engine{}}, {Engines: []Engine{Reference, Native}},
		{Engines: []Engine{Kernel}}, {Engines: []Engine{Native, Kernel}},
		{Engines: []Engine{Reference, Native}, Other: exported, Inputs: map[string]*tensor.Tensor{}},
	} {
		o.Open = open
		r, err := Model(t.Context(), flat, o)
		if o.Other != "" {
			if err != nil || !r.Pass {
				t.Errorf("%v and another model: %v, want a report that passes", o.Engines, err)
			}
			continue
		}
		if !errors.Is(err, ErrNothingToCompare) {
			t.Errorf("%v: error %v, want that there is nothing to compare", o.Engines, err)
		}
	}
	if _, err := Operators(t.Context(), Options{Engines: []Engine{Reference}}); !errors.Is(err, ErrNothingToCompare) {
		t.Errorf("operators: error %v, want that there is nothing to compare", err)
	}
}

func TestModel_errors(t *testing.T) {
	dir := t.TempDir()
	words := filepath.Join(dir, "words.pt")
	if err := os.WriteFile(words, []byte("these are words"), 0o644); err != nil {
		t.Fatal(err)
	}
	yes := true
	_, p := loadTrained(t, export.Options{})
	exported := writeModel(t, p)
	wrong, err := tensor.FromFloat64s(tensor.Float32, []int{1, 2, 3}, make([]float64, 6))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path, want string
		o                Options
	}{
		{"not there", filepath.Join(dir, "nowhere"), "nowhere", Options{}},
		{"a folder", dir, "directory", Options{}},
		{"words", words, "words.pt", Options{}},
		{"a flag a model needs not", exported, "--causal", Options{Import: importer.Options{Causal: &yes}}},
		{"inputs of another shape", exported, "reference", Options{Inputs: map[string]*tensor.Tensor{"x": wrong}}},
		{"second model not there", exported, "nowhere", Options{Other: filepath.Join(dir, "nowhere")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Engines = []Engine{Native}
			if _, err := Model(t.Context(), test.path, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Model(ctx, exported, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// The whole operator set passes on every engine, every kernel call is counted, and the report survives JSON.
func TestOperators(t *testing.T) {
	needRuntime(t)
	r, err := Operators(t.Context(), Options{Quick: testing.Short()})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	if len(r.Results) != 9*3*3 {
		t.Errorf("%d rows, want 9 operators x 3 types x 3 engines", len(r.Results))
	}
	for _, row := range r.Results {
		switch {
		case row.Engine == Kernel && (row.Calls != row.Nodes || row.Nodes < uint64(row.Cases)):
			t.Errorf("%s %s: %d kernel calls of %d nodes in %d cases", row.Name, row.DType, row.Calls, row.Nodes, row.Cases)
		case row.Engine == Kernel && row.Nodes != uint64(row.Cases) && !strings.HasSuffix(row.Name, "Step"):
			t.Errorf("%s %s: %d nodes in %d cases", row.Name, row.DType, row.Nodes, row.Cases)
		case row.Engine != Kernel && row.Calls != 0:
			t.Errorf("%s %s %s: %d kernel calls, want none", row.Name, row.DType, row.Engine, row.Calls)
		case row.Finite > row.Cases/2:
			t.Errorf("%s %s %s: %d of %d cases only had to be finite", row.Name, row.DType, row.Engine, row.Finite, row.Cases)
		}
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Schema != Schema || len(back.Results) != len(r.Results) || back.Results[0].MaxAbs != r.Results[0].MaxAbs {
		t.Errorf("the report came back from JSON as %+v", back)
	}
}

// Rows that break each rule fail, and say where.
func TestResult_failures(t *testing.T) {
	want := tensor.Array{Shape: []int{1, 1, 2}, Data: []float64{1, 2}}
	l := limit{tolerance: []float64{0.1, 0.1}, scale: []float64{2, 2}}
	for name, test := range map[string]struct {
		got     []float64
		shape   []int
		finite  bool
		calls   uint64
		problem string
	}{
		"the worst":      {got: []float64{1.2, 2.5}, calls: 1, problem: "element [0 0 1] is 2.5, want 2: off by 0.5, allowed 0.1"},
		"good":           {got: []float64{1, 2.05}, calls: 1},
		"off":            {got: []float64{1, 2.5}, calls: 1, problem: "element [0 0 1] is 2.5, want 2"},
		"not a number":   {got: []float64{math.NaN(), 2}, calls: 1, problem: "element [0 0 0] is NaN, want 1"},
		"shape":          {got: []float64{1, 2}, shape: []int{2}, calls: 1, problem: "shape (2), want (1,1,2)"},
		"finite":         {got: []float64{50, -50}, finite: true, calls: 1},
		"infinite":       {got: []float64{50, math.Inf(1)}, finite: true, calls: 1, problem: "want a finite number"},
		"no kernel call": {got: []float64{1, 2}, problem: "0 kernel calls counted, want 1"},
	} {
		t.Run(name, func(t *testing.T) {
			row := Result{Pass: true}
			shape := test.shape
			if shape == nil {
				shape = want.Shape
			}
			of := l
			of.finiteOnly = test.finite
			row.add("case", test.got, shape, want, of)
			row.countCalls("case", test.calls, 1)
			if row.Pass != (test.problem == "") || !strings.Contains(row.Problem, test.problem) || strings.Contains(row.Problem, "by NaN") {
				t.Errorf("pass %v, problem %q, want %q", row.Pass, row.Problem, test.problem)
			}
		})
	}
}

// steepStack is a stack whose keys grow from layer to layer: in its end no digit of a float32 computation is left.
func steepStack(t *testing.T) *reference.Model {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(scale float64, shape ...int) tensor.Array {
		a, err := tensor.NewArray(shape...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.Data {
			a.Data[i] = float64(float32(scale * rng.NormFloat64()))
		}
		return a
	}
	const dim, layers = 32, 8
	var stack []reference.Layer
	for range layers {
		linear := func(gain float64) reference.Linear {
			return reference.Linear{Weight: tensor.Hold(random(gain/math.Sqrt(dim), dim, dim))}
		}
		out := linear(2)
		stack = append(stack, reference.Layer{
			Variant: reference.Full, Options: reference.Options{Causal: true},
			Q: linear(2), K: linear(2), V: linear(6), Out: &out, W: tensor.Hold(random(1, 24, 24)),
		})
	}
	return reference.Stack(stack...)
}

// A stack that amplifies rounding without bound is judged layer by layer: it passes when every layer is right, and a
// changed weight is still found in its layer.
func TestModel_steepStack(t *testing.T) {
	needRuntime(t)
	m := steepStack(t)
	p, err := export.Model(m, export.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := writeModel(t, p)
	r, err := Model(t.Context(), good, Options{Full: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	if row := find(t, r, "y", Kernel); !strings.Contains(row.Derived, "block by block") {
		t.Errorf("tolerance %q, want one a block", row.Derived)
	}
	wantNote(t, r, "no run at full length")
	bad := writeModel(t, mutate(t, p, "layers.5.v.weight", 3))
	r, err = Model(t.Context(), good, Options{Other: bad, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if row := find(t, r, "other y", Kernel); row.Pass || !strings.HasPrefix(row.Located, "layers.5.") {
		t.Errorf("pass %v, located %q, want a value of layers.5", row.Pass, row.Located)
	}
}

// The full length is run once, kernels against bodies.
func TestModel_fullLength(t *testing.T) {
	needRuntime(t)
	r, err := Model(t.Context(), trained, Options{Full: true, Sequence: 8, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	row := find(t, r, "y, kernel against portable", Kernel)
	if row.Cases != 1 || row.Calls != 3 || row.ratio == 0 || !strings.Contains(row.Worst.Case, "(1,64,16)") {
		t.Errorf("%d cases, %d calls, ratio %v, case %q, want one run of length 64", row.Cases, row.Calls, row.ratio, row.Worst.Case)
	}
}

// A weight that was changed in the file alone contradicts nothing but the digest of the weights.
func TestModel_digest(t *testing.T) {
	_, p := loadTrained(t, export.Options{})
	o := Options{Engines: []Engine{Native}}
	report, err := Model(t.Context(), writeModel(t, p), o)
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, report)
	find(t, report, "digest", Reference)
	report, err = Model(t.Context(), writeModel(t, mutate(t, p, "layers.1.v.weight", 3)), o)
	if err != nil {
		t.Fatal(err)
	}
	if row := find(t, report, "digest", Reference); row.Pass || report.Pass {
		t.Errorf("a changed weight passes: %+v", row)
	}
}
