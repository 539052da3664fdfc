package verify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// maker makes random weights.
type maker struct {
	t   *testing.T
	rng *rand.Rand
}

func newMaker(t *testing.T) *maker { return &maker{t, rand.New(rand.NewPCG(7, 11))} }

func (m *maker) array(scale float64, shape ...int) tensor.Array {
	m.t.Helper()
	a, err := tensor.NewArray(shape...)
	if err != nil {
		m.t.Fatal(err)
	}
	for i := range a.Data {
		a.Data[i] = scale * m.rng.NormFloat64()
	}
	return a
}

func (m *maker) weight(scale float64, shape ...int) tensor.Weight {
	return tensor.Hold(m.array(scale, shape...))
}

func (m *maker) linear(out, in int) reference.Linear {
	return reference.Linear{Weight: m.weight(1/math.Sqrt(float64(in)), out, in), Bias: m.array(0.1, out).Data}
}

func (m *maker) norm(dim int) reference.LayerNorm {
	n := reference.LayerNorm{Gain: m.array(0.2, dim).Data, Bias: m.array(0.2, dim).Data, Eps: reference.DefaultEps}
	for i := range n.Gain {
		n.Gain[i]++
	}
	return n
}

// block is a whole pre-norm block around an operator.
func (m *maker) block(l reference.Layer, dim, keys int) reference.Block {
	norm, out := m.norm(dim), m.linear(dim, dim)
	l.Q, l.K, l.V, l.Out = m.linear(dim, dim), m.linear(keys, dim), m.linear(dim, dim), &out
	return reference.Block{Layer: l, Norm: &norm, Residual: true,
		MLP: &reference.MLP{Norm: m.norm(dim), Up: m.linear(2*dim, dim), Down: m.linear(dim, 2*dim)}}
}

// The networks of the tests: 8 channels, 3 blocks.
const (
	testDim    = 8
	testBlocks = 3
	testTokens = 19
	testLength = 12
)

func (m *maker) blocks(layer func() (reference.Layer, int)) []reference.Block {
	var list []reference.Block
	for range testBlocks {
		l, keys := layer()
		list = append(list, m.block(l, testDim, keys))
	}
	return list
}

// language is a causal AFT-local language model with a tied head.
func (m *maker) language() *reference.Model {
	norm := m.norm(testDim)
	table := m.weight(1, testTokens, testDim)
	return &reference.Model{
		Tokens: &reference.TokenEmbedding{Weight: table, Positions: m.weight(0.5, testLength, testDim)},
		Blocks: m.blocks(func() (reference.Layer, int) {
			return reference.Layer{Variant: reference.Local, Options: reference.Options{Causal: true}, Window: 3,
				W: m.weight(1, testLength, 3)}, testDim
		}),
		Norm: &norm, Head: &reference.Linear{Weight: table}, Tied: true,
	}
}

// bidirectional is an AFT-full language model without positions of its own, whose head is not tied.
func (m *maker) bidirectional() *reference.Model {
	norm, head := m.norm(testDim), m.linear(5, testDim)
	return &reference.Model{
		Tokens: &reference.TokenEmbedding{Weight: m.weight(1, testTokens, testDim)},
		Blocks: m.blocks(func() (reference.Layer, int) {
			return reference.Layer{Variant: reference.Full, W: m.weight(1, testLength, testLength)}, testDim
		}),
		Norm: &norm, Head: &head,
	}
}

// images is an image model of 2-D convolutions, or of AFT-full with a class token.
func (m *maker) images(classToken bool) *reference.Model {
	norm, head := m.norm(testDim), m.linear(5, testDim)
	patches := &reference.PatchEmbedding{Weight: m.weight(0.3, testDim, 3, 2, 2), Bias: m.array(0.1, testDim).Data}
	layer := func() (reference.Layer, int) {
		return reference.Layer{Variant: reference.Conv2D, Pads: [2]int{1, 1}, W: m.weight(1, 2, 3, 3)}, 2
	}
	patches.Pixels.Size = [2]int{8, 12}
	if classToken {
		patches.ClassToken, patches.Positions = m.array(1, testDim).Data, m.weight(0.5, 7, testDim)
		patches.Pixels.Size = [2]int{4, 6}
		layer = func() (reference.Layer, int) {
			return reference.Layer{Variant: reference.Full, W: m.weight(1, 7, 7)}, testDim
		}
	}
	return &reference.Model{Patches: patches, Blocks: m.blocks(layer), Norm: &norm, Head: &head}
}

// bare is a stack of blocks: x to y, with nothing before and behind them.
func (m *maker) bare() *reference.Model {
	blocks := m.blocks(func() (reference.Layer, int) {
		return reference.Layer{Variant: reference.Conv1D, PadLeft: 1, W: m.weight(1, 4, 3)}, 4
	})
	blocks[1].Out, blocks[2].MLP = nil, nil
	return &reference.Model{Blocks: blocks}
}

func exported(t *testing.T, m *reference.Model, o export.Options) *onnxpb.ModelProto {
	t.Helper()
	p, err := export.Model(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Networks of every kind pass on every engine, in every type, and use a noticeable part of what they are allowed.
func TestModel_networks(t *testing.T) {
	needRuntime(t)
	for _, test := range []struct {
		name  string
		model func(*maker) *reference.Model
		mask  bool
	}{
		{"language", (*maker).language, false},
		{"language, masked", (*maker).language, true},
		{"bidirectional, masked", (*maker).bidirectional, true},
		{"images", func(m *maker) *reference.Model { return m.images(false) }, false},
		{"images, class token", func(m *maker) *reference.Model { return m.images(true) }, false},
		{"bare", (*maker).bare, false},
		{"bare, masked", (*maker).bare, true},
	} {
		for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float16, tensor.Float64} {
			t.Run(fmt.Sprintf("%s %s", test.name, dtype), func(t *testing.T) {
				m := test.model(newMaker(t))
				p := exported(t, m, export.Options{DType: dtype, AttentionMask: test.mask})
				r, err := Model(t.Context(), writeModel(t, p), Options{Source: m, Threads: 1, Full: dtype == tensor.Float32})
				if err != nil {
					t.Fatal(err)
				}
				wantPass(t, r)
				if len(r.Notes) > 0 {
					t.Errorf("notes %q", r.Notes)
				}
				name := p.Graph.Output[0].GetName()
				for _, e := range []Engine{Kernel, Portable, Native} {
					row := find(t, r, name, e)
					if row.ratio < 0.02 || row.Finite > 0 || !strings.Contains(row.Derived, "block by block") {
						t.Errorf("%s: %.2g of the tolerance, %d cases only finite, %q", e, row.ratio, row.Finite, row.Derived)
					}
					if row.MaxAbs == 0 {
						t.Errorf("%s: no error at all in the output", e)
					}
				}
				if row := find(t, r, name, Kernel); row.Calls == 0 || row.Calls != row.Nodes {
					t.Errorf("%d kernel calls, want %d", row.Calls, row.Nodes)
				}
				if dtype == tensor.Float32 {
					find(t, r, name+", kernel against portable", Kernel)
				}
				find(t, r, "rounding", Reference)
				find(t, r, "weights", Reference)
			})
		}
	}
}

// fault is something that is wrong in an export, and the value in which it shows first.
type fault struct {
	name    string
	located string
	model   func(*reference.Model)   // what is exported
	graph   func(*onnxpb.ModelProto) // or what becomes of it
}

func faults() []fault {
	held := func(w tensor.Weight) []float64 { a, _ := w.Held(); return a.Data }
	return []fault{
		{name: "eps", located: "layers.1.aft", model: func(m *reference.Model) { m.Blocks[1].Norm.Eps = 1e-3 }},
		{name: "no residual", located: "layers.1.h", model: func(m *reference.Model) { m.Blocks[1].Residual = false }},
		{name: "norms swapped", located: "layers.2.aft", model: func(m *reference.Model) {
			b := &m.Blocks[2]
			*b.Norm, b.MLP.Norm = b.MLP.Norm, *b.Norm
		}},
		{name: "weight of an MLP", located: "layers.1.y", model: func(m *reference.Model) { held(m.Blocks[1].MLP.Up.Weight)[3] += 1e-3 }},
		{name: "bias of an MLP", located: "layers.2.y", model: func(m *reference.Model) { m.Blocks[2].MLP.Down.Bias[3] += 1e-4 }},
		{name: "positions", located: "embedded", model: func(m *reference.Model) { held(m.Tokens.Positions)[5] += 1e-4 }},
		{name: "last norm", located: "logits", model: func(m *reference.Model) { m.Norm.Gain[2] += 1e-3 }},
		{name: "not tied", located: "logits", model: func(m *reference.Model) {
			table := slices.Clone(held(m.Head.Weight))
			table[7] += 1e-3
			m.Head, m.Tied = &reference.Linear{Weight: tensor.Hold(tensor.Array{Shape: m.Head.Weight.Shape(), Data: table})}, false
		}},
		{name: "mask the wrong way round", located: "layers.0.aft", graph: func(p *onnxpb.ModelProto) {
			for _, n := range p.Graph.Node {
				if strings.HasSuffix(n.GetName(), ".k_real") {
					n.Input[1], n.Input[2] = n.Input[2], n.Input[1]
				}
			}
		}},
		{name: "no mask in one layer", located: "layers.1.aft", graph: func(p *onnxpb.ModelProto) {
			for _, n := range p.Graph.Node {
				for i, name := range n.Input {
					if name == "layers.1.k_real" {
						n.Input[i] = "layers.1.k"
					}
				}
			}
		}},
	}
}

// What is wrong in a network fails on every engine, and the value in which it shows first is named; whole or in parts.
func TestModel_networkFaults(t *testing.T) {
	needRuntime(t)
	o := export.Options{AttentionMask: true}
	good := writeModel(t, exported(t, newMaker(t).language(), o))
	for i, f := range faults() {
		for _, bytes := range []int64{0, 1} {
			if bytes > 0 && i%3 != 1 { // every third is enough for the parts
				continue
			}
			t.Run(fmt.Sprintf("%s, parts of %d", f.name, bytes), func(t *testing.T) {
				m := newMaker(t).language()
				if f.model != nil {
					f.model(m)
				}
				p := proto.CloneOf(exported(t, m, o))
				if f.graph != nil {
					f.graph(p)
				}
				r, err := Model(t.Context(), good, Options{Other: writeModel(t, p), Threads: 1, PartBytes: bytes})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range []Engine{Kernel, Portable, Native} {
					if row := find(t, r, "logits", e); !row.Pass {
						t.Errorf("%s: the good model fails: %s", e, row.Problem)
					}
					row := find(t, r, "other logits", e)
					if r.Pass || row.Pass || row.Located != f.located || row.Problem == "" {
						t.Errorf("%s: pass %v, located %q, want %q; %s", e, row.Pass, row.Located, f.located, row.Problem)
					}
				}
			})
		}
	}
}

// A model of which no two blocks fit at once is verified in parts, from whatever file its weights come; and one weight that
// is not the checkpoint's, whichever it is, fails.
func TestModel_parts(t *testing.T) {
	needRuntime(t)
	m := newMaker(t).images(false)
	for _, flatten := range []bool{false, true} {
		p := exported(t, m, export.Options{Flatten: flatten, Opset: 15})
		path, _ := writeExternal(t, p)
		r, err := Model(t.Context(), path, Options{Source: m, Threads: 1, PartBytes: 1, Full: true})
		if err != nil {
			t.Fatal(err)
		}
		wantPass(t, r)
		wantNote(t, r, "no run at full length")
		if want := "all 3 layers, in 3 parts"; !slices.ContainsFunc(r.Covered, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("covered %q, want %q", r.Covered, want)
		}
		if row := find(t, r, "logits", Native); !strings.Contains(row.Derived, "in 3 parts") || row.ratio < 0.02 {
			t.Errorf("%q, %.2g of the tolerance", row.Derived, row.ratio)
		}
		if !flatten {
			if row := find(t, r, "logits", Kernel); row.Calls != 6 || row.Nodes != 6 {
				t.Errorf("%d kernel calls of %d, want 3 layers in 2 cases", row.Calls, row.Nodes)
			}
		}
	}
}

// Every weight of a network is held against the checkpoint's.
func TestModel_networkWeights(t *testing.T) {
	m := newMaker(t).images(true)
	p := exported(t, m, export.Options{DType: tensor.Float16})
	list, err := modelWeights(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 4+testBlocks*(4+8+1+4)+4 {
		t.Errorf("%d weights", len(list))
	}
	for _, w := range list {
		s, err := newSubject("model.onnx", "", nil, edit(t, p, w.Name, func(values []float64) { values[len(values)-1] += 0.01 }))
		if err != nil {
			t.Fatal(err)
		}
		s.exact = m
		row, _, err := s.weights("weights")
		if err != nil {
			t.Fatal(err)
		}
		if row.Pass || !strings.HasPrefix(row.Problem, w.Name+": element [") || row.Cases != len(list) {
			t.Errorf("%s: pass %v, %d cases, problem %q", w.Name, row.Pass, row.Cases, row.Problem)
		}
	}
}

// A block whose keys are beyond the range of bodies in float: they need only be finite in it, everything else is judged as ever.
func TestModel_networkBeyondTheRange(t *testing.T) {
	needRuntime(t)
	m := newMaker(t).language()
	keys, _ := m.Blocks[1].K.Weight.Held()
	scale(keys, 60)
	r, err := Model(t.Context(), writeModel(t, exported(t, m, export.Options{})), Options{Source: m, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	wantPass(t, r)
	if row := find(t, r, "logits", Portable); row.Finite == 0 || row.Finite >= row.Cases-10 {
		t.Errorf("portable only had to be finite in %d of %d cases", row.Finite, row.Cases)
	}
	if row := find(t, r, "logits", Kernel); row.Finite != 0 {
		t.Errorf("the kernel only had to be finite in %d cases", row.Finite)
	}
	m.Blocks[2].MLP.Down.Bias[1] += 1e-3
	bad := writeModel(t, exported(t, m, export.Options{}))
	m.Blocks[2].MLP.Down.Bias[1] -= 1e-3
	good := writeModel(t, exported(t, m, export.Options{}))
	if r, err = Model(t.Context(), good, Options{Other: bad, Threads: 1}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []Engine{Kernel, Portable, Native} {
		if row := find(t, r, "other logits", e); row.Pass || row.Located != "layers.2.y" {
			t.Errorf("%s: pass %v, located %q behind the block beyond the range", e, row.Pass, row.Located)
		}
	}
}
