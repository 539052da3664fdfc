package checkpoint

import (
	"compress/flate"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync/atomic"
)

// block is a run of bytes that tensors are views of: a zip record, one storage of a pickle stream, or the data section of
// a safetensors file.
type block struct {
	kind     string // for errors: record, storage or data
	name     string // of the record or storage
	off      int64  // in the file
	size     int64  // of the content
	stored   int64  // bytes in the file; differs from size when deflated
	deflated bool
	checksum bool   // crc holds the checksum of the content
	crc      uint32 // CRC-32, IEEE

	bigEndian bool // the elements are

	verified atomic.Bool
}

// place is where the block is, for errors: `record "archive/data/0"`.
func (b *block) place() string {
	if b.name == "" {
		return b.kind
	}
	return b.kind + " " + quote(b.name)
}

// located puts the block's place on an error of its content.
func (b *block) located(err error) error {
	if err == nil {
		return nil
	}
	return at(err, b.place())
}

// read copies [from, from+len(p)) of the content. The content's checksum is compared before the first bytes are given out:
// on p itself when p is the whole, else in a pass of its own, once.
func (b *block) read(src source, p []byte, from int64) error {
	return b.located(b.readChecked(src, p, from))
}

func (b *block) readChecked(src source, p []byte, from int64) error {
	check := b.unverified()
	inPlace := from == 0 && int64(len(p)) == b.size && !b.deflated
	if check && !inPlace {
		if err := b.verify(src); err != nil {
			return err
		}
	}
	if err := b.fill(src, p, from); err != nil {
		return err
	}
	if check && inPlace {
		return b.compare(crc32.ChecksumIEEE(p))
	}
	return nil
}

// unverified reports whether there is something that the content has to agree with, and nobody has looked yet: a checksum,
// or the size of what is compressed.
func (b *block) unverified() bool { return (b.checksum || b.deflated) && !b.verified.Load() }

func (b *block) fill(src source, p []byte, from int64) error {
	if b.deflated {
		return b.inflate(src, p, from)
	}
	return src.readAt(p, b.off+from)
}

// verify reads the content through a small buffer, so that nothing is allocated for content that is not there.
func (b *block) verify(src source) error {
	sum := crc32.NewIEEE()
	if b.deflated {
		z := flate.NewReader(src.section(b.off, b.stored))
		n, err := io.CopyBuffer(onlyWriter{sum}, io.LimitReader(z, b.size+1), make([]byte, 64*kib))
		if err != nil {
			return b.inflateError(n, err)
		}
		if n != b.size {
			return &Error{Found: fmt.Sprintf("a compressed record that holds %d bytes or more", n),
				Allowed: fmt.Sprintf("%d, as the directory says", b.size)}
		}
		return b.compare(sum.Sum32())
	}
	buf := make([]byte, min(b.size, 256*kib))
	for off := int64(0); off < b.size; {
		part := buf[:min(b.size-off, int64(len(buf)))]
		if err := src.readAt(part, b.off+off); err != nil {
			return err
		}
		sum.Write(part)
		off += int64(len(part))
	}
	return b.compare(sum.Sum32())
}

// onlyWriter hides the other methods of a hash, so that io.CopyBuffer uses the buffer it is given.
type onlyWriter struct{ io.Writer }

func (b *block) compare(sum uint32) error {
	if sum == b.crc || !b.checksum {
		b.verified.Store(true)
		return nil
	}
	allowed := fmt.Sprintf("%08x, as the directory says: the file is damaged", b.crc)
	if b.crc == 0 {
		allowed = "00000000, as the directory says: damaged (a file without checksums has none at all)"
	}
	return &Error{Found: fmt.Sprintf("checksum %08x", sum), Allowed: allowed}
}

func (b *block) inflate(src source, p []byte, from int64) error {
	z := flate.NewReader(src.section(b.off, b.stored))
	if n, err := io.CopyN(io.Discard, z, from); err != nil {
		return b.inflateError(n, err)
	}
	if n, err := io.ReadFull(z, p); err != nil {
		return b.inflateError(from+int64(n), err)
	}
	return nil
}

func (b *block) inflateError(n int64, err error) error {
	return &Error{Found: fmt.Sprintf("compressed data that breaks off after %d bytes: %v", n, err),
		Allowed: fmt.Sprintf("%d bytes", b.size), cause: err}
}

// text reads a whole block whose memory the caller has charged, once.
func (b *block) text(src source) (string, error) {
	if b.unverified() {
		if err := b.verify(src); err != nil {
			return "", b.located(err)
		}
	}
	if !b.deflated {
		s, err := src.readString(b.off, b.size)
		return s, b.located(err)
	}
	var s strings.Builder
	s.Grow(int(b.size))
	n, err := io.CopyBuffer(onlyWriter{&s}, io.LimitReader(flate.NewReader(src.section(b.off, b.stored)), b.size),
		make([]byte, 32*kib))
	if err != nil || n != b.size {
		return "", b.located(b.inflateError(n, err))
	}
	return s.String(), nil
}
