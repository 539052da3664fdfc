package export_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
	"github.com/google/go-cmp/cmp"
)

// dims writes a declared shape as "batch,sequence,5".
func dims(v *onnxpb.ValueInfoProto) string {
	var parts []string
	for _, d := range v.Type.GetTensorType().Shape.Dim {
		if name := d.GetDimParam(); name != "" {
			parts = append(parts, name)
		} else {
			parts = append(parts, fmt.Sprint(d.GetDimValue()))
		}
	}
	return strings.Join(parts, ",")
}

func describe(values []*onnxpb.ValueInfoProto) []string {
	var list []string
	for _, v := range values {
		list = append(list, v.Name+" ("+dims(v)+")")
	}
	return list
}

func weights(g *onnxpb.GraphProto) []string {
	var list []string
	for _, w := range g.Initializer {
		list = append(list, fmt.Sprintf("%s %v", w.Name, w.Dims))
	}
	return list
}

// TestModel_names holds the names and shapes that an importer, and a comparison of layers, rely on.
func TestModel_names(t *testing.T) {
	m := reference.Stack(newLayer(t, reference.Local, true, 1), newLayer(t, reference.Conv1D, false, 20))
	m.Blocks[1].Out, m.Blocks[1].K.Bias = nil, nil
	p := mustModel(t, m, export.Options{SourceSHA256: "0123", Version: "v9"})
	for _, c := range []struct {
		what      string
		want, got []string
	}{
		{"inputs", []string{"x (batch,sequence,5)"}, describe(p.Graph.Input)},
		{"outputs", []string{"y (batch,sequence,6)"}, describe(p.Graph.Output)},
		{"values", []string{
			"layers.0.q (batch,sequence,6)", "layers.0.k (batch,sequence,6)", "layers.0.v (batch,sequence,6)",
			"layers.0.aft (batch,sequence,6)", "layers.0.y (batch,sequence,5)",
			"layers.1.q (batch,sequence,6)", "layers.1.k (batch,sequence,3)", "layers.1.v (batch,sequence,6)",
		}, describe(p.Graph.ValueInfo)},
		{"weights", []string{
			"layers.0.q.weight [6 5]", "layers.0.q.bias [6]", "layers.0.k.weight [6 5]", "layers.0.k.bias [6]",
			"layers.0.v.weight [6 5]", "layers.0.v.bias [6]", "layers.0.w [9 3]",
			"layers.0.out.weight [5 6]", "layers.0.out.bias [5]",
			"layers.1.q.weight [6 5]", "layers.1.q.bias [6]", "layers.1.k.weight [3 5]",
			"layers.1.v.weight [6 5]", "layers.1.v.bias [6]", "layers.1.w [3 3]",
		}, weights(p.Graph)},
		{"metadata", []string{
			"io.aftonnx.dtype=float32", "io.aftonnx.layers=2", "io.aftonnx.source_sha256=0123",
			"io.aftonnx.variant=local,conv1d", "io.aftonnx.version=v9",
			"io.aftonnx.weights_sha256=" + digest(t, p.Graph),
		}, metadata(p)},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
	if p.ProducerName != "aftonnx" || p.ProducerVersion != "v9" || p.IrVersion != 8 {
		t.Errorf("producer %q %q, IR %d", p.ProducerName, p.ProducerVersion, p.IrVersion)
	}
	checkGraph(t, p)
}

func digest(t *testing.T, g *onnxpb.GraphProto) string {
	t.Helper()
	text, err := onnxpb.WeightsDigest(g, "")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func metadata(p *onnxpb.ModelProto) []string {
	var list []string
	for _, e := range p.MetadataProps {
		list = append(list, e.Key+"="+e.Value)
	}
	return list
}

// checkGraph holds what the format wants: every value made once and before its use, every node named, one import for a
// domain.
func checkGraph(t *testing.T, p *onnxpb.ModelProto) {
	t.Helper()
	known, nodes := map[string]bool{}, map[string]bool{}
	make1 := func(name string) {
		if known[name] || name == "" {
			t.Errorf("value %q is made twice, or has no name", name)
		}
		known[name] = true
	}
	for _, v := range p.Graph.Input {
		make1(v.Name)
	}
	for _, w := range p.Graph.Initializer {
		make1(w.Name)
	}
	for _, n := range p.Graph.Node {
		for _, in := range n.Input {
			if !known[in] {
				t.Errorf("node %q uses %q before it is made", n.Name, in)
			}
		}
		for _, out := range n.Output {
			make1(out)
		}
		if nodes[n.Name] || n.Name == "" {
			t.Errorf("node name %q is missing or used twice", n.Name)
		}
		nodes[n.Name] = true
	}
	for _, v := range slices.Concat(p.Graph.Output, p.Graph.ValueInfo) {
		if !known[v.Name] {
			t.Errorf("value %q is declared but not made", v.Name)
		}
	}
	domains := map[string]bool{}
	for _, o := range p.OpsetImport {
		if domains[o.Domain] {
			t.Errorf("domain %q is imported twice", o.Domain)
		}
		domains[o.Domain] = true
	}
}

// Rule E13 of docs/hostile.md.
func TestModel_deterministic(t *testing.T) {
	build := func() []byte {
		m := &reference.Model{}
		for i, v := range variants() {
			m.Blocks = append(m.Blocks, reference.Block{Layer: newLayer(t, v, i%2 == 0, uint64(10*i))})
		}
		return mustEncode(t, mustModel(t, m, export.Options{SourceSHA256: "ab"}))
	}
	first := build()
	for range 5 {
		if !bytes.Equal(first, build()) {
			t.Fatal("the same model gives other bytes")
		}
	}
}

// TestModel_specialised: bodies are written for what all nodes of the operator agree on, and read the rest.
func TestModel_specialised(t *testing.T) {
	layers := func(causal ...bool) *reference.Model {
		m := &reference.Model{}
		for i, c := range causal {
			m.Blocks = append(m.Blocks, reference.Block{Layer: newLayer(t, reference.Full, c, uint64(10*i))})
		}
		return m
	}
	for _, c := range []struct {
		name  string
		model *reference.Model
		reads bool
	}{
		{"one layer", layers(true), false},
		{"equal layers", layers(true, true, true), false},
		{"mixed layers", layers(true, false, true), true},
	} {
		p := mustModel(t, c.model, export.Options{})
		if len(p.Functions) != 1 {
			t.Errorf("%s: %d functions, want one", c.name, len(p.Functions))
			continue
		}
		if got := readsAttributes(p.Functions[0]); got != c.reads {
			t.Errorf("%s: the body reads attributes: %v, want %v", c.name, got, c.reads)
		}
	}
}

func readsAttributes(f *onnxpb.FunctionProto) bool {
	for _, n := range f.Node {
		for _, a := range n.Attribute {
			if a.RefAttrName != "" {
				return true
			}
		}
	}
	return false
}

// TestModel_functionsInUse: a model has the functions it calls and no other.
func TestModel_functionsInUse(t *testing.T) {
	m := reference.Stack(newLayer(t, reference.Simple, true, 1), newLayer(t, reference.Local, true, 20),
		newLayer(t, reference.Simple, true, 40))
	var names []string
	for _, f := range mustModel(t, m, export.Options{}).Functions {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"AFTSimple", "AFTLocal"}, names); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
}

func TestModel_grid(t *testing.T) {
	conv := func(grids ...[2]int) *reference.Model {
		m := &reference.Model{}
		for i, g := range grids {
			l := newLayer(t, reference.Conv2D, false, uint64(10*i))
			l.Grid = g
			m.Blocks = append(m.Blocks, reference.Block{Layer: l})
		}
		return m
	}
	for _, c := range []struct {
		name  string
		model *reference.Model
		o     export.Options
		want  []string // inputs
		fails string
	}{
		{"at run time", conv([2]int{}), export.Options{}, []string{"x (batch,sequence,5)", "grid (2)"}, ""},
		{"by option", conv([2]int{}), export.Options{Grid: [2]int{2, 3}}, []string{"x (batch,6,5)"}, ""},
		{"by layer", conv([2]int{3, 3}, [2]int{}), export.Options{}, []string{"x (batch,9,5)"}, ""},
		{"by both", conv([2]int{3, 3}), export.Options{Grid: [2]int{3, 3}}, []string{"x (batch,9,5)"}, ""},
		{"two of them", conv([2]int{3, 3}, [2]int{1, 9}), export.Options{}, nil,
			"layer 1: fixes a grid of 1 rows and 9 columns"},
		{"another by option", conv([2]int{3, 3}), export.Options{Grid: [2]int{2, 3}}, nil, "layer 0: fixes a grid"},
		{"half a grid", conv([2]int{}), export.Options{Grid: [2]int{2, 0}}, nil, "grid of 2 rows and 0 columns"},
		{"too large", conv([2]int{}), export.Options{Grid: [2]int{1 << 40, 1 << 40}}, nil, "grid: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := export.Model(c.model, c.o)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("error is %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, describe(p.Graph.Input)); diff != "" {
				t.Errorf("inputs (-want +got):\n%s", diff)
			}
			checkGraph(t, p)
		})
	}
}

func TestModel_refuses(t *testing.T) {
	large := newLayer(t, reference.Full, false, 1)
	table := random(t, 1, maxLen, maxLen)
	table.Data[11] = 7e4
	large.W = reference.Hold(table)
	wrong := newLayer(t, reference.Local, false, 1)
	wrong.Window = 4
	for _, c := range []struct {
		name  string
		model *reference.Model
		o     export.Options
		want  string
	}{
		{"no layers", &reference.Model{}, export.Options{}, "layer"},
		{"a layer that does not fit", reference.Stack(wrong), export.Options{}, "layer"},
		{"a weight beyond float16", reference.Stack(large),
			export.Options{DType: tensor.Float16}, `"layers.0.w": element [1 2] is 70000, which float16 cannot hold`},
		{"opset", reference.Stack(large), export.Options{Opset: 12}, "opset 12, want 13..21"},
		{"type", reference.Stack(large), export.Options{DType: tensor.BFloat16},
			"cannot export as bfloat16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := export.Model(c.model, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("gave %d bytes and error %v, want %q", len(p.String()), err, c.want)
			}
		})
	}
	if _, err := export.Model(reference.Stack(large), export.Options{}); err != nil {
		t.Errorf("float32 holds 70000: %v", err)
	}
}

// TestModel_flatten: what is left is standard operators.
func TestModel_flatten(t *testing.T) {
	m := &reference.Model{}
	for i, v := range variants() {
		for _, causal := range []bool{false, true} {
			m.Blocks = append(m.Blocks, reference.Block{Layer: newLayer(t, v, causal, uint64(10*i))})
		}
	}
	p := mustModel(t, m, export.Options{Flatten: true})
	if len(p.Functions) != 0 || len(p.OpsetImport) != 1 || p.OpsetImport[0].Domain != "" {
		t.Errorf("%d functions and imports %v are left", len(p.Functions), p.OpsetImport)
	}
	for _, n := range p.Graph.Node {
		if n.Domain != "" {
			t.Errorf("node %q is of domain %q", n.Name, n.Domain)
		}
		for _, a := range n.Attribute {
			if a.RefAttrName != "" {
				t.Errorf("node %q refers to attribute %q of a function", n.Name, a.RefAttrName)
			}
		}
	}
	checkGraph(t, p)
}

// TestOptions_irVersion: the opsets and IR versions go together as the ONNX releases paired them.
func TestOptions_irVersion(t *testing.T) {
	for opset, want := range map[int]int64{13: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10} {
		p := mustOperator(t, "AFTSimple", map[string][]int64{"causal": {0}, "gate": {0}}, nil, export.Options{Opset: opset})
		model, body := p.OpsetImport[0].Version, p.Functions[0].OpsetImport[0].Version
		if p.IrVersion != want || model != int64(opset) || body != int64(opset) {
			t.Errorf("opset %d: IR %d, imports %d and %d, want IR %d", opset, p.IrVersion, model, body, want)
		}
	}
}
