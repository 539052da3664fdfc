package checkpoint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The safetensors format: 8 bytes, little-endian, that give the length of a JSON header; the header; the tensors' bytes,
// row-major, one after another in some order, to the end of the file. (huggingface/safetensors, README.md.)
//
//	{"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]}}
const (
	lengthBytes = 8
	metadataKey = "__metadata__"

	// The shortest entry, `"":{"dtype":"I8","shape":[],"data_offsets":[0,0]},`, and what one takes in memory.
	entryMinBytes = 50
	tensorBytes   = namedBytes + viewBytes + 4*4
)

type safetensorsType struct {
	name  string
	dtype tensor.DType
}

// safetensorsTypes are the element types that can be read, in the order an error lists them.
func safetensorsTypes() []safetensorsType {
	return []safetensorsType{
		{"F32", tensor.Float32}, {"F64", tensor.Float64}, {"F16", tensor.Float16}, {"BF16", tensor.BFloat16},
		{"I8", tensor.Int8}, {"I16", tensor.Int16}, {"I32", tensor.Int32}, {"I64", tensor.Int64},
		{"U8", tensor.Uint8}, {"U16", tensor.Uint16}, {"U32", tensor.Uint32}, {"U64", tensor.Uint64}, {"BOOL", tensor.Bool},
	}
}

// headerReader reads one safetensors header.
type headerReader struct {
	json   *jsonText
	lim    limits
	budget *budget
	types  []safetensorsType
	data   *block

	tensors  []namedTensor
	keyPos   []int32 // of each tensor's name, for errors
	metadata []pair
	metaPos  int // of "__metadata__"; -1 when there is none

	fields    fields
	readField func(key string, pos int) error // the method field, made into a value once
}

// readSafetensors checks the whole header; the data section is read when tensors are asked for.
func readSafetensors(src source, lim limits, b *budget) (*index, error) {
	n, err := headerLength(src, lim)
	if err != nil {
		return nil, err
	}
	if err := b.charge(n); err != nil {
		return nil, at(err, "header")
	}
	text, err := src.readString(lengthBytes, n)
	if err != nil {
		return nil, at(err, "header")
	}
	json, err := newJSON("header", text)
	if err != nil {
		return nil, err
	}
	start := lengthBytes + n
	h := &headerReader{json: json, lim: lim, budget: b, types: safetensorsTypes(), metaPos: -1,
		data: &block{kind: "data", off: start, size: src.size - start, stored: src.size - start}}
	h.readField = h.field
	if err := h.read(); err != nil {
		return nil, err
	}
	if err := h.checkLayout(); err != nil {
		return nil, err
	}
	return &index{tensors: h.tensors, metadata: h.metadata}, nil
}

// headerLength reads the first 8 bytes and holds them against the limit and the file.
func headerLength(src source, lim limits) (int64, error) {
	const place = "byte 0"
	head, err := src.readString(0, lengthBytes)
	if err != nil {
		return 0, at(err, place)
	}
	n := le64(head, 0)
	found := fmt.Sprintf("a safetensors header of %d bytes", n)
	switch {
	case n == 0:
		return 0, &Error{Place: place, Found: "a safetensors header of 0 bytes: the header is empty",
			Allowed: "at least {}"}
	case n > uint64(lim.header):
		return 0, &Error{Place: place, Found: found, Allowed: fmt.Sprintf("at most %d", lim.header)}
	case int64(n) > src.size-lengthBytes:
		return 0, &Error{Place: place, Found: found,
			Allowed: fmt.Sprintf("at most the file's other %d", src.size-lengthBytes)}
	}
	return int64(n), nil
}

func (h *headerReader) read() error {
	most := min(strings.Count(h.json.s, `"data_offsets"`), len(h.json.s)/entryMinBytes+1, h.lim.tensors)
	if err := h.budget.charge(int64(most) * tensorBytes); err != nil {
		return at(err, "header")
	}
	h.tensors = make([]namedTensor, 0, most)
	h.keyPos = make([]int32, 0, most)
	if err := h.json.members(h.member); err != nil {
		return err
	}
	if err := h.json.end(); err != nil {
		return err
	}
	order := sortedBy(h.tensors, tensorName)
	if i, j, dup := duplicate(h.tensors, order, tensorName); dup {
		return h.json.twice(h.tensors[j].name, int(h.keyPos[i]), int(h.keyPos[j]))
	}
	return nil
}

func (h *headerReader) member(key string, pos int) error {
	if key == metadataKey {
		if h.metaPos >= 0 {
			return h.json.twice(key, h.metaPos, pos)
		}
		h.metaPos = pos
		if err := h.readMetadata(); err != nil {
			return named(err, "key "+quote(key))
		}
		return nil
	}
	if err := h.readTensor(key, pos); err != nil {
		return named(err, "tensor "+quote(key))
	}
	return nil
}

// readMetadata reads the texts twice: to count them, then to keep them in exactly the memory that takes.
func (h *headerReader) readMetadata() error {
	start, n := h.json.pos, 0
	err := h.json.members(func(string, int) error {
		n++
		_, err := h.json.str("a text in quotes")
		return err
	})
	if err != nil {
		return err
	}
	if err := h.budget.charge(int64(n) * pairBytes); err != nil {
		return at(err, h.json.place(start))
	}
	h.json.pos = start
	h.metadata = make([]pair, 0, n)
	positions := make([]int32, 0, n)
	if err := h.json.members(func(key string, pos int) error {
		value, err := h.json.str("a text in quotes")
		h.metadata = append(h.metadata, pair{key, value})
		positions = append(positions, int32(pos))
		return err
	}); err != nil {
		return err
	}
	if i, j, dup := duplicate(h.metadata, sortedBy(h.metadata, pairKey), pairKey); dup {
		return h.json.twice(h.metadata[j].key, int(positions[i]), int(positions[j]))
	}
	return nil
}

// fields are what one tensor's description has said so far. One set serves all tensors: nothing is allocated for a field.
type fields struct {
	dtype   tensor.DType
	shape   []int // in dims; nil: not yet
	offsets []int // in ends
	dims    [64]int
	ends    [2]int
}

// readTensor reads the description of one tensor: exactly the three fields, each once.
func (h *headerReader) readTensor(name string, pos int) error {
	if len(name) > h.lim.nameBytes {
		return &Error{Place: h.json.place(pos), Found: fmt.Sprintf("a name of %d bytes", len(name)),
			Allowed: fmt.Sprintf("at most %d", h.lim.nameBytes)}
	}
	f := &h.fields
	f.dtype, f.shape, f.offsets = tensor.Invalid, nil, nil
	if err := h.json.members(h.readField); err != nil {
		return err
	}
	if f.dtype == tensor.Invalid || f.shape == nil || len(f.offsets) != 2 {
		return &Error{Place: h.json.place(pos),
			Found:   fmt.Sprintf("a tensor without its dtype, shape or two data_offsets (%d)", len(f.offsets)),
			Allowed: "all three fields"}
	}
	if err := h.addTensor(name, pos); err != nil {
		return at(err, h.json.place(pos))
	}
	return nil
}

func (h *headerReader) field(key string, pos int) (err error) {
	f, seen := &h.fields, false
	switch key {
	case "dtype":
		seen = f.dtype != tensor.Invalid
		f.dtype, err = h.readType()
	case "shape":
		seen = f.shape != nil
		f.shape, err = h.json.numbers(f.dims[:0], min(h.lim.rank, len(f.dims)))
	case "data_offsets":
		seen = f.offsets != nil
		f.offsets, err = h.json.numbers(f.ends[:0], len(f.ends))
	default:
		return &Error{Place: h.json.place(pos), Found: "the field " + quote(key), Allowed: "dtype, shape, data_offsets"}
	}
	if err == nil && seen {
		return &Error{Place: h.json.place(pos), Found: "a second " + key, Allowed: "each field once"}
	}
	return err
}

func (h *headerReader) readType() (tensor.DType, error) {
	pos := h.json.pos
	text, err := h.json.str("the name of an element type")
	if err != nil {
		return tensor.Invalid, err
	}
	for _, t := range h.types {
		if t.name == text {
			return t.dtype, nil
		}
	}
	var names []string
	for _, t := range h.types {
		names = append(names, t.name)
	}
	return tensor.Invalid, &Error{Place: h.json.place(pos), Found: "dtype " + quote(text),
		Allowed: strings.Join(names, ", ")}
}

func (h *headerReader) addTensor(name string, pos int) error {
	dtype, shape, offsets := h.fields.dtype, h.fields.shape, h.fields.offsets
	begin, end := int64(offsets[0]), int64(offsets[1])
	if begin > end || end > h.data.size {
		return &Error{Found: fmt.Sprintf("data_offsets [%d, %d]", begin, end),
			Allowed: fmt.Sprintf("begin <= end <= %d, the bytes after the header", h.data.size)}
	}
	size, err := tensor.ByteLen(dtype, shape)
	if err != nil {
		return &Error{Found: err.Error(), Allowed: "sizes that fit the file"}
	}
	if int64(size) != end-begin {
		return &Error{Found: fmt.Sprintf("data_offsets [%d, %d], %d bytes", begin, end, end-begin),
			Allowed: fmt.Sprintf("%d bytes for %s %s", size, dtype, tensor.FormatShape(shape))}
	}
	if len(h.tensors) == h.lim.tensors {
		return &Error{Found: "a further tensor", Allowed: fmt.Sprintf("at most %d", h.lim.tensors)}
	}
	if h.tensors, err = grow(h.budget, h.tensors, 1, tensorBytes); err != nil {
		return err
	}
	if err := h.budget.charge(int64(len(shape)) * 8); err != nil {
		return err
	}
	h.tensors = append(h.tensors, namedTensor{name: name,
		view: &view{block: h.data, dtype: dtype, shape: slices.Clone(shape), start: begin, bytes: int64(size)}})
	h.keyPos = append(h.keyPos, int32(pos))
	return nil
}

// checkLayout sees to it that the tensors cover the data section: no hole, no overlap, nothing after the last one.
func (h *headerReader) checkLayout() error {
	order := make([]int32, len(h.tensors))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		v, w := h.tensors[a].view, h.tensors[b].view
		return cmp.Or(cmp.Compare(v.start, w.start), cmp.Compare(v.bytes, w.bytes), cmp.Compare(a, b))
	})
	pos, before := int64(0), "the header"
	for _, i := range order {
		t := &h.tensors[i]
		if t.view.start != pos {
			what := "a hole"
			if t.view.start < pos {
				what = "an overlap"
			}
			return &Error{Place: h.json.place(int(h.keyPos[i])), Name: "tensor " + quote(t.name),
				Found:   fmt.Sprintf("%s: it begins at %d, %s ends at %d", what, t.view.start, before, pos),
				Allowed: "tensors one after another without holes or overlaps"}
		}
		if t.view.bytes > 0 {
			pos, before = pos+t.view.bytes, "tensor "+quote(t.name)
		}
	}
	if pos != h.data.size {
		return &Error{Place: fmt.Sprintf("data, byte %d", pos),
			Found:   fmt.Sprintf("%d bytes after the last tensor", h.data.size-pos),
			Allowed: "nothing"}
	}
	return nil
}
