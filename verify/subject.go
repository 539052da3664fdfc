package verify

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// subject is a model under verification.
type subject struct {
	data   []byte
	dir    string // of the model's external data; "" for a model that is in no file
	graph  *onnxgraph.Model
	dtype  tensor.DType
	stored *reference.Model // from the weights in the model; nil: a foreign graph
	exact  *reference.Model // from the checkpoint, not rounded; nil: not known
	notes  []string

	source *importer.Source // of a checkpoint; nil: it was read from a model

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
	if data, p := readModel(path); p != nil {
		s, err := newSubject(path, filepath.Dir(path), data, p)
		if err != nil {
			return nil, err
		}
		return s, s.setExact(path, o.Source)
	}
	model, source, err := importer.Load(path, o.Import)
	if err != nil {
		return nil, err
	}
	s, err := o.encode(path, model, source)
	if err == nil {
		s.source, s.notes = source, append(source.Notes, s.notes...)
		err = s.setExact(path, model)
	}
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	return s, nil
}

// maxInMemory is how many bytes of weights a checkpoint may have that is exported in memory.
const maxInMemory = 1 << 30

// encode exports a checkpoint in memory.
func (o *Options) encode(path string, model *reference.Model, source *importer.Source) (*subject, error) {
	options := o.Export
	options.SourceSHA256 = source.SHA256
	list, err := modelWeights(model)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	bytes, dtype := int64(0), options.DType
	if dtype == tensor.Invalid {
		dtype = tensor.Float32
	}
	for _, w := range list {
		bytes += weightBytes(dtype, w.Weight)
	}
	if bytes > maxInMemory {
		return nil, &InputError{fmt.Errorf("%q: its export has %d bytes of weights, want at most %d to be made in memory: "+
			"\"aftonnx export\" verifies what it writes", path, bytes, maxInMemory)}
	}
	data, err := export.Encode(model, options)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	p, err := onnxpb.Decode(data) // what is verified is what would be written
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return newSubject(path, "", data, p)
}

// close closes the file that weights are read from.
func (s *subject) close() error {
	if s.source == nil {
		return nil
	}
	return s.source.Close()
}

// refuse is the importer's refusal of flags that say how to read a checkpoint, where path holds a model. The grid is not one:
// it is that of the inputs.
func (s *subject) refuse(path string, flags importer.Options) error {
	flags.Grid = [2]int{}
	if s.source != nil || flags == (importer.Options{}) {
		return nil
	}
	_, source, err := importer.Load(path, flags)
	if err == nil {
		return source.Close()
	}
	var flag *importer.FlagError
	if errors.As(err, &flag) {
		return err
	}
	return nil // a model of somebody else's that Load cannot read
}

// setExact says what the model was exported from. A flattened model cannot be imported again: what it should hold is
// then the truth, and the row of weights says whether it does.
func (s *subject) setExact(path string, m *reference.Model) error {
	s.exact = m
	if m == nil || s.stored != nil {
		return nil
	}
	err := checkEdges(path, s.graph, m)
	if err == nil {
		s.stored, err = roundModel(m, s.dtype)
	}
	s.notes = slices.DeleteFunc(s.notes, func(note string) bool { return note == s.foreign })
	return err
}

// checkEdges makes sure that a graph has the input and the output of a model.
func checkEdges(path string, g *onnxgraph.Model, m *reference.Model) error {
	for _, edge := range []struct {
		kind, name string
		values     []onnxgraph.Value
	}{{"input", wiring.InputName(m), g.Inputs()}, {"output", wiring.OutputName(m), g.Outputs()}} {
		if !slices.ContainsFunc(edge.values, func(v onnxgraph.Value) bool { return v.Name == edge.name }) {
			return &importer.Error{File: path, Found: fmt.Sprintf("has no %s %q", edge.kind, edge.name),
				Allowed: "the names of an export"}
		}
	}
	return nil
}

func (s *subject) loadable() *loadable { return &loadable{s.data, s.graph.Proto(), s.dir} }

// walked reports whether the model is verified block by block: its layers are known.
func (s *subject) walked() bool { return s.stored != nil }

// readModel reads an ONNX model. Without one, it is left to the importer to judge the file.
func readModel(path string) ([]byte, *onnxpb.ModelProto) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > math.MaxInt32 {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil
	}
	p, err := onnxpb.Decode(data)
	if err != nil {
		return nil, nil
	}
	return data, p
}

// newSubject takes an ONNX model, as bytes and decoded. One that this project exported also gives a reference model.
func newSubject(path, dir string, data []byte, p *onnxpb.ModelProto) (*subject, error) {
	graph, err := onnxgraph.New(p, onnxgraph.Options{Dir: dir, File: path})
	if err != nil {
		return nil, err
	}
	s := &subject{data: data, dir: dir, graph: graph, dtype: floatType(graph)}
	if p.GetProducerName() != export.Producer {
		s.foreign = "not exported by aftonnx: the truth is the native engine in float64, not the reference"
		s.notes = append(s.notes, s.foreign)
		return s, nil
	}
	stored, err := importer.FromONNX(path, p, &importer.Source{Path: path})
	if err == nil {
		err = checkEdges(path, graph, stored)
	}
	if err != nil {
		s.foreign = fmt.Sprintf("the truth is the native engine in float64, not the reference: %v", err)
		s.notes = append(s.notes, s.foreign)
		return s, nil
	}
	s.stored = stored
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
