//go:build unix

package onnxpb

import (
	"math"
	"syscall"
	"testing"
)

func makePipe(path string) error { return syscall.Mkfifo(path, 0o644) }

// Nothing is read of what is larger than protobuf allows: these pages cannot be.
func TestDecode_tooLarge(t *testing.T) {
	if math.MaxInt == maxFile {
		t.Skip("no slice is that large here")
	}
	size := maxFile
	size++
	data, err := syscall.Mmap(-1, 0, size, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skip("no address space:", err)
	}
	defer func() {
		if err := syscall.Munmap(data); err != nil {
			t.Error(err)
		}
	}()
	const want = "the file has 2147483648 bytes, want at most 2147483647"
	if _, err := Decode(data); err == nil || err.Error() != want+"; larger models keep their weights as external data" {
		t.Errorf("model: error %v", err)
	}
	if _, _, err := DecodeTensor(data); err == nil || err.Error() != want {
		t.Errorf("tensor: error %v", err)
	}
}
