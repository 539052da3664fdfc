package onnxpb

import (
	"bufio"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// WriteOptions say what the writer adds to a model.
type WriteOptions struct {
	DigestKey string // the metadata property, the last one, that gets the WeightsDigest; "" for none
}

// Write writes a model with the weights as further initialisers, their data in the model itself. The bytes are those of
// Encode for the same model in memory. The model must not be larger than protobuf's limit, 2^31 - 1 bytes: larger ones keep
// their weights in other files, see WriteData.
func Write(w io.Writer, m *ModelProto, weights []Weight, o WriteOptions) error {
	s, err := newStream(m, weights, o)
	if err != nil {
		return err
	}
	if s.total > maxFile {
		return &Error{Offset: -1, Found: fmt.Sprintf("the model takes %d bytes", s.total),
			Allowed: fmt.Sprintf("at most %d (protobuf's limit)", maxFile),
			Hint:    "--external-data always puts the weights into a file beside the model"}
	}
	buffered := bufio.NewWriterSize(w, 1<<16)
	if err := s.write(buffered); err != nil {
		return err
	}
	return buffered.Flush()
}

// The numbers of the fields that the weights are in.
const (
	graphField       = protowire.Number(7) // of ModelProto
	initializerField = protowire.Number(5) // of GraphProto
	rawDataField     = protowire.Number(9) // of TensorProto
)

// stream is a model whose every byte but the weights' is known.
type stream struct {
	model     *ModelProto
	weights   []Weight
	options   WriteOptions
	digest    digest
	head      []byte   // the model up to the graph's length, and the graph up to the first weight
	headers   [][]byte // of each weight: all up to its data
	sizes     []int    // of each weight's data
	graphTail []byte
	total     int64
}

func newStream(m *ModelProto, weights []Weight, o WriteOptions) (*stream, error) {
	s := &stream{model: m, weights: weights, options: o, digest: newDigest()}
	modelHead, modelTail := split(withDigest(m, o, make([]byte, 64)), graphField)
	graphHead, graphTail := split(m.GetGraph(), initializerField)
	graph, err := marshal(graphHead)
	if err != nil {
		return nil, err
	}
	for _, t := range m.GetGraph().GetInitializer() {
		if err := s.digest.stored(t, NewFolder("")); err != nil {
			return nil, err
		}
		data, err := marshal(t)
		if err != nil {
			return nil, err
		}
		graph = protowire.AppendBytes(protowire.AppendTag(graph, initializerField, protowire.BytesType), data)
	}
	weightBytes, err := s.addHeaders()
	if err != nil {
		return nil, err
	}
	if s.graphTail, err = marshal(graphTail); err != nil {
		return nil, err
	}
	tail, err := marshal(modelTail)
	if err != nil {
		return nil, err
	}
	if s.head, err = marshal(modelHead); err != nil {
		return nil, err
	}
	graphBytes := int64(len(graph)) + weightBytes + int64(len(s.graphTail))
	s.head = protowire.AppendTag(s.head, graphField, protowire.BytesType)
	s.head = protowire.AppendVarint(s.head, uint64(graphBytes))
	s.total = int64(len(s.head)) + graphBytes + int64(len(tail))
	s.head = append(s.head, graph...)
	return s, nil
}

// addHeaders makes the weights' headers and returns how many bytes the weights take with them.
func (s *stream) addHeaders() (int64, error) {
	total := int64(0)
	for i := range s.weights {
		size, err := s.weights[i].size()
		if err != nil {
			return 0, err
		}
		inner, err := marshal(s.weights[i].proto())
		if err != nil {
			return 0, err
		}
		if size > 0 { // protobuf leaves empty bytes out
			inner = protowire.AppendTag(inner, rawDataField, protowire.BytesType)
			inner = protowire.AppendVarint(inner, uint64(size))
		}
		header := protowire.AppendTag(nil, initializerField, protowire.BytesType)
		header = protowire.AppendVarint(header, uint64(len(inner))+uint64(size))
		header = append(header, inner...)
		s.headers, s.sizes = append(s.headers, header), append(s.sizes, size)
		if total += int64(len(header)) + int64(size); total < 0 {
			return 0, fmt.Errorf("%q: the weights take more than 2^63 bytes", s.weights[i].Name)
		}
	}
	return total, nil
}

func (s *stream) write(w io.Writer) error {
	if _, err := w.Write(s.head); err != nil {
		return err
	}
	for i := range s.weights {
		if _, err := w.Write(s.headers[i]); err != nil {
			return err
		}
		if err := s.weights[i].digested(w, s.digest, s.sizes[i]); err != nil {
			return err
		}
	}
	if _, err := w.Write(s.graphTail); err != nil {
		return err
	}
	_, modelTail := split(withDigest(s.model, s.options, []byte(s.digest.text())), graphField)
	tail, err := marshal(modelTail)
	if err != nil {
		return err
	}
	_, err = w.Write(tail)
	return err
}

// digested writes the elements, size bytes, to w, and with the weight's description to d.
func (w *Weight) digested(to io.Writer, d digest, size int) error {
	d.begin(w.proto(), size)
	return w.write(io.MultiWriter(to, d))
}

// withDigest is the model with the digest among its properties; the rest is shared.
func withDigest(m *ModelProto, o WriteOptions, text []byte) *ModelProto {
	if o.DigestKey == "" {
		return m
	}
	out := shallow(m)
	out.MetadataProps = append(append([]*StringStringEntryProto{}, m.GetMetadataProps()...),
		&StringStringEntryProto{Key: o.DigestKey, Value: string(text)})
	return out
}

// shallow is a message with the same fields, themselves shared.
func shallow[M proto.Message](m M) M {
	from := m.ProtoReflect()
	to := from.New()
	from.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to.Set(fd, v)
		return true
	})
	to.SetUnknown(from.GetUnknown())
	return to.Interface().(M)
}

// split shares the fields of a message out: those with a number below at, and those above.
func split(m proto.Message, at protowire.Number) (before, after proto.Message) {
	from := m.ProtoReflect()
	low, high := from.New(), from.New()
	from.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Number() < at:
			low.Set(fd, v)
		case fd.Number() > at:
			high.Set(fd, v)
		}
		return true
	})
	high.SetUnknown(from.GetUnknown())
	return low.Interface(), high.Interface()
}

func marshal(m proto.Message) ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, &Error{Offset: -1, Found: "protobuf refuses to write the model: " + err.Error()}
	}
	return data, nil
}
