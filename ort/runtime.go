package ort

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops/kernel"
)

// engine is a loaded ONNX Runtime with its environment: what this package needs of a Go binding, and no more.
type engine interface {
	newSession(m modelSource, o SessionOptions) (engineSession, error)
	close() error // after the last session
}

// engineSession is one model. run may be called from many goroutines; close must not be called during a run.
type engineSession interface {
	ports() (inputs, outputs []Value, err error)
	metadata(key string) (value string, ok bool, err error)
	run(ctx context.Context, r request) ([]*Tensor, error)
	close() error
}

// request is one run: inputs in the model's order; outputs nil, or one a place where nil means "allocate".
type request struct {
	inputs, outputs []*Tensor
}

// modelSource is a path, or the bytes of a model when there is no path.
type modelSource struct {
	path string
	data []byte
}

// environment is ONNX Runtime's one environment of this process, shared by all Runtimes and Sessions.
type environment struct {
	turn   chan struct{} // held by whoever opens or closes; a channel, so that waiting can be cancelled
	refs   int
	lib    Library
	engine engine
}

var process = &environment{turn: make(chan struct{}, 1)}

func (e *environment) enter(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *environment) leave() { <-e.turn }

// open takes a reference, and starts ONNX Runtime for the first one.
func (e *environment) open(ctx context.Context, o Options) (Library, error) {
	if err := e.enter(ctx); err != nil {
		return Library{}, err
	}
	defer e.leave()
	if e.refs > 0 {
		if o.Library != "" && !sameFile(o.Library, e.lib.Path) {
			return Library{}, fmt.Errorf("ONNX Runtime library %q: this process has %q open, and can have only one: "+
				"close every Runtime and Session first", o.Library, e.lib.Path)
		}
		e.refs++
		return e.lib, nil
	}
	lib, err := Find(ctx, o)
	if err != nil {
		return Library{}, err
	}
	eng, version, err := newEngine(lib.Path)
	if err != nil {
		return Library{}, newMissingError([]Attempt{{Source: lib.Source, Place: lib.Path, Err: err}})
	}
	lib.Version = version
	e.lib, e.engine, e.refs = lib, eng, 1
	return lib, nil
}

// retain adds a reference for a holder of one.
func (e *environment) retain() {
	e.turn <- struct{}{}
	e.refs++
	e.leave()
}

// release drops a reference, and ends ONNX Runtime with the last one.
func (e *environment) release() error {
	e.turn <- struct{}{}
	defer e.leave()
	e.refs--
	if e.refs > 0 {
		return nil
	}
	eng := e.engine
	e.engine, e.lib = nil, Library{}
	return eng.close()
}

func sameFile(a, b string) bool {
	if abs, err := filepath.Abs(a); err == nil && abs == b {
		return true
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// Runtime is an open ONNX Runtime. All of it may be used from many goroutines at once.
type Runtime struct {
	env *environment

	mu     sync.Mutex
	closed bool
	lib    Library
}

// Open finds ONNX Runtime, fetching it if need be and allowed, loads it and registers the ai.aft kernels.
//
// A process has one ONNX Runtime: while a Runtime or Session is open, another Open shares its library, whatever the
// environment variables say by then, and is an error if it names a different one.
//
// Errors: *MissingError, *VersionError, or what the library says; without cgo always a *MissingError.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	if err := kernel.Available(); err != nil {
		return nil, noCgo(err)
	}
	lib, err := process.open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Runtime{env: process, lib: lib}, nil
}

// noCgo is the error of a build that cannot run models.
func noCgo(err error) error {
	return &MissingError{
		Reason:  fmt.Sprintf("this program cannot run models in ONNX Runtime: %v", err),
		WaysOut: []string{"build it with CGO_ENABLED=1 and a C compiler"},
	}
}

// Library says which library is in use.
func (r *Runtime) Library() Library { return r.lib }

// Version is the version of ONNX Runtime, such as "1.24.3".
func (r *Runtime) Version() string { return r.lib.Version }

// Load reads a model from a file. Its external data, if any, is found beside it.
//
// Errors: *ModelError, ErrClosed.
func (r *Runtime) Load(path string, o SessionOptions) (*Session, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, &ModelError{Path: path, Err: cause(err)}
	case info.IsDir():
		return nil, &ModelError{Path: path, Err: errors.New("is a directory, want a file")}
	case !info.Mode().IsRegular():
		return nil, &ModelError{Path: path, Err: fmt.Errorf("is not a regular file (%s)", info.Mode().Type())}
	case info.Size() == 0:
		return nil, &ModelError{Path: path, Err: errors.New("is empty")}
	}
	return r.load(modelSource{path: path}, o)
}

// LoadBytes reads a model from memory, which it does not keep. Its external data, if any, is found in o.Dir.
//
// Errors: *ModelError, also for external data without o.Dir, which ONNX Runtime would take from the current directory;
// ErrClosed.
func (r *Runtime) LoadBytes(model []byte, o SessionOptions) (*Session, error) {
	if len(model) == 0 {
		return nil, &ModelError{Err: errors.New("is empty")}
	}
	if o.Dir == "" && onnxpb.HasExternalData(model) {
		return nil, &ModelError{Err: errors.New("has weights in another file, and no folder to find it in was given")}
	}
	return r.load(modelSource{data: model}, o)
}

func (r *Runtime) load(m modelSource, o SessionOptions) (*Session, error) {
	if o.Threads < 0 || o.Threads > MaxThreads {
		return nil, fmt.Errorf("threads: is %d, want 0 (ONNX Runtime's choice) to %d", o.Threads, MaxThreads)
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, fmt.Errorf("runtime: %w", ErrClosed)
	}
	r.env.retain() // the session's own reference: it may outlive r
	r.mu.Unlock()
	s, err := newSession(r.env, m, o)
	if err != nil {
		return nil, errors.Join(err, r.env.release())
	}
	return s, nil
}

// Close gives the Runtime back; its Sessions go on working. ONNX Runtime ends with the last of them. A second Close does
// nothing.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return r.env.release()
}

// KernelCalls says how often each ai.aft kernel ran, by operator and element type. Two snapshots prove that a run used
// the kernels and not the function bodies. The counts are the process's: runs of all Runtimes and Sessions add to them,
// so that between the snapshots nothing else may run.
func KernelCalls() map[kernel.Key]uint64 { return kernel.Calls() }
