package npy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

const (
	magic     = "\x93NUMPY"
	maxHeader = 1 << 16 // bytes of the dict; NumPy itself writes some 100 and refuses more than 10000 by default
	maxRank   = 64      // NumPy's own limit since 2.0
)

// header is what the dict of an .npy file says.
type header struct {
	dtype     tensor.DType
	bigEndian bool
	fortran   bool
	shape     []int
}

// splitHeader finds the dict: magic, two bytes of version, its length in 2 (version 1) or 4 bytes, the dict. What
// follows it is the data.
func splitHeader(file []byte) (dict, data []byte, err error) {
	if !bytes.HasPrefix(file, []byte(magic)) {
		return nil, nil, errorAt("header", "starts with %q, want %q", file[:min(len(file), len(magic))], magic)
	}
	rest := file[len(magic):]
	if len(rest) < 2 {
		return nil, nil, errorAt("header", "ends after the magic, want a version")
	}
	major, minor := rest[0], rest[1]
	rest = rest[2:]
	field := 4
	switch {
	case minor != 0 || major < 1 || major > 3:
		return nil, nil, errorAt("header", "is of version %d.%d, want 1.0, 2.0 or 3.0", major, minor)
	case major == 1:
		field = 2
	}
	if len(rest) < field {
		return nil, nil, errorAt("header", "ends inside its length")
	}
	var size uint64
	if field == 2 {
		size = uint64(binary.LittleEndian.Uint16(rest))
	} else {
		size = uint64(binary.LittleEndian.Uint32(rest))
	}
	rest = rest[field:]
	if size > maxHeader {
		return nil, nil, errorAt("header", "claims %d bytes, want at most %d", size, maxHeader)
	}
	if size > uint64(len(rest)) {
		return nil, nil, errorAt("header", "claims %d bytes, but %d are left in the file", size, len(rest))
	}
	if !utf8.Valid(rest[:size]) {
		return nil, nil, errorAt("header", "is not UTF-8")
	}
	return rest[:size], rest[size:], nil
}

// parseHeader reads the Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }: exactly these three
// keys, once each, in any order.
func parseHeader(dict []byte) (*header, error) {
	p := &parser{text: string(dict)}
	h := &header{}
	seen := map[string]bool{}
	p.expect("{")
	for p.err == nil && !p.accept("}") {
		key := p.str()
		if seen[key] {
			p.fail("key %q stands twice", key)
		}
		seen[key] = true
		p.expect(":")
		p.value(h, key)
		if !p.accept(",") {
			p.expect("}")
			break
		}
	}
	p.end()
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			p.fail("has no key %q", key)
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return h, nil
}

// parser reads the few Python literals that occur. The first error stays.
type parser struct {
	text string
	at   int
	err  error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = errorAt("header", "byte %d: %s", p.at, fmt.Sprintf(format, args...))
	}
}

func (p *parser) skipSpace() {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\n' || p.text[p.at] == '\t') {
		p.at++
	}
}

// accept takes token if it comes next.
func (p *parser) accept(token string) bool {
	p.skipSpace()
	if p.err != nil || len(p.text)-p.at < len(token) || p.text[p.at:p.at+len(token)] != token {
		return false
	}
	p.at += len(token)
	return true
}

func (p *parser) expect(token string) {
	if !p.accept(token) {
		p.fail("found %s, want %q", p.next(), token)
	}
}

// next quotes a little of what comes next, for messages.
func (p *parser) next() string {
	if p.at >= len(p.text) {
		return "the end"
	}
	return fmt.Sprintf("%q", p.text[p.at:min(len(p.text), p.at+16)])
}

func (p *parser) end() {
	if p.skipSpace(); p.at < len(p.text) {
		p.fail("found %s after the dict, want white space", p.next())
	}
}

// str reads a quoted string without escapes: neither the keys nor a number's descr has any.
func (p *parser) str() string {
	quote := byte('\'')
	if !p.accept("'") {
		if !p.accept(`"`) {
			p.fail("found %s, want a quoted string", p.next())
			return ""
		}
		quote = '"'
	}
	for i := p.at; i < len(p.text); i++ {
		switch p.text[i] {
		case quote:
			s := p.text[p.at:i]
			p.at = i + 1
			return s
		case '\\', '\n':
			p.fail("found an escape or a line break inside a string, want neither")
			return ""
		}
	}
	p.fail("found a string without an end")
	return ""
}

func (p *parser) value(h *header, key string) {
	switch {
	case p.err != nil:
	case key == "descr":
		p.descr(h)
	case key == "fortran_order":
		h.fortran = p.accept("True")
		if !h.fortran && !p.accept("False") {
			p.fail("found %s, want True or False", p.next())
		}
	case key == "shape":
		h.shape = p.tuple()
	default:
		p.fail("unknown key %q, want \"descr\", \"fortran_order\" or \"shape\"", key)
	}
}

// descr reads a byte order and a number type, such as '<f4'.
func (p *parser) descr(h *header) {
	if p.accept("[") {
		p.fail("\"descr\" is of a structured type, want a number type")
		return
	}
	s := p.str()
	if p.err != nil {
		return
	}
	const allowed = "'<' or '>' (or '|' for one byte) and one of f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1"
	if len(s) != 3 {
		p.fail("\"descr\" is %q, want %s", s, allowed)
		return
	}
	for _, d := range descrs() {
		if d.code == s[1:] {
			h.dtype = d.dtype
		}
	}
	order := s[0]
	known := order == '<' || order == '>' || order == '|' && h.dtype.Size() == 1
	if h.dtype == tensor.Invalid || !known {
		p.fail("\"descr\" is %q, want %s", s, allowed)
		return
	}
	h.bigEndian = order == '>'
}

// tuple reads (), (2,) or (2, 3): a lone (2) is a number in Python, and NumPy refuses it. Python 2 wrote (2L,).
func (p *parser) tuple() []int {
	shape := []int{}
	p.expect("(")
	for p.err == nil && !p.accept(")") {
		shape = append(shape, p.number())
		if len(shape) > maxRank {
			p.fail("\"shape\" has more than %d dimensions", maxRank)
		}
		if !p.accept(",") {
			if len(shape) == 1 {
				p.fail("found %s, want \",\"", p.next())
			}
			p.expect(")")
			break
		}
	}
	return shape
}

func (p *parser) number() int {
	p.skipSpace()
	start := p.at
	n := 0
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		digit := int(p.text[p.at] - '0')
		if n > (math.MaxInt-digit)/10 {
			p.fail("\"shape\" has a dimension above %d", math.MaxInt)
			return 0
		}
		n = 10*n + digit
		p.at++
	}
	digits := p.at - start
	if digits == 0 || digits > 1 && p.text[start] == '0' {
		p.at = start
		p.fail("found %s, want a number of the shape", p.next())
	}
	if p.at < len(p.text) && p.text[p.at] == 'L' {
		p.at++
	}
	return n
}

type descr struct {
	code  string
	dtype tensor.DType
}

func descrs() []descr {
	return []descr{
		{"f2", tensor.Float16}, {"f4", tensor.Float32}, {"f8", tensor.Float64},
		{"i1", tensor.Int8}, {"i2", tensor.Int16}, {"i4", tensor.Int32}, {"i8", tensor.Int64},
		{"u1", tensor.Uint8}, {"u2", tensor.Uint16}, {"u4", tensor.Uint32}, {"u8", tensor.Uint64},
		{"b1", tensor.Bool},
	}
}
