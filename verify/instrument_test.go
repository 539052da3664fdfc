package verify

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
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
