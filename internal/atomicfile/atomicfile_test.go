package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestWrite_newFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	if err := Write(path, Options{}, []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "new")
	wantNames(t, dir, "m.onnx")
}

// Rule E16 of docs/hostile.md.
func TestWrite_existingTarget(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	writeFile(t, path, "old", 0o640)
	err := Write(path, Options{}, []byte("new"))
	if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), path) {
		t.Errorf("without Force: got error %v, want ErrExists and the path", err)
	}
	wantFile(t, path, "old")
	if err := Write(path, Options{Force: true}, []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "new")
	wantNames(t, dir, "m.onnx")
	if runtime.GOOS == "windows" {
		return
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("permissions are %s, want those of the replaced file, -rw-r-----", info.Mode().Perm())
	}
}

// A refused target is untouched and nothing else appears in its directory.
//
// Rules E4, E5 of docs/hostile.md.
func TestStage_refusedTargets(t *testing.T) {
	tests := []struct {
		name, path, want string
		build            func(t *testing.T, dir string)
	}{
		{"empty path", "", "is not a file name", nil},
		{"dot", ".", "is not a file name", nil},
		{"trailing separator", "m.onnx/", "is not a file name", nil},
		{"directory", "d", "is a directory", func(t *testing.T, dir string) { mkdir(t, filepath.Join(dir, "d")) }},
		{"no such directory", "none/m.onnx", "directory", nil},
		{"a file for a directory", "f/m.onnx", "not a directory", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "f"), "x", 0o644)
		}},
		{"FIFO", "p", "not a regular file", makeFIFO},
		{"device", "/dev/null", "not a regular file", func(t *testing.T, dir string) {
			if _, err := os.Lstat("/dev/null"); err != nil {
				t.Skip("no /dev/null here")
			}
		}},
		{"read-only file", "r", "is read-only", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "r"), "x", 0o444)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.build != nil {
				test.build(t, dir)
			}
			before := names(t, dir)
			path := test.path
			if path != "" && path != "." && !filepath.IsAbs(path) {
				path = dir + string(filepath.Separator) + filepath.FromSlash(path)
			}
			s, err := Stage(path, Options{Force: true}, []byte("new"))
			if err == nil {
				s.Discard()
				t.Fatal("accepted, want an error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
			if after := names(t, dir); after != before {
				t.Errorf("directory holds %q, held %q", after, before)
			}
		})
	}
}

// Rule E5 of docs/hostile.md.
func TestStage_symlinkIsReplacedNotItsTarget(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "weights"), filepath.Join(dir, "m.onnx")
	writeFile(t, target, "precious", 0o644)
	if err := os.Symlink("weights", link); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if err := Write(link, Options{}, []byte("new")); !errors.Is(err, ErrExists) {
		t.Errorf("without Force: got error %v, want ErrExists", err)
	}
	if err := Write(link, Options{Force: true}, []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, "precious")
	wantFile(t, link, "new")
	if info, _ := os.Lstat(link); !info.Mode().IsRegular() {
		t.Errorf("link is still a %s", info.Mode().Type())
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	if err := Write(dangling, Options{Force: true}, []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "dangling", "m.onnx", "weights")
}

// Every step of Stage and Commit fails once: the error names the target, the old file stays, no temporary file does.
//
// Rules E2, E3, E4 of docs/hostile.md.
func TestFailures_leaveNothingBehind(t *testing.T) {
	full, broken := errors.New("no space left on device"), errors.New("input/output error")
	good := operatingSystem()
	tests := []struct {
		name   string
		change func(s *system)
		want   error
	}{
		{"short write", func(s *system) {
			s.write = func(f *os.File, data []byte) error { f.Write(data[:1]); return full }
		}, full},
		{"flush", func(s *system) { s.sync = func(*os.File) error { return broken } }, broken},
		{"rename", func(s *system) { s.replace = func(string, string) error { return broken } }, broken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "m.onnx")
			writeFile(t, path, "old", 0o644)
			sys := good
			test.change(&sys)
			s, err := stage(path, Options{Force: true}, []byte("new"), sys)
			if err == nil {
				err = s.Commit()
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want %v and the path", err, test.want)
			}
			wantFile(t, path, "old")
			wantNames(t, dir, "m.onnx")
		})
	}
}

// Rule E17 of docs/hostile.md.
func TestStage_panickingWriterLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	sys := operatingSystem()
	sys.write = func(*os.File, []byte) error { panic("writer") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		stage(filepath.Join(dir, "m.onnx"), Options{}, nil, sys)
	}()
	wantNames(t, dir)
}

// Rule E4 of docs/hostile.md.
func TestStage_unwritableDirectory(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("this user may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755)
	if _, err := Stage(filepath.Join(dir, "m.onnx"), Options{}, nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got error %v, want a refused permission", err)
	}
}

func TestStaged_lifeCycle(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("n", 250)+".onnx") // 255 bytes, the longest name most systems have
	s, err := Stage(path, Options{}, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, s.Path(), "new")
	if filepath.Dir(s.Path()) != dir {
		t.Errorf("staged at %q, want it in %q", s.Path(), dir)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err == nil {
		t.Error("a second Commit passed")
	}
	if err := errors.Join(s.Discard(), s.Discard()); err != nil {
		t.Errorf("Discard after Commit: %v", err)
	}
	wantFile(t, path, "new")

	s, err = Stage(filepath.Join(dir, "other"), Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Discard(), s.Discard()); err != nil {
		t.Errorf("Discard twice: %v", err)
	}
	if err := s.Commit(); err == nil {
		t.Error("Commit after Discard passed")
	}
	wantNames(t, dir, filepath.Base(path))
}

// What appears between Stage and Commit is not overwritten without Force.
func TestCommit_targetAppeared(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	s, err := Stage(path, Options{}, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "theirs", 0o644)
	if err := s.Commit(); !errors.Is(err, ErrExists) {
		t.Errorf("got error %v, want ErrExists", err)
	}
	wantFile(t, path, "theirs")
	wantNames(t, dir, "m.onnx")
}

// Rule E8 of docs/hostile.md.
func TestWrite_concurrentWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	const writers, rounds = 8, 10
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 10_000+i) }
	writeFile(t, path, string(content(0)), 0o644)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for range rounds {
				if err := Write(path, Options{Force: true}, content(i)); err != nil {
					t.Error(err)
				}
				got, err := os.ReadFile(path)
				if err != nil || len(got) == 0 || !bytes.Equal(got, content(int(got[0]-'a'))) {
					t.Errorf("read %d bytes, error %v: not what one writer wrote", len(got), err)
				}
			}
		})
	}
	group.Wait()
	wantNames(t, dir, "m.onnx")
}

// Without Force exactly one of the writers of a new file wins.
func TestWrite_concurrentCreators(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	var group sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		group.Go(func() {
			err := Write(path, Options{}, fmt.Appendf(nil, "writer %d", i))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won != 1 {
		t.Errorf("%d writers created the file, want 1", won)
	}
}

func TestSweep_removesOnlyOrphans(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * orphanAge)
	orphan := tempPrefix + "0123456789abcdef" + tempSuffix
	recent := tempPrefix + "fedcba9876543210" + tempSuffix
	for _, name := range []string{orphan, recent, ".aftonnx-notes.tmp"} {
		writeFile(t, filepath.Join(dir, name), "x", 0o644)
		if name != recent {
			os.Chtimes(filepath.Join(dir, name), old, old)
		}
	}
	live, err := Stage(filepath.Join(dir, "live"), Options{}, []byte("live"))
	if err != nil {
		t.Fatal(err)
	}
	if live.lock == nil {
		live.Discard()
		t.Skip("no locks here")
	}
	os.Chtimes(live.Path(), old, old)
	if err := Write(filepath.Join(dir, "m.onnx"), Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := live.Commit(); err != nil {
		t.Errorf("a live writer lost its file: %v", err)
	}
	wantNames(t, dir, ".aftonnx-notes.tmp", recent, "live", "m.onnx")
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, error %v, want %q", path, got, err, want)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got, want := names(t, dir), strings.Join(want, " "); got != want {
		t.Errorf("directory holds %q, want %q", got, want)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.Name()
	}
	return strings.Join(list, " ")
}
