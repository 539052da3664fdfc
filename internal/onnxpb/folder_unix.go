//go:build unix

package onnxpb

import (
	"io/fs"
	"syscall"
)

const openNonblock = syscall.O_NONBLOCK

// links is the number of names that a file has.
func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}
