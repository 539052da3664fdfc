//go:build !unix

package checkpoint

import "os"

func openFile(path string) (*os.File, error) { return os.Open(path) }
