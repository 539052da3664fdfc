package onnxpb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The rules of a data file. ONNX wants a tensor to begin where it can be mapped: at a page, on Windows at a multiple of 64 KiB,
// which is little padding from 1 MiB on. Constants of a few elements stay in the model, where shape inference needs them.
const (
	minExternal = 1 << 10
	alignSmall  = 4 << 10
	alignLarge  = 64 << 10
	largeTensor = 1 << 20
)

// DataOptions say what WriteData may refer to.
type DataOptions struct {
	// Reuse gives the location, as External.Location, at which the elements of a weight lie already: size bytes of its type
	// from origin on. "" has them written. It is asked for weights that stay as they are and would be written.
	Reuse func(name string, origin tensor.Origin, size int) (location string, err error)
}

// Data is the outcome of WriteData.
type Data struct {
	Size   int64 // bytes written
	Reused int   // weights that are referred to where they lie

	initializers []*TensorProto
	written      []*TensorProto // of those, what refers to the data written
	digest       string
}

// WriteData writes the elements of the weights for a model that will refer to them, each at an offset that can be mapped.
// Weights of less than 1 KiB are kept for the model itself.
func WriteData(w io.Writer, m *ModelProto, weights []Weight, o DataOptions) (*Data, error) {
	out := &dataWriter{to: bufio.NewWriterSize(w, 1<<16), digest: newDigest(), options: o, data: &Data{}}
	for _, t := range m.GetGraph().GetInitializer() {
		if err := out.digest.stored(t, NewFolder("")); err != nil {
			return nil, err
		}
		out.data.initializers = append(out.data.initializers, t)
	}
	for i := range weights {
		if err := out.add(&weights[i]); err != nil {
			return nil, err
		}
	}
	out.data.digest = out.digest.text()
	return out.data, out.to.Flush()
}

type dataWriter struct {
	to      *bufio.Writer
	digest  digest
	options DataOptions
	data    *Data
}

func (d *dataWriter) add(w *Weight) error {
	size, err := w.size()
	if err != nil {
		return err
	}
	t := w.proto()
	d.data.initializers = append(d.data.initializers, t)
	if size < minExternal {
		var raw bytes.Buffer
		err := w.digested(&raw, d.digest, size)
		t.RawData = raw.Bytes()
		return err
	}
	location, err := d.reusable(w, size)
	if err != nil {
		return fmt.Errorf("%q: %w", w.Name, err)
	}
	if location != "" {
		d.data.Reused++
		setExternal(t, location, w.Value.Origin().Offset, size)
		return w.digested(io.Discard, d.digest, size)
	}
	if err := d.pad(size); err != nil {
		return err
	}
	setExternal(t, "", d.data.Size, size)
	d.data.written = append(d.data.written, t)
	d.data.Size += int64(size)
	return w.digested(d.to, d.digest, size)
}

// reusable is where the elements lie as they would be written, "" if nowhere. A runtime reads them in place, so that they
// must be aligned to their type.
func (d *dataWriter) reusable(w *Weight, size int) (string, error) {
	at := w.Value.Origin()
	if d.options.Reuse == nil || at == nil || w.DType != w.Value.DType() || at.Offset%int64(w.DType.Size()) != 0 {
		return "", nil
	}
	return d.options.Reuse(w.Name, *at, size)
}

// pad moves on to where a tensor of that size may begin.
func (d *dataWriter) pad(size int) error {
	align := int64(alignSmall)
	if size >= largeTensor {
		align = alignLarge
	}
	n := -d.data.Size & (align - 1)
	d.data.Size += n
	_, err := d.to.Write(make([]byte, n))
	return err
}

func setExternal(t *TensorProto, location string, offset int64, size int) {
	t.DataLocation = TensorProto_EXTERNAL
	t.ExternalData = []*StringStringEntryProto{
		{Key: keyLocation, Value: location},
		{Key: keyOffset, Value: strconv.FormatInt(offset, 10)},
		{Key: keyLength, Value: strconv.Itoa(size)},
	}
}

// Model is m, whose weights were written, with the initialisers that refer to them; location is the name of the file with
// what was written, relative to the model's folder. It may be asked for once.
func (d *Data) Model(m *ModelProto, location string, o WriteOptions) *ModelProto {
	for _, t := range d.written {
		t.ExternalData[0].Value = location
	}
	out := shallow(withDigest(m, o, []byte(d.digest)))
	out.Graph = shallow(m.GetGraph())
	out.Graph.Initializer = d.initializers
	return out
}
