//go:build unix

package checkpoint

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestOpen_fifo: a FIFO that nobody writes to would block a plain open forever.
func TestOpen_fifo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo.pt")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Skip(err)
	}
	refused(t, path, "a named pipe", "a regular file")
}

// TestShards_fifo: rule X6, the same for a shard.
func TestShards_fifo(t *testing.T) {
	files := sharded()
	delete(files, secondShard)
	dir := directory(t, files)
	if err := syscall.Mkfifo(filepath.Join(dir, secondShard), 0o666); err != nil {
		t.Skip(err)
	}
	refusedDirectory(t, dir, secondShard, "a named pipe", "a regular file")
}
