//go:build cgo

package ort

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// A library that sets flush-to-zero would change Go's own arithmetic on this thread. testdata/simple.onnx is made by
// TestExampleModels.
//
// Rule R17 of docs/hostile.md.
func TestFloatingPointModeIsLeftAlone(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	model, err := os.ReadFile("testdata/simple.onnx")
	if err != nil {
		t.Fatal(err)
	}
	before := floatingPointMode()
	check := func(when string) {
		t.Helper()
		if after := floatingPointMode(); after != before {
			t.Errorf("after %s the control word is %#x, was %#x", when, after, before)
		}
		if tiny := math.Float32frombits(2); tiny*0.5 != math.Float32frombits(1) {
			t.Errorf("after %s denormals are flushed to zero", when)
		}
	}
	rt, err := Open(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	check("Open")
	for _, threads := range []int{1, 2} {
		s, err := rt.LoadBytes(model, SessionOptions{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		check("Load")
		x, err := tensor.FromFloat64s(tensor.Float32, []int{1, 2, 2}, []float64{1, 2, 3, 1e-40})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := s.Run(context.Background(), map[string]*Tensor{"q": x, "k": x, "v": x}); err != nil {
				t.Fatal(err)
			}
			check("Run")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		check("Close")
	}
}

// A session that nobody closed is closed when it is collected, and gives ONNX Runtime back.
func TestForgottenSessionIsClosed(t *testing.T) {
	rt, err := Open(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	refs := func() int {
		if err := process.enter(context.Background()); err != nil {
			t.Fatal(err)
		}
		defer process.leave()
		return process.refs
	}
	model, err := os.ReadFile("testdata/simple.onnx")
	if err != nil {
		t.Fatal(err)
	}
	before := refs()
	if _, err := rt.LoadBytes(model, SessionOptions{}); err != nil { // by path, onnxruntime_go would leak the path
		t.Fatal(err)
	}
	for range 200 {
		runtime.GC()
		if refs() == before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d references are held, want %d: the session is still open", refs(), before)
}

// failing is an engine whose sessions cannot be destroyed, and whose ports cannot be read unless readable is set.
type failing struct{ readable bool }

var errDestroy, errPorts = errors.New("cannot be destroyed"), errors.New("no ports")

func (f failing) newSession(modelSource, SessionOptions) (engineSession, error) { return f, nil }

func (f failing) ports() (inputs, outputs []Value, err error) {
	if !f.readable {
		err = errPorts
	}
	return nil, nil, err
}

func (failing) metadata(string) (string, bool, error) { return "", false, nil }

func (failing) run(context.Context, request) ([]*Tensor, error) { return nil, nil }

func (failing) close() error { return errDestroy }

// What ONNX Runtime says when it frees a session reaches the caller, who has then closed it all the same.
func TestCloseReportsErrors(t *testing.T) {
	env := &environment{turn: make(chan struct{}, 1), refs: 2, engine: failing{readable: true}}
	s, err := newSession(env, modelSource{}, SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, errDestroy) || env.refs != 1 {
		t.Errorf("Close: %v with %d references left, want the session's error and 1", err, env.refs)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	env.engine = failing{}
	if _, err := newSession(env, modelSource{}, SessionOptions{}); !errors.Is(err, errPorts) || !errors.Is(err, errDestroy) {
		t.Errorf("a session without ports: %v, want both errors", err)
	}
}

// Another version of onnxruntime_go may keep its pointers elsewhere: that must be an error, never a wild pointer.
func TestPointerInRefusesOtherLayouts(t *testing.T) {
	type OrtThing struct{ x int }
	type other struct{ y int }
	thing := &OrtThing{}
	type direct struct{ o *OrtThing }
	type nested struct{ s *direct }
	for _, good := range []any{&direct{thing}, &nested{&direct{thing}}} {
		if p, err := pointerIn(good, "OrtThing"); err != nil || p != unsafe.Pointer(thing) {
			t.Errorf("%T: got %p, %v, want %p", good, p, err, thing)
		}
	}
	for _, bad := range []any{
		nil, 1, direct{thing}, (*direct)(nil), &direct{}, &nested{}, &struct{}{},
		&struct{ o *other }{&other{}}, &struct {
			n int
			o *OrtThing
		}{1, thing}, &struct{ o OrtThing }{}, &struct{ n *nested }{&nested{&direct{thing}}},
	} {
		if p, err := pointerIn(bad, "OrtThing"); err == nil {
			t.Errorf("%T: took %p", bad, p)
		}
	}
}
