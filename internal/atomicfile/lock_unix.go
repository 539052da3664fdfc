//go:build unix && !solaris && !aix

package atomicfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the file's lock, which the system releases when f is closed or the process ends, and reports whether it did.
func lock(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// lockShared takes the file's lock beside others that take it so, in place of the one that f has. It waits for whoever has
// it alone, which nobody has for long.
func lockShared(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_SH) == nil
}
