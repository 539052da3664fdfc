package ops

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/bodies")

// usualAttrs are attributes of small windows.
func usualAttrs(d *Def, causal, gate int64) Attrs {
	attrs := Attrs{}
	for _, a := range d.Attrs {
		switch a.Name {
		case "causal":
			attrs[a.Name] = []int64{causal}
		case "gate":
			attrs[a.Name] = []int64{gate}
		case "window":
			attrs[a.Name] = []int64{3}
		case "pad_left":
			attrs[a.Name] = []int64{2}
		case "pads":
			attrs[a.Name] = []int64{1, 1}
		}
	}
	return attrs
}

// TestFunction_golden shows the bodies to the reader of a change. What they compute is the conformance suite's business.
func TestFunction_golden(t *testing.T) {
	usual := BodySpec{Opset: 17, DType: tensor.Float32, Heads: 2, Channels: 8}
	files := map[string]struct {
		op   string
		spec BodySpec
	}{}
	add := func(d *Def, suffix string, causal int64, edit func(s *BodySpec)) {
		s := usual
		if !slices.Contains(d.Inputs[1].Dims, "H") {
			s.Heads = 0
		}
		s.Attrs = usualAttrs(d, causal, GateSigmoid)
		if edit != nil {
			edit(&s)
		}
		files[d.Stem+suffix+".txt"] = struct {
			op   string
			spec BodySpec
		}{d.Name, s}
	}
	for _, d := range All() {
		add(d, "", 0, nil)
		if d.Whole == "" {
			add(d, "-causal", 1, nil)
		}
		add(d, "-attributes", 0, func(s *BodySpec) { s.Attrs = nil })
	}
	add(aftSimple(), "-opset13", 0, func(s *BodySpec) { s.Opset = 13 })
	add(aftSimple(), "-opset18", 0, func(s *BodySpec) { s.Opset = 18 })
	add(aftSimple(), "-float16", 0, func(s *BodySpec) { s.DType = tensor.Float16 })
	add(aftSimple(), "-float64", 0, func(s *BodySpec) { s.DType = tensor.Float64 })
	add(aftSimple(), "-in-double", 0, func(s *BodySpec) { s.Double = true })
	add(aftFull(), "-wide", 0, func(s *BodySpec) { s.Channels = 512 })
	add(aftConv2D(), "-dense", 0, func(s *BodySpec) { s.Heads, s.Channels = 0, 0 })
	for file, c := range files {
		t.Run(file, func(t *testing.T) { compareGolden(t, file, c.op, c.spec) })
	}
}

func compareGolden(t *testing.T, file, op string, spec BodySpec) {
	d, _ := Lookup(op)
	f, err := d.Function(spec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := functionText(f)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "bodies", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the body changed; if that is right, run with -update (-want +got):\n%s", diff)
	}
}

// everySpec calls f for every kind of body there is.
func everySpec(t *testing.T, f func(t *testing.T, d *Def, s BodySpec)) {
	for _, d := range All() {
		for opset := MinOpset; opset <= MaxOpset; opset++ {
			for _, dtype := range Types() {
				for kind := range 16 {
					s := BodySpec{Opset: opset, DType: dtype, Double: kind&1 != 0}
					if kind&2 != 0 {
						s.Attrs = usualAttrs(d, int64(kind>>2&1), int64(kind&3))
					}
					if kind&8 != 0 {
						s.Heads, s.Channels = 2, 8
					}
					t.Run(fmt.Sprintf("%s opset %d %s kind %d", d.Name, opset, dtype, kind), func(t *testing.T) { f(t, d, s) })
				}
			}
		}
	}
}

// standardOps are what a body may use: every runtime has them, in all of the opsets, and none has a sub-graph.
func standardOps() []string {
	return strings.Fields(`Add And Cast Clip Concat Constant Conv CumSum Div Equal Exp Expand Gather GatherND Greater GreaterOrEqual
		Less LessOrEqual MatMul Max Min Mul Neg Not Or Pad Range ReduceMax ReduceSum Reshape Shape Sigmoid Slice Sqrt Squeeze
		Sub Tanh Transpose Unsqueeze Where`)
}

func TestFunction_structure(t *testing.T) {
	allowed := standardOps()
	everySpec(t, func(t *testing.T, d *Def, s BodySpec) {
		f, err := d.Function(s)
		if err != nil {
			t.Fatal(err)
		}
		checkSignature(t, d, s, f)
		known := map[string]bool{}
		for _, in := range f.Input {
			known[in] = true
		}
		used := map[string]bool{}
		for _, p := range d.Outputs {
			used[p.Name] = true
			if !slices.ContainsFunc(f.Node, func(n *onnxpb.NodeProto) bool { return slices.Contains(n.Output, p.Name) }) {
				t.Errorf("output %q is not made", p.Name)
			}
		}
		for _, n := range f.Node {
			if n.Domain != "" || !slices.Contains(allowed, n.OpType) {
				t.Errorf("%s: uses %s.%s", n.Output, n.Domain, n.OpType)
			}
			for _, in := range n.Input {
				if !known[in] {
					t.Errorf("%s: uses %q before it is made", n.Output, in)
				}
				used[in] = true
			}
			for _, out := range n.Output {
				if known[out] {
					t.Errorf("%q is made twice", out)
				}
				known[out] = true
			}
			checkNode(t, s, n)
		}
		for name := range known {
			if !used[name] {
				t.Errorf("%q is not used", name)
			}
		}
	})
}

func checkSignature(t *testing.T, d *Def, s BodySpec, f *onnxpb.FunctionProto) {
	t.Helper()
	var inputs, outputs, attrs []string
	for _, p := range d.Outputs {
		outputs = append(outputs, p.Name)
	}
	for _, p := range d.Inputs {
		inputs = append(inputs, p.Name)
	}
	for _, a := range d.Attrs {
		attrs = append(attrs, a.Name)
	}
	if f.Name != d.Name || f.Domain != Domain || !slices.Equal(f.Input, inputs) || !slices.Equal(f.Attribute, attrs) ||
		!slices.Equal(f.Output, outputs) {
		t.Errorf("signature is %s.%s %v %v %v, want the declaration's", f.Domain, f.Name, f.Attribute, f.Input, f.Output)
	}
	if len(f.OpsetImport) != 1 || f.OpsetImport[0].Domain != "" || f.OpsetImport[0].Version != int64(s.Opset) {
		t.Errorf("imports %v, want only the standard domain at version %d", f.OpsetImport, s.Opset)
	}
}

// checkNode holds what differs between opsets, and attributes that only a specialised body may do without.
func checkNode(t *testing.T, s BodySpec, n *onnxpb.NodeProto) {
	t.Helper()
	for _, a := range n.Attribute {
		if a.Type == onnxpb.AttributeProto_GRAPH || a.Type == onnxpb.AttributeProto_GRAPHS {
			t.Errorf("%s: has a sub-graph", n.Output)
		}
		if a.RefAttrName != "" && s.Attrs != nil {
			t.Errorf("%s: reads attribute %q, which is known", n.Output, a.RefAttrName)
		}
		if a.Name == "allowzero" && s.Opset < 14 {
			t.Errorf("%s: allowzero is not in opset %d", n.Output, s.Opset)
		}
		if a.Name == "axes" && s.Opset >= 18 {
			t.Errorf("%s: %s takes its axes as an input in opset %d", n.Output, n.OpType, s.Opset)
		}
	}
	if n.OpType == "ReduceMax" && s.Opset < 18 && len(n.Input) != 1 {
		t.Errorf("%s: ReduceMax takes its axes as an attribute in opset %d", n.Output, s.Opset)
	}
	if n.OpType == "Conv" && (s.Double || s.DType == tensor.Float64) {
		t.Errorf("%s: ONNX Runtime has no Conv in double", n.Output)
	}
}

func TestFunction_generic_readsAllAttributes(t *testing.T) {
	for _, d := range All() {
		f, err := d.Function(BodySpec{Opset: 17, DType: tensor.Float32})
		if err != nil {
			t.Fatal(err)
		}
		read := map[string]bool{}
		for _, n := range f.Node {
			for _, a := range n.Attribute {
				read[a.RefAttrName] = true
			}
		}
		for _, a := range d.Attrs {
			if !read[a.Name] {
				t.Errorf("%s: does not read attribute %q", d.Name, a.Name)
			}
		}
	}
}

// TestFunction_kernelIsConstant: the weights of a convolution depend on W alone, so that a runtime computes them once when
// W is a constant, and can choose its fast convolutions.
func TestFunction_kernelIsConstant(t *testing.T) {
	for causal := range int64(2) {
		d := aftConv2D()
		s := BodySpec{Opset: 17, DType: tensor.Float32, Attrs: usualAttrs(d, causal, 0), Heads: 2, Channels: 8}
		f, err := d.Function(s)
		if err != nil {
			t.Fatal(err)
		}
		makers := map[string]*onnxpb.NodeProto{}
		for _, n := range f.Node {
			makers[n.Output[0]] = n
		}
		var sources func(value string) []string
		sources = func(value string) []string {
			n, ok := makers[value]
			if !ok {
				return []string{value}
			}
			var list []string
			for _, in := range n.Input {
				list = append(list, sources(in)...)
			}
			slices.Sort(list)
			return slices.Compact(list)
		}
		convolutions := 0
		for _, n := range f.Node {
			if n.OpType != "Conv" {
				continue
			}
			convolutions++
			if got := sources(n.Input[1]); !slices.Equal(got, []string{"W"}) {
				t.Errorf("causal %d: the weights of %q depend on %v", causal, n.Output[0], got)
			}
		}
		if convolutions != 2 {
			t.Errorf("causal %d: %d convolutions, want 2", causal, convolutions)
		}
	}
}

func TestFunction_refuses(t *testing.T) {
	good := BodySpec{Opset: 17, DType: tensor.Float32, Attrs: usualAttrs(aftConv1D(), 0, 0)}
	for _, c := range []struct {
		name, want string
		edit       func(s *BodySpec)
	}{
		{"old opset", "no body for opset 12, want 13..21", func(s *BodySpec) { s.Opset = 12 }},
		{"new opset", "no body for opset 22", func(s *BodySpec) { s.Opset = 22 }},
		{"type", "no body for bfloat16", func(s *BodySpec) { s.DType = tensor.BFloat16 }},
		{"heads", "no body for 3 heads and 8 channels", func(s *BodySpec) { s.Heads, s.Channels = 3, 8 }},
		{"missing", `attribute "gate": missing`, func(s *BodySpec) { s.Attrs = Attrs{"causal": {0}, "pad_left": {0}} }},
		{"unknown", `attribute "window": unknown`, func(s *BodySpec) {
			s.Attrs = Attrs{"causal": {0}, "gate": {0}, "pad_left": {0}, "window": {3}}
		}},
		{"value", `attribute "causal": is 2, want 0 or 1`, func(s *BodySpec) {
			s.Attrs = Attrs{"causal": {2}, "gate": {0}, "pad_left": {0}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.edit(&s)
			_, err := aftConv1D().Function(s)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
	if _, err := aftConv1D().Function(good); err != nil {
		t.Error(err)
	}
}

// TestNode: an attribute of 0 is on the node like any other, with its value.
func TestNode(t *testing.T) {
	n := Node(aftConv2D(), "layers.0.aft", []string{"q", "k", "v", "w", "grid"}, []string{"y"},
		Attrs{"pads": {0, 2}, "gate": {3}, "causal": {0}})
	if n.Name != "layers.0.aft" || n.Domain != "ai.aft" || n.OpType != "AFTConv2D" || len(n.Input) != 5 || n.Output[0] != "y" {
		t.Errorf("node is %v", n)
	}
	attrs, err := attributeTexts(n)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"causal=0", "gate=3", "pads=[0 2]"}, attrs); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if n.Attribute[0].I == nil {
		t.Error("causal = 0 is written without its value")
	}
}
