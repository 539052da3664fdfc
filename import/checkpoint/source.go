package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// source is the file's bytes: a reader and the size it had when it was opened.
type source struct {
	r    io.ReaderAt
	size int64
}

// readAt fills p from offset off. A file that has become shorter is an error, not a short read.
func (s source) readAt(p []byte, off int64) error {
	n, err := s.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return &Error{
			Found:   fmt.Sprintf("the end of the file before byte %d", off+int64(len(p))),
			Allowed: fmt.Sprintf("%d bytes, its size when it was opened", s.size),
		}
	}
	return systemError(err)
}

// readString reads n bytes that are known to exist and whose memory is charged. A Builder gives a string without copying
// the bytes a second time.
func (s source) readString(off, n int64) (string, error) {
	var b strings.Builder
	b.Grow(int(n))
	chunk := make([]byte, min(n, 32*kib))
	for n > 0 {
		part := chunk[:min(n, int64(len(chunk)))]
		if err := s.readAt(part, off); err != nil {
			return "", err
		}
		b.Write(part)
		off += int64(len(part))
		n -= int64(len(part))
	}
	return b.String(), nil
}

// section reads [off, off+n) as a stream.
func (s source) section(off, n int64) *io.SectionReader {
	return io.NewSectionReader(s.r, off, n)
}

// at puts a place on an error that has none.
func at(err error, place string) error {
	var e *Error
	if errors.As(err, &e) && e.Place == "" {
		e.Place = place
	}
	return err
}

// named puts what the error is about on an error that does not say.
func named(err error, name string) error {
	var e *Error
	if errors.As(err, &e) && e.Name == "" {
		e.Name = name
	}
	return err
}
