package bench

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// graph builds the models that a user has instead of ours: standard operators at opset 17, shapes fixed, biases constant, as
// an exporter writes them down.
type graph struct {
	nodes   []*onnxpb.NodeProto
	weights []*onnxpb.TensorProto
}

func (g *graph) node(op string, out string, in []string, attrs ...*onnxpb.AttributeProto) string {
	g.nodes = append(g.nodes, onnxpb.Node(op, in, []string{out}, attrs...))
	return out
}

// constant adds an initializer. The shapes in this file are small enough for their products.
func (g *graph) constant(name string, t *tensor.Tensor) string {
	g.weights = append(g.weights, onnxpb.TensorToProto(name, t))
	return name
}

func (g *graph) ints(name string, v ...int64) string {
	return g.constant(name, &tensor.Tensor{DType: tensor.Int64, Shape: []int{len(v)}, Data: int64Bytes(v)})
}

func (g *graph) integer(name string, v int64) string {
	return g.constant(name, &tensor.Tensor{DType: tensor.Int64, Shape: []int{}, Data: int64Bytes([]int64{v})})
}

func (g *graph) number(name string, v float32) string {
	return g.constant(name, &tensor.Tensor{DType: tensor.Float32, Shape: []int{}, Data: floatBytes([]float32{v})})
}

// model is the graph as a file: inputs q, k, v, output y.
func (g *graph) model(c Case) *onnxpb.ModelProto {
	input := func(name string, last int) *onnxpb.ValueInfoProto {
		return onnxpb.ValueInfo(name, tensor.Float32, onnxpb.Fixed(c.B), onnxpb.Fixed(c.T), onnxpb.Fixed(last))
	}
	return &onnxpb.ModelProto{IrVersion: 8, ProducerName: "aftonnx bench",
		OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", 17), onnxpb.Opset("com.microsoft", 1)},
		Graph: &onnxpb.GraphProto{Name: c.Op, Node: g.nodes, Initializer: g.weights,
			Input:  []*onnxpb.ValueInfoProto{input("q", c.D), input("k", c.keys()), input("v", c.D)},
			Output: []*onnxpb.ValueInfoProto{input("y", c.D)}}}
}

// variant is one way in which a user writes a case.
type variant struct {
	name  string
	model *onnxpb.ModelProto
}

// userGraphs are the ways; w is the bias, nil where there is none.
func userGraphs(c Case, w []float32) []variant {
	var list []variant
	add := func(name string, build func(g *graph)) {
		g := &graph{}
		build(g)
		list = append(list, variant{name, g.model(c)})
	}
	switch c.Op {
	case "AFTSimple":
		if c.Causal {
			add("exp, CumSum", func(g *graph) { g.exponentials(); g.cumulated() })
			break
		}
		add("exp, ReduceSum", func(g *graph) { g.exponentials(); g.summed() })
		add("Softmax", func(g *graph) { g.softmax() })
	case "AFTFull":
		add("MatMul", func(g *graph) { g.product(g.dense("w", c.T, fullBias(c, w))) })
	case "AFTLocal":
		add("MatMul, constant bias", func(g *graph) { g.product(g.dense("w", c.T, localBias(c, w))) })
		add("MatMul, bias built from the band", func(g *graph) { g.product(g.banded(c, w)) })
	case "AFTConv1D":
		add("Conv, group H", func(g *graph) { g.convHeads(c, w) })
		add("Conv, group D", func(g *graph) { g.convChannels(c, w) })
	case "AFTConv2D":
		if c.Causal {
			break // nobody writes that
		}
		add("Conv, group D", func(g *graph) { g.convGrid(c, w) })
	}
	return list
}

// attention is com.microsoft's fused attention on the same inputs, in as many heads of 64 channels as there are; ok is false
// where K has another shape than Q, or no such heads.
func attention(c Case) (*onnxpb.ModelProto, bool) {
	if c.D%64 != 0 {
		return nil, false
	}
	c.Heads = 0 // K of D channels
	g := &graph{}
	causal := int64(0)
	if c.Causal {
		causal = 1
	}
	g.node("MultiHeadAttention", "y", []string{"q", "k", "v"}, onnxpb.IntAttr("num_heads", int64(c.D/64)),
		onnxpb.IntAttr("unidirectional", causal))
	g.nodes[0].Domain = "com.microsoft"
	return g.model(c), true
}

// ---- AFT in standard operators

// exponentials makes ek = exp(k - max k) and ekv = ek v.
func (g *graph) exponentials() {
	g.node("ReduceMax", "km", []string{"k"}, onnxpb.IntsAttr("axes", 1), onnxpb.IntAttr("keepdims", 1))
	g.node("Sub", "ks", []string{"k", "km"})
	g.node("Exp", "ek", []string{"ks"})
	g.node("Mul", "ekv", []string{"ek", "v"})
}

func (g *graph) gate(num, den string) {
	g.node("Div", "r", []string{num, den})
	g.node("Sigmoid", "sq", []string{"q"})
	g.node("Mul", "y", []string{"sq", "r"})
}

func (g *graph) summed() {
	axis := g.ints("axis", 1)
	g.node("ReduceSum", "num", []string{"ekv", axis}, onnxpb.IntAttr("keepdims", 1))
	g.node("ReduceSum", "den", []string{"ek", axis}, onnxpb.IntAttr("keepdims", 1))
	g.gate("num", "den")
}

func (g *graph) cumulated() {
	axis := g.integer("axis", 1)
	g.node("CumSum", "num", []string{"ekv", axis})
	g.node("CumSum", "den", []string{"ek", axis})
	g.gate("num", "den")
}

func (g *graph) softmax() {
	g.node("Softmax", "sk", []string{"k"}, onnxpb.IntAttr("axis", 1))
	g.node("Mul", "kv", []string{"sk", "v"})
	g.node("ReduceSum", "s", []string{"kv", g.ints("axis", 1)}, onnxpb.IntAttr("keepdims", 1))
	g.node("Sigmoid", "sq", []string{"q"})
	g.node("Mul", "y", []string{"sq", "s"})
}

// product makes y from a bias (T,T).
func (g *graph) product(w string) {
	g.node("ReduceMax", "wm", []string{w}, onnxpb.IntsAttr("axes", 1), onnxpb.IntAttr("keepdims", 1))
	g.node("Sub", "ws", []string{w, "wm"})
	g.node("Exp", "ew", []string{"ws"})
	g.exponentials()
	g.node("MatMul", "num", []string{"ew", "ekv"})
	g.node("MatMul", "den", []string{"ew", "ek"})
	g.gate("num", "den")
}

func (g *graph) dense(name string, n int, w []float32) string {
	return g.constant(name, &tensor.Tensor{DType: tensor.Float32, Shape: []int{n, n}, Data: floatBytes(w)})
}

// fullBias is W with -Inf in the future.
func fullBias(c Case, w []float32) []float32 {
	out := append([]float32(nil), w...)
	for t := range c.T {
		for s := t + 1; s < c.T && c.Causal; s++ {
			out[t*c.T+s] = float32(math.Inf(-1))
		}
	}
	return out
}

// localBias is the band as a (T,T) bias.
func localBias(c Case, w []float32) []float32 {
	width := c.bias()[1]
	out := make([]float32, c.T*c.T)
	for t := range c.T {
		for j := range width {
			if s := t + j - (c.Window - 1); s >= 0 && s < c.T {
				out[t*c.T+s] = w[t*width+j]
			}
		}
	}
	return fullBias(c, out)
}

// banded builds the bias at run time, from the band and the positions' differences.
func (g *graph) banded(c Case, w []float32) string {
	width := int64(c.bias()[1])
	zero, one, reach, last := g.integer("i0", 0), g.integer("i1", 1), g.integer("reach", int64(c.Window-1)), g.integer("last", width-1)
	rows, columns := g.ints("u0", 0), g.ints("u1", 1)
	band := g.constant("band", &tensor.Tensor{DType: tensor.Float32, Shape: c.bias(), Data: floatBytes(w)})
	g.node("Shape", "shape", []string{"k"})
	g.node("Gather", "t", []string{"shape", one})
	g.node("Range", "positions", []string{zero, "t", one})
	g.node("Unsqueeze", "source", []string{"positions", rows})
	g.node("Unsqueeze", "target", []string{"positions", columns})
	g.node("Sub", "ahead", []string{"source", "target"})
	g.node("Add", "tap", []string{"ahead", reach})
	g.node("Clip", "clipped", []string{"tap", zero, last})
	g.node("Equal", "inside", []string{"tap", "clipped"})
	g.node("GatherElements", "taken", []string{band, "clipped"}, onnxpb.IntAttr("axis", 1))
	g.node("Where", "w0", []string{"inside", "taken", g.number("zero", 0)})
	if !c.Causal {
		return "w0"
	}
	g.node("Greater", "future", []string{"ahead", zero})
	return g.node("Where", "w", []string{"future", g.number("never", float32(math.Inf(-1))), "w0"})
}
