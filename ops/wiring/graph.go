package wiring

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// The names at the edge of a model, and of its dynamic axes.
const (
	StackInput = "x"
	TokenInput = "input_ids"
	ImageInput = "pixel_values"
	GridInput  = "grid"
	MaskInput  = "attention_mask"

	StackOutput = "y"
	HeadOutput  = "logits"

	batchAxis    = "batch"
	sequenceAxis = "sequence"
)

// Embedded is the value that goes into the first block of a network.
const Embedded = "embedded"

// Options are what a model leaves open.
type Options struct {
	DType tensor.DType // of the weights and values: float32, float16 or float64
	Opset int          // of the standard operators, 13 or later
	Mask  bool         // the model takes attention_mask
	Grid  [2]int       // (rows, columns) of a stack's 2-D convolutions; zero: the model takes it as the input "grid"
	// Stateful writes a causal language model that takes a sequence in chunks: its layers are the step forms of their
	// operators, and their state comes in and goes out.
	Stateful bool
}

// Weight is a learned weight and the initialiser that holds it, in Options.DType.
type Weight struct {
	Name   string
	Weight tensor.Weight
}

// Graph is a model without the data of its weights. The initialisers in Proto are constants of the graph's own.
type Graph struct {
	Proto   *onnxpb.GraphProto
	Weights []Weight // in the order in which the graph reads them, each once
}

// InputName is the name of the input that a model's data goes into.
func InputName(m *reference.Model) string {
	switch {
	case m.Tokens != nil:
		return TokenInput
	case m.Patches != nil:
		return ImageInput
	}
	return StackInput
}

// OutputName is the name of a model's output.
func OutputName(m *reference.Model) string {
	if m.Head != nil {
		return HeadOutput
	}
	return StackOutput
}

// BlockOutput is the name of the value that leaves block i of a model.
func BlockOutput(m *reference.Model, i int) string {
	if i == len(m.Blocks)-1 && m.Norm == nil && m.Head == nil {
		return StackOutput
	}
	return layerName(i) + ".y"
}

func layerName(i int) string { return "layers." + strconv.Itoa(i) }

// Build writes a model's graph. It must be one that passes Check.
func Build(m *reference.Model, o Options) (*Graph, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	if o.Mask && m.Patches != nil {
		return nil, fmt.Errorf("cannot take %s: an image has no padded positions", MaskInput)
	}
	w := &writer{options: o, model: m, graph: &onnxpb.GraphProto{Name: "aft"}, constants: map[string]bool{}}
	if o.Stateful {
		if err := w.checkStateful(); err != nil {
			return nil, err
		}
	}
	if err := w.edges(); err != nil {
		return nil, err
	}
	x, err := w.stem()
	if err != nil {
		return nil, err
	}
	if o.Mask {
		w.mask()
	}
	for i := range m.Blocks {
		b := blockWriter{writer: w, block: &m.Blocks[i], name: layerName(i), y: BlockOutput(m, i)}
		if err := b.write(x); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		x = b.y
	}
	w.finish(x)
	if w.err != nil {
		return nil, w.err
	}
	return &Graph{Proto: w.graph, Weights: w.weights}, nil
}

// writer is a graph being written. The first error of a constant stays in err: the code that follows needs no value of it.
type writer struct {
	options   Options
	model     *reference.Model
	graph     *onnxpb.GraphProto
	weights   []Weight
	constants map[string]bool
	length    onnxpb.Dim // of the sequence
	err       error
}

// edges declares the graph's inputs and outputs.
func (w *writer) edges() error {
	m := w.model
	grid, err := w.fixedGrid()
	if err != nil {
		return err
	}
	batch := onnxpb.Dynamic(batchAxis)
	w.length = onnxpb.Dynamic(sequenceAxis)
	if grid != [2]int{} {
		w.length = onnxpb.Fixed(grid[0] * grid[1])
	}
	output := []onnxpb.Dim{batch, w.length}
	switch {
	case m.Tokens != nil:
		w.input(onnxpb.ValueInfo(TokenInput, tensor.Int64, batch, w.length))
		if w.options.Stateful {
			w.input(onnxpb.ValueInfo(PositionInput, tensor.Int64, batch))
		}
	case m.Patches != nil:
		height, width := onnxpb.Dynamic("height"), onnxpb.Dynamic("width")
		if s := m.Patches.Pixels.Size; s != [2]int{} && !m.Patches.Positions.Empty() {
			height, width = onnxpb.Fixed(s[0]), onnxpb.Fixed(s[1])
		}
		w.input(onnxpb.ValueInfo(ImageInput, w.options.DType, batch, onnxpb.Fixed(m.Patches.Channels()), height, width))
		w.length, output = onnxpb.Dynamic("positions"), []onnxpb.Dim{batch}
	default:
		w.input(onnxpb.ValueInfo(StackInput, w.options.DType, batch, w.length, onnxpb.Fixed(m.Blocks[0].In())))
	}
	channels := m.Blocks[len(m.Blocks)-1].OutDim()
	if m.Head != nil {
		channels = m.Head.Out()
	}
	w.graph.Output = []*onnxpb.ValueInfoProto{
		onnxpb.ValueInfo(OutputName(m), w.options.DType, append(output, onnxpb.Fixed(channels))...)}
	w.gridEdge(grid)
	if w.options.Mask {
		w.input(onnxpb.ValueInfo(MaskInput, tensor.Int64, batch, w.length))
	}
	return nil
}

func (w *writer) input(v *onnxpb.ValueInfoProto) { w.graph.Input = append(w.graph.Input, v) }

// gridEdge declares where a stack's 2-D convolutions get their grid from; an image model makes it.
func (w *writer) gridEdge(grid [2]int) {
	switch {
	case !w.model.HasConv2D() || w.model.Patches != nil:
	case grid == [2]int{}:
		w.input(onnxpb.ValueInfo(GridInput, tensor.Int64, onnxpb.Fixed(2)))
	default:
		w.integers(GridInput, int64(grid[0]), int64(grid[1]))
	}
}

// fixedGrid is the grid that the options or the layers of a stack fix, zero if none does. It is one for the whole model.
func (w *writer) fixedGrid() ([2]int, error) {
	if !w.model.HasConv2D() {
		return [2]int{}, nil
	}
	grid := w.options.Grid
	if w.model.Patches != nil && grid != [2]int{} {
		return grid, errors.New("cannot fix a grid: an image model makes it of the image")
	}
	for i := range w.model.Blocks {
		l := &w.model.Blocks[i].Layer
		if l.Variant != reference.Conv2D || l.Grid == [2]int{} {
			continue
		}
		if w.model.Patches != nil {
			return grid, fmt.Errorf("layer %d: fixes a grid, but an image model makes it of the image", i)
		}
		if grid != [2]int{} && grid != l.Grid {
			return grid, fmt.Errorf("layer %d: fixes a grid of %d rows and %d columns, want %d and %d as elsewhere",
				i, l.Grid[0], l.Grid[1], grid[0], grid[1])
		}
		grid = l.Grid
	}
	if _, err := tensor.NumElements(grid[:]); err != nil {
		return grid, fmt.Errorf("grid: %w", err)
	}
	return grid, nil
}

// declare says the shape of a (batch, sequence, channels) value.
func (w *writer) declare(value string, channels int) {
	w.graph.ValueInfo = append(w.graph.ValueInfo,
		onnxpb.ValueInfo(value, w.options.DType, onnxpb.Dynamic(batchAxis), w.length, onnxpb.Fixed(channels)))
}

// node adds a standard node, named after its output, which it returns.
func (w *writer) node(op, output string, inputs []string, attrs ...*onnxpb.AttributeProto) string {
	n := onnxpb.Node(op, inputs, []string{output}, attrs...)
	n.Name = output
	w.graph.Node = append(w.graph.Node, n)
	return output
}

// weight adds a learned weight once and returns its name.
func (w *writer) weight(name string, value tensor.Weight) string {
	for _, have := range w.weights {
		if have.Name == name {
			return name
		}
	}
	w.weights = append(w.weights, Weight{name, value})
	return name
}

// vector adds a learned vector.
func (w *writer) vector(name string, values []float64) string {
	return w.weight(name, tensor.Hold(tensor.Array{Shape: []int{len(values)}, Data: values}))
}

// integers adds an int64 vector that is a constant of the graph.
func (w *writer) integers(name string, values ...int64) string {
	t, err := tensor.FromInt64s([]int{len(values)}, values)
	return w.constant(name, t, err)
}

// integer adds an int64 scalar.
func (w *writer) integer(name string, value int64) string {
	t, err := tensor.FromInt64s(nil, []int64{value})
	return w.constant(name, t, err)
}

// scalar adds a scalar of a floating-point type.
func (w *writer) scalar(name string, dtype tensor.DType, value float64) string {
	t, err := tensor.FromFloat64s(dtype, nil, []float64{value})
	return w.constant(name, t, err)
}

func (w *writer) constant(name string, t *tensor.Tensor, err error) string {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("constant %q: %w", name, err)
	}
	if err == nil && !w.constants[name] {
		w.constants[name] = true
		w.graph.Initializer = append(w.graph.Initializer, onnxpb.TensorToProto(name, t))
	}
	return name
}
