package infer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/reference"
)

// Model is an opened file. It may be loaded into several engines.
type Model struct {
	Graph     *onnxgraph.Model
	Reference *reference.Model // nil: not one that aftonnx exported with its operators
	Notes     []string         // what was assumed of a checkpoint

	path string // of the ONNX model; "" for one in memory
	data []byte // of one in memory
	why  error  // there is no Reference
}

// Options say how a checkpoint is read and exported.
type Options struct {
	Import importer.Options
	Export export.Options
}

// OpenCheckpoint reads a checkpoint and exports it in memory. Errors are those of importer.Load and export.Encode.
func OpenCheckpoint(path string, o Options) (m *Model, err error) {
	model, source, err := importer.Load(path, o.Import)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	o.Export.SourceSHA256 = source.SHA256
	data, err := export.Encode(model, o.Export)
	if err != nil {
		return nil, &importer.Error{File: path, Found: err.Error()}
	}
	graph, err := onnxgraph.Decode(data, onnxgraph.Options{})
	if err != nil {
		return nil, fmt.Errorf("%q, exported: %w", path, err)
	}
	m = &Model{Graph: graph, Notes: source.Notes, data: data}
	m.readBack(path)
	return m, nil
}

// OpenONNX reads an ONNX model. Errors are *onnxgraph.Error or that the file cannot be read.
func OpenONNX(path string) (*Model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	graph, err := onnxgraph.Decode(data, onnxgraph.Options{Dir: filepath.Dir(path), File: path})
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	m := &Model{Graph: graph, path: path}
	m.readBack(path)
	return m, nil
}

// readBack finds the reference model, in which weights are as the ONNX model stores them.
func (m *Model) readBack(path string) {
	m.Reference, m.why = importer.FromONNX(path, m.Graph.Proto(), &importer.Source{Path: path})
}

// Metadata is the value of a key of metadata_props, "" where there is none. key goes without the prefix io.aftonnx.
func (m *Model) Metadata(key string) string {
	for _, p := range m.Graph.Proto().GetMetadataProps() {
		if name, ours := strings.CutPrefix(p.GetKey(), export.MetadataPrefix); ours && name == key {
			return p.GetValue()
		}
	}
	return ""
}

// weightShape is the shape of an initialiser, nil where there is none of that name.
func (m *Model) weightShape(name string) []int64 {
	for _, t := range m.Graph.Proto().GetGraph().GetInitializer() {
		if t.GetName() == name {
			return t.GetDims()
		}
	}
	return nil
}
