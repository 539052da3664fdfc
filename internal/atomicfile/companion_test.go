package atomicfile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// content writes text in two pieces.
func content(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		for _, piece := range []string{text[:len(text)/2], text[len(text)/2:]} {
			if _, err := io.WriteString(w, piece); err != nil {
				return err
			}
		}
		return nil
	}
}

// dataName is the name of the companion of m.onnx that holds text.
func dataName(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("m.onnx-%x.data", sum[:8])
}

// stagePair stages m.onnx, which holds its companion's name.
func stagePair(path, text string, force bool) (*Staged, error) {
	c, err := StageCompanion(path, Options{Force: force}, content(text))
	if err != nil {
		return nil, err
	}
	s, err := StageFunc(path, Options{Force: force, Companion: c}, func(w io.Writer) error {
		_, err := io.WriteString(w, c.Name())
		return err
	})
	if err != nil {
		return nil, errors.Join(err, c.Discard())
	}
	return s, nil
}

func TestStageFunc(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	s, err := StageFunc(path, Options{}, content("in pieces"))
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, s.Path(), "in pieces")
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "in pieces")
	wantNames(t, dir, "m.onnx")
}

// What the writer says comes back as it is; an error of the disk that the writer hides is not hidden.
func TestStageFunc_failures(t *testing.T) {
	lost, full := errors.New("weight lost"), errors.New("no space left on device")
	sys := operatingSystem()
	failing := sys
	failing.write = func(*os.File, []byte) error { return full }
	for _, test := range []struct {
		name  string
		sys   system
		write func(io.Writer) error
		want  error
	}{
		{"the writer's", sys, func(w io.Writer) error { w.Write([]byte("half")); return lost }, lost},
		{"the disk's", failing, content("text"), full},
		{"the disk's, ignored", failing, func(w io.Writer) error { w.Write([]byte("text")); return nil }, full},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "m.onnx")
			writeFile(t, path, "old", 0o644)
			if _, err := stageFunc(path, Options{Force: true}, test.write, test.sys); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if c, err := stageCompanion(path, Options{Force: true}, test.write, test.sys); !errors.Is(err, test.want) || c != nil {
				t.Errorf("companion: got error %v, want %v", err, test.want)
			}
			wantFile(t, path, "old")
			wantNames(t, dir, "m.onnx")
		})
	}
}

// Rule E7 of docs/hostile.md.
func TestCompanion_lifeCycle(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	s, err := stagePair(path, "weights", false)
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(dir, dataName("weights")), "weights") // in place: the staged file can be judged
	wantFile(t, s.Path(), dataName("weights"))
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)
	if s, err = stagePair(path, "weights", false); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Commit(), s.Discard()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "m.onnx", dataName("weights"))
	if info, _ := os.Stat(filepath.Join(dir, dataName("weights"))); runtime.GOOS != "windows" && info.Mode().Perm()&0o400 == 0 {
		t.Errorf("permissions are %s", info.Mode().Perm())
	}
}

// Without Force nothing is written where the owner exists; a rejected replacement leaves owner and companion as they were.
func TestCompanion_existingOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	commitPair(t, path, "old", false)
	if _, err := stagePair(path, "new", false); !errors.Is(err, ErrExists) {
		t.Errorf("got error %v, want ErrExists", err)
	}
	for _, text := range []string{"new", "old"} {
		s, err := stagePair(path, text, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Discard(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, dataName("old"))
		wantFile(t, filepath.Join(dir, dataName("old")), "old")
		wantNames(t, dir, "m.onnx", dataName("old"))
	}
}

func commitPair(t *testing.T, path, text string, force bool) {
	t.Helper()
	s, err := stagePair(path, text, force)
	if err == nil {
		err = s.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A replaced owner's companions go, and what only looks like one stays.
func TestCompanion_superseded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	commitPair(t, path, "old", false)
	orphan := "m.onnx-0123456789abcdef.data" // of a killed process
	strangers := []string{"m.onnx-0123456789ABCDEF.data", "m.onnx-0123.data", "n.onnx-0123456789abcdef.data", "m.onnx.data"}
	for _, name := range append(strangers, orphan) {
		writeFile(t, filepath.Join(dir, name), "x", 0o644)
	}
	waiting, err := stagePair(path, "another process", true)
	if err != nil {
		t.Fatal(err)
	}
	if waiting.lock == nil {
		waiting.Discard()
		t.Skip("no locks here")
	}
	commitPair(t, path, "new", true)
	wantFile(t, path, dataName("new"))
	wantNames(t, dir, append(strangers, "m.onnx", dataName("new"), dataName("another process"), filepath.Base(waiting.Path()))...)
	if err := waiting.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, dataName("another process"))
	wantNames(t, dir, append(strangers, "m.onnx", dataName("another process"))...)

	none, err := StageCompanion(path, Options{Force: true}, func(io.Writer) error { return nil })
	if err != nil || none.Name() != "" {
		t.Fatalf("companion without content: %q, error %v", none.Name(), err)
	}
	s, err := Stage(path, Options{Force: true, Companion: none}, []byte("alone"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, append(strangers, "m.onnx")...)
}

// An owner that was copied or renamed keeps its companion when another takes its name.
func TestCompanion_renamedOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	commitPair(t, path, "first", false)
	if err := os.Rename(path, filepath.Join(dir, "kept.onnx")); err != nil {
		t.Fatal(err)
	}
	commitPair(t, path, "second", false)
	commitPair(t, path, "third", true)
	want := []string{"kept.onnx", dataName("first"), "m.onnx", dataName("third")}
	if runtime.GOOS == "windows" {
		want = append(want, dataName("second"))
	}
	wantNames(t, dir, want...)
	large := filepath.Join(dir, "large.onnx") // nobody knows what it refers to
	writeFile(t, large, "", 0o644)
	if err := os.Truncate(large, maxOwner+1); err != nil {
		t.Fatal(err)
	}
	commitPair(t, path, "fourth", true)
	wantNames(t, dir, append(want, "large.onnx", dataName("fourth"))...)
}

// A companion that two writers share stays until the second is done with it.
func TestCompanion_shared(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	first, err := stagePair(path, "same", true)
	if err != nil {
		t.Fatal(err)
	}
	if first.lock == nil {
		first.Discard()
		t.Skip("no locks here")
	}
	second, err := stagePair(path, "same", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.Discard(), second.Commit()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "m.onnx", dataName("same"))
}

// A file of the companion's name with other content was tampered with or cut off: it is used by nobody.
func TestCompanion_otherContent(t *testing.T) {
	for name, damaged := range map[string]string{"changed": "weightz", "cut off": "weigh", "longer": "weights and more"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.onnx")
		data := filepath.Join(dir, dataName("weights"))
		writeFile(t, data, damaged, 0o644)
		if _, err := stagePair(path, "weights", false); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), data) {
			t.Errorf("%s: got error %v, want ErrExists and the path", name, err)
		}
		wantFile(t, data, damaged)
		commitPair(t, path, "weights", true)
		wantFile(t, data, "weights")
		wantNames(t, dir, "m.onnx", dataName("weights"))
	}
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, dataName("weights")))
	if _, err := stagePair(filepath.Join(dir, "m.onnx"), "weights", true); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory in the way: got error %v", err)
	}
}

// A failed rename of the owner takes the companion back.
//
// Rules E4, E7 of docs/hostile.md.
func TestCompanion_failedCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	commitPair(t, path, "old", false)
	s, err := stagePair(path, "new", true)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	s.replace = func(string, string) error { return broken }
	if err := s.Commit(); !errors.Is(err, broken) {
		t.Errorf("got error %v, want %v", err, broken)
	}
	wantFile(t, path, dataName("old"))
	wantNames(t, dir, "m.onnx", dataName("old"))
}

// Whatever the owner is called, the companion's name can stand in a model: UTF-8, on one line, a file name everywhere.
func TestCompanion_oddNames(t *testing.T) {
	for owner, stem := range map[string]string{
		"a b\xff\x1b.onnx":               "a b__.onnx-",
		`c:\d.onnx`:                      "c__d.onnx-",
		strings.Repeat("é", 120):         strings.Repeat("é", 100) + "-",
		strings.Repeat("n", 250) + ".ox": strings.Repeat("n", 200) + "-",
	} {
		if runtime.GOOS == "windows" && strings.ContainsAny(owner, `:\`) {
			continue
		}
		c, err := StageCompanion(filepath.Join(t.TempDir(), owner), Options{}, content("weights"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.HasPrefix(c.Name(), stem) || len(c.Name()) != len(stem)+16+len(".data") {
			t.Errorf("%q has the companion %q, want %s...", owner, c.Name(), stem)
		}
		if err := c.Discard(); err != nil {
			t.Error(err)
		}
	}
}

// Killed at whatever moment, a writer leaves an owner whose companion is there and whole.
//
// Rules E1, E7 of docs/hostile.md.
func TestCompanion_killedWriter(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	killRepeatedly(t, killPairVar, path, func(i int) {
		name, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, string(name)))
		if err != nil || len(data) == 0 || string(name) != dataName(string(data)) {
			t.Fatalf("after kill %d: %q holds %d bytes, error %v: not what its name says", i, name, len(data), err)
		}
	})
	commitPair(t, path, "last", true)
	companions := 0
	for _, name := range strings.Fields(names(t, dir)) {
		if isCompanion(name, "m.onnx") {
			companions++
		}
	}
	if companions != 1 && runtime.GOOS != "windows" {
		t.Errorf("directory holds %q, want one companion", names(t, dir))
	}
}

// What an owner refers to stays, whoever committed it and however late somebody else looks; also where the name lies across two
// pieces of what is read at a time.
func TestSupersede_owner(t *testing.T) {
	dir := t.TempDir()
	owner := filepath.Join(dir, "m.onnx")
	first, second := "m.onnx-0123456789abcdef.data", "m.onnx-fedcba9876543210.data"
	for _, at := range []int{0, 1<<20 - len(first)/2, 1<<20 - 1, 1 << 21} {
		for _, name := range []string{first, second} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("weights"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(owner, append(make([]byte, at), first...), 0o666); err != nil {
			t.Fatal(err)
		}
		supersede(owner)
		if !isThere(filepath.Join(dir, first)) || isThere(filepath.Join(dir, second)) {
			t.Errorf("at %d: what the owner refers to is there: %v, the other: %v", at, isThere(filepath.Join(dir, first)), isThere(filepath.Join(dir, second)))
		}
	}
}
