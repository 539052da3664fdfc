package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// subject is a model under verification.
type subject struct {
	data   []byte
	graph  *onnxgraph.Model
	dtype  tensor.DType
	stored *reference.Model // from the weights in the model; nil: a foreign graph
	exact  *reference.Model // from the checkpoint, not rounded; nil: not known
	notes  []string

	foreign string // the note that says why there is no reference
}

// wideBodies reports whether the function bodies compute in double inside, which export notes in the metadata.
func (s *subject) wideBodies() bool {
	return slices.ContainsFunc(s.graph.Proto().GetMetadataProps(), func(p *onnxpb.StringStringEntryProto) bool {
		return p.GetKey() == export.PortableMathKey && p.GetValue() == tensor.Float64.String()
	})
}

// openSubject reads a checkpoint, which it exports in memory, or an ONNX model.
func openSubject(path string, o *Options) (*subject, error) {
	if data := modelBytes(path); data != nil {
		flags := o.Import
		flags.Grid = [2]int{} // that of the inputs: a model says its own
		s, err := newSubject(path, data, flags)
		if err != nil {
			return nil, err
		}
		return s, s.setExact(o.Source)
	}
	model, source, err := importer.Load(path, o.Import)
	if err != nil {
		return nil, err
	}
	options := o.Export
	options.SourceSHA256 = source.SHA256
	proto, err := export.Model(model, options)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	data, err := onnxpb.Encode(proto)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	s, err := reread(data)
	if err != nil {
		return nil, err
	}
	s.notes = append(source.Notes, s.notes...)
	return s, s.setExact(model)
}

// setExact says what the model was exported from. A flattened model cannot be imported again: what it should hold is
// then the truth, and the row of weights says whether it does.
func (s *subject) setExact(m *reference.Model) error {
	s.exact = m
	if m == nil || s.stored != nil {
		return nil
	}
	var err error
	s.stored, err = roundModel(m, s.dtype)
	s.notes = slices.DeleteFunc(s.notes, func(note string) bool { return note == s.foreign })
	return err
}

// modelBytes returns the bytes of an ONNX model, nil for anything else, which the importer then judges.
func modelBytes(path string) []byte {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > math.MaxInt32 {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	if _, err := onnxpb.Decode(data); err != nil {
		return nil
	}
	return data
}

// reread imports an exported model from its bytes, so that what is verified is what was written.
func reread(data []byte) (*subject, error) {
	sum := sha256.Sum256(data)
	path := filepath.Join(os.TempDir(), "aftonnx-"+hex.EncodeToString(sum[:8])+".onnx")
	staged, err := atomicfile.Stage(path, atomicfile.Options{Force: true}, data)
	if err != nil {
		return nil, err
	}
	s, err := newSubject(staged.Path(), data, importer.Options{})
	return s, errors.Join(err, staged.Discard())
}

// newSubject takes an ONNX model. One that this project exported also gives a reference model.
func newSubject(path string, data []byte, o importer.Options) (*subject, error) {
	graph, err := onnxgraph.Decode(data)
	if err != nil {
		return nil, err
	}
	s := &subject{data: data, graph: graph, dtype: floatType(graph)}
	if graph.Proto().GetProducerName() != export.Producer {
		s.foreign = "not exported by aftonnx: the truth is the native engine in float64, not the reference"
		s.notes = append(s.notes, s.foreign)
		return s, nil
	}
	s.stored, _, err = importer.Load(path, o)
	var flag *importer.FlagError
	if errors.As(err, &flag) {
		return nil, err
	}
	if err != nil {
		s.foreign = fmt.Sprintf("the truth is the native engine in float64, not the reference: %v", err)
		s.notes = append(s.notes, s.foreign)
	}
	return s, nil
}

// floatType is the type of the first floating-point output, else input; Float32 without any.
func floatType(g *onnxgraph.Model) tensor.DType {
	for _, v := range append(g.Outputs(), g.Inputs()...) {
		if v.DType.IsFloat() {
			return v.DType
		}
	}
	return tensor.Float32
}

// nodes counts the AFT nodes that a run executes.
func (s *subject) nodes() uint64 {
	n := uint64(0)
	for _, node := range s.graph.Nodes() {
		if node.Domain == ops.Domain {
			n++
		}
	}
	return n
}
