package ort

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
)

// What an archive may hold. The largest known is 221 MB unpacked, with a library of 36 MB.
const (
	maxUnpacked = 1 << 30
	maxLibrary  = 128 << 20
	maxMembers  = 10_000
)

// tarball is a gzipped tar archive, its sum in one of two forms, and the one file wanted from it.
type tarball struct {
	lib    filePin
	sha256 string // hex, "": not checked
	sha512 string // base64, "": not checked
	bytes  int64
}

// readTarball reads r to its end and returns the wanted file. Only that file is ever in memory and nothing is written.
// Errors: the archive's size or sum differs, it is damaged or unreasonably large, the file is not there or differs.
func readTarball(r io.Reader, t tarball) ([]byte, error) {
	sum256, sum512 := sha256.New(), sha512.New()
	raw := &countReader{r: io.TeeReader(io.LimitReader(r, t.bytes+1), io.MultiWriter(sum256, sum512))}
	data, err := findInTarball(raw, t.lib)
	// The sum covers what follows the file too, and says more about a cut or replaced archive than the tar reader does.
	if _, drainErr := io.Copy(io.Discard, raw); drainErr != nil {
		return nil, fmt.Errorf("after %d of %d bytes: %w", raw.n, t.bytes, drainErr)
	}
	if sumErr := t.check(raw.n, sum256, sum512); sumErr != nil {
		return nil, sumErr
	}
	return data, err
}

func (t *tarball) check(n int64, sum256, sum512 hash.Hash) error {
	if n != t.bytes {
		return sizeError(n, t.bytes)
	}
	if got := hex.EncodeToString(sum256.Sum(nil)); t.sha256 != "" && got != t.sha256 {
		return fmt.Errorf("the archive's SHA-256 is %s, want %s", got, t.sha256)
	}
	if got := base64.StdEncoding.EncodeToString(sum512.Sum(nil)); t.sha512 != "" && got != t.sha512 {
		return fmt.Errorf("the archive's SHA-512 is %s, want %s", got, t.sha512)
	}
	return nil
}

func sizeError(found, want int64) error {
	if found > want {
		return fmt.Errorf("the archive has more than %d bytes, want %d", found-1, want)
	}
	return fmt.Errorf("the archive has %d bytes, want %d", found, want)
}

func findInTarball(r io.Reader, lib filePin) ([]byte, error) {
	gz, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	unpacked := &countReader{r: io.LimitReader(gz, maxUnpacked)}
	tr := tar.NewReader(unpacked)
	for range maxMembers {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("archive: no file %q in it", lib.member)
		}
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		if path.Clean(h.Name) == lib.member && h.Typeflag == tar.TypeReg {
			return readLibrary(tr, lib)
		}
	}
	return nil, fmt.Errorf("archive: more than %d files", maxMembers)
}

// readLibrary reads the wanted file, whatever size its header claims, up to the size it must have.
func readLibrary(r io.Reader, lib filePin) ([]byte, error) {
	limit := lib.bytes
	if limit == 0 {
		limit = maxLibrary
	}
	var buf bytes.Buffer
	buf.Grow(int(lib.bytes) + bytes.MinRead) // the size that is pinned, not the archive's
	if _, err := io.Copy(&buf, io.LimitReader(r, limit+1)); err != nil {
		return nil, fmt.Errorf("archive: %q: %w", lib.member, err)
	}
	data := buf.Bytes()
	if n := int64(len(data)); n > limit || lib.bytes != 0 && n != lib.bytes {
		return nil, fmt.Errorf("archive: %q has %d bytes or more, want %d", lib.member, n, limit)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != lib.sha256 {
		return nil, fmt.Errorf("archive: %q: its SHA-256 is %s, want %s", lib.member, got, lib.sha256)
	}
	return data, nil
}

// readZip reads a zip archive, whose directory is at its end, into memory and returns the wanted file.
func readZip(r io.Reader, pin *releasePin) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, pin.bytes+1))
	if err != nil {
		return nil, fmt.Errorf("after %d of %d bytes: %w", len(data), pin.bytes, err)
	}
	if n := int64(len(data)); n != pin.bytes {
		return nil, sizeError(n, pin.bytes)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != pin.sha256 {
		return nil, fmt.Errorf("the archive's SHA-256 is %s, want %s", got, pin.sha256)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	for _, file := range z.File {
		if path.Clean(file.Name) != pin.lib.member || !file.Mode().IsRegular() {
			continue
		}
		f, err := file.Open()
		if err != nil {
			return nil, fmt.Errorf("archive: %q: %w", pin.lib.member, err)
		}
		defer f.Close()
		return readLibrary(f, pin.lib)
	}
	return nil, fmt.Errorf("archive: no file %q in it", pin.lib.member)
}

// countReader counts what was read.
type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
