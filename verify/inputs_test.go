package verify

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

func graphOf(t *testing.T, name string, o export.Options) *onnxgraph.Model {
	t.Helper()
	m, _, err := importer.Load("../testdata/"+name+".bin", importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := export.Model(m, o)
	if err != nil {
		t.Fatal(err)
	}
	g, err := onnxgraph.New(p, onnxgraph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestSeededInputs(t *testing.T) {
	grid, err := tensor.FromInt64s([]int{2}, []int64{2, 7})
	if err != nil {
		t.Fatal(err)
	}
	x, err := tensor.New(tensor.Float32, []int{3, 10, 6})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, model string
		given       map[string]*tensor.Tensor
		sizes       InputSizes
		want        string // shapes, and the grid's values
	}{
		{"defaults", "simple", nil, InputSizes{}, "x (2,16,6)"},
		{"as long as the biases reach", "full", nil, InputSizes{}, "x (2,12,6)"},
		{"asked for", "full", nil, InputSizes{Batch: 5, Sequence: 3}, "x (5,3,6)"},
		{"a grid for a length", "conv2d", nil, InputSizes{Sequence: 12}, "x (2,12,6) grid [3 4]"},
		{"a length for a grid", "conv2d", nil, InputSizes{Grid: [2]int{1, 5}}, "x (2,5,6) grid [1 5]"},
		{"a given grid", "conv2d", map[string]*tensor.Tensor{"grid": grid}, InputSizes{}, "x (2,14,6) grid [2 7]"},
		{"a given x", "conv2d", map[string]*tensor.Tensor{"x": x}, InputSizes{}, "x (3,10,6) grid [2 5]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := graphOf(t, test.model, export.Options{})
			in, made, err := SeededInputs(g, test.given, test.sizes, 1)
			if err != nil {
				t.Fatal(err)
			}
			got := "x " + tensor.FormatShape(in["x"].Shape)
			if v := in["grid"]; v != nil {
				hw, _ := v.Int64s()
				got += fmt.Sprintf(" grid %v", hw)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if len(made)+len(test.given) != len(g.Inputs()) {
				t.Errorf("made %v beside %d given inputs", made, len(test.given))
			}
			again, _, err := SeededInputs(g, test.given, test.sizes, 1)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(in, again); diff != "" {
				t.Errorf("the same seed gives other inputs:\n%s", diff)
			}
		})
	}
}

// A flattened export has no AFT nodes to read the reach of its biases from; its metadata says which weights they are.
func TestLongestSequence(t *testing.T) {
	for _, flatten := range []bool{false, true} {
		for name, want := range map[string]int{"full": 12, "local": 12, "simple": 0, "conv1d": 0, "conv2d": 0, "stack": 64} {
			if got := LongestSequence(graphOf(t, name, export.Options{Flatten: flatten})); got != want {
				t.Errorf("%s, flattened %v: %d, want %d", name, flatten, got, want)
			}
		}
	}
}

// Every generated call satisfies its operator's declaration, has a name of its own, and is the same for the same seed.
func TestOpCases(t *testing.T) {
	for _, def := range ops.All() {
		cases, err := opCases(def, &Options{Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		again, err := opCases(def, &Options{Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		seen, gates, causal := map[string]bool{}, map[int64]bool{}, map[int64]bool{}
		for i, c := range cases {
			if seen[c.id] {
				t.Errorf("%s: %q twice", def.Name, c.id)
			}
			seen[c.id], gates[c.attrs.Int("gate")], causal[c.attrs.Int("causal")] = true, true, true
			in, err := c.tensors(tensor.Float16)
			if err != nil {
				t.Fatal(err)
			}
			called, attrs, in, err := c.called(in)
			if err != nil {
				t.Fatal(err)
			}
			if called != def {
				t.Fatalf("%s: calls %s, want %s", c.id, called.Name, def.Name)
			}
			var described []ops.Input
			for _, v := range in {
				d := ops.Input{DType: v.DType, Shape: v.Shape}
				d.Values, _ = v.Int64s()
				described = append(described, d)
			}
			if _, err := def.Check(attrs, described); err != nil {
				t.Errorf("%s: %v", c.id, err)
			}
			if diff := cmp.Diff(c.v, again[i].v); diff != "" {
				t.Errorf("%s: another V for the same seed", c.id)
			}
		}
		both, enough := 2, 40
		if def.Whole != "" { // causal alone
			both, enough = 1, 20
		}
		if len(gates) != 4 || len(causal) != both || len(cases) < enough {
			t.Errorf("%s: %d cases, gates %v, causal %v", def.Name, len(cases), gates, causal)
		}
	}
}

// Tokens are rows of the table, the last sequence of a batch is padded, and images consist of whole patches; what is fixed
// stays.
func TestSeededInputs_networks(t *testing.T) {
	m := newMaker(t)
	graph := func(of *reference.Model, mask bool) *onnxgraph.Model {
		g, err := onnxgraph.New(exported(t, of, export.Options{AttentionMask: mask}), onnxgraph.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	language, conv, classed := graph(m.language(), true), graph(m.images(false), false), graph(m.images(true), false)
	for _, test := range []struct {
		name, input string
		graph       *onnxgraph.Model
		sizes       InputSizes
		shape       []int
	}{
		{"tokens", "input_ids", language, InputSizes{}, []int{2, 12}},
		{"a mask", "attention_mask", language, InputSizes{Batch: 3, Sequence: 5, Padded: true}, []int{3, 5}},
		{"a mask of ones", "attention_mask", language, InputSizes{Batch: 3, Sequence: 5}, []int{3, 5}},
		{"one position", "attention_mask", language, InputSizes{Batch: 1, Sequence: 1, Padded: true}, []int{1, 1}},
		{"images", "pixel_values", conv, InputSizes{}, []int{2, 3, 6, 10}},
		{"images of a grid", "pixel_values", conv, InputSizes{Batch: 1, Grid: [2]int{2, 4}}, []int{1, 3, 4, 8}},
		{"images of one size", "pixel_values", classed, InputSizes{Grid: [2]int{5, 5}}, []int{2, 3, 4, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, _, err := SeededInputs(test.graph, nil, test.sizes, 1)
			if err != nil {
				t.Fatal(err)
			}
			got := in[test.input]
			if diff := cmp.Diff(test.shape, got.Shape); diff != "" {
				t.Fatalf("shape %v, want %v", got.Shape, test.shape)
			}
			values := got.Float64s()
			largest, sum := slices.Max(values), 0.0
			for _, v := range values {
				sum += v
			}
			switch length := test.shape[len(test.shape)-1]; test.input {
			case "input_ids":
				if largest < 10 || largest >= testTokens {
					t.Errorf("the largest token is %v, want one in 10..%d", largest, testTokens-1)
				}
			case "attention_mask":
				padded := 0.0
				if length > 1 && test.sizes.Padded {
					padded = math.Ceil(float64(length) / 4)
				}
				if want := float64(len(values)) - padded; sum != want || values[0] != 1 || padded > 0 && values[len(values)-1] != 0 {
					t.Errorf("mask %v, want %v ones and padding at the end", values, want)
				}
			}
		})
	}
}
