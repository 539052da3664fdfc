package wiring

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// blockWriter writes one block.
type blockWriter struct {
	*writer
	block *reference.Block
	name  string // "layers.0"
	y     string // the value it makes
}

func (b blockWriter) write(x string) error {
	in := x
	if b.block.Norm != nil {
		in = b.name + ".norm1"
		b.norm(in, b.block.Norm, x)
	}
	attended := b.y
	if b.block.MLP != nil {
		attended = b.name + ".h"
	}
	layer := attended
	if b.block.Residual {
		layer = b.name + ".out"
	}
	if err := b.layer(in, layer); err != nil {
		return err
	}
	if b.block.Residual {
		b.node("Add", attended, []string{x, layer})
	}
	if b.block.MLP != nil {
		b.declare(attended, b.block.OutDim())
		b.mlp(attended)
	}
	if b.y != StackOutput {
		b.declare(b.y, b.block.OutDim())
	}
	return nil
}

// layer writes y = Out(op(Q(x), K(x), V(x), W)).
func (b blockWriter) layer(x, y string) error {
	l := &b.block.Layer
	def, attrs, err := Operator(l, b.options.Stateful)
	if err != nil {
		return err
	}
	var inputs []string
	for _, p := range []struct {
		name   string
		linear *reference.Linear
	}{{"q", &l.Q}, {"k", &l.K}, {"v", &l.V}} {
		value := b.name + "." + p.name
		b.linear(value, p.linear, x, value)
		b.declare(value, p.linear.Out())
		inputs = append(inputs, value)
	}
	if b.options.Mask {
		inputs[1] = b.node("Where", b.name+".k_real", []string{maskSources, inputs[1],
			b.scalar("removed", b.options.DType, math.Inf(-1))})
	}
	if l.Variant != reference.Simple {
		inputs = append(inputs, b.weight(b.name+".w", l.W))
	}
	if l.Variant == reference.Conv2D {
		inputs = append(inputs, GridInput)
	}
	aft := y
	if l.Out != nil {
		aft = b.name + ".aft"
	}
	outputs := []string{aft}
	if b.options.Stateful {
		inputs, outputs = b.step(def, inputs, aft)
	}
	b.graph.Node = append(b.graph.Node, ops.Node(def, b.name+".aft", inputs, outputs, attrs))
	if l.Out != nil {
		b.declare(aft, l.Hidden())
		b.linear(b.name+".out", l.Out, aft, y)
	}
	return nil
}

// mlp writes the second half of a block: y = h + Down(gelu(Up(Norm(h)))).
func (b blockWriter) mlp(h string) {
	m := b.block.MLP
	x := b.norm(b.name+".norm2", &m.Norm, h)
	x = b.linear(b.name+".fc1", &m.Up, x, b.name+".fc1")
	x = b.gelu(b.name+".gelu", x)
	x = b.linear(b.name+".fc2", &m.Down, x, b.name+".fc2")
	b.node("Add", b.y, []string{h, x})
}

// finish writes what stands behind the last block.
func (w *writer) finish(x string) {
	m := w.model
	if m.Norm != nil {
		to := "norm"
		if m.Head == nil {
			to = StackOutput
		}
		x = w.normalise(normNames{value: to, weights: "norm"}, m.Norm, x)
	}
	if m.Patches != nil {
		x = w.pool(x)
	}
	if m.Head == nil {
		return
	}
	if m.Tied {
		transposed := w.node("Transpose", "embed.weight_t", []string{w.weight("embed.weight", m.Tokens.Weight)},
			onnxpb.IntsAttr("perm", 1, 0))
		w.multiply("head", transposed, m.Head.Bias, x, HeadOutput)
		return
	}
	w.linear("head", m.Head, x, HeadOutput)
}

// pool gives (batch, channels): the class token's row, or the mean over positions.
func (w *writer) pool(x string) string {
	if w.model.Patches.ClassToken != nil {
		return w.node("Gather", "pooled", []string{x, w.integer("zero", 0)}, onnxpb.IntAttr("axis", 1))
	}
	if w.options.Opset < 18 {
		return w.mean("pooled", x, 1, 0)
	}
	return w.node("ReduceMean", "pooled", []string{x, w.integers("axis_1", 1)}, onnxpb.IntAttr("keepdims", 0))
}

// linear writes to = from W^T + b. The weight stays (out,in), as it is read back; runtimes fold its transposition.
func (w *writer) linear(name string, p *reference.Linear, from, to string) string {
	return w.product(name, w.weight(name+".weight", p.Weight), p.Bias, from, to)
}

// product is linear with the value that holds the weight.
func (w *writer) product(name, weight string, bias []float64, from, to string) string {
	transposed := w.node("Transpose", name+".weight_t", []string{weight}, onnxpb.IntsAttr("perm", 1, 0))
	return w.multiply(name, transposed, bias, from, to)
}

// multiply is product with the weight transposed.
func (w *writer) multiply(name, transposed string, bias []float64, from, to string) string {
	if bias == nil {
		return w.node("MatMul", to, []string{from, transposed})
	}
	product := w.node("MatMul", name+".product", []string{from, transposed})
	return w.node("Add", to, []string{product, w.vector(name+".bias", bias)})
}

// mean writes the mean over one axis, as it is written before opset 18; since then the axis is an input.
func (w *writer) mean(to, x string, axis, keep int64) string {
	return w.node("ReduceMean", to, []string{x}, onnxpb.IntsAttr("axes", axis), onnxpb.IntAttr("keepdims", keep))
}

// normNames are what a norm's value and the weights it reads are called.
type normNames struct{ value, weights string }

// norm writes a LayerNorm whose value is called as its weights are.
func (w *writer) norm(name string, n *reference.LayerNorm, x string) string {
	return w.normalise(normNames{name, name}, n, x)
}

// normalise writes LayerNormalization, or what it means where the opset has none, in float for float16, whose numbers end before
// squares do.
func (w *writer) normalise(names normNames, n *reference.LayerNorm, x string) string {
	name := names.weights
	gain := w.vector(name+".weight", n.Gain)
	bias := ""
	if n.Bias != nil {
		bias = w.vector(name+".bias", n.Bias)
	}
	if w.options.Opset >= 17 {
		inputs := []string{x, gain}
		if bias != "" {
			inputs = append(inputs, bias)
		}
		return w.node("LayerNormalization", names.value, inputs, onnxpb.IntAttr("axis", -1),
			onnxpb.FloatAttr("epsilon", float32(n.Eps)))
	}
	half, dtype := w.options.DType == tensor.Float16, w.options.DType
	if half {
		dtype = tensor.Float32
		x = w.cast(name+".wide", x, dtype)
	}
	centred := w.node("Sub", name+".centred", []string{x, w.mean(name+".mean", x, -1, 1)})
	squares := w.square(name+".squares", centred, dtype)
	variance := w.node("Add", name+".variance", []string{w.mean(name+".mean_square", squares, -1, 1),
		w.scalar(name+".eps", dtype, n.Eps)})
	y := w.node("Div", name+".unit", []string{centred, w.node("Sqrt", name+".deviation", []string{variance})})
	if half {
		y = w.cast(name+".narrow", y, tensor.Float16)
	}
	if bias == "" {
		return w.node("Mul", names.value, []string{y, gain})
	}
	return w.node("Add", names.value, []string{w.node("Mul", name+".scaled", []string{y, gain}), bias})
}

// square is x*x, for a norm. ONNX Runtime makes one operator of a norm that squares with Pow. It must not of a double one: it
// then takes 1e-5 for eps, whatever the graph says (1.24.3).
func (w *writer) square(to, x string, dtype tensor.DType) string {
	if dtype == tensor.Float64 {
		return w.node("Mul", to, []string{x, x})
	}
	return w.node("Pow", to, []string{x, w.scalar("two_float", dtype, 2)})
}

// gelu writes x * (1 + erf(x/sqrt 2)) / 2, the form that runtimes know to fuse. They have no double Erf: it is computed in float.
func (w *writer) gelu(to, x string) string {
	dtype := w.options.DType
	part := func(s string) string { return to + "." + s }
	e := w.node("Div", part("over_root"), []string{x, w.scalar("root_two", dtype, math.Sqrt2)})
	if dtype == tensor.Float64 {
		e = w.cast(part("float"), e, tensor.Float32)
	}
	e = w.node("Erf", part("erf"), []string{e})
	if dtype == tensor.Float64 {
		e = w.cast(part("double"), e, tensor.Float64)
	}
	e = w.node("Add", part("plus_one"), []string{e, w.scalar("one_float", dtype, 1)})
	e = w.node("Mul", part("twice"), []string{x, e})
	return w.node("Mul", to, []string{e, w.scalar("half", dtype, 0.5)})
}

func (w *writer) cast(to, x string, dtype tensor.DType) string {
	return w.node("Cast", to, []string{x}, onnxpb.IntAttr("to", int64(onnxpb.DataType(dtype))))
}
