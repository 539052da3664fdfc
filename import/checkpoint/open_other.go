//go:build !unix

package checkpoint

import "os"

// nonblock asks for an open that does not wait for a writer.
const nonblock = 0

// hardLinks is how many names a file has; one, where that is not known.
func hardLinks(os.FileInfo) uint64 { return 1 }

func openFile(path string) (*os.File, error) { return os.Open(path) }
