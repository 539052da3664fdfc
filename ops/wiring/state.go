package wiring

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// The names of a stateful model's further inputs and outputs. What goes in as PastPrefix and a name comes out as PresentPrefix
// and the same name, in the same order.
const (
	PositionInput = "position"
	PastPrefix    = "past_"
	PresentPrefix = "present_"

	capacityAxis = "capacity"
)

const (
	chunkReal    = "chunk.real"   // which tokens of a chunk are real, bool (batch, sequence)
	chunkLengths = "chunk.length" // how many of every sequence, int64 (batch)
)

// Operator is the operator that a layer's node calls, and its attributes.
func Operator(l *reference.Layer, stateful bool) (*ops.Def, ops.Attrs, error) {
	attrs := ops.Attrs(l.Attrs())
	if !stateful {
		def, ok := ops.Lookup(l.Variant.Op())
		if !ok {
			return nil, nil, fmt.Errorf("no operator for variant %q", l.Variant)
		}
		return def, attrs, nil
	}
	for _, def := range ops.Steps() {
		if def.Whole == l.Variant.Op() {
			return def, ops.Attrs{"gate": attrs["gate"]}, nil
		}
	}
	return nil, nil, fmt.Errorf("variant %q: has no step form", l.Variant)
}

// checkStateful says why a model cannot be run a chunk at a time.
func (w *writer) checkStateful() error {
	switch m := w.model; {
	case m.Tokens == nil:
		return errors.New("stateful: wants a language model, which takes tokens")
	case w.options.Mask:
		return fmt.Errorf("stateful: cannot take %s, a chunk's padding is said by tokens of -1", MaskInput)
	default:
		for i := range m.Blocks {
			l := &m.Blocks[i].Layer
			if !l.Causal {
				return fmt.Errorf("layer %d: is not causal: every token that is appended would change all outputs before it", i)
			}
			if _, _, err := Operator(l, true); err != nil {
				return fmt.Errorf("layer %d: %w", i, err)
			}
		}
	}
	return nil
}

// chunk writes which tokens are real: those before the first -1. -1 alone may follow one; a token that is neither takes a row
// that the embedding does not have. It returns the rows to gather.
func (w *writer) chunk(rows string) string {
	zero := w.integer("zero", 0)
	negative := w.node("Less", "embed.negative", []string{TokenInput, zero})
	ended := w.node("CumSum", "chunk.ended", []string{w.cast("chunk.ends", negative, tensor.Int64), w.integer("one", 1)})
	w.node("Equal", chunkReal, []string{ended, zero})
	count := w.cast("chunk.counts", chunkReal, tensor.Int64)
	w.node("ReduceSum", chunkLengths, []string{count, w.integers("axis_1", 1)}, onnxpb.IntAttr("keepdims", 0))
	none := w.node("Equal", "chunk.none", []string{TokenInput, w.integer("minus_one", -1)})
	filled := w.node("Where", "chunk.filled", []string{none, zero, rows})
	return w.node("Where", "embed.tokens", []string{chunkReal, TokenInput, filled})
}

// places is the position of every token of a chunk, 0 for padding.
func (w *writer) places(steps string) string {
	first := w.node("Unsqueeze", "positions.first", []string{PositionInput, w.integers("axis_1", 1)})
	all := w.node("Add", "positions.all", []string{first, steps})
	return w.node("Where", "positions.places", []string{chunkReal, all, w.integer("zero", 0)})
}

// step adds the state's inputs to a layer's node, declares them, and returns the outputs.
func (b blockWriter) step(def *ops.Def, inputs []string, y string) (all, outputs []string) {
	l := &b.block.Layer
	if l.Variant == reference.Conv1D && l.PadLeft+1 < l.W.Shape()[1] { // causal: the taps after the token count for nothing
		end := b.integers(b.name+".taps_end", int64(l.PadLeft+1))
		inputs[3] = b.node("Slice", b.name+".taps", []string{inputs[3], b.integers("first", 0), end, b.integers("axis_1", 1)})
	}
	outputs = []string{y}
	for i := range def.Outputs[1:] {
		port := def.Inputs[def.Past(1+i)]
		name := b.name + "." + port.Name
		dtype := port.Type.DType(b.options.DType)
		dims := b.stateDims(port)
		b.input(onnxpb.ValueInfo(PastPrefix+name, dtype, dims...))
		b.graph.Output = append(b.graph.Output, onnxpb.ValueInfo(PresentPrefix+name, dtype, dims...))
		inputs = append(inputs, PastPrefix+name)
		outputs = append(outputs, PresentPrefix+name)
	}
	return append(inputs, PositionInput, chunkLengths), outputs
}

// stateDims are the dimensions of a part of a layer's state: all but batch, and the capacity of a cache, are the layer's.
func (b blockWriter) stateDims(port ops.Port) []onnxpb.Dim {
	l := &b.block.Layer
	dims := make([]onnxpb.Dim, len(port.Dims))
	for i, letter := range port.Dims {
		switch letter {
		case "B":
			dims[i] = onnxpb.Dynamic(batchAxis)
		case "C":
			dims[i] = onnxpb.Dynamic(capacityAxis)
		case "D":
			dims[i] = onnxpb.Fixed(l.Hidden())
		case "H":
			dims[i] = onnxpb.Fixed(l.Heads())
		default: // s-1
			dims[i] = onnxpb.Fixed(Reach(l) - 1)
		}
	}
	return dims
}

// Reach is the paper's s of a causal window: how many tokens have a bias, the row's own included; 1 for AFT-simple, and 0 for
// AFT-full, where all do.
func Reach(l *reference.Layer) int {
	switch l.Variant {
	case reference.Local:
		return l.Window
	case reference.Conv1D:
		return l.PadLeft + 1
	case reference.Simple:
		return 1
	}
	return 0
}

// IsState reports whether an input or output of that name is part of a state, and which.
func IsState(name string) (part string, ok bool) {
	for _, prefix := range []string{PastPrefix, PresentPrefix} {
		if part, ok = strings.CutPrefix(name, prefix); ok {
			return part, true
		}
	}
	return "", false
}
