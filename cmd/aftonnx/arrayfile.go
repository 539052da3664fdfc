package main

import (
	"io"
	"os"
	"strings"

	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// stageArray stages an .npy file. An array that stands at path is replaced, as numpy.save does, so that a command can be
// repeated; anything else needs force. An input is never replaced: inputs are the --input flags, NAME=FILE.
func stageArray(path string, t *tensor.Tensor, inputs []string, force bool) (*atomicfile.Staged, error) {
	for _, in := range inputs {
		_, file, _ := strings.Cut(in, "=")
		if sameFile(path, file) {
			return nil, usagef("%q is an input: its array would be lost", path).hint("write to another file")
		}
	}
	staged, err := atomicfile.Stage(path, atomicfile.Options{Force: force || isArray(path)}, npy.Encode(t))
	if err != nil {
		return nil, outputError(err)
	}
	return staged, nil
}

func sameFile(a, b string) bool {
	first, err1 := os.Stat(a)
	second, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(first, second)
}

// isArray reports whether a regular file begins as an .npy file does.
func isArray(path string) bool { return beginsWith(path, "\x93NUMPY") }

// beginsWith reports whether path is a regular file that begins with these bytes.
func beginsWith(path, magic string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(magic))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == magic
}
