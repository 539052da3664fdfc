package importer

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// graph is an exported graph by names. It guesses a model from the weights that are there; compare then holds the whole
// graph against that model's.
type graph struct {
	proto  *onnxpb.ModelProto
	stored map[string]*onnxpb.TensorProto
	makers map[string]*onnxpb.NodeProto // by the value they make
	layers []*onnxpb.NodeProto          // of ai.aft
	folder *onnxpb.Folder               // of the model's file: where external data is
	dtype  tensor.DType                 // of the weights
	err    error                        // the first of reading weights
}

func newGraph(p *onnxpb.ModelProto, folder *onnxpb.Folder) (*graph, error) {
	g := &graph{proto: p, folder: folder, stored: map[string]*onnxpb.TensorProto{}, makers: map[string]*onnxpb.NodeProto{}}
	if key, twice := onnxpb.RepeatedMetadata(p); twice {
		return nil, &Error{Place: "metadata " + strconv.Quote(key), Found: "there are two of that key"}
	}
	for _, t := range p.GetGraph().GetInitializer() {
		if g.stored[t.GetName()] != nil {
			return nil, &Error{Place: "initializer " + strconv.Quote(t.GetName()), Found: "there are two of that name"}
		}
		g.stored[t.GetName()] = t
	}
	for _, n := range p.GetGraph().GetNode() {
		for _, out := range n.GetOutput() {
			if g.makers[out] != nil {
				return nil, &Error{Place: "value " + strconv.Quote(out), Found: "two nodes make it"}
			}
			g.makers[out] = n
		}
		if n.GetDomain() == ops.Domain {
			g.layers = append(g.layers, n)
		}
	}
	if len(g.layers) == 0 {
		return nil, &Error{Found: "holds no AFT layers", Allowed: "a model exported with its AFT operators, not with --flatten"}
	}
	return g, nil
}

// model is the model that the weights and the AFT nodes ask for.
func (g *graph) model() (*reference.Model, error) {
	m := &reference.Model{}
	if g.has("embed.weight") {
		m.Tokens = &reference.TokenEmbedding{Weight: g.weight("embed.weight"), Positions: g.optional("positions.weight")}
	}
	if g.has("patch.weight") {
		if err := g.patches(m); err != nil {
			return nil, err
		}
	}
	for i, node := range g.layers {
		b, err := g.block(node, "layers."+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		m.Blocks = append(m.Blocks, b)
	}
	if g.has("norm.weight") {
		m.Norm = g.norm("norm", "norm")
	}
	g.head(m)
	if g.err != nil {
		return nil, g.err
	}
	if err := m.Check(); err != nil {
		return nil, &Error{Found: err.Error()}
	}
	return m, nil
}

func (g *graph) head(m *reference.Model) {
	switch {
	case g.has("head.weight"):
		m.Head = g.linear("head")
	case m.Tokens != nil && g.makers[wiring.HeadOutput] != nil:
		m.Tied = true
		m.Head = &reference.Linear{Weight: m.Tokens.Weight, Bias: g.vector("head.bias")}
	}
	if text := g.metadata("labels"); text != "" {
		m.Labels = strings.Split(text, "\n")
	}
}

func (g *graph) patches(m *reference.Model) error {
	e := &reference.PatchEmbedding{Weight: g.weight("patch.weight"), Bias: g.vector("patch.bias"),
		ClassToken: g.vector("class_token"), Positions: g.optional("positions.weight")}
	size, err := g.numbers("image_size")
	if err != nil {
		return err
	}
	if size != nil {
		side := func(v float64) bool { return v >= 1 && v <= 1<<20 && v == math.Trunc(v) }
		if len(size) != 2 || !side(size[0]) || !side(size[1]) {
			return &Error{Place: "metadata " + strconv.Quote("image_size"), Found: fmt.Sprintf("is %v", size), Allowed: "height,width"}
		}
		e.Pixels.Size = [2]int{int(size[0]), int(size[1])}
	}
	if e.Pixels.Mean, err = g.numbers("mean"); err != nil {
		return err
	}
	e.Pixels.Std, err = g.numbers("std")
	m.Patches = e
	return err
}

// metadata is a value of ours, "" if there is none.
func (g *graph) metadata(key string) string {
	for _, p := range g.proto.GetMetadataProps() {
		if p.GetKey() == "io.aftonnx."+key {
			return p.GetValue()
		}
	}
	return ""
}

// numbers is a list of numbers in the metadata; nil if there is none.
func (g *graph) numbers(key string) ([]float64, error) {
	text := g.metadata(key)
	if text == "" {
		return nil, nil
	}
	var list []float64
	for part := range strings.SplitSeq(text, ",") {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, &Error{Place: "metadata " + strconv.Quote(key), Found: "holds " + strconv.Quote(part), Allowed: "numbers"}
		}
		list = append(list, v)
	}
	return list, nil
}

// block is what stands around an AFT node.
func (g *graph) block(node *onnxpb.NodeProto, name string) (reference.Block, error) {
	b := reference.Block{Residual: g.makers[name+".out"] != nil}
	l := &b.Layer
	if l.Variant = variantOf(node); l.Variant == "" {
		return b, &Error{Place: name, Found: fmt.Sprintf("there is no operator %s.%q", ops.Domain, node.GetOpType())}
	}
	if err := attributes(l, node, name); err != nil {
		return b, err
	}
	l.Q, l.K, l.V = *g.linear(name + ".q"), *g.linear(name + ".k"), *g.linear(name + ".v")
	if g.has(name + ".out.weight") {
		l.Out = g.linear(name + ".out")
	}
	if l.Variant != reference.Simple {
		l.W = g.weight(name + ".w")
	}
	if isStep(node) {
		if err := g.window(l, name); err != nil {
			return b, err
		}
	}
	if l.Variant == reference.Conv2D {
		if err := g.grid(l); err != nil {
			return b, err
		}
	}
	if g.has(name + ".norm1.weight") {
		b.Norm = g.norm(name+".norm1", name+".norm1")
	}
	if g.has(name + ".fc1.weight") {
		b.MLP = &reference.MLP{Norm: *g.norm(name+".norm2", name+".norm2"), Up: *g.linear(name + ".fc1"), Down: *g.linear(name + ".fc2")}
	}
	return b, nil
}

func variantOf(node *onnxpb.NodeProto) reference.Variant {
	all := []reference.Variant{reference.Full, reference.Simple, reference.Local, reference.Conv1D, reference.Conv2D}
	for _, v := range all {
		if op := node.GetOpType(); op == v.Op() || op == v.Op()+"Step" {
			return v
		}
	}
	return ""
}

// attributes reads the node's attributes; every one is always written.
func attributes(l *reference.Layer, node *onnxpb.NodeProto, name string) error {
	fail := func(format string, args ...any) error {
		return &Error{Place: name, Found: fmt.Sprintf(format, args...), Allowed: "the layer as it was exported"}
	}
	got := map[string][]int64{}
	for _, a := range node.GetAttribute() {
		switch a.GetType() {
		case onnxpb.AttributeProto_INT:
			got[a.GetName()] = []int64{a.GetI()}
		case onnxpb.AttributeProto_INTS:
			got[a.GetName()] = a.GetInts()
		}
	}
	wanted := l.Attrs()
	if isStep(node) { // always causal; its window is W's
		wanted, l.Causal = map[string][]int64{"gate": {0}}, true
	}
	for _, attr := range slices.Sorted(maps.Keys(wanted)) {
		like := wanted[attr]
		v, ok := got[attr]
		if !ok || len(v) != len(like) {
			return fail("its AFT node lacks the attribute %q", attr)
		}
		for _, n := range v {
			if n < 0 || n > 1<<30 {
				return fail("attribute %q is %d", attr, n)
			}
		}
		switch attr {
		case "causal":
			l.Causal = v[0] == 1
		case "gate":
			l.Gate = reference.Gate(v[0])
		case "window":
			l.Window = int(v[0])
		case "pad_left":
			l.PadLeft = int(v[0])
		case "pads":
			l.Pads = [2]int{int(v[0]), int(v[1])}
		}
	}
	return nil
}

func isStep(node *onnxpb.NodeProto) bool { return strings.HasSuffix(node.GetOpType(), "Step") }

// window takes the window of a step form from the shape of W: all its columns, or as many as a constant says.
func (g *graph) window(l *reference.Layer, name string) error {
	if l.W.Rank() != 2 {
		return nil // Check says what is wrong
	}
	switch l.Variant {
	case reference.Local:
		l.Window = l.W.Shape()[1]
	case reference.Conv1D:
		l.PadLeft = l.W.Shape()[1] - 1
		t := g.stored[name+".taps_end"]
		if t == nil {
			return nil
		}
		end, err := onnxpb.TensorFromProto(t)
		if err != nil {
			return err
		}
		v, err := end.Int64s()
		if err != nil || len(v) != 1 || v[0] < 1 || v[0] > int64(l.W.Shape()[1]) {
			return &Error{Place: "initializer " + strconv.Quote(name+".taps_end"), Found: "is no number of taps"}
		}
		l.PadLeft = int(v[0]) - 1
	}
	return nil
}

// grid is a constant of a stack, or comes from outside or from the image.
func (g *graph) grid(l *reference.Layer) error {
	t := g.stored[wiring.GridInput]
	if t == nil {
		return nil
	}
	grid, err := onnxpb.TensorFromProto(t)
	if err != nil {
		return err
	}
	v, err := grid.Int64s()
	if err != nil || len(v) != 2 || v[0] < 1 || v[1] < 1 || v[0] > 1<<30 || v[1] > 1<<30 {
		return &Error{Place: "initializer " + strconv.Quote(wiring.GridInput), Found: "is no height and width"}
	}
	l.Grid = [2]int{int(v[0]), int(v[1])}
	return nil
}

func (g *graph) has(name string) bool { return g.stored[name] != nil }

func (g *graph) linear(name string) *reference.Linear {
	return &reference.Linear{Weight: g.weight(name + ".weight"), Bias: g.vector(name + ".bias")}
}

// norm reads a LayerNorm; value is what its last node makes.
func (g *graph) norm(name, value string) *reference.LayerNorm {
	n := &reference.LayerNorm{Gain: g.vector(name + ".weight"), Bias: g.vector(name + ".bias")}
	if eps := g.stored[name+".eps"]; eps != nil {
		if t, err := onnxpb.TensorFromProto(eps); err == nil && t.Len() == 1 && t.DType.IsFloat() {
			n.Eps = t.At(0)
		}
		return n
	}
	if g.makers[value] == nil { // the norm of a model without a head makes its output
		value = wiring.StackOutput
	}
	for _, a := range g.makers[value].GetAttribute() {
		if a.GetName() == "epsilon" {
			n.Eps = float64(a.GetF())
		}
	}
	return n
}

// optional is a weight that may be missing.
func (g *graph) optional(name string) reference.Weight {
	if !g.has(name) {
		return reference.Weight{}
	}
	return g.weight(name)
}

// vector is a small weight that may be missing, nil then.
func (g *graph) vector(name string) []float64 {
	a, err := g.optional(name).Array()
	if err != nil && g.err == nil {
		g.err = err
	}
	return a.Data
}

// weight is an initialiser of the model's type. All of them are of one.
func (g *graph) weight(name string) reference.Weight {
	place := "initializer " + strconv.Quote(name)
	fail := func(err error) reference.Weight {
		if g.err == nil {
			g.err = err
		}
		return reference.Weight{}
	}
	p := g.stored[name]
	if p == nil {
		return fail(&Error{Place: place, Found: "is missing"})
	}
	w, err := g.folder.Weight(p)
	if err != nil {
		return fail(err)
	}
	if g.dtype == tensor.Invalid {
		g.dtype = w.DType()
	}
	if !w.DType().IsFloat() || w.DType() != g.dtype {
		return fail(&Error{Place: place, Found: "is " + w.DType().String(), Allowed: "one floating-point type for all weights"})
	}
	return w
}
