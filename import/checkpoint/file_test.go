package checkpoint

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Rule M11 of docs/hostile.md.
func TestOpen_notRegular(t *testing.T) {
	dir := t.TempDir()
	refused(t, dir, "a directory", "a regular file")
	if exists("/dev/zero") {
		refused(t, "/dev/zero", "a device", "a regular file")
	}
	if exists("/proc/self/maps") {
		refused(t, "/proc/self/maps", "0 bytes")
	}
	_, err := Open(filepath.Join(dir, "missing\n.pt"))
	var e *Error
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &e) || strings.Count(err.Error(), "missing") != 1 {
		t.Errorf("got %v", err)
	}
}

// TestOpen_link: a path that the user gives may be a link; only paths in files are suspect, and these formats hold none.
func TestOpen_link(t *testing.T) {
	link := filepath.Join(t.TempDir(), "model.bin")
	target, err := filepath.Abs("testdata/tensor.pt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	if _, err := readAll(link); err != nil {
		t.Error(err)
	}
}

// TestTensor_shrunk: rule S35, the file loses bytes between Open and Tensor.
func TestTensor_shrunk(t *testing.T) {
	for _, data := range [][]byte{
		torchFile(pickled(pDict(pStr("w"), pSix()))),
		safetensorsFile(`{`+stEntry(`"w"`, 0, 6)+`}`, floats(0, 1, 2, 3, 4, 5)),
		sixLegacy().bytes(),
	} {
		path := tempFile(t, data)
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 40); err != nil {
			t.Fatal(err)
		}
		_, err = f.Tensor("w")
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "the end of the file before byte") ||
			e.File != path || e.Name != `tensor "w"` {
			t.Errorf("%s: got %v", f.Kind(), err)
		}
		f.Close()
	}
}

func TestFile_misuse(t *testing.T) {
	f := accepted(t, torchFile(pickled(pDict(pStr("w"), pSix()))))
	if _, ok := f.Info("v"); ok {
		t.Error("Info of a name that is not there")
	}
	_, err := f.Tensor("v\n")
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), `tensor "v\n": found no such tensor`) {
		t.Errorf("got %v", err)
	}
	info, _ := f.Info("w")
	info.Shape[0] = 99
	if again, _ := f.Info("w"); again.Shape[0] != 6 {
		t.Error("the caller's shape is the file's")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tensor("w"); !errors.As(err, &e) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestFile_parallel reads one storage from many goroutines, before anything has verified it.
func TestFile_parallel(t *testing.T) {
	part := pTensor(pStorage("FloatStorage", "0", 6), 1, pInts(2), pInts(3))
	f := accepted(t, torchFile(pickled(pDict(pStr("whole"), pSix(), pStr("part"), part))))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				whole, err1 := f.Tensor("whole")
				part, err2 := f.Tensor("part")
				if err1 != nil || err2 != nil || whole.At(5) != 5 || part.At(1) != 4 {
					t.Error(err1, err2)
				}
			}
		})
	}
	group.Wait()
}

func TestTensor_bool(t *testing.T) {
	pickle := pickled(pDict(pStr("w"), pTensor(pStorage("BoolStorage", "0", 3), 0, pInts(3), pInts(1))))
	f := accepted(t, torchArchive(pickle, stored{"0", "\x00\x01\x01"}).bytes())
	if diff := cmp.Diff([]float64{0, 1, 1}, values(t, f, "w")); diff != "" {
		t.Error(diff)
	}
	refusedBytes(t, torchArchive(pickle, stored{"0", "\x00\x01\x02"}).bytes(), `tensor "w"`, "bool element 2 is 2",
		"0 or 1")
}

// TestOpen_truncated: rule P42: every prefix of a good file is refused.
func TestOpen_truncated(t *testing.T) {
	for _, path := range []string{"testdata/list.pt", "testdata/legacy.pt", "testdata/weights.safetensors"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range data {
			f, err := newFile(sourceOf(data[:n]), defaultLimits())
			var e *Error
			if !errors.As(err, &e) || f != nil {
				t.Fatalf("the first %d bytes of %s: %v", n, path, err)
			}
		}
	}
}

// TestOpen_flipped: every bit of a good zip file flipped, one at a time: an error, or a file that reads as before up to what
// no checksum covers (names, dates).
func TestOpen_flipped(t *testing.T) {
	data, err := os.ReadFile("testdata/tied.pt")
	if err != nil {
		t.Fatal(err)
	}
	want, err := newFile(sourceOf(data), defaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(data) {
		flipped := append([]byte{}, data...)
		flipped[i/8] ^= 1 << (i % 8)
		f, err := newFile(sourceOf(flipped), defaultLimits())
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("bit %d: %T", i, err)
			}
			continue
		}
		if diff := cmp.Diff(want.Names(), f.Names()); diff != "" {
			t.Fatalf("bit %d changed the names:\n%s", i, diff)
		}
		for _, name := range f.Names() {
			a, err := want.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := f.Tensor(name); err == nil && cmp.Diff(a, b) != "" {
				t.Fatalf("bit %d changed %q", i, name)
			}
		}
	}
}

// failing reads like the file until an offset, and gives an error of its own there.
type failing struct {
	source
	from int64
	err  error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, f.err
	}
	return f.r.ReadAt(p, off)
}

// TestRead_fails: whichever read fails, the cause comes through.
func TestRead_fails(t *testing.T) {
	broken := errors.New("input/output error")
	for _, data := range [][]byte{
		torchFile(pickled(pSix())), with(sixRecord, func(r *record) { r.deflate, r.streamed = true, false }).bytes(),
		safetensorsFile(`{`+stEntry(`"w"`, 0, 6)+`}`, floats(0, 1, 2, 3, 4, 5)), sixLegacy().bytes(),
	} {
		for from := range int64(len(data)) {
			src := source{r: failing{sourceOf(data), from, broken}, size: int64(len(data))}
			f, err := newFile(src, defaultLimits())
			if err == nil {
				_, err = f.Tensor(f.Names()[0])
			}
			var e *Error
			if !errors.Is(err, broken) || !errors.As(err, &e) {
				t.Fatalf("failing from byte %d on: %v", from, err)
			}
		}
	}
}

// TestOpen_reads: opening reads the index, not the tensors.
func TestOpen_reads(t *testing.T) {
	const n = 1 << 20
	big := strings.Repeat("\x00\x00\x80\x3f", n)
	for name, data := range map[string][]byte{
		"zip": torchArchive(pickled(pTensor(pStorage("FloatStorage", "0", n), 0, pInts(n), pInts(1))),
			stored{"0", big}).bytes(),
		"safetensors": safetensorsFile(`{`+stEntry(`"w"`, 0, n)+`}`, big),
	} {
		counter := &counting{ReaderAt: sourceOf(data).r}
		f, err := newFile(source{r: counter, size: int64(len(data))}, defaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if counter.bytes > 128*kib {
			t.Errorf("%s: opening read %d bytes", name, counter.bytes)
		}
		x, err := f.Tensor(f.Names()[0])
		if err != nil || x.At(n-1) != 1 {
			t.Error(err)
		}
		if counter.bytes > int64(len(data))+192*kib {
			t.Errorf("%s: everything together read %d bytes of %d", name, counter.bytes, len(data))
		}
	}
}

type counting struct {
	io.ReaderAt
	bytes int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.bytes += int64(len(p))
	return c.ReaderAt.ReadAt(p, off)
}

func TestError_text(t *testing.T) {
	long := strings.Repeat("é", 80)
	for _, c := range []struct {
		e    Error
		want string
	}{
		{Error{File: "a b.pt", Place: "byte 3", Name: `tensor "w"`, Found: "x", Allowed: "y"},
			`file "a b.pt": byte 3: tensor "w": found x, allowed y`},
		{Error{Found: "x"}, "found x"},
		{Error{File: "n\n.pt", Found: "x"}, `file "n\n.pt": found x`},
		{Error{Found: quote(long)}, `found "` + long[:100] + `"... (160 bytes)`},
		{Error{Found: quote("x" + long)}, `found "x` + long[:98] + `"... (161 bytes)`},
		{Error{Found: quote("\u202ehidden\x00")}, `found "\u202ehidden\x00"`},
	} {
		if got := c.e.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestError_inFile: an error that no layer made into an *Error becomes one.
func TestError_inFile(t *testing.T) {
	cause := errors.New("unexpected")
	err := inFile(cause, "x.pt")
	if !errors.Is(err, cause) || err.Error() != `file "x.pt": found unexpected` {
		t.Errorf("got %v", err)
	}
}

func TestBudget(t *testing.T) {
	b := newBudget(10, limits{slack: 5})
	for _, c := range []struct {
		n  int64
		ok bool
	}{{30, true}, {6, false}, {5, true}, {0, true}, {1, false}, {-1, false}, {math.MaxInt64, false}} {
		if err := b.charge(c.n); (err == nil) != c.ok {
			t.Errorf("charge(%d) with %d of %d used: %v", c.n, b.used, b.limit, err)
		}
	}
}
