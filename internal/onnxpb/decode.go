package onnxpb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
)

// maxFile is protobuf's own limit on one message.
const maxFile = math.MaxInt32

// Decode reads a model. Before anything is allocated for its content, a scan of the wire form refuses what is cut off,
// has a known field of another wire type, holds a singular field twice (protobuf would merge or override it silently),
// nests deeper than 100 messages, or would take more than 3 x len(data) + 64 MiB of memory in messages. What the
// messages mean is not looked at, except that there must be a graph. Errors are *Error.
func Decode(data []byte) (*ModelProto, error) {
	m := &ModelProto{}
	if err := decode(data, m, "; larger models keep their weights as external data"); err != nil {
		return nil, err
	}
	if m.Graph == nil {
		return nil, &Error{Offset: -1, Found: "the file holds no graph", Allowed: "an ONNX model", Hint: sniff(data)}
	}
	return m, nil
}

// decode reads any message of onnx.proto in the way of Decode. advice says what to do about a file that is too large.
func decode(data []byte, m proto.Message, advice string) error {
	if len(data) > maxFile {
		return &Error{Offset: -1, Found: fmt.Sprintf("the file has %d bytes", len(data)),
			Allowed: fmt.Sprintf("at most %d%s", maxFile, advice)}
	}
	if err := scan(data, m.ProtoReflect().Descriptor()); err != nil {
		err.(*Error).Hint = sniff(data)
		return err
	}
	if err := proto.Unmarshal(data, m); err != nil { // the scan decides alone; this is for what it may overlook
		return &Error{Offset: -1, Found: "protobuf refuses the file: " + err.Error(), Hint: sniff(data)}
	}
	return nil
}

// Encode writes a model: the same model gives the same bytes.
func Encode(m *ModelProto) ([]byte, error) {
	options := proto.MarshalOptions{Deterministic: true}
	if size := options.Size(m); size > maxFile {
		return nil, &Error{Offset: -1, Found: fmt.Sprintf("the model takes %d bytes", size),
			Allowed: fmt.Sprintf("at most %d (protobuf's limit)", maxFile)}
	}
	data, err := options.Marshal(m)
	if err != nil {
		return nil, &Error{Offset: -1, Found: "protobuf refuses to write the model: " + err.Error()}
	}
	return data, nil
}

// sniff says what a file that is no ONNX model seems to be, "" when it cannot tell.
func sniff(data []byte) string {
	for _, magic := range []struct{ prefix, kind string }{
		{"PK\x03\x04", "this looks like a zip file: a PyTorch checkpoint, or an archive to unpack first"},
		{"\x1f\x8b", "this looks like gzip: decompress it first"},
		{"\x80\x02", "this looks like a Python pickle"},
		{"\x93NUMPY", "this looks like a .npy array"},
		{"\x89HDF", "this looks like HDF5"},
		{"GGUF", "this looks like GGUF"},
		{"version https://git-lfs", "this looks like a Git LFS pointer: fetch the file it stands for"},
	} {
		if bytes.HasPrefix(data, []byte(magic.prefix)) {
			return magic.kind
		}
	}
	switch {
	case len(data) == 0:
		return "the file is empty"
	case len(data) > 9 && data[8] == '{' && binary.LittleEndian.Uint64(data) <= uint64(len(data)-8):
		return "this looks like safetensors"
	case data[0] == '{' || data[0] == '[':
		return "this looks like JSON"
	case isText(data[:min(len(data), 512)]):
		return "this looks like text"
	}
	return ""
}

func isText(head []byte) bool {
	for i := 0; i < len(head); {
		r, size := utf8.DecodeRune(head[i:])
		if r == utf8.RuneError && size == 1 && len(head)-i >= utf8.UTFMax {
			return false
		}
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		i += size
	}
	return true
}
