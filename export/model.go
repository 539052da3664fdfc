package export

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/modelfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// Model is the ONNX model of m, its weights in memory; package wiring says what its inputs, values and weights are called.
func Model(m *reference.Model, o Options) (*onnxpb.ModelProto, error) {
	data, err := Encode(m, o)
	if err != nil {
		return nil, err
	}
	return onnxpb.Decode(data)
}

// Encode is the bytes of Model's model: what goes into an .onnx file.
//
// A finite weight that the element type cannot hold is an error, not an infinity.
func Encode(m *reference.Model, o Options) ([]byte, error) {
	p, weights, err := o.graph(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = onnxpb.Write(&b, p, weights, onnxpb.WriteOptions{DigestKey: WeightsKey})
	return b.Bytes(), err
}

// Notes say what a model written with these options does not keep of what they ask for.
func Notes(m *reference.Model, o Options) []string {
	gelu := slices.ContainsFunc(m.Blocks, func(b reference.Block) bool { return b.MLP != nil })
	if o.DType != Float64 || !gelu {
		return nil
	}
	return []string{"the erf of every GELU is computed in float32, as ONNX Runtime has none in float64: outputs keep about 7 digits"}
}

// ModelError says that a model cannot be written as the options want it, whatever the output.
type ModelError struct{ Err error }

func (e *ModelError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ModelError) Unwrap() error { return e.Err }

// Staged is a model that was written, but not published yet: Commit does that, Discard takes it back.
type Staged struct {
	*modelfile.File
	Proto *onnxpb.ModelProto // without its weights
}

// Stage writes the model beside path, with its weights where files says. No more than a piece of a weight is in memory, or
// one weight where it is computed from others.
//
// Errors: *ModelError; *onnxpb.Error for a weight that the type cannot hold, and what reading the weights gives; those of
// writing files.
func Stage(path string, m *reference.Model, o Options, files FileOptions) (*Staged, error) {
	p, weights, err := o.graph(m)
	if err != nil {
		return nil, &ModelError{err}
	}
	files.DigestKey = WeightsKey
	f, err := modelfile.Stage(path, p, weights, files)
	if err != nil {
		return nil, err
	}
	return &Staged{f, p}, nil
}

// graph is the model without its weights, and these.
func (o Options) graph(m *reference.Model) (*onnxpb.ModelProto, []onnxpb.Weight, error) {
	o, err := o.complete()
	if err != nil {
		return nil, nil, err
	}
	g, err := wiring.Build(m, wiring.Options{DType: o.DType, Opset: o.Opset, Mask: o.AttentionMask, Grid: o.Grid, Stateful: o.Stateful})
	if err != nil {
		return nil, nil, err
	}
	weights := make([]onnxpb.Weight, len(g.Weights))
	for i, w := range g.Weights {
		weights[i] = onnxpb.Weight{Name: w.Name, DType: o.DType, Value: w.Weight}
	}
	p := o.newModel(g.Proto)
	p.MetadataProps = o.metadata(m)
	bodies, err := o.bodies(m)
	if err != nil {
		return nil, nil, err
	}
	return p, weights, o.addBodies(p, bodies)
}

// bodies are the functions of the operators in use, each written for what its nodes agree on.
func (o Options) bodies(m *reference.Model) ([]*onnxpb.FunctionProto, error) {
	var bodies []*onnxpb.FunctionProto
	for _, def := range ops.All() {
		spec, used, err := o.agreement(m, def)
		if err != nil {
			return nil, err
		}
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
func (o Options) agreement(m *reference.Model, def *ops.Def) (spec ops.BodySpec, used bool, err error) {
	for i := range m.Blocks {
		l := &m.Blocks[i].Layer
		called, attrs, err := wiring.Operator(l, o.Stateful)
		if err != nil {
			return spec, false, err
		}
		if called.Name != def.Name {
			continue
		}
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
	return spec, used, nil
}

// metadata says where the model comes from and what its nodes do not, sorted by key.
func (o Options) metadata(m *reference.Model) []*onnxpb.StringStringEntryProto {
	variants := make([]string, len(m.Blocks))
	for i := range m.Blocks {
		variants[i] = string(m.Blocks[i].Variant)
	}
	inside := ""
	if o.DoublePortable {
		inside = tensor.Float64.String()
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
		{strings.TrimPrefix(PositionsKey, MetadataPrefix), o.positions(m)},
		{strings.TrimPrefix(PortableMathKey, MetadataPrefix), inside},
		{"source_sha256", o.SourceSHA256},
		{"std", numbers(pixels.Std)},
		{"variant", strings.Join(variants, ",")},
		{"version", o.Version},
	} {
		if p[1] != "" {
			props = append(props, &onnxpb.StringStringEntryProto{Key: MetadataPrefix + p[0], Value: p[1]})
		}
	}
	return props
}

// positions is where the positions of a stateful model end, "" where they do not.
func (o Options) positions(m *reference.Model) string {
	if n := m.MaxLen(); o.Stateful && n > 0 {
		return strconv.Itoa(n)
	}
	return ""
}

func numbers(values []float64) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strings.Join(parts, ",")
}
