//go:build !unix

package atomicfile

import "testing"

func makeFIFO(t *testing.T, dir string) { t.Skip("no FIFOs here") }
