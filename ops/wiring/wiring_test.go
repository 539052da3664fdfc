package wiring_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/reference"
)

var update = flag.Bool("update", false, "rewrite testdata")

func network(t *testing.T, name string) *reference.Model {
	t.Helper()
	for _, n := range append(wiringtest.Networks(), wiringtest.Stateful()[0]) {
		if n.Name == name {
			return n.Model
		}
	}
	t.Fatalf("no network %q", name)
	return nil
}

func build(t *testing.T, m *reference.Model, o wiring.Options) *wiring.Graph {
	t.Helper()
	g, err := wiring.Build(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// text lists a graph: its edges, nodes, constants and weights, one a line.
func text(g *wiring.Graph) string {
	var b strings.Builder
	edges := func(what string, values []*onnxpb.ValueInfoProto) {
		for _, v := range values {
			tensorType := v.GetType().GetTensorType()
			fmt.Fprintf(&b, "%s %s %s", what, v.GetName(), onnxpb.DataTypeName(tensorType.GetElemType()))
			for _, d := range tensorType.GetShape().GetDim() {
				if d.GetDimParam() != "" {
					fmt.Fprintf(&b, " %s", d.GetDimParam())
					continue
				}
				fmt.Fprintf(&b, " %d", d.GetDimValue())
			}
			b.WriteByte('\n')
		}
	}
	edges("input", g.Proto.Input)
	edges("output", g.Proto.Output)
	edges("value", g.Proto.ValueInfo)
	for _, n := range g.Proto.Node {
		fmt.Fprintf(&b, "%s = %s(%s)", strings.Join(n.Output, " "), n.OpType, strings.Join(n.Input, ", "))
		for _, a := range n.Attribute {
			fmt.Fprintf(&b, " %s=%s", a.Name, attribute(a))
		}
		b.WriteByte('\n')
	}
	for _, c := range g.Proto.Initializer {
		fmt.Fprintf(&b, "constant %s %s %v\n", c.GetName(), onnxpb.DataTypeName(c.GetDataType()), c.GetDims())
	}
	for _, w := range g.Weights {
		fmt.Fprintf(&b, "weight %s %v\n", w.Name, w.Weight.Shape())
	}
	return b.String()
}

func attribute(a *onnxpb.AttributeProto) string {
	switch a.GetType() {
	case onnxpb.AttributeProto_FLOAT:
		return fmt.Sprint(a.GetF())
	case onnxpb.AttributeProto_INTS:
		return fmt.Sprint(a.GetInts())
	}
	return fmt.Sprint(a.GetI())
}

// TestNames holds whole graphs against testdata: names are what others read and compare values by.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		file, network string
		o             wiring.Options
	}{
		{"language", "language, tied", wiring.Options{DType: tensor.Float32, Opset: 17, Mask: true}},
		{"language16", "language, another head", wiring.Options{DType: tensor.Float16, Opset: 15}},
		{"stateful", "language, a tap after the token", wiring.Options{DType: tensor.Float16, Opset: 17, Stateful: true}},
		{"image", "image, class token and positions", wiring.Options{DType: tensor.Float32, Opset: 17}},
		{"image64", "image, conv", wiring.Options{DType: tensor.Float64, Opset: 18}},
	} {
		t.Run(c.file, func(t *testing.T) {
			got := text(build(t, network(t, c.network), c.o))
			path := filepath.Join("testdata", c.file+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the graph changed; if that is right, run with -update (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSound: every value is made once, before it is read, under a name of its own, and everything made is of use.
func TestSound(t *testing.T) {
	for _, n := range wiringtest.Networks() {
		for _, o := range []wiring.Options{{DType: tensor.Float32, Opset: 13}, {DType: tensor.Float16, Opset: 16, Mask: true},
			{DType: tensor.Float64, Opset: 17}, {DType: tensor.Float32, Opset: 21, Mask: true}} {
			o.Mask = o.Mask && n.Model.Patches == nil
			t.Run(fmt.Sprintf("%s, %s, opset %d", n.Name, o.DType, o.Opset), func(t *testing.T) {
				g := build(t, n.Model, o)
				known, read := map[string]bool{}, map[string]bool{}
				define := func(name string) {
					if known[name] {
						t.Errorf("two values are called %q", name)
					}
					known[name] = true
				}
				for _, v := range g.Proto.Input {
					define(v.GetName())
				}
				for _, c := range g.Proto.Initializer {
					define(c.GetName())
				}
				for _, w := range g.Weights {
					define(w.Name)
				}
				for _, node := range g.Proto.Node {
					if node.Name == "" {
						t.Errorf("the node that makes %q has no name", node.Output)
					}
					for _, in := range node.Input {
						if !known[in] {
							t.Errorf("%q reads %q, which nothing made before", node.Name, in)
						}
						read[in] = true
					}
					for _, out := range node.Output {
						define(out)
					}
				}
				for _, out := range g.Proto.Output {
					read[out.GetName()] = true
				}
				for name := range known {
					if !read[name] {
						t.Errorf("nothing reads %q", name)
					}
				}
				for _, v := range g.Proto.ValueInfo {
					if !known[v.GetName()] {
						t.Errorf("a shape is declared for %q, which nothing makes", v.GetName())
					}
				}
				for i := range n.Model.Blocks {
					if name := wiring.BlockOutput(n.Model, i); !known[name] {
						t.Errorf("block %d does not leave as %q", i, name)
					}
				}
			})
		}
	}
}

// TestBuild_refused: what a graph cannot say is an error that names it.
func TestBuild_refused(t *testing.T) {
	withGrid := func(m *reference.Model, grid [2]int) *reference.Model {
		m.Blocks[0].Grid = grid
		return m
	}
	for _, c := range []struct {
		name  string
		model *reference.Model
		o     wiring.Options
		text  string
	}{
		{"a mask over an image", network(t, "image, conv"), wiring.Options{Mask: true}, wiring.MaskInput},
		{"a grid beside an image", network(t, "image, conv"), wiring.Options{Grid: [2]int{2, 3}}, "cannot fix a grid"},
		{"a layer's grid beside an image", withGrid(network(t, "image, conv"), [2]int{2, 3}), wiring.Options{}, "layer 0: fixes a grid"},
		{"two grids", network(t, "blocks on a grid"), wiring.Options{Grid: [2]int{3, 2}}, "layer 0: fixes a grid of 2 rows"},
		{"a grid of more places than there are numbers", withGrid(network(t, "blocks on a grid"), [2]int{1 << 40, 1 << 40}), wiring.Options{}, "grid"},
		{"no layers", &reference.Model{}, wiring.Options{}, "no layers"},
		{"parts that do not fit", func() *reference.Model {
			m := network(t, "language, tied")
			m.Norm.Gain = m.Norm.Gain[1:]
			return m
		}(), wiring.Options{}, "norm."},
	} {
		c.o.DType, c.o.Opset = tensor.Float32, 17
		if _, err := wiring.Build(c.model, c.o); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error is %v, want one with %q", c.name, err, c.text)
		}
	}
}
