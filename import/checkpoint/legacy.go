package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// What torch.save wrote before 1.6, and still does on request: five pickles one after another, then the storages.
//
//	magic number, protocol version 1001, {"little_endian": True, ...}, the object, [storage keys]
//	for each key, in that order: int64 number of elements, the elements
const (
	legacyMagic    = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" // 0x1950a86a20f9469cfc6c, as LONG1 holds it
	legacyProtocol = 1001
	numelBytes     = 8
)

type legacyReader struct {
	src    source
	lim    limits
	budget *budget

	pos      int64
	storages map[string]*storage
}

func readTorchLegacy(src source, lim limits, b *budget) (*index, error) {
	r := &legacyReader{src: src, lim: lim, budget: b, storages: map[string]*storage{}}
	if err := r.header(); err != nil {
		return nil, err
	}
	root, n, err := r.pickle("object", newGlobals())
	if err != nil {
		return nil, err
	}
	keys, _, err := r.pickle("storage keys", nil)
	if err != nil {
		return nil, err
	}
	if err := r.layOut(keys); err != nil {
		return nil, err
	}
	x, err := flatten(root, n, src.size, lim, b)
	return x, at(err, "object")
}

// header reads the three pickles in front.
func (r *legacyReader) header() error {
	if _, _, err := r.pickle("magic number", nil); err != nil { // sniff has compared its bytes
		return err
	}
	version, _, err := r.pickle("protocol version", nil)
	if err != nil {
		return err
	}
	if version != any(int64(legacyProtocol)) {
		return &Error{Place: "protocol version", Found: typeName(version), Allowed: fmt.Sprint(legacyProtocol)}
	}
	info, _, err := r.pickle("system info", nil)
	if err != nil {
		return err
	}
	if d, ok := info.(*dict); ok {
		for i := range d.entries {
			if d.entries[i].key == "little_endian" && d.entries[i].value == any(true) {
				return nil
			}
		}
	}
	return &Error{Place: "system info", Found: "no little_endian: True", Allowed: "a file from a little-endian machine"}
}

// pickle finds where the next pickle ends, then interprets exactly that.
func (r *legacyReader) pickle(what string, globals map[globalName]*global) (any, int, error) {
	n, err := skim(r.src.section(r.pos, r.src.size-r.pos), r.lim.pickle)
	if err != nil {
		return nil, 0, at(err, what)
	}
	if err := r.budget.charge(n); err != nil {
		return nil, 0, at(err, what)
	}
	text, err := r.src.readString(r.pos, n)
	if err != nil {
		return nil, 0, at(err, what)
	}
	r.pos += n
	m := &machine{text: text, record: what, lim: r.lim, budget: r.budget, globals: globals, storage: r.storage,
		fileSize: r.src.size}
	v, err := m.run()
	return v, len(text), err
}

// skim gives the length of the pickle at the start of a stream, by the layout of its opcodes alone. What it means, and
// whether that is allowed, is for the machine.
func skim(stream io.Reader, most int64) (int64, error) {
	r := bufio.NewReaderSize(stream, 32*kib)
	for n := int64(0); n < most; {
		code, err := r.ReadByte()
		if err != nil {
			return 0, cutOff(err)
		}
		if n++; opcodes[code].name == "STOP" {
			return n, nil
		}
		if opcodes[code].name == "" {
			return 0, refuseOpcode(code, opcodes[code].name)
		}
		k, err := skipArgument(r, opcodes[code].form, most-n)
		if err != nil {
			return 0, err
		}
		n += k
	}
	return 0, &Error{Found: "no end of the pickle", Allowed: fmt.Sprintf("one within %d bytes", most)}
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return &Error{Found: "the end of the file", Allowed: "the end of the pickle"}
	}
	return systemError(err)
}

func skipArgument(r *bufio.Reader, f argForm, most int64) (int64, error) {
	n := int64(0)
	for range f.lines {
		for c := byte(0); c != '\n'; n++ {
			var err error
			if c, err = r.ReadByte(); err != nil {
				return 0, cutOff(err)
			}
		}
	}
	rest := uint64(f.fixed)
	if f.count > 0 {
		head, err := r.Peek(int(f.count))
		if err != nil {
			return 0, cutOff(err)
		}
		length := uint64(0)
		for i, c := range head {
			length |= uint64(c) << (8 * i)
		}
		if length > uint64(most) {
			return 0, &Error{Found: fmt.Sprintf("an argument of %d bytes", length),
				Allowed: fmt.Sprintf("at most %d", most)}
		}
		rest = uint64(f.count) + length
	}
	k, err := r.Discard(int(rest))
	if err != nil {
		return 0, cutOff(err)
	}
	return n + int64(k), nil
}

// storage keeps what the object says; where the bytes are is known after the last pickle.
func (r *legacyReader) storage(id storageID) (*storage, error) {
	if id.view != nil && id.view != any(none{}) {
		return nil, &Error{Found: "a storage that is a view",
			Allowed: "whole storages: save the file again with torch >= 1.6"}
	}
	if s, ok := r.storages[id.key]; ok {
		return s, s.same(id)
	}
	size := int64(id.class.dtype.Size())
	if int64(id.numel) > r.src.size/size {
		return nil, &Error{Found: fmt.Sprintf("%d elements of %s", id.numel, id.class.dtype),
			Allowed: fmt.Sprintf("what the file's %d bytes hold", r.src.size)}
	}
	const storageBytes = 4*(16+8) + 56 + 128 // in the map, itself, and its block
	if err := r.budget.charge(storageBytes + int64(2*len(id.key))); err != nil {
		return nil, err
	}
	n := int64(id.numel) * size
	s := &storage{key: id.key, dtype: id.class.dtype, numel: id.numel,
		block: &block{kind: "storage", name: id.key, size: n, stored: n, off: -1}}
	r.storages[id.key] = s
	return s, nil
}

// layOut gives each storage its place: the bytes after the pickles, in the order of the keys, to the end of the file.
func (r *legacyReader) layOut(keys any) error {
	const place = "storage keys"
	l, ok := keys.(*list)
	if !ok {
		return &Error{Place: place, Found: typeName(keys), Allowed: "a list of strs"}
	}
	for _, k := range l.items {
		key, _ := k.(string)
		s, ok := r.storages[key]
		if !ok {
			return &Error{Place: place, Name: "storage " + quote(key), Found: "a key that the object does not use",
				Allowed: "its storages"}
		}
		if s.block.off >= 0 {
			return &Error{Place: place, Name: "storage " + quote(key), Found: "a second mention", Allowed: "one"}
		}
		if err := r.layOutOne(s); err != nil {
			return s.block.located(err)
		}
	}
	if len(l.items) != len(r.storages) {
		return &Error{Place: place, Found: fmt.Sprintf("%d keys", len(l.items)),
			Allowed: fmt.Sprintf("%d, one for each storage of the object", len(r.storages))}
	}
	if r.pos != r.src.size {
		return &Error{Place: fmt.Sprintf("byte %d", r.pos),
			Found:   fmt.Sprintf("%d bytes after the last storage", r.src.size-r.pos),
			Allowed: "nothing"}
	}
	return nil
}

func (r *legacyReader) layOutOne(s *storage) error {
	if s.block.size > r.src.size-r.pos-numelBytes {
		return &Error{Found: fmt.Sprintf("%d bytes left in the file", r.src.size-r.pos),
			Allowed: fmt.Sprintf("%d for %d elements of %s", s.block.size+numelBytes, s.numel, s.dtype)}
	}
	head, err := r.src.readString(r.pos, numelBytes)
	if err != nil {
		return err
	}
	if n := le64(head, 0); n != uint64(s.numel) {
		return &Error{Found: fmt.Sprintf("%d elements", n), Allowed: fmt.Sprintf("%d, as in the object", s.numel)}
	}
	s.block.off = r.pos + numelBytes
	r.pos += numelBytes + s.block.size
	return nil
}
