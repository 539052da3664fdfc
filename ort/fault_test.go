//go:build cgo && linux

package ort_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
)

// faults is the Go side of testdata/faulty.c.
type faults struct {
	library string
	control *os.File
}

const (
	faultAt    = 64 // offsets in the control file
	faultCalls = 72
	faultLive  = 80
)

// compileFaults builds testdata/faulty.c around the library that the other tests use.
func compileFaults(t *testing.T) *faults {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		t.Fatal(err)
	}
	found, err := ort.Find(context.Background(), ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := &faults{library: filepath.Join(dir, "libonnxruntime.so")}
	out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-std=gnu11", "-I", strings.TrimSpace(string(module)), "-o", f.library,
		"testdata/faulty.c", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	if f.control, err = os.Create(filepath.Join(dir, "control")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.control.Close() })
	if err := f.control.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AFTONNX_TEST_REAL", found.Path)
	t.Setenv("AFTONNX_TEST_CONTROL", f.control.Name())
	return f
}

// choose makes one call of a function fail; at 0 only counts them.
func (f *faults) choose(t *testing.T, name string, at int64) {
	t.Helper()
	page := make([]byte, faultLive)
	copy(page, name)
	binary.NativeEndian.PutUint64(page[faultAt:], uint64(at))
	if _, err := f.control.WriteAt(page, 0); err != nil {
		t.Fatal(err)
	}
}

func (f *faults) read(t *testing.T, offset int64) int64 {
	t.Helper()
	var word [8]byte
	if _, err := f.control.ReadAt(word[:], offset); err != nil {
		t.Fatal(err)
	}
	return int64(binary.NativeEndian.Uint64(word[:]))
}

// wantNothingOut requires that every object was given back, and every status but those that ONNX Runtime has taken.
func (f *faults) wantNothingOut(t *testing.T, taken int64) {
	t.Helper()
	if live, statuses := f.read(t, faultLive), f.read(t, faultLive+8)-taken; live != 0 || statuses != 0 {
		t.Errorf("%d objects and %d statuses were not given back", live, statuses)
	}
	if _, err := f.control.WriteAt(make([]byte, 16), faultLive); err != nil {
		t.Fatal(err)
	}
}

// faultyModel has a constant W, attributes of one and of several values, and two kernels in a row.
func faultyModel(t *testing.T) (*onnxpb.ModelProto, map[string]*ort.Tensor) {
	dims := []any{"batch", 4, "dim"}
	full := aftNode("AFTFull", []string{"q", "k", "v", "w"}, intAttr("causal", 1), intAttr("gate", ops.GateSigmoid))
	full.Output[0], full.Name = "h", "first"
	m := model([]port{{"q", tensor.Float32, dims}, {"k", tensor.Float32, dims}, {"v", tensor.Float32, dims},
		{"heads", tensor.Float32, []any{"batch", 4, 1}}, {"taps", tensor.Float32, []any{1, 3, 3}}, {"grid", tensor.Int64, []any{2}}},
		[]port{{"y", tensor.Float32, dims}}, full,
		aftNode("AFTConv2D", []string{"h", "heads", "v", "taps", "grid"}, intAttr("causal", 0), intAttr("gate", ops.GateAbsent),
			intsAttr("pads", 1, 1)))
	m.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("w", ramp(t, tensor.Float32, 5, 4, 4))}
	grid, err := tensor.FromInt64s([]int{2}, []int64{2, 2})
	if err != nil {
		t.Fatal(err)
	}
	const batch, dim = 2, 3
	return m, map[string]*ort.Tensor{"q": ramp(t, tensor.Float32, 0, batch, 4, dim), "k": ramp(t, tensor.Float32, 1, batch, 4, dim),
		"v": ramp(t, tensor.Float32, 2, batch, 4, dim), "heads": ramp(t, tensor.Float32, 3, batch, 4, 1),
		"taps": ramp(t, tensor.Float32, 4, 1, 3, 3), "grid": grid}
}

// wholeLife opens the library, loads a model, runs it twice, and closes everything.
func wholeLife(library string, data []byte, in map[string]*ort.Tensor) (y []byte, err error) {
	ctx := context.Background()
	rt, err := ort.Open(ctx, ort.Options{Library: library, Offline: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	s, err := rt.LoadBytes(data, ort.SessionOptions{Threads: 2})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out, err := s.Run(ctx, in)
	if err != nil {
		again, second := s.Run(ctx, in) // the failure is over: the session works on
		if second != nil {
			return nil, fmt.Errorf("and again: %w", second)
		}
		return again["y"].Data, err
	}
	into, err := tensor.New(tensor.Float32, out["y"].Shape)
	if err != nil {
		return nil, err
	}
	return out["y"].Data, s.RunInto(ctx, in, map[string]*ort.Tensor{"y": into})
}

// Every call of this package to ONNX Runtime that can fail does so once, early and late in a session's life: the error comes
// back as what it is, everything is given back, and what comes afterwards has the bits of a life without failures.
//
// Rules R9, R12 of docs/hostile.md.
func TestFailingCalls(t *testing.T) {
	f := compileFaults(t)
	m, in := faultyModel(t)
	data := encode(t, m)
	f.choose(t, "", 0)
	want, err := wholeLife(f.library, data, in)
	if err != nil {
		t.Fatal(err)
	}
	f.wantNothingOut(t, 0)
	header, err := os.ReadFile("capi.h")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`X\(\d+, OrtStatus \*, (\w+),`).FindAllStringSubmatch(string(header), -1)
	if len(names) < 30 {
		t.Fatalf("capi.h has %d functions that can fail", len(names))
	}
	failures := 0
	for _, match := range names {
		name := match[1]
		if name == "CreateStatus" { // makes the failures
			continue
		}
		f.choose(t, name, 0)
		if _, err := wholeLife(f.library, data, in); err != nil {
			t.Fatal(err)
		}
		calls := f.read(t, faultCalls)
		if calls == 0 {
			t.Errorf("%s: never called: this test has no case for it", name)
		}
		for at := int64(1); at <= calls; at++ {
			if at == 4 && calls > 6 {
				at = calls - 1 // the others are like the first
			}
			failures++
			f.choose(t, name, at)
			y, err := wholeLife(f.library, data, in)
			ignored := name == "AllocatorFree" // in a kernel there is nobody to tell
			if err == nil && !ignored || err != nil && !strings.Contains(err.Error(), "injected failure") &&
				!(name == "AllocatorAlloc" && strings.Contains(err.Error(), "no memory for the kernel's scratch")) {
				t.Errorf("%s, call %d of %d: error %v", name, at, calls, err)
			}
			if y != nil && !bytes.Equal(y, want) {
				t.Errorf("%s, call %d of %d: other bits afterwards", name, at, calls)
			}
			taken := int64(0)
			if err != nil && strings.Contains(err.Error(), "while running") {
				taken = 1 // a kernel's status belongs to ONNX Runtime, which frees it without the table
			}
			f.wantNothingOut(t, taken)
		}
	}
	t.Logf("%d failures", failures)
	f.choose(t, "", 0)
	if y, err := wholeLife(f.library, data, in); err != nil || !bytes.Equal(y, want) {
		t.Errorf("after all failures: %v", err)
	}
}
