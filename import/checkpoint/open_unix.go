//go:build unix

package checkpoint

import (
	"os"
	"syscall"
)

// nonblock asks for an open that does not wait for a writer.
const nonblock = syscall.O_NONBLOCK

// hardLinks is how many names a file has.
func hardLinks(info os.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}

// openFile opens for reading without waiting: opening a FIFO that nobody writes to would otherwise never return.
func openFile(path string) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		if err != syscall.EINTR {
			return nil, err
		}
	}
}
