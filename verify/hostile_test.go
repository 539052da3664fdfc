package verify

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// Weights that are no numbers fail: every engine would agree with the truth that they make. Only in a position bias is -Inf
// a value, that of a pair which is removed.
//
// Rule M10 of docs/hostile.md.
func TestModel_weightsNotFinite(t *testing.T) {
	_, p := loadTrained(t, export.Options{})
	_, flat := loadTrained(t, export.Options{Flatten: true})
	for _, test := range []struct {
		name, weight string
		value        float64
		fails        bool
	}{
		{"NaN", "layers.1.v.weight", math.NaN(), true},
		{"-Inf in a bias of a projection", "layers.0.q.bias", math.Inf(-1), true},
		{"+Inf in a position bias", "layers.2.w", math.Inf(1), true},
		{"NaN that no short sequence reaches", "layers.2.w", math.NaN(), true},
		{"-Inf in a position bias", "layers.2.w", math.Inf(-1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			last := 0
			broken := edit(t, p, test.weight, func(values []float64) { last = len(values) - 1; values[last] = test.value })
			broken.MetadataProps = nil // the digest would tell
			o := Options{Engines: []Engine{Native}, Sequence: 5}
			r, err := Model(t.Context(), writeModel(t, broken), o)
			if err != nil {
				t.Fatal(err)
			}
			if !test.fails {
				wantPass(t, r)
				return
			}
			want := fmt.Sprintf("is %v: not finite", test.value)
			row := find(t, r, "weights", Reference)
			names := strings.HasPrefix(row.Problem, test.weight+": element [") && strings.HasSuffix(row.Problem, want)
			if r.Pass || row.Pass || !names {
				t.Errorf("pass %v, problem %q, want one that says %q", r.Pass, row.Problem, want)
			}
			o.Source, _ = loadTrained(t, export.Options{})
			if o.Source, err = roundModel(o.Source, tensor.Float32); err != nil {
				t.Fatal(err)
			}
			setWeight(t, o.Source, test.weight, last, test.value)
			// The checkpoint has it too, and so has a flattened export, as the second model: equal, and wrong all the same.
			second := edit(t, flat, test.weight, func(values []float64) { values[last] = test.value })
			o.Other = writeModel(t, second)
			if r, err = Model(t.Context(), writeModel(t, broken), o); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"weights", "other weights"} {
				if row := find(t, r, name, Reference); row.Pass || !strings.HasSuffix(row.Problem, want) {
					t.Errorf("%s, as in the checkpoint: problem %q, want one that says %q", name, row.Problem, want)
				}
			}
		})
	}
}

// setWeight changes an element of a model's weight.
func setWeight(t *testing.T, m *reference.Model, name string, element int, value float64) {
	t.Helper()
	changed, err := weightMap{
		weight: func(w tensor.Weight) (tensor.Weight, error) {
			a, err := w.Array()
			return tensor.Hold(a), err
		},
		vector: func(v []float64) ([]float64, error) { return v, nil },
		eps:    func(eps float64) float64 { return eps },
	}.model(m)
	if err != nil {
		t.Fatal(err)
	}
	*m = *changed
	list, err := modelWeights(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		if w.Name == name {
			a, _ := w.Weight.Held()
			a.Data[element] = value
			return
		}
	}
	t.Fatalf("no weight %q", name)
}

// A truth that is not finite fails the rows that would be held against it; where an input was not finite it is legitimate.
func TestModel_truthNotFinite(t *testing.T) {
	_, p := loadTrained(t, export.Options{Flatten: true})
	p.ProducerName, p.MetadataProps = "somebody", nil
	p = edit(t, p, "layers.1.v.weight", func(values []float64) { values[0] = math.NaN() })
	path := writeModel(t, p)
	needRuntime(t)
	r, err := Model(t.Context(), path, Options{Engines: []Engine{Portable}, Sequence: 4})
	if err != nil {
		t.Fatal(err)
	}
	if row := find(t, r, "y", Portable); r.Pass || row.Pass || !strings.Contains(row.Problem, "the truth is not finite") {
		t.Errorf("pass %v, problem %q, want that the truth is not finite", r.Pass, row.Problem)
	}
	values := make([]float64, 4*16)
	values[0] = math.NaN()
	x, err := tensor.FromFloat64s(tensor.Float32, []int{1, 4, 16}, values)
	if err != nil {
		t.Fatal(err)
	}
	r, err = Model(t.Context(), trained, Options{Engines: []Engine{Native}, Inputs: map[string]*tensor.Tensor{"x": x}})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
}

// rename calls an edge of the graph something else, in every node too.
func rename(p *onnxpb.ModelProto, from, to string) *onnxpb.ModelProto {
	c := proto.CloneOf(p)
	for _, v := range append(c.Graph.Input, c.Graph.Output...) {
		if v.GetName() == from {
			v.Name = to
		}
	}
	for _, n := range c.Graph.Node {
		for _, names := range [][]string{n.Input, n.Output} {
			for i, name := range names {
				if name == from {
					names[i] = to
				}
			}
		}
	}
	return c
}

// Models whose edges are called otherwise are somebody else's alone; beside a first model they are compared by position.
func TestModel_otherNames(t *testing.T) {
	m, p := loadTrained(t, export.Options{})
	out, in := writeModel(t, rename(p, "y", "out")), writeModel(t, rename(p, "x", "in"))
	for _, path := range []string{out, in} {
		r, err := Model(t.Context(), path, Options{Engines: []Engine{Portable}})
		if err == nil {
			wantNote(t, r, "the truth is the native engine")
		}
		if r, err = Model(t.Context(), path, Options{Engines: []Engine{Native}, Source: m}); err == nil || r != nil {
			t.Errorf("with a checkpoint: error %v, want one about the names", err)
		}
	}
	r, err := Model(t.Context(), writeModel(t, p), Options{Engines: []Engine{Native}, Other: out, Sequence: 3})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	find(t, r, "other y", Native)
	wantNote(t, r, `output "out" is compared as "y"`)
	if r, err = Model(t.Context(), writeModel(t, p), Options{Engines: []Engine{Native}, Other: in}); err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	more, ok := proto.Clone(p).(*onnxpb.ModelProto)
	if !ok {
		t.Fatal("no model")
	}
	more.Graph.Input = append(more.Graph.Input, onnxpb.ValueInfo("z", tensor.Float32))
	if _, err = Model(t.Context(), writeModel(t, p), Options{Engines: []Engine{Native}, Other: writeModel(t, more)}); err == nil {
		t.Error("a second model with another input: no error")
	}
}

// An engine that takes the model but not the one with its layers exposed: the row says what failed, a note why no layer is
// named.
func TestModel_notExposed(t *testing.T) {
	needRuntime(t)
	_, p := loadTrained(t, export.Options{})
	bad := edit(t, p, "layers.1.v.weight", func(values []float64) { values[3] += 5 })
	// The type of the first output is taken for that of the layers, and ONNX Runtime refuses what is declared so wrongly.
	to := &onnxpb.AttributeProto{Name: "to", Type: onnxpb.AttributeProto_INT,
		I: proto.Int64(int64(onnxpb.DataType(tensor.Float16)))}
	bad.Graph.Node = append(bad.Graph.Node, &onnxpb.NodeProto{OpType: "Cast", Input: []string{"y"},
		Output: []string{"half"}, Attribute: []*onnxpb.AttributeProto{to}})
	half := onnxpb.ValueInfo("half", tensor.Float16, onnxpb.Dynamic(""), onnxpb.Dynamic(""), onnxpb.Dynamic(""))
	bad.Graph.Output = append([]*onnxpb.ValueInfoProto{half}, bad.Graph.Output...)
	r, err := Model(t.Context(), trained, Options{Engines: []Engine{Kernel}, Other: writeModel(t, bad), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if row := find(t, r, "other y", Kernel); row.Pass || row.Located != "" || !strings.Contains(row.Problem, "off by") {
		t.Errorf("problem %q, located %q", row.Problem, row.Located)
	}
	wantNote(t, r, "blocks cannot be judged one by one")
}

// Sizes from a file or the command line are refused before memory is allocated for them.
func TestSeededInputs_tooLarge(t *testing.T) {
	grid, err := tensor.FromInt64s([]int{2}, []int64{1 << 40, 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	negative, err := tensor.FromInt64s([]int{2}, []int64{-1, 4})
	if err != nil {
		t.Fatal(err)
	}
	wide := func(t *testing.T, dims ...onnxpb.Dim) *onnxgraph.Model {
		t.Helper()
		p := &onnxpb.ModelProto{}
		if err := proto.Unmarshal(mustEncode(t, graphOf(t, "simple", export.Options{}).Proto()), p); err != nil {
			t.Fatal(err)
		}
		p.Graph.Input[0] = onnxpb.ValueInfo("x", tensor.Float32, dims...)
		g, err := onnxgraph.New(p, onnxgraph.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	simple, conv := graphOf(t, "simple", export.Options{}), graphOf(t, "conv2d", export.Options{})
	for _, test := range []struct {
		name, input string
		graph       *onnxgraph.Model
		sizes       InputSizes
		given       map[string]*tensor.Tensor
	}{
		{"a sequence", "x", simple, InputSizes{Sequence: 99999999999}, nil},
		{"a batch that overflows", "x", simple, InputSizes{Batch: math.MaxInt, Sequence: 3}, nil},
		{"a negative batch", "x", simple, InputSizes{Batch: -1}, nil},
		{"a grid", "grid", conv, InputSizes{Grid: [2]int{1 << 20, 1 << 20}}, nil},
		{"a grid that overflows", "grid", conv, InputSizes{Grid: [2]int{1 << 32, 1 << 32}}, nil},
		{"a sequence for a grid", "grid", conv, InputSizes{Sequence: math.MaxInt}, nil},
		{"a given grid", "grid", conv, InputSizes{}, map[string]*tensor.Tensor{"grid": grid}},
		{"a given negative grid", "grid", conv, InputSizes{}, map[string]*tensor.Tensor{"grid": negative}},
		{"declared", "x", wide(t, onnxpb.Fixed(1), onnxpb.Fixed(1), onnxpb.Fixed(1<<37)), InputSizes{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := SeededInputs(test.graph, test.given, test.sizes, 1)
			var input *InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), fmt.Sprintf("input %q: ", test.input)) {
				t.Errorf("error %v, want an *InputError that names %q", err, test.input)
			}
		})
	}
}

func mustEncode(t *testing.T, p *onnxpb.ModelProto) []byte {
	t.Helper()
	data, err := onnxpb.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
