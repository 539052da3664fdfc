package export

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// The names at the edge of a stack of layers, and of its dynamic axes.
const (
	inputName    = "x"
	outputName   = "y"
	gridName     = "grid"
	batchAxis    = "batch"
	sequenceAxis = "sequence"
)

// Model is the ONNX model of m: y = L_n(...L_1(x)), x and y (batch, sequence, dim).
//
// Layer N's weights are the initialisers layers.N.{q,k,v,out}.weight as PyTorch holds them, (out,in), and .bias; its
// folded position bias is layers.N.w. Its values are layers.N.{q,k,v,aft} and layers.N.y, the last of which is y. A stack
// with 2-D convolutions takes the int64 input grid as well, unless the layers or Options.Grid fix it.
//
// A finite weight that the element type cannot hold is an error, not an infinity.
func Model(m *reference.Model, o Options) (*onnxpb.ModelProto, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	s := &stack{options: o, model: m, graph: &onnxpb.GraphProto{Name: "aft"}}
	if err := s.edges(); err != nil {
		return nil, err
	}
	x := inputName
	for i := range m.Layers {
		l := layerWriter{stack: s, layer: &m.Layers[i], name: "layers." + strconv.Itoa(i), y: outputName}
		if i < len(m.Layers)-1 {
			l.y = l.name + ".y"
		}
		if err := l.write(x); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		x = l.y
	}
	p := o.newModel(s.graph)
	bodies, err := s.bodies()
	if err != nil {
		return nil, err
	}
	if err := o.addBodies(p, bodies); err != nil {
		return nil, err
	}
	p.MetadataProps = s.metadata()
	return p, nil
}

// Encode is the bytes of Model's model: what goes into an .onnx file.
func Encode(m *reference.Model, o Options) ([]byte, error) {
	p, err := Model(m, o)
	if err != nil {
		return nil, err
	}
	return onnxpb.Encode(p)
}

// stack is a model being written.
type stack struct {
	options Options
	model   *reference.Model
	graph   *onnxpb.GraphProto
	length  onnxpb.Dim // of the sequence
}

// edges declares the graph's inputs and outputs.
func (s *stack) edges() error {
	grid, err := s.fixedGrid()
	if err != nil {
		return err
	}
	s.length = onnxpb.Dynamic(sequenceAxis)
	if grid != [2]int{} {
		s.length = onnxpb.Fixed(grid[0] * grid[1])
	}
	first, last := &s.model.Layers[0], &s.model.Layers[len(s.model.Layers)-1]
	s.graph.Input = []*onnxpb.ValueInfoProto{s.value(inputName, first.In())}
	s.graph.Output = []*onnxpb.ValueInfoProto{s.value(outputName, last.OutDim())}
	switch {
	case !s.hasConv2D():
	case grid == [2]int{}:
		s.graph.Input = append(s.graph.Input, onnxpb.ValueInfo(gridName, tensor.Int64, onnxpb.Fixed(2)))
	default:
		t, err := tensor.FromInt64s([]int{2}, []int64{int64(grid[0]), int64(grid[1])})
		if err != nil {
			return err
		}
		s.graph.Initializer = append(s.graph.Initializer, onnxpb.TensorToProto(gridName, t))
	}
	return nil
}

func (s *stack) hasConv2D() bool {
	for _, l := range s.model.Layers {
		if l.Variant == reference.Conv2D {
			return true
		}
	}
	return false
}

// fixedGrid is the grid that the options or the layers fix, zero if none does. It is one for the whole model.
func (s *stack) fixedGrid() ([2]int, error) {
	if !s.hasConv2D() {
		return [2]int{}, nil
	}
	grid := s.options.Grid
	for i, l := range s.model.Layers {
		if l.Variant != reference.Conv2D || l.Grid == [2]int{} {
			continue
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

// value declares a (batch, sequence, channels) value.
func (s *stack) value(name string, channels int) *onnxpb.ValueInfoProto {
	return onnxpb.ValueInfo(name, s.options.DType, onnxpb.Dynamic(batchAxis), s.length, onnxpb.Fixed(channels))
}

// bodies are the functions of the operators in use, each written for what its nodes agree on.
func (s *stack) bodies() ([]*onnxpb.FunctionProto, error) {
	var bodies []*onnxpb.FunctionProto
	for _, def := range ops.All() {
		spec, used := s.agreement(def)
		if !used {
			continue
		}
		body, err := def.Function(spec)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}

// agreement is what all nodes of an operator have in common: attributes, heads and channels.
func (s *stack) agreement(def *ops.Def) (spec ops.BodySpec, used bool) {
	for i := range s.model.Layers {
		l := &s.model.Layers[i]
		if l.Variant.Op() != def.Name {
			continue
		}
		attrs := ops.Attrs(l.Attrs())
		heads, channels := headsAndChannels(def, l.Heads(), l.Hidden())
		if !used {
			spec, used = s.options.spec(attrs), true
			spec.Heads, spec.Channels = heads, channels
			continue
		}
		if !attrs.Equal(spec.Attrs) {
			spec.Attrs = nil
		}
		if heads != spec.Heads || channels != spec.Channels {
			spec.Heads, spec.Channels = 0, 0
		}
	}
	return spec, used
}

// metadata says where the model comes from, sorted by key.
func (s *stack) metadata() []*onnxpb.StringStringEntryProto {
	variants := make([]string, len(s.model.Layers))
	for i, l := range s.model.Layers {
		variants[i] = string(l.Variant)
	}
	math := ""
	if s.options.DoublePortable {
		math = tensor.Float64.String()
	}
	var props []*onnxpb.StringStringEntryProto
	for _, p := range [][2]string{
		{"dtype", s.options.DType.String()},
		{"layers", strconv.Itoa(len(variants))},
		{strings.TrimPrefix(PortableMathKey, metadataPrefix), math},
		{"source_sha256", s.options.SourceSHA256},
		{"variant", strings.Join(variants, ",")},
		{"version", s.options.Version},
		{strings.TrimPrefix(WeightsKey, metadataPrefix), WeightsDigest(s.graph)},
	} {
		if p[1] != "" {
			props = append(props, &onnxpb.StringStringEntryProto{Key: metadataPrefix + p[0], Value: p[1]})
		}
	}
	return props
}

// layerWriter writes one layer.
type layerWriter struct {
	*stack
	layer *reference.Layer
	name  string // "layers.0"
	y     string // the value it makes
}

func (l layerWriter) write(x string) error {
	def, ok := ops.Lookup(l.layer.Variant.Op())
	if !ok {
		return fmt.Errorf("no operator for variant %q", l.layer.Variant)
	}
	var inputs []string
	for _, p := range []struct {
		name   string
		linear *reference.Linear
	}{{"q", &l.layer.Q}, {"k", &l.layer.K}, {"v", &l.layer.V}} {
		value := l.name + "." + p.name
		if err := l.project(value, p.linear, x, value); err != nil {
			return err
		}
		l.declare(value, p.linear.Out())
		inputs = append(inputs, value)
	}
	if l.layer.Variant != reference.Simple {
		if err := l.weight(l.name+".w", l.layer.W); err != nil {
			return err
		}
		inputs = append(inputs, l.name+".w")
	}
	if l.layer.Variant == reference.Conv2D {
		inputs = append(inputs, gridName)
	}
	aft := l.y
	if l.layer.Out != nil {
		aft = l.name + ".aft"
	}
	l.graph.Node = append(l.graph.Node, ops.Node(def, l.name+".aft", inputs, aft, l.layer.Attrs()))
	if l.layer.Out != nil {
		l.declare(aft, l.layer.Hidden())
		if err := l.project(l.name+".out", l.layer.Out, aft, l.y); err != nil {
			return err
		}
	}
	if l.y != outputName {
		l.declare(l.y, l.layer.OutDim())
	}
	return nil
}

func (l layerWriter) declare(value string, channels int) {
	l.graph.ValueInfo = append(l.graph.ValueInfo, l.value(value, channels))
}

// project writes to = from W^T + b. The weight stays (out,in), as it is read back; runtimes fold its transposition.
func (l layerWriter) project(name string, p *reference.Linear, from, to string) error {
	weight, transposed := name+".weight", name+".weight_t"
	if err := l.weight(weight, p.Weight); err != nil {
		return err
	}
	product := to
	if p.Bias != nil {
		product = name + ".product"
	}
	l.node("Transpose", []string{weight}, transposed, onnxpb.IntsAttr("perm", 1, 0))
	l.node("MatMul", []string{from, transposed}, product)
	if p.Bias == nil {
		return nil
	}
	l.node("Add", []string{product, name + ".bias"}, to)
	return l.weight(name+".bias", tensor.Array{Shape: []int{len(p.Bias)}, Data: p.Bias})
}

func (l layerWriter) node(op string, inputs []string, output string, attrs ...*onnxpb.AttributeProto) {
	n := onnxpb.Node(op, inputs, []string{output}, attrs...)
	n.Name = output
	l.graph.Node = append(l.graph.Node, n)
}

// weight rounds an array to the model's type and stores it.
func (l layerWriter) weight(name string, a tensor.Array) error {
	t, err := a.Tensor(l.options.DType)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	for i, v := range a.Data {
		if math.IsInf(t.At(i), 0) && !math.IsInf(v, 0) {
			return fmt.Errorf("%q: element %v is %g, which %s cannot hold", name, tensor.Unravel(i, a.Shape), v, l.options.DType)
		}
	}
	l.graph.Initializer = append(l.graph.Initializer, onnxpb.TensorToProto(name, t))
	return nil
}
