package verify

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
)

// The layers of a report are those of the model, engine by engine, with errors of their own and accumulated ones; the errors'
// statistics and where they lie are there too.
func TestModel_layers(t *testing.T) {
	needRuntime(t)
	r, err := Model(t.Context(), writeModel(t, exported(t, newMaker(t).language(), export.Options{})), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	want := []string{"embedded"}
	for _, block := range []string{"layers.0", "layers.1", "layers.2"} {
		want = append(want, block+".aft", block+".h", block+".y")
	}
	want = append(want, "logits")
	for _, e := range []Engine{Kernel, Portable, Native} {
		var names []string
		for _, l := range r.Layers {
			if l.Engine != e || l.Bodies {
				continue
			}
			names = append(names, l.Name)
			inside := strings.HasSuffix(l.Name, ".aft") || strings.HasSuffix(l.Name, ".h")
			if !l.Pass || inside != (l.Accumulated == nil) || l.Own.OfAllowed == nil || *l.Own.OfAllowed > 1 {
				t.Errorf("%s, %s: %+v", l.Name, e, l)
			}
			if l.Name == "layers.2.y" && (l.Own.MaxAbs == 0 || l.Own.RMS > l.Own.MaxAbs || l.Accumulated.MaxAbs == 0) {
				t.Errorf("%s, %s: %+v, accumulated %+v", l.Name, e, l.Own, l.Accumulated)
			}
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s (-want +got):\n%s", e, diff)
		}
		row := find(t, r, "logits", e)
		if s := row.Statistics; s == nil || s.Elements < s.Exact || s.P50 > s.P99 || len(s.Histogram) == 0 {
			t.Errorf("%s: statistics %+v", e, s)
		}
		if h := row.HeatMap; h == nil || len(h.Cells) != h.Positions || len(h.Cells[0]) != h.Channels {
			t.Errorf("%s: heat map %+v", e, h)
		}
	}
}

// A bin has what is above half its upper end; quantiles are upper ends of eighths of octaves.
func TestStatistics(t *testing.T) {
	var g gathering
	for _, v := range []struct{ off, share float64 }{{0, 0}, {0, 0}, {1, 0.25}, {1, 0.26}, {2, 0.5}, {4, 3}, {1, 1e-30}, {1, math.Inf(1)}} {
		g.add(v.off, v.share)
	}
	got := g.statistics()
	if got.Elements != 8 || got.Exact != 2 || got.MeanAbs != 10./8 || float64(got.RMS) != math.Sqrt(24./8) {
		t.Errorf("%+v", got)
	}
	if got.First != firstOctave+1 || got.Histogram[0] != 1 || got.Histogram[len(got.Histogram)-1] != 1 || len(got.Histogram) != lastOctave-firstOctave {
		t.Errorf("first %d, %d bins", got.First, len(got.Histogram))
	}
	for bin, want := range map[int]int{-2: 1, -1: 2, 0: 0, 2: 1} { // up to 2^bin
		if n := got.Histogram[bin-got.First]; n != want {
			t.Errorf("%d up to 2^%d, want %d", n, bin, want)
		}
	}
	if got.P50 != 0.25 || float64(got.P99) != math.Exp2(lastOctave) {
		t.Errorf("quantiles %v, %v", got.P50, got.P99)
	}
}

func TestHeatMap(t *testing.T) {
	l := newLimit(2 * 100 * 3)
	h := newHeatMap("x", []int{2, 100, 3}, l, func(i int) float64 {
		if i == (100+99)*3+1 { // the last position, second channel
			return 7
		}
		return 0.5
	})
	if h.Positions != 200 || h.Sequence != 100 || h.Channels != 3 || len(h.Cells) != heatRows || h.Of != "allowed" {
		t.Errorf("%+v", h)
	}
	if last := h.Cells[heatRows-1]; last[1] != 7 || last[0] != 0.5 || h.Cells[heatRows-2][1] != 0.5 {
		t.Errorf("last row %v", last)
	}
}

func TestHeatMap_before(t *testing.T) {
	one, many := &HeatMap{Positions: 1}, &HeatMap{Positions: 2}
	var none *HeatMap
	for i, test := range []struct {
		got, want bool
	}{
		{one.before(none, false, false), true}, {none.before(one, true, true), false}, {one.before(many, true, false), false},
		{many.before(one, false, false), true}, {one.before(many, true, true), true}, {many.before(one, false, true), false},
		{many.before(many, true, false), true}, {many.before(many, false, false), false},
	} {
		if test.got != test.want {
			t.Errorf("%d: %v", i, test.got)
		}
	}
}

func TestParseStatistic(t *testing.T) {
	for text, want := range map[string]Statistic{"elementwise": {}, "max": {kind: "max"}, "mean": {kind: "mean"}, "quantile=0.9": {"quantile", 0.9}} {
		got, err := ParseStatistic(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "median", "quantile", "quantile=", "quantile=0", "quantile=1.5", "quantile=NaN", "mean=2"} {
		if _, err := ParseStatistic(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Errors 0, 1, 2 and 10 with 2 allowed: every statistic sees another one.
func TestJudgeBy(t *testing.T) {
	want := tensor.Array{Shape: []int{4}, Data: []float64{0, 0, 0, 0}}
	for text, pass := range map[string]bool{"elementwise": false, "max": false, "mean": false, "quantile=0.75": true, "quantile=0.76": false} {
		l := newLimit(4)
		for i := range l.tolerance {
			l.tolerance[i] = 2
		}
		var err error
		if l.by, err = ParseStatistic(text); err != nil {
			t.Fatal(err)
		}
		r := Result{Pass: true}
		r.add("x", []float64{0, -1, 2, 10}, []int{4}, want, l)
		if r.Pass != pass || pass != (r.Problem == "") {
			t.Errorf("%s: pass %v, %s", text, r.Pass, r.Problem)
		}
	}
}

// Given tolerances decide in the place of derived ones, whichever way; the last that is about an output holds.
func TestModel_tolerances(t *testing.T) {
	good := exported(t, newMaker(t).language(), export.Options{})
	bad := writeModel(t, mutate(t, good, "layers.1.v.weight", 3))
	path := writeModel(t, good)
	for _, test := range []struct {
		tolerances []Tolerance
		pass       bool // of the bad model; the good one is off by some 1e-7 in native bodies
	}{
		{nil, false},
		{[]Tolerance{{Absolute: 1}}, true},
		{[]Tolerance{{Absolute: 1}, {Output: "log*", Absolute: 1e-5}}, false},
		{[]Tolerance{{Absolute: 1e-5}, {Output: "logits", Relative: 0.5}}, true},
		{[]Tolerance{{Output: "y", Absolute: 1}}, false},
	} {
		r, err := Model(t.Context(), path, Options{Other: bad, Engines: []Engine{Native}, Tolerances: test.tolerances})
		if err != nil {
			t.Fatal(err)
		}
		if row := find(t, r, "other logits", Native); row.Pass != test.pass || test.tolerances != nil && !test.pass && row.Located != "layers.1.aft" {
			t.Errorf("%v: pass %v, located %q, problem %q", test.tolerances, row.Pass, row.Located, row.Problem)
		}
		if row := find(t, r, "logits", Native); !row.Pass {
			t.Errorf("%v: the good one: %s", test.tolerances, row.Problem)
		}
	}
}

// The pre-flight finds what a naive AFT and float16 would stumble over.
func TestModel_preFlight(t *testing.T) {
	m := newMaker(t).language()
	path := writeModel(t, exported(t, m, export.Options{}))
	keys, _ := m.Blocks[1].K.Weight.Held()
	scale(keys, 100)
	down, _ := m.Blocks[2].MLP.Down.Weight.Held()
	scale(down, 1e6)
	wild := writeModel(t, exported(t, m, export.Options{}))
	for p, want := range map[string][]string{path: {NaiveFine, NaiveFine, NaiveFine}, wild: {NaiveFine, NaiveOverflows, NaiveFine}} {
		r, err := Model(t.Context(), p, Options{Engines: []Engine{Native}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range r.PreFlight.Layers {
			got = append(got, l.Naive)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if f := r.PreFlight.Float16; f.Survives != (p == path) || p == wild && f.At != "layers.2.y" {
			t.Errorf("float16: %+v", f)
		}
	}
}

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

// lateFault is a model, and one of which a position bias of the fifth position is wrong in the second layer.
func lateFault(t *testing.T) (good, bad string) {
	p := exported(t, newMaker(t).language(), export.Options{})
	return writeModel(t, p), writeModel(t, edit(t, p, "layers.1.w", func(w []float64) { w[4*3+1] += 0.5 }))
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

// Stored outputs pass where they are the model's, and fail where one is not; of our models and of others'.
func TestModel_against(t *testing.T) {
	needRuntime(t)
	p := exported(t, newMaker(t).language(), export.Options{})
	foreign := proto.CloneOf(p)
	foreign.ProducerName = "somebody"
	for _, model := range []*onnxpb.ModelProto{p, foreign} {
		path := writeModel(t, model)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := tensor.FromInt64s([]int{1, 4}, []int64{3, 1, 4, 1})
		if err != nil {
			t.Fatal(err)
		}
		in := map[string]*tensor.Tensor{"input_ids": tokens}
		out, err := Run(t.Context(), Portable, data, in, RunOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Model(t.Context(), path, Options{Inputs: in, Against: out})
		if err != nil {
			t.Fatal(err)
		}
		wantPass(t, r)
		rows := 0
		for _, row := range r.Results {
			if row.Name == "stored logits" {
				rows++
			}
		}
		if want := map[bool]int{true: 4, false: 3}[model == p]; rows != want {
			t.Errorf("%d rows, want %d: the truth and the engines", rows, want)
		}
		values := out["logits"].Float64s()
		values[7] += 1e-2
		wrong, err := tensor.FromFloat64s(tensor.Float64, out["logits"].Shape, values)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = Model(t.Context(), path, Options{Inputs: in, Against: map[string]*tensor.Tensor{"logits": wrong}}); err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Results {
			if stored := row.Name == "stored logits"; row.Pass == stored {
				t.Errorf("%s, %s: pass %v", row.Name, row.Engine, row.Pass)
			} else if stored && (row.Worst == nil || !slices.Equal(row.Worst.Index, []int{0, 0, 7})) {
				t.Errorf("worst %+v", row.Worst)
			}
		}
		for text, o := range map[string]Options{
			"no output":       {Inputs: in, Against: map[string]*tensor.Tensor{"y": wrong}},
			"need the inputs": {Against: out},
		} {
			if _, err := Model(t.Context(), path, o); err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%v, want %q", err, text)
			}
		}
	}
}

// A failure is made small: the layer that differs first, on the shortest sequence that shows it; and what is written fails alone.
func TestReproduce(t *testing.T) {
	good, bad := lateFault(t)
	o := Options{Other: bad, Engines: []Engine{Native}}
	r, err := Model(t.Context(), good, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Reproduce(t.Context(), good, o, r)
	if err != nil {
		t.Fatal(err)
	}
	if b.Engine != Native || b.Layer != "layers.1.aft" || b.Report.Pass || !strings.HasPrefix(b.Case, "input_ids (1,5)") {
		t.Errorf("%s, %q, %q", b.Engine, b.Layer, b.Case)
	}
	if len(b.Inputs) != 1 || b.Inputs[0].Name != "layers.0.y" || !slices.Equal(b.Inputs[0].Value.Shape, []int{1, 5, testDim}) {
		t.Errorf("inputs %+v", b.Inputs)
	}
	r = verifyBundle(t, b)
	if row := find(t, r, "stored layers.1.aft", Native); row.Pass || row.Worst.Index[1] != 4 {
		t.Errorf("the bundle: pass %v, %+v", row.Pass, row.Worst)
	}
}

func verifyBundle(t *testing.T, b *Bundle) *Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, b.Model, 0o666); err != nil {
		t.Fatal(err)
	}
	o := Options{Inputs: map[string]*tensor.Tensor{}, Against: map[string]*tensor.Tensor{}, Engines: []Engine{Native}}
	for _, v := range b.Inputs {
		o.Inputs[v.Name] = v.Value
	}
	for _, v := range b.Outputs {
		o.Against[v.Name] = v.Value
	}
	r, err := Model(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A wrong function body fails the engines that run it, in the layer that it stands in, and can be reproduced.
func TestReproduce_body(t *testing.T) {
	needRuntime(t)
	p := proto.CloneOf(exported(t, newMaker(t).language(), export.Options{}))
	for _, f := range p.GetFunctions() {
		if f.GetDomain() != ops.Domain {
			continue
		}
		for _, n := range f.GetNode() {
			if n.GetOpType() == "Sigmoid" {
				n.OpType = "Tanh"
			}
		}
	}
	path := writeModel(t, p)
	r, err := Model(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for e, pass := range map[Engine]bool{Kernel: true, Portable: false, Native: false} {
		if row := find(t, r, "logits", e); row.Pass != pass || !pass && row.Located != "layers.0.aft" {
			t.Errorf("%s: pass %v, located %q", e, row.Pass, row.Located)
		}
	}
	b, err := Reproduce(t.Context(), path, Options{}, r)
	if err != nil {
		t.Fatal(err)
	}
	if b.Engine != Portable || b.Layer != "layers.0.aft" || b.Inputs[0].Name != "embedded" || !strings.HasPrefix(b.Case, "input_ids (1,1)") {
		t.Errorf("%s, %q, %q, %+v", b.Engine, b.Layer, b.Case, b.Inputs)
	}
}

// Somebody else's model is told apart node by node: the first value that an engine gets wrong is named, errors are a node's own.
func TestModel_nodes(t *testing.T) {
	needRuntime(t)
	p := proto.CloneOf(exported(t, newMaker(t).language(), export.Options{}))
	p.ProducerName = "somebody"
	for _, f := range p.GetFunctions() {
		for _, n := range f.GetNode() {
			if n.GetOpType() == "Sigmoid" {
				n.OpType = "Tanh"
			}
		}
	}
	r, err := Model(t.Context(), writeModel(t, p), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if row := find(t, r, "logits", Kernel); !row.Pass || row.Located != "" {
		t.Errorf("kernel: %s, located %q", row.Problem, row.Located)
	}
	if row := find(t, r, "logits", Portable); row.Pass || row.Located != "layers.0.aft" {
		t.Errorf("portable: pass %v, located %q", row.Pass, row.Located)
	}
	seen := map[string]bool{}
	for _, l := range r.Layers {
		if wrong := l.Engine == Portable && strings.HasSuffix(l.Name, ".aft"); l.Pass == wrong || l.Accumulated == nil {
			t.Errorf("%s, %s: %+v", l.Engine, l.Name, l)
		}
		seen[l.Name] = true
		if l.Engine == Portable && l.Name == "layers.1.y" && l.Accumulated.MaxAbs < 1e3*l.Own.MaxAbs {
			t.Errorf("%s: own %+v, accumulated %+v", l.Name, l.Own, l.Accumulated)
		}
	}
	for _, name := range []string{"layers.0.q", "layers.1.h", "layers.2.y", "logits"} {
		if !seen[name] {
			t.Errorf("%s is not shown", name)
		}
	}
}

// Somebody else's model is reproduced whole, and a report that passes not at all.
func TestReproduce_whole(t *testing.T) {
	good, bad := lateFault(t)
	for i, path := range []*string{&good, &bad} {
		data, err := os.ReadFile(*path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := onnxpb.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		p.ProducerName = "somebody"
		if *path = writeModel(t, p); i == 0 {
			if _, err := Reproduce(t.Context(), *path, Options{}, &Report{Pass: true}); err != ErrNothingToReproduce {
				t.Errorf("nothing: %v", err)
			}
		}
	}
	o := Options{Other: bad, Engines: []Engine{Native}, Sequence: 12, Batch: 1}
	r, err := Model(t.Context(), good, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Reproduce(t.Context(), good, o, r)
	if err != nil {
		t.Fatal(err)
	}
	if b.Layer != "" || !strings.HasPrefix(b.Case, "input_ids (1,5)") || len(b.Outputs) != 1 {
		t.Errorf("%q, %q, %d outputs", b.Layer, b.Case, len(b.Outputs))
	}
	if row := find(t, verifyBundle(t, b), "stored logits", Native); row.Pass {
		t.Error("the bundle passes")
	}
}
