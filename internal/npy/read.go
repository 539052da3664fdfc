package npy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// ReadFile reads an .npy file. A file that is there but not as the format wants it gives an *Error.
func ReadFile(path string) (*tensor.Tensor, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(path, info)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := decode(data)
	return t, inFile(err, path, "")
}

// Read reads an .npy file of size bytes from r, to its last byte. No more than what r really holds is allocated.
func Read(r io.Reader, size int64) (*tensor.Tensor, error) {
	data, err := readExactly(r, size)
	if err != nil {
		return nil, err
	}
	return decode(data)
}

// readExactly reads size bytes and requires the end after them.
func readExactly(r io.Reader, size int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != size {
		found := fmt.Sprintf("%d bytes", len(data))
		if int64(len(data)) > size {
			found = "more"
		}
		return nil, errorAt("data", "has %s, want %d bytes", found, size)
	}
	return data, nil
}

// decode reads a whole .npy file. The tensor may share memory with file, which is the caller's to give away.
func decode(file []byte) (*tensor.Tensor, error) {
	dict, data, err := splitHeader(file)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(dict)
	if err != nil {
		return nil, err
	}
	want, err := tensor.ByteLen(h.dtype, h.shape)
	if err != nil {
		return nil, errorAt("header", "%v", err)
	}
	if want != len(data) {
		return nil, errorAt("data", "has %d bytes, but %s of %s takes %d",
			len(data), tensor.FormatShape(h.shape), h.dtype, want)
	}
	if h.bigEndian {
		swapBytes(data, h.dtype.Size())
	}
	if h.fortran {
		data = rowMajor(data, h.dtype.Size(), h.shape)
	}
	if h.dtype == tensor.Bool {
		normaliseBool(data)
	}
	return tensor.FromBytes(h.dtype, h.shape, data)
}

func swapBytes(data []byte, size int) {
	for i := 0; i+size <= len(data); i += size {
		slices.Reverse(data[i : i+size])
	}
}

// rowMajor reorders elements stored with the first axis innermost.
func rowMajor(data []byte, size int, shape []int) []byte {
	out := make([]byte, 0, len(data))
	index := make([]int, len(shape))
	for len(out) < len(data) {
		offset, stride := 0, 1
		for axis, i := range index {
			offset += i * stride
			stride *= shape[axis]
		}
		out = append(out, data[offset*size:offset*size+size]...)
		for axis := len(shape) - 1; axis >= 0; axis-- {
			if index[axis]++; index[axis] < shape[axis] {
				break
			}
			index[axis] = 0
		}
	}
	return out
}

// normaliseBool makes every true a 1: NumPy takes any non-zero byte for true, other readers do not.
func normaliseBool(data []byte) {
	for i, b := range data {
		if b != 0 {
			data[i] = 1
		}
	}
}

func notRegular(path string, info os.FileInfo) error {
	return &Error{File: path, Place: "file", Problem: fmt.Sprintf("is a %s, want a regular file", info.Mode().Type())}
}

// inFile puts the file's and the entry's name into an *Error that has none.
func inFile(err error, path, entry string) error {
	var e *Error
	if errors.As(err, &e) {
		if e.File == "" {
			e.File = path
		}
		if e.Entry == "" {
			e.Entry = entry
		}
	}
	return err
}
