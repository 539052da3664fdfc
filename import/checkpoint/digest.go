package checkpoint

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// SHA256 identifies the bytes of the checkpoint, hexadecimal: the SHA-256 of its file, or, with shards, of what sha256sum
// prints for the index and then the shards in the order of their names:
//
//	sha256sum model.safetensors.index.json model-*-of-*.safetensors | sha256sum
//
// It reads every file once, as it was opened.
func (f *File) SHA256() (string, error) {
	if f.indexSum == "" {
		return f.files[0].sum()
	}
	all := sha256.New()
	fmt.Fprintf(all, "%s  %s\n", f.indexSum, filepath.Base(f.path))
	byName := slices.SortedFunc(slices.Values(f.files), func(a, b *dataFile) int { return cmp.Compare(a.name, b.name) })
	for _, d := range byName {
		sum, err := d.sum()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(all, "%s  %s\n", sum, d.name)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// sum reads the file in pieces.
func (d *dataFile) sum() (string, error) {
	hash := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{hash}, onlyReader{d.src.section(0, d.src.size)}, make([]byte, 256*kib))
	if err == nil && n != d.src.size {
		err = &Error{Found: fmt.Sprintf("%d bytes", n), Allowed: fmt.Sprintf("%d, its size when it was opened", d.src.size)}
	} else if err != nil {
		err = systemError(err)
	}
	if err != nil {
		return "", inFile(err, d.path)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// onlyReader hides the other methods of a reader, so that io.CopyBuffer uses the buffer it is given.
type onlyReader struct{ io.Reader }
