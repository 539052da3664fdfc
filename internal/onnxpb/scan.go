package onnxpb

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The limits of a scan. The depth is C++ protobuf's default; the memory lets every real model through and stops files
// whose objects would take many times their size (1,000,000 empty nodes are 2 MB on the wire and 260 MB decoded).
const (
	maxDepth    = 100
	memoryBase  = 64 << 20
	memoryRatio = 3
)

// scanner walks the wire form without allocating for what it reads.
type scanner struct {
	data   []byte
	budget int64
	spent  int64
	frames []frame // the messages being scanned, outermost first

	external bool // some tensor has an entry of external data
}

// frame is one message under scan: data[start:end], reached by a field of the frame below it.
type frame struct {
	schema     *schema
	start, end int
	number     protowire.Number // the field being read
	at         int              // where its tag begins
}

// scan checks that data is the wire form of a message that proto.Unmarshal will accept within the memory budget.
func scan(data []byte, d protoreflect.MessageDescriptor) error {
	s := &scanner{data: data, budget: memoryRatio*int64(len(data)) + memoryBase}
	return s.message(newSchema(d), 0, len(data))
}

func (s *scanner) message(sch *schema, start, end int) error {
	if len(s.frames) == maxDepth {
		return s.fail(start, fmt.Sprintf("messages are nested more than %d deep", maxDepth), "")
	}
	s.frames = append(s.frames, frame{schema: sch, start: start, end: end})
	top := len(s.frames) - 1
	var seen uint64
	for pos := start; pos < end; {
		number, wire, n := protowire.ConsumeTag(s.data[pos:end])
		s.frames[top].number, s.frames[top].at = number, pos
		if n < 0 {
			s.frames[top].number = 0
			return s.fail(pos, "the field's tag is "+describe(protowire.ParseError(n)), "a protobuf field")
		}
		f := sch.field(number)
		s.external = s.external || f != nil && f.external
		if f != nil && !f.repeated {
			if seen&f.bit != 0 {
				return s.fail(pos, "the field is present twice", "once")
			}
			seen |= f.bit
		}
		next, err := s.value(f, wire, pos+n, end)
		if err != nil {
			return err
		}
		pos = next
	}
	s.frames = s.frames[:top]
	return nil
}

// value checks the value at pos and returns where the next field begins. f is nil for a field that is not declared.
func (s *scanner) value(f *field, wire protowire.Type, pos, end int) (int, error) {
	packed := f != nil && f.packable && wire == protowire.BytesType
	if f != nil && wire != f.wire && !packed {
		return 0, s.fail(pos, fmt.Sprintf("the field has wire type %d", wire), fmt.Sprintf("wire type %d", f.wire))
	}
	if wire == protowire.BytesType {
		return s.bytes(f, pos, end)
	}
	n := consumeScalar(wire, s.data[pos:end])
	if n == wireUnknown {
		return 0, s.fail(pos, fmt.Sprintf("the field has wire type %d", wire), "wire type 0, 1, 2 or 5")
	}
	if n < 0 {
		return 0, s.fail(pos, "the number is "+describe(protowire.ParseError(n)), "")
	}
	if f != nil {
		if err := s.charge(pos, f.cost); err != nil {
			return 0, err
		}
	}
	return pos + n, nil
}

// wireUnknown tells groups (which ONNX never used) and the unassigned wire types from protowire's error codes.
const wireUnknown = math.MinInt

func consumeScalar(wire protowire.Type, b []byte) int {
	switch wire {
	case protowire.VarintType:
		_, n := protowire.ConsumeVarint(b)
		return n
	case protowire.Fixed32Type:
		_, n := protowire.ConsumeFixed32(b)
		return n
	case protowire.Fixed64Type:
		_, n := protowire.ConsumeFixed64(b)
		return n
	}
	return wireUnknown
}

// bytes checks a length-delimited value: a message, a string, bytes, packed numbers or an undeclared field.
func (s *scanner) bytes(f *field, pos, end int) (int, error) {
	length, n := protowire.ConsumeVarint(s.data[pos:end])
	if n < 0 {
		return 0, s.fail(pos, "the length is "+describe(protowire.ParseError(n)), "")
	}
	start := pos + n
	if length > uint64(end-start) {
		return 0, s.fail(pos, fmt.Sprintf("the length is %d", length),
			fmt.Sprintf("at most the %d bytes that are left", end-start))
	}
	stop := start + int(length)
	switch {
	case f == nil:
		return stop, nil
	case f.message != nil:
		if err := s.charge(pos, f.cost); err != nil {
			return 0, err
		}
		return stop, s.message(f.message, start, stop)
	case f.packable:
		return stop, s.packed(f, start, stop)
	case f.text && !utf8.Valid(s.data[start:stop]):
		return 0, s.fail(start, "the text is not UTF-8", "")
	}
	return stop, s.charge(pos, f.cost)
}

func (s *scanner) packed(f *field, start, stop int) error {
	count := int64(0)
	for pos := start; pos < stop; count++ {
		n := consumeScalar(f.wire, s.data[pos:stop])
		if n < 0 {
			return s.fail(pos, fmt.Sprintf("packed number %d is %s", count, describe(protowire.ParseError(n))), "")
		}
		pos += n
	}
	return s.charge(start, count*f.cost)
}

func (s *scanner) charge(pos int, cost int64) error {
	if s.spent += cost; s.spent > s.budget {
		return s.fail(pos, fmt.Sprintf("decoding takes more than %d bytes of memory", s.budget),
			fmt.Sprintf("at most %d x the file's %d bytes + %d", memoryRatio, len(s.data), memoryBase))
	}
	return nil
}

// describe shortens protowire's errors to what completes "the tag is ...".
func describe(err error) string {
	text := strings.TrimPrefix(err.Error(), "proto:")
	text = strings.TrimSpace(strings.ReplaceAll(text, "\u00a0", " "))
	switch {
	case strings.Contains(text, "unexpected EOF"):
		return "cut off"
	case strings.Contains(text, "overflow"):
		return "longer than 64 bits"
	}
	return text
}

func (s *scanner) fail(pos int, found, allowed string) error {
	return &Error{Place: s.place(), Offset: int64(pos), Found: found, Allowed: allowed}
}

// place writes the path of the field being read, such as graph.node[3].attribute[0].t. An index is found by counting in
// the enclosing message, so that a scan without errors pays nothing for it.
func (s *scanner) place() string {
	var parts []string
	for _, fr := range s.frames {
		f := fr.schema.field(fr.number)
		switch {
		case fr.number == 0:
			continue
		case f == nil:
			parts = append(parts, fmt.Sprintf("field %d", fr.number))
		case f.repeated:
			parts = append(parts, fmt.Sprintf("%s[%d]", f.name, s.count(fr)))
		default:
			parts = append(parts, f.name)
		}
	}
	return strings.Join(parts, ".")
}

// count is how many fields of that number begin in the frame before the one being read; all of them were scanned.
func (s *scanner) count(fr frame) int {
	count := 0
	for pos := fr.start; pos < fr.at; {
		number, wire, n := protowire.ConsumeTag(s.data[pos:fr.at])
		if n < 0 {
			break
		}
		pos += n
		m := protowire.ConsumeFieldValue(number, wire, s.data[pos:fr.at])
		if m < 0 {
			break
		}
		pos += m
		if number == fr.number {
			count++
		}
	}
	return count
}
