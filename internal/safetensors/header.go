package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

const (
	metadataKey = "__metadata__"
	alignment   = 8           // of the data's first byte: spaces fill the header
	maxHeader   = 100_000_000 // bytes that the format's own reader takes
)

// entry is what the header says of a tensor, in the order in which other writers say it.
type entry struct {
	DType   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

// encodeHeader gives everything that comes before the data of tensors, which follow each other in this order.
func encodeHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	var header bytes.Buffer
	header.Write(make([]byte, 8)) // for the length
	separator := "{"
	member := func(key string, value any) error {
		name, err1 := encode(key)
		data, err2 := json.Marshal(value)
		header.WriteString(separator)
		header.Write(name)
		header.WriteByte(':')
		header.Write(data)
		separator = ","
		return errors.Join(err1, err2)
	}
	if len(metadata) > 0 {
		if err := checkTexts(metadata); err != nil {
			return nil, err
		}
		if err := member(metadataKey, metadata); err != nil { // which sorts the keys
			return nil, err
		}
	}
	seen, end := map[string]bool{metadataKey: true}, 0
	for _, t := range tensors {
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q: the name is taken", t.Name)
		}
		seen[t.Name] = true
		e, err := describe(t, end)
		if err == nil {
			err = member(t.Name, e)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		end = e.Offsets[1]
	}
	if len(metadata)+len(tensors) == 0 {
		header.WriteByte('{')
	}
	header.WriteByte('}')
	for header.Len()%alignment != 0 {
		header.WriteByte(' ')
	}
	length := header.Len() - 8
	if length > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes, want at most %d", length, maxHeader)
	}
	binary.LittleEndian.PutUint64(header.Bytes(), uint64(length))
	return header.Bytes(), nil
}

// describe is the entry of a tensor whose data begins at offset start of the data section.
func describe(t Tensor, start int) (entry, error) {
	name, ok := typeNames()[t.DType]
	if !ok {
		return entry{}, fmt.Errorf("is %s, which the format cannot hold", t.DType)
	}
	if t.Weight.Empty() {
		return entry{}, errors.New("has no elements to write")
	}
	shape := append([]int{}, t.Weight.Shape()...) // a scalar's is [], not null
	size, err := tensor.ByteLen(t.DType, shape)
	if err == nil && size > math.MaxInt-start {
		err = fmt.Errorf("more than %d bytes together with those before it", math.MaxInt)
	}
	return entry{DType: name, Shape: shape, Offsets: [2]int{start, start + size}}, err
}

func typeNames() map[tensor.DType]string {
	return map[tensor.DType]string{
		tensor.Float32: "F32", tensor.Float64: "F64", tensor.Float16: "F16", tensor.BFloat16: "BF16",
		tensor.Int8: "I8", tensor.Int16: "I16", tensor.Int32: "I32", tensor.Int64: "I64",
		tensor.Uint8: "U8", tensor.Uint16: "U16", tensor.Uint32: "U32", tensor.Uint64: "U64", tensor.Bool: "BOOL",
	}
}

// encode is a JSON string. encoding/json would replace bytes that are not UTF-8, and two names could become one.
func encode(text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%q is not UTF-8", text)
	}
	return json.Marshal(text)
}

func checkTexts(metadata map[string]string) error {
	for key, value := range metadata {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return fmt.Errorf("metadata %q: %q is not UTF-8", key, value)
		}
	}
	return nil
}
