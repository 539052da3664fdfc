package checkpoint

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// soundFiles are files of every format that are read without an error, small ones.
func soundFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, pattern := range []string{"*.pt", "*.ckpt", "*.safetensors"} {
		paths, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) < 16*kib && filepath.Base(path) != "module.pt" { // which is refused
				files[filepath.Base(path)] = data
			}
		}
	}
	packed := torchArchive(pickled(pDict(pStr("w"), pSix())), sixFloats())
	for i := range packed.records {
		packed.records[i].deflate, packed.records[i].streamed = true, false
	}
	files["compressed"] = packed.bytes()
	if len(files) < 10 {
		t.Fatalf("%d files", len(files))
	}
	return files
}

// isStated requires what every refusal promises of its text.
func isStated(t *testing.T, what string, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Found == "" || strings.ContainsAny(err.Error(), "\n\x00") {
		t.Errorf("%s: %T %v", what, err, err)
	}
}

// TestStarved gives every file less memory than it needs, in all amounts: whatever the reader wants to allocate next, it says
// that it may not, until there is enough.
func TestStarved(t *testing.T) {
	for name, data := range soundFiles(t) {
		whole, err := newFile(sourceOf(data), defaultLimits())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		starve(t, name, int64(len(data)), func(lim limits) error {
			f, err := newFile(sourceOf(data), lim)
			if err == nil && cmp.Diff(whole.Names(), f.Names()) != "" {
				t.Errorf("%s: with just enough memory %q", name, f.Names())
			}
			return err
		})
	}
	files := sharded()
	index := filepath.Join(directory(t, files), indexName)
	starve(t, "index of shards", int64(len(files[indexName])), func(lim limits) error {
		f, err := open(index, lim)
		if err == nil {
			f.Close()
		}
		return err
	})
}

func starve(t *testing.T, name string, size int64, read func(lim limits) error) {
	t.Helper()
	refused := 0
	for memory := int64(0); memory < 8*mib; memory += 1 + memory/64 {
		lim := defaultLimits()
		lim.slack = memory - 3*size
		err := read(lim)
		if err == nil {
			if refused < 10 {
				t.Errorf("%s: refused only %d times", name, refused)
			}
			return
		}
		refused++
		isStated(t, name, err)
		if !strings.Contains(err.Error(), "bytes of memory") {
			t.Fatalf("%s: %v", name, err)
		}
	}
	t.Errorf("%s: takes more than 8 MiB", name)
}

// broken is a file whose n-th read fails.
type broken struct {
	r   io.ReaderAt
	n   int
	err error // io.EOF: the file has become shorter
}

func (b *broken) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 { // of a tensor without elements
		return 0, nil
	}
	if b.n--; b.n == 0 {
		return 0, b.err
	}
	return b.r.ReadAt(p, off)
}

// readEverything opens a file and reads all of it in every way.
func readEverything(src source) error {
	f, err := newFile(src, defaultLimits())
	if err != nil {
		return err
	}
	f.files[0].path = "x"
	for _, name := range f.Names() {
		if _, err := f.Tensor(name); err != nil {
			return err
		}
		info, _ := f.Info(name)
		if !info.DType.IsFloat() {
			continue
		}
		w, err := f.Weight(name)
		if err == nil {
			err = w.Parts(func(*tensor.Tensor) error { return nil })
		}
		if err != nil {
			return err
		}
	}
	_, err = f.SHA256()
	return err
}

// TestBrokenReads: rule S35, it lets every single read of every file fail, by a bad disk or because the file has become shorter.
func TestBrokenReads(t *testing.T) {
	bad := errors.New("input/output error")
	for name, data := range soundFiles(t) {
		if err := readEverything(sourceOf(data)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, fault := range []error{bad, io.EOF} {
			failures := 0
			for n := 1; ; n++ {
				src := sourceOf(data)
				b := &broken{r: src.r, n: n, err: fault}
				src.r = b
				err := readEverything(src)
				if b.n > 0 {
					break // there are no more reads
				}
				if failures++; err == nil {
					t.Errorf("%s: read %d failed and nobody noticed", name, n)
					continue
				}
				isStated(t, name, err)
				if fault == bad && !strings.Contains(err.Error(), bad.Error()) {
					t.Errorf("%s: read %d: %v", name, n, err)
				}
			}
			if failures < 3 {
				t.Errorf("%s: %d reads", name, failures)
			}
		}
	}
}

// TestStarved_everyAmount: a small file, so that no allocation lies between two amounts. Its tensor is not among those counted
// beforehand, as the field that tells is spelt with an escape.
func TestStarved_everyAmount(t *testing.T) {
	header := strings.Replace(`{`+stEntry(`"w"`, 0, 2)+`}`, "data_offsets", `d\u0061ta_offsets`, 1)
	data := safetensorsFile(header, floats(0, 1))
	refused := 0
	for memory := int64(0); ; memory++ {
		lim := defaultLimits()
		lim.slack = memory - 3*int64(len(data))
		_, err := newFile(sourceOf(data), lim)
		if err == nil {
			break
		}
		isStated(t, "small file", err)
		refused++
	}
	if refused < 100 {
		t.Errorf("refused only %d times", refused)
	}
}
