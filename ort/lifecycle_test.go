//go:build cgo

package ort_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// chain multiplies x by w n times.
func chain(n int) *onnxpb.ModelProto {
	dims := []any{"n", "n"}
	last, nodes := "x", []*onnxpb.NodeProto{}
	for i := range n {
		next := fmt.Sprintf("h%d", i)
		if i == n-1 {
			next = "y"
		}
		nodes = append(nodes, node("MatMul", []string{last, "w"}, next))
		last = next
	}
	return model([]port{{"x", tensor.Float32, dims}, {"w", tensor.Float32, dims}}, []port{{"y", tensor.Float32, dims}}, nodes...)
}

func square(t testing.TB, n int) map[string]*ort.Tensor {
	x, err := tensor.New(tensor.Float32, []int{n, n})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*ort.Tensor{"x": x, "w": x}
}

// A run that would take many seconds ends soon after its context, and the session works on.
//
// Rule R18 of docs/hostile.md.
func TestCancelStopsARun(t *testing.T) {
	s := load(t, open(t), chain(4000), ort.SessionOptions{Threads: 1})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	start := time.Now()
	if _, err := s.Run(ctx, square(t, 768)); !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("ended %s after the start", took)
	}
	if _, err := s.Run(ctx, square(t, 1)); !errors.Is(err, cause) {
		t.Errorf("with a context that ended before: %v", err)
	}
	deadline, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer stop()
	if _, err := s.Run(deadline, square(t, 768)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
	alive, stop2 := context.WithCancel(context.Background())
	defer stop2()
	if _, err := s.Run(alive, square(t, 1)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Many goroutines on one session, with the collector running all the time: every result has the bits of a run alone.
//
// Rules R10, R13 of docs/hostile.md.
func TestConcurrentRuns(t *testing.T) {
	runs := 200
	if underLoad() {
		runs = 1000
	}
	rt := open(t)
	s := load(t, rt, simple(tensor.Float32), ort.SessionOptions{Threads: 2})
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	var wg sync.WaitGroup
	for g := range 16 {
		in := qkv(t, tensor.Float32, 1+g%3, 5+g, 8)
		want := run(t, s, in)["y"].Data
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for i := range runs {
				if i%2 == 0 {
					ctx = context.Background()
				}
				out, err := s.Run(ctx, in)
				if err != nil || !bytes.Equal(out["y"].Data, want) {
					t.Errorf("goroutine %d, run %d: other bits or %v", g, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Close waits for the runs in flight; every other run ends well or with ErrClosed.
//
// Rule R11 of docs/hostile.md.
func TestCloseDuringRun(t *testing.T) {
	rt := open(t)
	s, err := rt.LoadBytes(encode(t, chain(60)), ort.SessionOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	var inFlight, done atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			in := square(t, 192)
			for {
				inFlight.Add(1)
				_, err := s.Run(context.Background(), in)
				inFlight.Add(-1)
				if errors.Is(err, ort.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	for done.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	for range 2 { // the second does nothing
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	after := done.Load()
	wg.Wait()
	// A run counts itself a moment after it ends; no new one may have begun.
	if n := done.Load() - after; n > 4 {
		t.Errorf("%d runs ended after Close", n)
	}
	if _, err := s.Run(context.Background(), square(t, 1)); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("Run after Close: %v, want ErrClosed", err)
	}
	if err := s.RunInto(context.Background(), square(t, 1), nil); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("RunInto after Close: %v, want ErrClosed", err)
	}
}

func TestRuntimeClose(t *testing.T) {
	first, second := open(t), open(t)
	s, err := first.LoadBytes(encode(t, simple(tensor.Float32)), ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := first.LoadBytes(encode(t, simple(tensor.Float32)), ort.SessionOptions{}); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("Load after Close: %v, want ErrClosed", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	run(t, s, qkv(t, tensor.Float32, 1, 2, 3)) // the session keeps ONNX Runtime alive
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	// All is closed: it can be opened again.
	again := load(t, open(t), simple(tensor.Float32), ort.SessionOptions{})
	run(t, again, qkv(t, tensor.Float32, 1, 2, 3))
}

// A process has one library; another file is refused while it is open, the same file under another name is not.
func TestOneLibraryAProcess(t *testing.T) {
	rt := open(t)
	link := filepath.Join(t.TempDir(), "link.so")
	if err := os.Symlink(rt.Library().Path, link); err != nil {
		t.Skip(err)
	}
	same, err := ort.Open(context.Background(), ort.Options{Library: link})
	if err != nil {
		t.Fatalf("the same library by another name: %v", err)
	}
	defer same.Close()
	if same.Library() != rt.Library() || same.Version() != rt.Version() {
		t.Errorf("got %+v, want %+v", same.Library(), rt.Library())
	}
	other := filepath.Join(t.TempDir(), "other.so")
	if err := os.WriteFile(other, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = ort.Open(context.Background(), ort.Options{Library: other})
	if err == nil || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), rt.Library().Path) {
		t.Errorf("got %v, want an error that names both libraries", err)
	}
}

// Two copies of the library in one process would each have half of the state.
func TestOneCopyIsLoaded(t *testing.T) {
	path, err := filepath.EvalSymlinks(open(t).Library().Path)
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	starts := 0 // mappings of the file's first page
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) == 6 && f[5] == path && f[2] == "00000000" {
			starts++
		}
	}
	if starts != 1 {
		t.Errorf("the library is mapped %d times, want once", starts)
	}
}

// Files that are no usable ONNX Runtime, among them a library that says it is an old one.
func TestOpenRefusesLibraries(t *testing.T) {
	dir := t.TempDir()
	compile := func(name, source string) string {
		path := filepath.Join(dir, name)
		cmd := exec.Command("cc", "-shared", "-fPIC", "-x", "c", "-o", path, "-")
		cmd.Stdin = strings.NewReader(source)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("cannot compile a library: %v %s", err, out)
		}
		return path
	}
	const fake = `#include <stddef.h>
static const char *version(void) { return "%s"; }
static const void *api(unsigned v) { return NULL; }
static struct { const void *(*api)(unsigned); const char *(*version)(void); } base = {api, version};
const void *OrtGetApiBase(void) { return &base; }`
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path string
		old  bool
		want string
	}{
		"R1 text":       {text, false, "text.so"},
		"R1 other":      {compile("other.so", "int x;"), false, "has no function OrtGetApiBase"},
		"R1 old":        {compile("old.so", fmt.Sprintf(fake, "1.23.2")), true, `is version "1.23.2", want 1.24 or newer`},
		"R1 half-baked": {compile("half.so", fmt.Sprintf(fake, "1.99.0")), false, "does not offer the C API of version 1.24"},
	} {
		_, err := ort.Open(context.Background(), ort.Options{Library: test.path, Offline: true})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: got %v, want %q and the path", name, err, test.want)
		}
		var old *ort.VersionError
		if errors.As(err, &old) != test.old {
			t.Errorf("%s: error is a %T", name, err)
		}
	}
	run(t, load(t, open(t), simple(tensor.Float32), ort.SessionOptions{}), qkv(t, tensor.Float32, 1, 2, 3))
}

// underLoad is whether the tests of load are to take as long as .ci/load lets them.
func underLoad() bool { return os.Getenv("AFTONNX_LOAD") != "" }

// resident is the memory this process has, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// What is repeated must not grow: sessions, failing loads, and failing runs, whose statuses belong to us.
//
// Rule R12 of docs/hostile.md.
func TestNoLeak(t *testing.T) {
	if sanitized {
		t.Skip("the sanitizer keeps freed memory for a while, and the detector of races books of its own")
	}
	rt := open(t)
	good, unknown := encode(t, simple(tensor.Float32)), encode(t, simple(tensor.Float32))
	in, ctx := qkv(t, tensor.Float32, 1, 64, 64), context.Background()
	bad := qkv(t, tensor.Float32, 1, 2, 3)
	bad["v"] = ramp(t, tensor.Float32, 0, 1, 3, 3)
	s := load(t, rt, simple(tensor.Float32), ort.SessionOptions{Threads: 1})
	for name, test := range map[string]struct {
		times int
		limit int64 // bytes each
		step  func() error
	}{
		"R12 session": {1000, 1 << 10, func() error {
			s, err := rt.LoadBytes(good, ort.SessionOptions{Threads: 1})
			if err != nil {
				return err
			}
			_, err = s.Run(ctx, in)
			return errors.Join(err, s.Close())
		}},
		"R12 failing load": {1000, 1 << 10, func() error {
			if s, err := rt.LoadBytes(unknown, ort.SessionOptions{NoKernels: true, Threads: 1}); err == nil {
				s.Close()
				return errors.New("a model without a body was loaded")
			}
			return nil
		}},
		"R12 failing run": {20_000, 32, func() error {
			if _, err := s.Run(ctx, bad); err == nil {
				return errors.New("a wrong shape was accepted")
			}
			return nil
		}},
		"R12 cancellable run": {5000, 32, func() error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			_, err := s.Run(ctx, in)
			return err
		}},
	} {
		if underLoad() {
			test.times *= 10
		}
		t.Run(name, func(t *testing.T) {
			repeat := func(n int) {
				for range n {
					if err := test.step(); err != nil {
						t.Fatal(err)
					}
				}
			}
			repeat(test.times / 3) // caches fill, the allocators settle
			// A leak grows in every round; a heap or an arena that takes its next block does so in one.
			limit, grown := test.limit*int64(test.times)+(1<<20), int64(0)
			for range 3 {
				before := resident(t)
				repeat(test.times)
				if grown = resident(t) - before; grown <= limit {
					break
				}
			}
			if grown > limit {
				t.Errorf("grew by %d bytes in %d repetitions, three times in a row, of at most %d", grown, test.times, limit)
			}
			t.Logf("grew by %d bytes in %d repetitions", grown, test.times)
		})
	}
}
