package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// producer is who wrote the models that can be read back.
const producer = "aftonnx"

// looksLikeONNX knows a ModelProto by its first fields: ir_version, a small number, then the producer, an opset or the graph.
func looksLikeONNX(head []byte) bool {
	return len(head) > 2 && head[0] == 0x08 && head[1] > 0 && head[1] < 0x40 &&
		strings.IndexByte("\x12\x1a\x22\x28\x32\x3a\x42", head[2]) >= 0
}

// loadONNX reads an exported model; flags have nothing to add to it.
func loadONNX(path string, o Options, src *Source) (*reference.Model, error) {
	if flags := given(o); len(flags) > 0 {
		return nil, &FlagError{File: path, Given: flags,
			Reason: strings.Join(flags, ", ") + ": of no use, an exported model says everything itself"}
	}
	stat, err := os.Stat(path)
	if err == nil && stat.Size() > math.MaxInt32 {
		return nil, &Error{File: path, Found: fmt.Sprintf("has %d bytes", stat.Size()),
			Allowed: fmt.Sprintf("at most %d; larger weights belong into external data", math.MaxInt32)}
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, &Error{File: path, Found: err.Error(), Allowed: "a readable file"}
	}
	sum := sha256.Sum256(data)
	src.SHA256 = hex.EncodeToString(sum[:])
	p, err := onnxpb.Decode(data)
	if err != nil {
		return nil, onnxError(path, err)
	}
	return FromONNX(path, p, src)
}

// FromONNX reads back what export wrote: the weights as they are stored, read when they are needed, from p or from the
// files beside path that it refers to; everything else from the graph, which must be, node by node, the one that export
// writes around these weights. It fills in the format, the dialect and the type of src; path is also for errors.
func FromONNX(path string, p *onnxpb.ModelProto, src *Source) (*reference.Model, error) {
	if name := p.GetProducerName(); name != producer {
		return nil, &Error{File: path, Found: "is an ONNX model made by " + strconv.Quote(name),
			Allowed: "one that aftonnx exported, or a checkpoint"}
	}
	src.Format, src.Dialect, src.DType = "onnx", producer, tensor.Invalid
	g, err := newGraph(p, onnxpb.NewFolder(filepath.Dir(path)).Except(path))
	if err != nil {
		return nil, onnxError(path, err)
	}
	m, err := g.model()
	if err == nil {
		err = g.compare(m)
	}
	if err != nil {
		return nil, onnxError(path, err)
	}
	src.DType = g.dtype
	return m, nil
}

// given names the flags that were set.
func given(o Options) []string {
	var flags []string
	for _, f := range []struct {
		flag string
		set  bool
	}{{"--variant", o.Variant != ""}, {"--causal", o.Causal != nil}, {"--window", o.Window != 0}, {"--heads", o.Heads != 0},
		{"--grid", o.Grid != [2]int{}}} {
		if f.set {
			flags = append(flags, f.flag)
		}
	}
	return flags
}

func onnxError(path string, err error) error {
	var bad *Error
	if !errors.As(err, &bad) {
		bad = &Error{Found: err.Error()}
	}
	bad.File = path
	return bad
}
