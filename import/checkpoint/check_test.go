package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// tempFile writes a file for Open.
func tempFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.pt")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll opens a file and reads every tensor.
func readAll(path string) (*File, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, name := range f.Names() {
		if _, err := f.Tensor(name); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// refused checks what every refusal promises: an *Error with the file's name, on one line, without a full stop, with the
// given parts in it, within two seconds and 3 x the file plus 4 MiB of allocations.
func refused(t *testing.T, path string, parts ...string) {
	t.Helper()
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	_, err = readAll(path)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Fatal("accepted")
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T, want *Error: %v", err, err)
	}
	text := err.Error()
	t.Log(strings.ReplaceAll(text, filepath.Dir(path)+string(filepath.Separator), ""))
	if e.File != path || e.Found == "" {
		t.Errorf("the error lacks its file or what was found: %+v", *e)
	}
	if strings.ContainsAny(text, "\n\r\x00\x1b") || strings.HasSuffix(text, ".") || len(text) > 1500 {
		t.Errorf("not one printable line: %q", text)
	}
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("the error does not say %q: %s", p, text)
		}
	}
	if took > 20*time.Second { // 2 s is the promise; a loaded machine under the race detector takes longer, what hangs takes minutes
		t.Errorf("took %v", took)
	}
	allowed := 3*min(stat.Size(), 1<<30) + 4*mib
	if got := int64(after.TotalAlloc - before.TotalAlloc); got > allowed {
		t.Errorf("allocated %d bytes, allowed %d", got, allowed)
	}
}

// refusedBytes is refused for a file that is built.
func refusedBytes(t *testing.T, data []byte, parts ...string) {
	t.Helper()
	refused(t, tempFile(t, data), parts...)
}

// accepted opens a built file.
func accepted(t *testing.T, data []byte) *File {
	t.Helper()
	f, err := Open(tempFile(t, data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// arrays are a file's tensors as numbers.
type arrays map[string][]float64

// values reads a tensor as numbers.
func values(t *testing.T, f *File, name string) []float64 {
	t.Helper()
	x, err := f.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return x.Float64s()
}
