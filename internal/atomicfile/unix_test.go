//go:build unix

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func makeFIFO(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mkfifo(filepath.Join(dir, "p"), 0o644); err != nil {
		t.Skip("no FIFOs here:", err)
	}
}

// A new file gets 0666 less the umask, as any program's would.
//
// Rule E16 of docs/hostile.md.
func TestWrite_umask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := Write(path, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("permissions are %s, want -rw-r-----", info.Mode().Perm())
	}
}
