//go:build !unix

package onnxpb

import "io/fs"

const openNonblock = 0

// links is 1 where the system does not say how many names a file has.
func links(fs.FileInfo) uint64 { return 1 }
