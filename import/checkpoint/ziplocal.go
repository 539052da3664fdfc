package checkpoint

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// localWindow is how much of the file is read at once around a local header. A header of PyTorch's, with its padding, takes
// about 100 bytes, and lies right behind the descriptor of the record before it.
const localWindow = 4 * kib

// checkLocals compares every local header, and descriptor, with the directory, and sees to it that the records lie one after
// another: the first at byte 0, none reaching into the next or into the directory.
func checkLocals(src source, entries []zipEntry, dirOff int64) error {
	order := make([]int32, len(entries))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(entries[a].off, entries[b].off) })
	w := &window{src: src}
	pos := int64(0)
	for k, i := range order {
		e := &entries[i]
		if k == 0 && e.off != 0 {
			return &Error{Place: "byte 0", Found: fmt.Sprintf("a first record at byte %d", e.off),
				Allowed: "nothing in front of the archive"}
		}
		if e.off < pos {
			return &Error{Place: "record " + quote(e.name),
				Found:   fmt.Sprintf("a start at byte %d, inside another record", e.off),
				Allowed: fmt.Sprintf("byte %d or later", pos)}
		}
		next, err := checkLocal(w, e, dirOff)
		if err != nil {
			return at(err, "record "+quote(e.name))
		}
		pos = next
	}
	return nil
}

// checkLocal compares one local header with the directory, sets where the content starts and returns where the record ends.
func checkLocal(w *window, e *zipEntry, dirOff int64) (int64, error) {
	if e.off > dirOff-localLen {
		return 0, errIntoDirectory(dirOff)
	}
	h, err := w.bytes(e.off, localLen)
	if err != nil {
		return 0, err
	}
	if string(h[:4]) != localSig {
		return 0, &Error{Found: fmt.Sprintf("bytes %s at byte %d", hexBytes(h), e.off), Allowed: "a local header"}
	}
	nameLen, extraLen := le16(h, 26), le16(h, 28)
	e.data = e.off + localLen + int64(nameLen) + int64(extraLen)
	if e.data > dirOff || e.stored > dirOff-e.data {
		return 0, errIntoDirectory(dirOff)
	}
	if h, err = w.bytes(e.off, localLen+nameLen+extraLen); err != nil {
		return 0, err
	}
	if err := compareLocal(h, e); err != nil {
		return 0, err
	}
	if e.flags&flagDescriptor == 0 {
		return e.data + e.stored, nil
	}
	return checkDescriptor(w, e, dirOff)
}

func errIntoDirectory(dirOff int64) error {
	return &Error{Found: "a record that reaches into the directory", Allowed: fmt.Sprintf("an end before byte %d", dirOff)}
}

func compareLocal(h []byte, e *zipEntry) error {
	rest := h[localLen:]
	nameLen := le16(h, 26)
	differs := func(what string, local, central any) error {
		return &Error{Found: fmt.Sprintf("%s %v in the local header", what, local),
			Allowed: fmt.Sprintf("%v, as in the directory", central)}
	}
	flags, method := uint16(le16(h, 6)), uint16(le16(h, 8))
	const matters = flagEncrypted | flagDescriptor | flagStrong | flagMasked
	if string(rest[:nameLen]) != e.name {
		return differs("name", quote(string(rest[:nameLen])), quote(e.name))
	}
	if flags&matters != e.flags&matters {
		return differs("flags", fmt.Sprintf("%#x", flags), fmt.Sprintf("%#x", e.flags))
	}
	if method != e.method {
		return differs("method", method, e.method)
	}
	sizes, err := wideFields(rest[nameLen:], []uint32{le32(h, 22), le32(h, 18)})
	if err != nil {
		return err
	}
	// With a descriptor the local header was written before the sizes were known: they may be absent.
	later := e.flags&flagDescriptor != 0
	absent := func(v int64) bool { return later && (v == 0 || v == math.MaxUint32) }
	if sizes[0] != e.size && !absent(sizes[0]) {
		return differs("size", sizes[0], e.size)
	}
	if sizes[1] != e.stored && !absent(sizes[1]) {
		return differs("compressed size", sizes[1], e.stored)
	}
	if crc := le32(h, 14); crc != e.crc && !(later && crc == 0) {
		return differs("checksum", fmt.Sprintf("%08x", crc), fmt.Sprintf("%08x", e.crc))
	}
	return nil
}

// checkDescriptor finds the descriptor behind the content: the checksum and both sizes, in 4 or 8 bytes each, after an
// optional signature.
func checkDescriptor(w *window, e *zipEntry, dirOff int64) (int64, error) {
	off := e.data + e.stored
	s, err := w.bytes(off, int(min(24, dirOff-off)))
	if err != nil {
		return 0, err
	}
	for _, sig := range []int{4, 0} {
		if sig == 4 && (len(s) < 4 || string(s[:4]) != descriptorSig) {
			continue
		}
		if d := s[sig:]; len(d) >= 12 && le32(d, 0) == e.crc {
			if uint64(le32(d, 4)) == uint64(e.stored) && uint64(le32(d, 8)) == uint64(e.size) {
				return off + int64(sig) + 12, nil
			}
			if len(d) >= 20 && le64(d, 4) == uint64(e.stored) && le64(d, 12) == uint64(e.size) {
				return off + int64(sig) + 20, nil
			}
		}
	}
	return 0, &Error{Found: fmt.Sprintf("bytes %s behind the content", hexBytes(s)),
		Allowed: "a descriptor with the directory's checksum and sizes"}
}

// window keeps the last bytes read, for headers that follow each other closely.
type window struct {
	src source
	off int64
	buf []byte
}

// bytes gives n bytes at off, which the caller has compared with the file's size. They hold until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if from := off - w.off; from >= 0 && from+int64(n) <= int64(len(w.buf)) {
		return w.buf[from : from+int64(n)], nil
	}
	size := max(int(min(localWindow, w.src.size-off)), n)
	if cap(w.buf) < size {
		w.buf = make([]byte, 0, max(size, localWindow))
	}
	w.buf = w.buf[:size]
	w.off = off
	if err := w.src.readAt(w.buf, off); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:n], nil
}
