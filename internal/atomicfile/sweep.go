package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// orphanAge is how old a temporary file must be before it may count as abandoned: far more than the moment between a
// writer's creating and locking it.
const orphanAge = time.Minute

// sweep removes what killed processes left in dir: old temporary files that nobody has locked. It is a courtesy; what
// it cannot read or remove stays.
func sweep(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return
	}
	for _, name := range names {
		if isTemp(name) {
			removeUnlocked(filepath.Join(dir, name), orphanAge, func() bool { return true })
		}
	}
}

func isTemp(name string) bool {
	random, hasPrefix := strings.CutPrefix(name, tempPrefix)
	random, hasSuffix := strings.CutSuffix(random, tempSuffix)
	return hasPrefix && hasSuffix && len(random) == tempRandom && isHex(random)
}

// removeUnlocked removes a regular file of at least that age that nobody has locked, if, with the lock taken, it still should be.
func removeUnlocked(name string, age time.Duration, should func() bool) {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < age {
		return
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if !lock(f) {
		return
	}
	held, err1 := f.Stat()
	now, err2 := os.Lstat(name)
	if err1 == nil && err2 == nil && os.SameFile(held, now) && should() { // or it is a new one, with a lock of its own
		os.Remove(name)
	}
}
