package checkpoint

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// opcode is one row of the machine's table.
type opcode struct {
	name string
	form argForm
	run  func(m *machine, arg string) error // nil: known, and refused
}

// The opcodes that other code asks for.
const (
	opProto      = 0x80
	opBinGet     = 'h'
	opLongBinGet = 'j'
)

var (
	noArg  = argForm{}
	byte1  = argForm{fixed: 1}
	byte2  = argForm{fixed: 2}
	byte4  = argForm{fixed: 4}
	byte8  = argForm{fixed: 8}
	count1 = argForm{count: 1}
	count4 = argForm{count: 4}
	count8 = argForm{count: 8}
	line   = argForm{lines: 1}
	lines2 = argForm{lines: 2}
)

// opcodes is the table. What CPython's picklers write in protocols 2 to 5 for the values of values.go has a run function;
// the rest is named so that an error can say what was met.
var opcodes = [256]opcode{
	opProto: {"PROTO", byte1, (*machine).opProto},
	0x95:    {"FRAME", byte8, (*machine).opFrame},
	'.':     {"STOP", noArg, (*machine).opStop},

	'N':  {"NONE", noArg, func(m *machine, _ string) error { return m.push(none{}) }},
	0x88: {"NEWTRUE", noArg, func(m *machine, _ string) error { return m.push(true) }},
	0x89: {"NEWFALSE", noArg, func(m *machine, _ string) error { return m.push(false) }},
	'J':  {"BININT", byte4, func(m *machine, arg string) error { return m.pushInt(int64(int32(littleEndian(arg)))) }},
	'K':  {"BININT1", byte1, func(m *machine, arg string) error { return m.pushInt(int64(littleEndian(arg))) }},
	'M':  {"BININT2", byte2, func(m *machine, arg string) error { return m.pushInt(int64(littleEndian(arg))) }},
	0x8a: {"LONG1", count1, (*machine).opLong},
	0x8b: {"LONG4", count4, (*machine).opLong},
	'G':  {"BINFLOAT", byte8, (*machine).opFloat},

	'X':  {"BINUNICODE", count4, (*machine).opText},
	0x8c: {"SHORT_BINUNICODE", count1, (*machine).opText},
	0x8d: {"BINUNICODE8", count8, (*machine).opText},
	'T':  {"BINSTRING", count4, (*machine).opOldString},
	'U':  {"SHORT_BINSTRING", count1, (*machine).opOldString},
	'B':  {"BINBYTES", count4, (*machine).opBytes},
	'C':  {"SHORT_BINBYTES", count1, (*machine).opBytes},
	0x8e: {"BINBYTES8", count8, (*machine).opBytes},
	0x96: {"BYTEARRAY8", count8, (*machine).opBytes},

	'(':  {"MARK", noArg, (*machine).opMark},
	')':  {"EMPTY_TUPLE", noArg, func(m *machine, _ string) error { return m.pushTuple(nil) }},
	't':  {"TUPLE", noArg, (*machine).opTuple},
	0x85: {"TUPLE1", noArg, func(m *machine, _ string) error { return m.popTuple(1) }},
	0x86: {"TUPLE2", noArg, func(m *machine, _ string) error { return m.popTuple(2) }},
	0x87: {"TUPLE3", noArg, func(m *machine, _ string) error { return m.popTuple(3) }},
	']':  {"EMPTY_LIST", noArg, func(m *machine, _ string) error { return m.pushNew(&list{}, listBytes) }},
	'a':  {"APPEND", noArg, (*machine).opAppend},
	'e':  {"APPENDS", noArg, (*machine).opAppends},
	'}':  {"EMPTY_DICT", noArg, func(m *machine, _ string) error { return m.pushNew(&dict{}, dictBytes) }},
	's':  {"SETITEM", noArg, (*machine).opSetItem},
	'u':  {"SETITEMS", noArg, (*machine).opSetItems},
	0x8f: {"EMPTY_SET", noArg, func(m *machine, _ string) error { return m.push(set{}) }},
	0x90: {"ADDITEMS", noArg, (*machine).opAddItems},
	0x91: {"FROZENSET", noArg, (*machine).opFrozenSet},

	'q':          {"BINPUT", byte1, (*machine).opPut},
	'r':          {"LONG_BINPUT", byte4, (*machine).opPut},
	0x94:         {"MEMOIZE", noArg, (*machine).opMemoize},
	opBinGet:     {"BINGET", byte1, (*machine).opGet},
	opLongBinGet: {"LONG_BINGET", byte4, (*machine).opGet},

	'c':  {"GLOBAL", lines2, (*machine).opGlobal},
	0x93: {"STACK_GLOBAL", noArg, (*machine).opStackGlobal},
	'R':  {"REDUCE", noArg, (*machine).opReduce},
	'b':  {"BUILD", noArg, (*machine).opBuild},
	'Q':  {"BINPERSID", noArg, (*machine).opPersistent},

	0x81: {"NEWOBJ", noArg, nil}, 0x92: {"NEWOBJ_EX", noArg, nil}, 'i': {"INST", lines2, nil}, 'o': {"OBJ", noArg, nil},
	'P': {"PERSID", line, nil}, 0x82: {"EXT1", byte1, nil}, 0x83: {"EXT2", byte2, nil}, 0x84: {"EXT4", byte4, nil},
	0x97: {"NEXT_BUFFER", noArg, nil}, 0x98: {"READONLY_BUFFER", noArg, nil},
	'0': {"POP", noArg, nil}, '1': {"POP_MARK", noArg, nil}, '2': {"DUP", noArg, nil},
	'I': {"INT", line, nil}, 'L': {"LONG", line, nil}, 'F': {"FLOAT", line, nil}, 'S': {"STRING", line, nil},
	'V': {"UNICODE", line, nil}, 'p': {"PUT", line, nil}, 'g': {"GET", line, nil},
	'l': {"LIST", noArg, nil}, 'd': {"DICT", noArg, nil},
}

func (m *machine) opProto(arg string) error {
	if v := arg[0]; v < minProtocol || v > maxProtocol {
		return &Error{Found: fmt.Sprintf("pickle protocol %d", v),
			Allowed: fmt.Sprintf("%d to %d", minProtocol, maxProtocol)}
	}
	return nil
}

// opFrame only checks: a frame tells a reader how much to buffer, and the whole pickle is here.
func (m *machine) opFrame(arg string) error {
	if n := littleEndian(arg); n > uint64(len(m.text)-m.pos) {
		return &Error{Found: fmt.Sprintf("a frame of %d bytes", n),
			Allowed: fmt.Sprintf("the %d that are left", len(m.text)-m.pos)}
	}
	return nil
}

func (m *machine) opStop(string) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	if len(m.stack) != 0 || len(m.marks) != 0 {
		return &Error{Found: fmt.Sprintf("%d more values and %d marks on the stack", len(m.stack), len(m.marks)),
			Allowed: "one value"}
	}
	m.result, m.done = v, true
	return nil
}

// pushInt charges for the box that Go puts a number into; those below 256 are shared.
func (m *machine) pushInt(v int64) error {
	if v >= 0 && v < 256 {
		return m.push(v)
	}
	return m.pushNew(v, boxBytes)
}

// opLong reads a two's complement little-endian integer of any length.
func (m *machine) opLong(arg string) error {
	if len(arg) > m.lim.intBytes {
		return &Error{Found: fmt.Sprintf("an integer of %d bytes", len(arg)),
			Allowed: fmt.Sprintf("at most %d", m.lim.intBytes)}
	}
	if len(arg) <= 8 {
		shift := 64 - 8*len(arg) // sign extension; shifting by 64 gives 0
		return m.pushInt(int64(littleEndian(arg)<<shift) >> shift)
	}
	be := make([]byte, len(arg))
	for i := range be {
		be[len(arg)-1-i] = arg[i]
	}
	v := new(big.Int).SetBytes(be)
	if be[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(arg))))
	}
	return m.pushNew(v, 6*len(arg)+8*boxBytes)
}

func (m *machine) opFloat(arg string) error {
	return m.pushNew(math.Float64frombits(bits.ReverseBytes64(littleEndian(arg))), boxBytes)
}

func (m *machine) opText(arg string) error {
	if !utf8.ValidString(arg) {
		return &Error{Found: "a str that is not UTF-8: " + quote(arg), Allowed: "UTF-8"}
	}
	return m.pushNew(arg, boxBytes)
}

// opOldString reads a Python 2 str, which is text as often as bytes.
func (m *machine) opOldString(arg string) error {
	if !utf8.ValidString(arg) {
		return m.opBytes(arg)
	}
	return m.pushNew(arg, boxBytes)
}

func (m *machine) opBytes(string) error { return m.pushNew(opaque("bytes"), boxBytes) }

func (m *machine) opMark(string) error {
	var err error
	if m.marks, err = grow(m.budget, m.marks, 1, 8); err == nil {
		m.marks = append(m.marks, len(m.stack))
	}
	return err
}

func (m *machine) pushTuple(items []any) error {
	if err := m.budget.charge(int64(sliceBytes + anyBytes*len(items))); err != nil {
		return err
	}
	return m.push(append(tuple{}, items...))
}

func (m *machine) opTuple(string) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.pushTuple(items)
}

func (m *machine) popTuple(n int) error {
	items, err := m.popN(n)
	if err != nil {
		return err
	}
	return m.pushTuple(items)
}

func (m *machine) opAppend(string) error {
	items, err := m.popN(1)
	if err != nil {
		return err
	}
	return m.extend(items)
}

func (m *machine) opAppends(string) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.extend(items)
}

func (m *machine) opSetItem(string) error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	return m.setItems(items)
}

func (m *machine) opSetItems(string) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.setItems(items)
}

func (m *machine) opAddItems(string) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	if _, ok := v.(set); !ok {
		return &Error{Found: "elements for " + typeName(v), Allowed: "a set"}
	}
	return checkElements(items)
}

func (m *machine) opFrozenSet(string) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if err := checkElements(items); err != nil {
		return err
	}
	return m.push(set{})
}

// checkElements refuses tensors in sets: nothing could name them.
func checkElements(items []any) error {
	for _, v := range items {
		switch v.(type) {
		case *view, *list, *dict, tuple:
			return &Error{Found: typeName(v) + " in a set", Allowed: "numbers and texts"}
		}
	}
	return nil
}

func (m *machine) opGlobal(arg string) error {
	module, name, _ := strings.Cut(arg, "\n")
	return m.pushGlobal(globalName{module, name})
}

func (m *machine) opStackGlobal(string) error {
	name, err := m.pop()
	if err != nil {
		return err
	}
	module, err := m.pop()
	if err != nil {
		return err
	}
	moduleText, ok1 := module.(string)
	nameText, ok2 := name.(string)
	if !ok1 || !ok2 {
		return &Error{Found: typeName(module) + " and " + typeName(name), Allowed: "two strs, a module and a name"}
	}
	return m.pushGlobal(globalName{moduleText, nameText})
}

// opReduce applies a callable of the table to a tuple: the only kind of call there is.
func (m *machine) opReduce(string) error {
	args, err := m.pop()
	if err != nil {
		return err
	}
	callee, err := m.pop()
	if err != nil {
		return err
	}
	g, ok := callee.(*global)
	if !ok || g.call == nil {
		return &Error{Found: "a call of " + typeName(callee), Allowed: "a call of a listed function"}
	}
	list, ok := args.(tuple)
	if !ok {
		return &Error{Name: "global " + quote(g.String()), Found: typeName(args) + " as arguments", Allowed: "a tuple"}
	}
	v, err := g.call(m, list)
	if err != nil {
		return named(err, "global "+quote(g.String()))
	}
	return m.push(v)
}

// opBuild sets attributes of an object. Only an OrderedDict may have any here (state_dict() hangs a _metadata on its
// result), and they are not kept.
func (m *machine) opBuild(string) error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	if d, ok := v.(*dict); !ok || !d.ordered {
		return &Error{Found: "attributes for " + typeName(v), Allowed: "an OrderedDict"}
	}
	if _, ok := state.(*dict); !ok {
		return &Error{Found: typeName(state) + " as attributes", Allowed: "a dict"}
	}
	return nil
}
