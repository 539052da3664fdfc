package export

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// Model is the ONNX model of m, its weights in memory; package wiring says what its inputs, values and weights are called.
//
// A finite weight that the element type cannot hold is an error, not an infinity.
func Model(m *reference.Model, o Options) (*onnxpb.ModelProto, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	p, weights, err := o.graph(m)
	if err != nil {
		return nil, err
	}
	for _, w := range weights {
		t, err := round(w, o.DType)
		if err != nil {
			return nil, err
		}
		p.Graph.Initializer = append(p.Graph.Initializer, t)
	}
	p.MetadataProps = o.metadata(m, WeightsDigest(p.Graph))
	return p, nil
}

// graph is the model without metadata and without the data of its weights.
func (o Options) graph(m *reference.Model) (*onnxpb.ModelProto, []wiring.Weight, error) {
	g, err := wiring.Build(m, wiring.Options{DType: o.DType, Opset: o.Opset, Mask: o.AttentionMask, Grid: o.Grid})
	if err != nil {
		return nil, nil, err
	}
	p := o.newModel(g.Proto)
	bodies, err := o.bodies(m)
	if err != nil {
		return nil, nil, err
	}
	return p, g.Weights, o.addBodies(p, bodies)
}

// round stores a weight in the model's type.
func round(w wiring.Weight, dtype tensor.DType) (*onnxpb.TensorProto, error) {
	fail := func(err error) (*onnxpb.TensorProto, error) { return nil, fmt.Errorf("%q: %w", w.Name, err) }
	a, err := w.Weight.Array()
	if err != nil {
		return fail(err)
	}
	t, err := a.Tensor(dtype)
	if err != nil {
		return fail(err)
	}
	for i, v := range a.Data {
		if math.IsInf(t.At(i), 0) && !math.IsInf(v, 0) {
			return fail(fmt.Errorf("element %v is %g, which %s cannot hold", tensor.Unravel(i, a.Shape), v, dtype))
		}
	}
	return onnxpb.TensorToProto(w.Name, t), nil
}

// Encode is the bytes of Model's model: what goes into an .onnx file.
func Encode(m *reference.Model, o Options) ([]byte, error) {
	p, err := Model(m, o)
	if err != nil {
		return nil, err
	}
	return onnxpb.Encode(p)
}

// bodies are the functions of the operators in use, each written for what its nodes agree on.
func (o Options) bodies(m *reference.Model) ([]*onnxpb.FunctionProto, error) {
	var bodies []*onnxpb.FunctionProto
	for _, def := range ops.All() {
		spec, used := o.agreement(m, def)
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
func (o Options) agreement(m *reference.Model, def *ops.Def) (spec ops.BodySpec, used bool) {
	for i := range m.Blocks {
		l := &m.Blocks[i].Layer
		if l.Variant.Op() != def.Name {
			continue
		}
		attrs := ops.Attrs(l.Attrs())
		heads, channels := headsAndChannels(def, l.Heads(), l.Hidden())
		if !used {
			spec, used = o.spec(attrs), true
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

// metadata says where the model comes from and what its nodes do not, sorted by key.
func (o Options) metadata(m *reference.Model, digest string) []*onnxpb.StringStringEntryProto {
	variants := make([]string, len(m.Blocks))
	for i := range m.Blocks {
		variants[i] = string(m.Blocks[i].Variant)
	}
	math := ""
	if o.DoublePortable {
		math = tensor.Float64.String()
	}
	var pixels reference.Pixels
	if m.Patches != nil {
		pixels = m.Patches.Pixels
	}
	size := ""
	if s := pixels.Size; s != [2]int{} {
		size = fmt.Sprintf("%d,%d", s[0], s[1])
	}
	var props []*onnxpb.StringStringEntryProto
	for _, p := range [][2]string{
		{"dtype", o.DType.String()},
		{"image_size", size},
		{"labels", strings.Join(m.Labels, "\n")},
		{"layers", strconv.Itoa(len(variants))},
		{"mean", numbers(pixels.Mean)},
		{strings.TrimPrefix(PortableMathKey, metadataPrefix), math},
		{"source_sha256", o.SourceSHA256},
		{"std", numbers(pixels.Std)},
		{"variant", strings.Join(variants, ",")},
		{"version", o.Version},
		{strings.TrimPrefix(WeightsKey, metadataPrefix), digest},
	} {
		if p[1] != "" {
			props = append(props, &onnxpb.StringStringEntryProto{Key: metadataPrefix + p[0], Value: p[1]})
		}
	}
	return props
}

func numbers(values []float64) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strings.Join(parts, ",")
}
