package npy

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

const (
	suffix = ".npy"
	// maxRatio is a little above the most that deflate can pack into a byte (1032), maxInflated what all deflated
	// entries of an archive may take together.
	maxRatio    = 1040
	maxInflated = 4 << 30
)

// ReadNPZ reads all arrays of an .npz file by their names without ".npy". Entries are stored or deflated; an entry that is
// no .npy, a name that stands twice and a damaged entry are errors (*Error).
func ReadNPZ(path string) (map[string]*tensor.Tensor, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(path, info)
	}
	arrays, err := readNPZ(file, info.Size())
	return arrays, inFile(err, path, "")
}

func readNPZ(r io.ReaderAt, size int64) (map[string]*tensor.Tensor, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, archiveError("archive", err)
	}
	if err := checkSizes(archive, size); err != nil {
		return nil, err
	}
	arrays := make(map[string]*tensor.Tensor, len(archive.File))
	for _, entry := range archive.File {
		name, isArray := strings.CutSuffix(entry.Name, suffix)
		if !isArray {
			return nil, inFile(errorAt("name", "does not end in %q", suffix), "", entry.Name)
		}
		if _, twice := arrays[name]; twice {
			return nil, inFile(errorAt("name", "stands twice in the archive"), "", entry.Name)
		}
		if arrays[name], err = readEntry(entry); err != nil {
			return nil, inFile(err, "", entry.Name)
		}
	}
	return arrays, nil
}

// checkSizes holds what the directory claims against the bytes of the file, before anything is read: entries that share
// bytes, or claim to unpack to more than deflate can, would take memory that no honest file of this size needs.
func checkSizes(archive *zip.Reader, size int64) error {
	packed, inflated := uint64(0), uint64(0)
	for _, entry := range archive.File {
		in, out := entry.CompressedSize64, entry.UncompressedSize64
		if packed += in; in > uint64(size) || packed > uint64(size) {
			return inFile(errorAt("archive", "claims %d bytes, more than the file has left", in), "", entry.Name)
		}
		most := in
		if entry.Method != zip.Store {
			most = in * maxRatio
			inflated += min(out, most)
		}
		if out > most {
			return inFile(errorAt("archive", "claims to unpack %d bytes to %d, want at most %d", in, out, most), "", entry.Name)
		}
		if inflated > maxInflated {
			return inFile(errorAt("archive", "the deflated entries up to here take %d bytes, want at most %d",
				inflated, int64(maxInflated)), "", entry.Name)
		}
	}
	return nil
}

func readEntry(entry *zip.File) (*tensor.Tensor, error) {
	r, err := entry.Open()
	if err != nil {
		return nil, archiveError("archive", err)
	}
	defer r.Close()
	// Reading to the end, which readExactly does, is what makes the zip reader check the sum of the bytes.
	data, err := readExactly(r, int64(entry.UncompressedSize64))
	if err != nil {
		return nil, archiveError("data", err)
	}
	return decode(data)
}

// archiveError marks what zip or deflate finds as a bad file; failures to read stay what they are.
func archiveError(place string, err error) error {
	var own *Error
	var path *fs.PathError
	if errors.As(err, &own) || errors.As(err, &path) {
		return err
	}
	return errorAt(place, "%v", err)
}

// EncodeNPZ writes arrays as an .npz file: entries in the order of their names, stored, without dates, so that equal arrays
// give equal bytes. Widening is Encode's.
func EncodeNPZ(arrays map[string]*tensor.Tensor) ([]byte, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(arrays)) {
		entry, err := archive.CreateHeader(&zip.FileHeader{Name: name + suffix, Method: zip.Store})
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", name, err)
		}
		if _, err := entry.Write(Encode(arrays[name])); err != nil {
			return nil, fmt.Errorf("entry %q: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
