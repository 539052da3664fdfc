package checkpoint

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	minProtocol = 2
	maxProtocol = 5
)

// machine interprets one pickle (Python's pickle protocols 2 to 5; CPython's Lib/pickletools.py describes the opcodes). It
// knows values, not Python objects: there is no opcode by which a file could name something to run.
type machine struct {
	text    string
	record  string // for errors: `record "archive/data.pkl"`
	lim     limits
	budget  *budget
	globals map[globalName]*global
	// storage resolves a persistent id.
	storage  func(id storageID) (*storage, error)
	fileSize int64

	pos, op int // next byte, first byte of the current opcode
	ops     int
	stack   []any
	marks   []int
	memo    *memo
	result  any
	done    bool
}

// storageID is what a pickle says of a storage.
type storageID struct {
	class *global
	key   string
	numel int
	view  any // of a legacy pickle; nil otherwise
}

// run interprets the pickle, which must fill the text.
func (m *machine) run() (any, error) {
	var err error
	if m.memo, err = newMemo(m.text, m.budget); err != nil {
		return nil, at(err, m.record)
	}
	for !m.done {
		if err := m.step(); err != nil {
			return nil, at(err, m.place())
		}
	}
	if m.pos != len(m.text) {
		m.op = m.pos
		return nil, &Error{Place: m.place(), Found: fmt.Sprintf("%d bytes after the end of the pickle", len(m.text)-m.pos),
			Allowed: "nothing"}
	}
	return m.result, nil
}

func (m *machine) place() string { return m.record + ", byte " + strconv.Itoa(m.op) }

func (m *machine) step() error {
	m.op = m.pos
	if m.pos >= len(m.text) {
		return &Error{Found: "the end of the pickle", Allowed: "STOP"}
	}
	if m.ops++; m.ops > m.lim.ops {
		return &Error{Found: fmt.Sprintf("more than %d opcodes", m.lim.ops), Allowed: "a smaller pickle"}
	}
	code := m.text[m.pos]
	if (m.op == 0) != (code == opProto) {
		return &Error{Found: fmt.Sprintf("opcode %#02x", code), Allowed: "PROTO as the first opcode and nowhere else"}
	}
	op := &opcodes[code]
	if op.run == nil {
		return refuseOpcode(code, op.name)
	}
	m.pos++
	arg, n, err := op.form.argument(m.text[m.pos:])
	if err == nil {
		m.pos += n
		err = op.run(m, arg)
	}
	if err != nil {
		return named(err, "opcode "+op.name)
	}
	return nil
}

// argForm is how the argument of an opcode is laid out: one of a fixed number of bytes, a counted string whose length takes
// count bytes, or a number of lines.
type argForm struct{ fixed, count, lines uint8 }

// argument cuts the argument off the text and says how many bytes it took. Of lines, the last newline is not part of it.
func (f argForm) argument(s string) (arg string, n int, err error) {
	short := func(n uint64, left int) error {
		return &Error{Found: fmt.Sprintf("an argument of %d bytes", n), Allowed: fmt.Sprintf("the %d that are left", left)}
	}
	switch {
	case f.count > 0:
		if len(s) < int(f.count) {
			return "", 0, short(uint64(f.count), len(s))
		}
		length := littleEndian(s[:f.count])
		if length > uint64(len(s)-int(f.count)) {
			return "", 0, short(length, len(s)-int(f.count))
		}
		n = int(f.count) + int(length)
		return s[f.count:n], n, nil
	case f.lines > 0:
		for range f.lines {
			k := strings.IndexByte(s[n:], '\n')
			if k < 0 {
				return "", 0, &Error{Found: "the end of the pickle", Allowed: "a line"}
			}
			n += k + 1
		}
		return s[:n-1], n, nil
	case len(s) < int(f.fixed):
		return "", 0, short(uint64(f.fixed), len(s))
	}
	return s[:f.fixed], int(f.fixed), nil
}

// littleEndian reads an unsigned number of up to 8 bytes.
func littleEndian(s string) uint64 {
	v := uint64(0)
	for i := len(s) - 1; i >= 0; i-- {
		v = v<<8 | uint64(s[i])
	}
	return v
}

func refuseOpcode(code byte, name string) error {
	e := &Error{Name: fmt.Sprintf("opcode %#02x", code), Found: "a byte that is no opcode",
		Allowed: "the opcodes that torch.save writes"}
	if name != "" {
		e.Name, e.Found = "opcode "+name, "an opcode that checkpoints do not use"
	}
	return e
}

func (m *machine) push(v any) error {
	if len(m.stack) >= m.lim.stack {
		return &Error{Found: fmt.Sprintf("a stack of more than %d values", m.lim.stack), Allowed: "a smaller pickle"}
	}
	var err error
	if m.stack, err = grow(m.budget, m.stack, 1, anyBytes); err == nil {
		m.stack = append(m.stack, v)
	}
	return err
}

// pushNew charges for what v itself takes, then pushes it.
func (m *machine) pushNew(v any, bytes int) error {
	if err := m.budget.charge(int64(bytes)); err != nil {
		return err
	}
	return m.push(v)
}

// floor is the bottom of the part of the stack that may be popped: values under a mark belong to whoever set it.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, &Error{Found: "an empty stack", Allowed: "a value to work on"}
	}
	return m.stack[len(m.stack)-1], nil
}

func (m *machine) pop() (any, error) {
	v, err := m.top()
	if err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return v, err
}

// popN gives the n values on top. They hold until the next push.
func (m *machine) popN(n int) ([]any, error) {
	from := len(m.stack) - n
	if from < m.floor() {
		return nil, &Error{Found: fmt.Sprintf("%d values on the stack", len(m.stack)-m.floor()),
			Allowed: fmt.Sprintf("%d to work on", n)}
	}
	items := m.stack[from:]
	m.stack = m.stack[:from]
	return items, nil
}

// popMark gives the values pushed since the last mark. They hold until the next push.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, &Error{Found: "no mark on the stack", Allowed: "MARK before"}
	}
	from := m.floor()
	items := m.stack[from:]
	m.marks = m.marks[:len(m.marks)-1]
	m.stack = m.stack[:from]
	return items, nil
}

// extend appends items to the list on top of the stack.
func (m *machine) extend(items []any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	l, ok := v.(*list)
	if !ok {
		return &Error{Found: "items for " + typeName(v), Allowed: "a list"}
	}
	if l.items, err = grow(m.budget, l.items, len(items), anyBytes); err == nil {
		l.items = append(l.items, items...)
	}
	return err
}

// setItems stores key and value pairs in the dict on top of the stack.
func (m *machine) setItems(items []any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	d, ok := v.(*dict)
	if !ok {
		return &Error{Found: "keys and values for " + typeName(v), Allowed: "a dict"}
	}
	if len(items)%2 != 0 {
		return &Error{Found: fmt.Sprintf("%d values", len(items)), Allowed: "a value for each key"}
	}
	if d.entries, err = grow(m.budget, d.entries, len(items)/2, entryBytes); err != nil {
		return err
	}
	for i := 0; i < len(items); i += 2 {
		var key string
		switch k := items[i].(type) {
		case string:
			key = k
		case int64:
			if err := m.budget.charge(boxBytes); err != nil {
				return err
			}
			key = strconv.FormatInt(k, 10)
		default:
			return &Error{Found: typeName(k) + " as a dict key", Allowed: "a str or an int"}
		}
		d.entries = append(d.entries, dictEntry{key: key, value: items[i+1]})
	}
	return nil
}
