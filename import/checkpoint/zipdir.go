package checkpoint

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// The parts of the zip format that a checkpoint uses. Names and sizes: PKWARE's APPNOTE.TXT 6.3.10, section 4.3.
const (
	localSig        = "PK\x03\x04"
	centralSig      = "PK\x01\x02"
	endSig          = "PK\x05\x06"
	end64Sig        = "PK\x06\x06"
	end64LocatorSig = "PK\x06\x07"
	descriptorSig   = "PK\x07\x08"

	localLen        = 30
	centralLen      = 46
	endLen          = 22
	end64Len        = 56
	end64LocatorLen = 20

	methodStored  = 0
	methodDeflate = 8

	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3
	flagStrong     = 1 << 6
	flagMasked     = 1 << 13

	extraZip64 = 1
)

// Bytes a directory entry takes in memory, and at least in the file: a local and a central header with a name of 1.
const (
	zipEntryBytes = 64 + 8 + 48
	zipEntryMin   = localLen + centralLen + 2
)

// zipEntry is one file of an archive.
type zipEntry struct {
	name   string
	off    int64 // of the local header
	data   int64 // of the content; set by checkLocal
	stored int64 // compressed size
	size   int64
	crc    uint32
	flags  uint16
	method uint16
}

// zipDir is an archive's directory, checked against the local headers: the only way to its content.
type zipDir struct {
	entries []zipEntry // in the order of the directory
	byName  []int32
	noSums  bool // all checksums are 0: torch.save can be told to leave them out
}

func entryName(e *zipEntry) string { return e.name }

func (d *zipDir) find(name string) (*zipEntry, bool) {
	i, ok := find(d.entries, d.byName, name, entryName)
	if !ok {
		return nil, false
	}
	return &d.entries[i], true
}

// block gives the content of an entry.
func (d *zipDir) block(e *zipEntry) *block {
	return &block{kind: "record", name: e.name, off: e.data, size: e.size, stored: e.stored,
		deflated: e.method == methodDeflate, checksum: !d.noSums, crc: e.crc}
}

// readZip reads and checks the directory. What it accepts has one meaning for every reader: the archive starts at byte 0,
// ends with the file, names are unique and plain, local headers agree with the directory and nothing overlaps.
func readZip(src source, lim limits, b *budget) (*zipDir, error) {
	end, err := findZipEnd(src)
	if err != nil {
		return nil, at(err, "zip directory")
	}
	if end.entries > uint64(lim.entries) {
		return nil, &Error{Place: "zip directory", Found: fmt.Sprintf("%d entries", end.entries),
			Allowed: fmt.Sprintf("at most %d", lim.entries)}
	}
	if end.entries > uint64(src.size/zipEntryMin) || end.entries > uint64(end.size/centralLen) {
		return nil, &Error{Place: "zip directory", Found: fmt.Sprintf("%d entries in %d bytes", end.entries, end.size),
			Allowed: fmt.Sprintf("entries of %d bytes or more", centralLen)}
	}
	if err := b.charge(end.size + int64(end.entries)*zipEntryBytes); err != nil {
		return nil, at(err, "zip directory")
	}
	text, err := src.readString(end.off, end.size)
	if err != nil {
		return nil, at(err, "zip directory")
	}
	d := &zipDir{entries: make([]zipEntry, 0, end.entries)}
	for pos := 0; pos < len(text); {
		e, n, err := parseCentral(text[pos:])
		if err != nil {
			return nil, at(err, fmt.Sprintf("zip directory, byte %d", end.off+int64(pos)))
		}
		if len(d.entries) == cap(d.entries) {
			return nil, &Error{Place: "zip directory", Found: fmt.Sprintf("more than %d entries", cap(d.entries)),
				Allowed: "as many as the end record says"}
		}
		d.entries = append(d.entries, e)
		pos += n
	}
	if uint64(len(d.entries)) != end.entries {
		return nil, &Error{Place: "zip directory", Found: fmt.Sprintf("%d entries", len(d.entries)),
			Allowed: fmt.Sprintf("%d, as the end record says", end.entries)}
	}
	return d, d.check(src, lim, end.off)
}

func (d *zipDir) check(src source, lim limits, dirOff int64) error {
	d.byName = sortedBy(d.entries, entryName)
	if i, _, dup := duplicate(d.entries, d.byName, entryName); dup {
		return &Error{Place: "zip directory", Name: "record " + quote(d.entries[i].name), Found: "two entries of that name",
			Allowed: "one"}
	}
	inflated := int64(0)
	d.noSums = true
	for i := range d.entries {
		e := &d.entries[i]
		if err := e.checkSizes(lim, src.size); err != nil {
			return at(err, "record "+quote(e.name))
		}
		d.noSums = d.noSums && e.crc == 0
		if e.method != methodDeflate {
			continue
		}
		if inflated += e.size; inflated > 4*src.size+lim.inflate {
			return &Error{Place: "zip directory",
				Found:   fmt.Sprintf("compressed records of more than %d bytes", 4*src.size+lim.inflate),
				Allowed: "4 x the file's size plus a few MiB"}
		}
	}
	return checkLocals(src, d.entries, dirOff)
}

// checkSizes holds what the directory says of one entry against the file.
func (e *zipEntry) checkSizes(lim limits, fileSize int64) error {
	switch {
	case e.flags&(flagEncrypted|flagStrong|flagMasked) != 0:
		return &Error{Found: "encrypted content", Allowed: "an archive without encryption"}
	case e.method != methodStored && e.method != methodDeflate:
		return &Error{Found: fmt.Sprintf("compression method %d", e.method), Allowed: "0 (stored) or 8 (deflate)"}
	case e.stored > fileSize:
		return &Error{Found: fmt.Sprintf("%d bytes of content", e.stored), Allowed: fmt.Sprintf("the file's %d", fileSize)}
	case e.method == methodStored && e.size != e.stored:
		return &Error{Found: fmt.Sprintf("stored content of %d bytes with a size of %d", e.stored, e.size),
			Allowed: "equal sizes"}
	case e.method == methodDeflate && e.size/lim.ratio > e.stored:
		return &Error{Found: fmt.Sprintf("%d bytes compressed to %d", e.size, e.stored),
			Allowed: fmt.Sprintf("a ratio of at most %d", lim.ratio)}
	}
	return nil
}

// zipEnd is what the end of an archive says about its directory.
type zipEnd struct {
	entries   uint64
	off, size int64
}

// findZipEnd finds the end record, which must be the last thing in the file, and the directory, which must lie right in
// front of it: offsets that only fit after a shift mean that something was put in front of the archive.
func findZipEnd(src source) (zipEnd, error) {
	tailLen := min(src.size, endLen+math.MaxUint16+end64LocatorLen)
	tailOff := src.size - tailLen
	tail, err := src.readString(tailOff, tailLen)
	if err != nil {
		return zipEnd{}, err
	}
	pos := strings.LastIndex(tail, endSig)
	if pos < 0 || len(tail)-pos < endLen {
		return zipEnd{}, &Error{Found: "no end record: the file is cut short", Allowed: "a whole zip archive"}
	}
	if comment := le16(tail, pos+20); pos+endLen+comment != len(tail) {
		return zipEnd{}, &Error{Found: fmt.Sprintf("%d bytes after the end record", len(tail)-pos-endLen),
			Allowed: fmt.Sprintf("its comment of %d", comment)}
	}
	disks := le16(tail, pos+4) | le16(tail, pos+6)
	end := zipEnd{entries: uint64(le16(tail, pos+10)), size: int64(le32(tail, pos+12)), off: int64(le32(tail, pos+16))}
	perDisk := uint64(le16(tail, pos+8))
	limit := tailOff + int64(pos)
	if at64 := pos - end64LocatorLen; at64 >= 0 && tail[at64:at64+4] == end64LocatorSig {
		if end, limit, err = readZip64End(src, tail[at64:pos], limit-end64LocatorLen, end); err != nil {
			return zipEnd{}, err
		}
		disks, perDisk = 0, end.entries
	}
	if disks != 0 || perDisk != end.entries {
		return zipEnd{}, &Error{Found: "an archive in several parts", Allowed: "one file"}
	}
	if end.off < 0 || end.size < 0 || end.size > limit || end.off != limit-end.size {
		return zipEnd{}, &Error{Found: fmt.Sprintf("a directory of %d bytes at byte %d", end.size, end.off),
			Allowed: fmt.Sprintf("one that ends at byte %d: bytes were put in front of the archive, or cut out", limit)}
	}
	return end, nil
}

// readZip64End follows the locator in front of the end record to the wide end record, which must end where the locator
// starts.
func readZip64End(src source, locator string, locatorOff int64, narrow zipEnd) (zipEnd, int64, error) {
	off := int64(le64(locator, 8))
	if le32(locator, 4) != 0 || le32(locator, 16) > 1 || off < 0 || off > locatorOff-end64Len {
		return zipEnd{}, 0, &Error{Found: fmt.Sprintf("a zip64 end record at byte %d", off),
			Allowed: fmt.Sprintf("one before byte %d of this file", locatorOff)}
	}
	rec, err := src.readString(off, end64Len)
	if err != nil {
		return zipEnd{}, 0, err
	}
	if rec[:4] != end64Sig || le64(rec, 4) != uint64(locatorOff-off-12) || le32(rec, 16) != 0 || le32(rec, 20) != 0 ||
		le64(rec, 24) != le64(rec, 32) {
		return zipEnd{}, 0, &Error{Found: fmt.Sprintf("no zip64 end record at byte %d", off),
			Allowed: "one that its locator names"}
	}
	wide := zipEnd{entries: le64(rec, 32), size: int64(le64(rec, 40)), off: int64(le64(rec, 48))}
	agree := func(narrow, wide, unset uint64) bool { return narrow == unset || narrow == wide }
	if !agree(narrow.entries, wide.entries, math.MaxUint16) || !agree(uint64(narrow.size), uint64(wide.size),
		math.MaxUint32) ||
		!agree(uint64(narrow.off), uint64(wide.off), math.MaxUint32) {
		return zipEnd{}, 0, &Error{Found: "two end records that disagree", Allowed: "equal ones"}
	}
	return wide, off, nil
}

// parseCentral reads one entry of the directory and its length there.
func parseCentral(s string) (zipEntry, int, error) {
	if len(s) < centralLen || s[:4] != centralSig {
		return zipEntry{}, 0, &Error{Found: "bytes that are no directory entry: " + hexBytes(s),
			Allowed: "a directory entry"}
	}
	nameLen, extraLen, commentLen := le16(s, 28), le16(s, 30), le16(s, 32)
	n := centralLen + nameLen + extraLen + commentLen
	if n > len(s) {
		return zipEntry{}, 0, &Error{Found: fmt.Sprintf("an entry of %d bytes", n),
			Allowed: fmt.Sprintf("the %d that are left", len(s))}
	}
	e := zipEntry{
		name:  s[centralLen : centralLen+nameLen],
		flags: uint16(le16(s, 8)), method: uint16(le16(s, 10)), crc: le32(s, 16),
	}
	if err := checkRecordName(e.name); err != nil {
		return zipEntry{}, 0, err
	}
	extra := s[centralLen+nameLen : centralLen+nameLen+extraLen]
	sizes, err := wideFields(extra, []uint32{le32(s, 24), le32(s, 20), le32(s, 42)})
	if err != nil {
		return zipEntry{}, 0, named(err, "record "+quote(e.name))
	}
	e.size, e.stored, e.off = sizes[0], sizes[1], sizes[2]
	if disk := le16(s, 34); disk != 0 {
		return zipEntry{}, 0, &Error{Name: "record " + quote(e.name), Found: fmt.Sprintf("disk %d", disk), Allowed: "0"}
	}
	return e, n, nil
}

// wideFields replaces each field that is all ones by the next number of the zip64 extra field. Fields must be in the format's
// order: size, compressed size, offset.
func wideFields[T octets](extra T, fields []uint32) ([]int64, error) {
	wide, has, err := findExtra(extra, extraZip64)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(fields))
	for i, f := range fields {
		out[i] = int64(f)
		if f != math.MaxUint32 || !has {
			continue
		}
		if len(wide) < 8 {
			return nil, &Error{Found: "a zip64 field that is too short", Allowed: "8 bytes for each number that needs it"}
		}
		v := le64(wide, 0)
		if v > math.MaxInt64 {
			return nil, &Error{Found: fmt.Sprintf("the number %d", v), Allowed: "sizes and offsets inside the file"}
		}
		out[i], wide = int64(v), wide[8:]
	}
	return out, nil
}

// findExtra finds a field among an entry's extra fields: id, length, content. Zero bytes at the end are padding.
func findExtra[T octets](extra T, id int) (content T, ok bool, err error) {
	for len(extra) >= 4 {
		n := le16(extra, 2)
		if n > len(extra)-4 {
			return content, false, &Error{Found: fmt.Sprintf("an extra field of %d bytes", n),
				Allowed: fmt.Sprintf("the %d left", len(extra)-4)}
		}
		if le16(extra, 0) == id {
			if ok {
				return content, false, &Error{Found: fmt.Sprintf("two extra fields %d", id), Allowed: "one"}
			}
			content, ok = extra[4:4+n], true
		}
		extra = extra[4+n:]
	}
	return content, ok, nil
}

// checkRecordName refuses names that mean something to a file system, though nothing is ever written.
func checkRecordName(name string) error {
	bad := ""
	switch {
	case name == "":
		bad = "an empty name"
	case !utf8.ValidString(name):
		bad = "a name that is not UTF-8"
	case strings.HasPrefix(name, "/"):
		bad = "an absolute name"
	case strings.ContainsAny(name, "\\\x00"):
		bad = "a backslash or a NUL in the name"
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		if bad == "" && (part == "" || part == "." || part == "..") {
			bad = "an empty, \".\" or \"..\" part in the name"
		}
	}
	if bad == "" {
		return nil
	}
	return &Error{Name: "record " + quote(name), Found: bad, Allowed: "plain relative names"}
}

type octets interface{ ~string | ~[]byte }

func le16[T octets](s T, i int) int    { return int(s[i]) | int(s[i+1])<<8 }
func le32[T octets](s T, i int) uint32 { return uint32(le16(s, i)) | uint32(le16(s, i+2))<<16 }
func le64[T octets](s T, i int) uint64 { return uint64(le32(s, i)) | uint64(le32(s, i+4))<<32 }
