package modelfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Placement says where the weights go.
type Placement string

// The placements. With Reuse, a weight that lies in the file it was read from as it would be written, in the model's folder
// or below, is referred to there; the others are treated as with Always.
const (
	Auto   Placement = "auto"   // in the model up to 1 GiB, else as with Always
	Never  Placement = "never"  // in the model
	Always Placement = "always" // in a data file beside the model, whose name holds a hash of its content
	Reuse  Placement = "reuse"
)

// Placements lists them in the order in which help shows them.
func Placements() []Placement { return []Placement{Auto, Always, Never, Reuse} }

// autoLimit is the size up to which Auto keeps the weights in the model: well below protobuf's limit, which the graph and
// whatever a runtime adds to it must not reach either.
const autoLimit = 1 << 30

// Options say how a model is staged.
type Options struct {
	Force     bool      // replace an existing file, and remove the data file that it had
	Placement Placement // "" is Auto
	DigestKey string    // as onnxpb.WriteOptions has it
}

// File is a staged model. Its data file, if it has one, is in place already, so that the staged model can be loaded under
// its temporary name; Discard takes both back.
type File struct {
	*atomicfile.Staged
	Bytes  int64    // of the model, without its data file
	SHA256 [32]byte // of the model

	Data      string // the data file's name in the model's folder, "" for none
	DataBytes int64
	Reused    int // weights that stay in the file they were read from
}

// Stage writes m, with weights as its last initialisers, to a temporary file beside path. At no time is more than a piece
// of a weight in memory.
//
// Errors: those of atomicfile.Stage and of the weights; a model beyond protobuf's limit with Never; with Reuse, a file of
// weights that is not in the folder of path or below, and weights none of which can be referred to.
func Stage(path string, m *onnxpb.ModelProto, weights []onnxpb.Weight, o Options) (*File, error) {
	external, err := o.external(weights)
	if err != nil {
		return nil, err
	}
	f := &File{}
	write := func(w io.Writer) error {
		return onnxpb.Write(w, m, weights, onnxpb.WriteOptions{DigestKey: o.DigestKey})
	}
	var companion *atomicfile.Companion
	switch {
	case external:
		if companion, write, err = f.stageData(path, m, weights, o); err != nil {
			return nil, err
		}
	case o.Force: // a model without a data file replaces one that may have had one
		nothing := func(io.Writer) error { return nil }
		if companion, err = atomicfile.StageCompanion(path, atomicfile.Options{Force: true}, nothing); err != nil {
			return nil, err
		}
	}
	sum := sha256.New()
	f.Staged, err = atomicfile.StageFunc(path, atomicfile.Options{Force: o.Force, Companion: companion}, func(w io.Writer) error {
		counted := &counter{}
		err := write(io.MultiWriter(w, sum, counted))
		f.Bytes = counted.n
		return err
	})
	if err != nil {
		return nil, errors.Join(err, companion.Discard())
	}
	sum.Sum(f.SHA256[:0])
	return f, nil
}

// external reports whether the weights leave the model.
func (o *Options) external(weights []onnxpb.Weight) (bool, error) {
	switch o.Placement {
	case Never:
		return false, nil
	case Always, Reuse:
		return true, nil
	case Auto, "":
		total := int64(0)
		for _, w := range weights {
			n, err := tensor.ByteLen(w.DType, w.Value.Shape())
			if err != nil {
				return false, fmt.Errorf("%q: %w", w.Name, err)
			}
			if total += int64(n); total > autoLimit || total < 0 {
				return true, nil
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("placement %q: unknown", o.Placement)
}

// stageData puts the data file in place and returns what writes the model that refers to it.
func (f *File) stageData(path string, m *onnxpb.ModelProto, weights []onnxpb.Weight, o Options) (
	*atomicfile.Companion, func(io.Writer) error, error,
) {
	options := onnxpb.DataOptions{}
	if o.Placement == Reuse {
		options.Reuse = func(_ string, origin tensor.Origin, size int) (string, error) {
			return locate(filepath.Dir(path), origin, size)
		}
	}
	var data *onnxpb.Data
	companion, err := atomicfile.StageCompanion(path, atomicfile.Options{Force: o.Force}, func(w io.Writer) (err error) {
		if data, err = onnxpb.WriteData(w, m, weights, options); err == nil && o.Placement == Reuse && data.Reused == 0 {
			err = errors.New("no weight lies in its file as the model needs it (same type, nothing computed): " +
				"--dtype may be another than the file's, --external-data always writes them")
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	f.Data, f.DataBytes, f.Reused = companion.Name(), data.Size, data.Reused
	encoded, err := onnxpb.Encode(data.Model(m, f.Data, onnxpb.WriteOptions{DigestKey: o.DigestKey}))
	if err != nil {
		return nil, nil, errors.Join(err, companion.Discard())
	}
	return companion, func(w io.Writer) error { _, err := io.Copy(w, bytes.NewReader(encoded)); return err }, nil
}

// locate is the location, relative to the model's folder, of a file that weights were read from.
func locate(dir string, origin tensor.Origin, size int) (string, error) {
	folder, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	file, err := filepath.Abs(origin.Path)
	if err != nil {
		return "", err
	}
	relative, err := filepath.Rel(folder, file)
	if err != nil || relative == ".." || strings.HasPrefix(relative, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("lies in %q, and a model in %q can refer only to files in its folder or below: "+
			"--external-data always copies them", origin.Path, dir)
	}
	location := filepath.ToSlash(relative)
	return location, onnxpb.CheckBeneath(folder, location, origin.Offset, size)
}

type counter struct{ n int64 }

func (c *counter) Write(data []byte) (int, error) {
	c.n += int64(len(data))
	return len(data), nil
}
