package export

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/modelfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// DefaultOpset is the version of the standard operators a model is written in unless Options say otherwise.
const DefaultOpset = 17

// Producer is the producer_name of every model, and MetadataPrefix starts the keys of its metadata_props.
const (
	Producer       = "aftonnx"
	MetadataPrefix = "io.aftonnx."
	// PortableMathKey is the metadata key that says in what type function bodies compute inside, where it is not the model's.
	PortableMathKey = MetadataPrefix + "portable_math"
	// PositionsKey is the metadata key that says how many positions a stateful model has, where they end.
	PositionsKey = MetadataPrefix + "positions"
)

// DType is the element type of an exported model's weights and values.
type DType = tensor.DType

// The types a model can be exported in.
const (
	Float32 = tensor.Float32
	Float16 = tensor.Float16
	Float64 = tensor.Float64
)

// Options say how a model is written. The zero value is a float32 model of opset 17 with function bodies.
type Options struct {
	DType          DType  // float32 (also when Invalid), float16 or float64: weights are rounded to it once
	Flatten        bool   // standard operators only: bodies in the nodes' place, no functions, no domain ai.aft
	DoublePortable bool   // bodies compute in double inside
	Opset          int    // of the standard domain, ops.MinOpset..ops.MaxOpset; 0: DefaultOpset
	Grid           [2]int // (rows, columns) of 2-D convolutions; zero: the model takes it as the input "grid"
	AttentionMask  bool   // the model takes "attention_mask" (batch, sequence), int64: where it is 0, a position is no source
	Stateful       bool   // a causal language model takes its sequence in chunks: input_ids, position and past_* give logits and present_*
	SourceSHA256   string // of the checkpoint, for the metadata; "" leaves it out
	Version        string // producer_version
}

// FileOptions say how a model lies in files; the key of the digest is Stage's own.
type FileOptions = modelfile.Options

// complete fills in what the zero value stands for.
func (o Options) complete() (Options, error) {
	if o.DType == tensor.Invalid {
		o.DType = tensor.Float32
	}
	if o.DType != tensor.Float32 && o.DType != tensor.Float16 && o.DType != tensor.Float64 {
		return o, fmt.Errorf("cannot export as %s, want float32, float16 or float64", o.DType)
	}
	if o.Opset == 0 {
		o.Opset = DefaultOpset
	}
	if o.Opset < ops.MinOpset || o.Opset > ops.MaxOpset {
		return o, fmt.Errorf("cannot export for opset %d, want %d..%d", o.Opset, ops.MinOpset, ops.MaxOpset)
	}
	if o.Grid[0] < 0 || o.Grid[1] < 0 || (o.Grid[0] == 0) != (o.Grid[1] == 0) {
		return o, fmt.Errorf("cannot export for a grid of %d rows and %d columns", o.Grid[0], o.Grid[1])
	}
	return o, nil
}

// spec is the body of nodes with these attributes.
func (o Options) spec(attrs ops.Attrs) ops.BodySpec {
	return ops.BodySpec{Opset: o.Opset, DType: o.DType, Double: o.DoublePortable, Attrs: attrs}
}

// newModel is a model without functions around graph.
func (o Options) newModel(graph *onnxpb.GraphProto) *onnxpb.ModelProto {
	return &onnxpb.ModelProto{
		IrVersion:       irVersion(o.Opset),
		ProducerName:    Producer,
		ProducerVersion: o.Version,
		OpsetImport:     []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", int64(o.Opset))},
		Graph:           graph,
	}
}

// irVersion is the oldest IR version with functions that knows the opset.
func irVersion(opset int) int64 {
	switch {
	case opset >= 21:
		return 10
	case opset >= 19:
		return 9
	}
	return 8
}
