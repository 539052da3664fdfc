package ort

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/aftonnx/aftonnx/ops"
)

// SessionOptions say how a model is run.
type SessionOptions struct {
	Threads   int  // within an operator, the caller's included, up to MaxThreads; 0: ONNX Runtime's choice, one a core
	NoKernels bool // leave the ai.aft kernels out: ONNX Runtime then inlines the operators' function bodies

	// NoSpinning makes threads that wait for work sleep. ONNX Runtime's default, to spin for a while, answers sooner, but keeps
	// processors from other sessions.
	NoSpinning bool

	// Dir is the folder that the external data of a model in memory lies in; "" for none. A model that is loaded from a file
	// has its data beside it, whatever Dir says.
	Dir string

	Optimization Optimization // how far the graph is rewritten
}

// Optimization is how far ONNX Runtime rewrites a graph before it runs it: its graph optimization level. The zero value is its
// default, all.
type Optimization string

// The levels, each with what those before it do.
const (
	OptimizeNone     Optimization = "none"     // the nodes run as they are
	OptimizeBasic    Optimization = "basic"    // constants are folded, nodes that do nothing left out
	OptimizeExtended Optimization = "extended" // nodes are fused
	OptimizeAll      Optimization = "all"      // data is laid out anew
)

// Optimizations returns all of them.
func Optimizations() []Optimization {
	return []Optimization{OptimizeNone, OptimizeBasic, OptimizeExtended, OptimizeAll}
}

// MaxThreads is the largest SessionOptions.Threads: ONNX Runtime starts them all, whatever the machine has.
const MaxThreads = 1024

// Session is a loaded model. All of it may be used from many goroutines at once.
type Session struct {
	inputs, outputs []Value
	held            *held
	net             runtime.Cleanup
}

// held is what a Session owns in C. It is apart from Session so that a Session that was never closed can be collected,
// which closes it.
type held struct {
	mu     sync.RWMutex // read-locked by runs
	native engineSession
	env    *environment
}

func newSession(env *environment, m modelSource, o SessionOptions) (*Session, error) {
	native, err := env.engine.newSession(m, o)
	if err != nil {
		return nil, &ModelError{Path: m.path, Err: explainLoad(err, o)}
	}
	s := &Session{held: &held{native: native, env: env}}
	if s.inputs, s.outputs, err = native.ports(); err != nil {
		return nil, &ModelError{Path: m.path, Err: errors.Join(err, native.close())}
	}
	s.net = runtime.AddCleanup(s, func(h *held) { h.close() }, s.held)
	return s, nil
}

// explainLoad adds what a model could have used when an operator of ours was not found.
func explainLoad(err error, o SessionOptions) error {
	if !strings.Contains(err.Error(), "is not a registered function/op") {
		return err
	}
	if o.NoKernels {
		return fmt.Errorf("%w (no %s kernels are registered in this session, and the model has no function body for it)",
			err, ops.Domain)
	}
	var names []string
	for _, d := range ops.All() {
		names = append(names, d.Name)
	}
	return fmt.Errorf("%w (registered in domain %s, version %d: %s)", err, ops.Domain, ops.Version, strings.Join(names, ", "))
}

// Inputs lists what Run wants, in the model's order.
func (s *Session) Inputs() []Value { return slices.Clone(s.inputs) }

// Outputs lists what Run gives, in the model's order.
func (s *Session) Outputs() []Value { return slices.Clone(s.outputs) }

// Metadata is the value of a key of the model's metadata_props; false where there is none.
func (s *Session) Metadata(key string) (string, bool, error) {
	defer runtime.KeepAlive(s)
	s.held.mu.RLock()
	defer s.held.mu.RUnlock()
	if s.held.native == nil {
		return "", false, fmt.Errorf("session: %w", ErrClosed)
	}
	return s.held.native.metadata(key)
}

// Run computes every output. The inputs are read in place and must not change meanwhile; the outputs are new memory.
//
// A cancelled ctx stops the run between two operators: the error then wraps the context's.
//
// Errors: *InputError when an input is missing, unknown, nil, or has another type, rank or size than the model states, or
// data that does not fit its shape; ErrClosed; else what ONNX Runtime says, such as an operator's complaint about shapes.
func (s *Session) Run(ctx context.Context, inputs map[string]*Tensor) (map[string]*Tensor, error) {
	return s.run(ctx, inputs, nil)
}

// RunInto is Run for outputs whose shapes the caller knows: each given tensor's data is written in place, with no copy,
// and its type and shape must be exactly those of the result. Outputs that are not given are not returned.
//
// Errors: those of Run; an output that the model does not have, that does not fit, or that shares memory with an input
// or another output.
func (s *Session) RunInto(ctx context.Context, inputs, outputs map[string]*Tensor) error {
	given := make([]*Tensor, len(s.outputs))
	for name, t := range outputs {
		i := slices.IndexFunc(s.outputs, func(v Value) bool { return v.Name == name })
		if i < 0 {
			return fmt.Errorf("output %q: the model has no such output, it gives %s", name, list(s.outputs))
		}
		var in *InputError
		if err := s.outputs[i].accept(t); errors.As(err, &in) {
			return fmt.Errorf("output %q: %s", name, in.Reason)
		}
		if !isAligned(t) {
			return fmt.Errorf("output %q: its data is not aligned to %d bytes", name, t.DType.Size())
		}
		given[i] = t
	}
	if err := checkOverlap(inputs, outputs); err != nil {
		return err
	}
	_, err := s.run(ctx, inputs, given)
	return err
}

// checkOverlap refuses an output that shares memory with an input or another output: it may be written before the other
// is read.
func checkOverlap(inputs, outputs map[string]*Tensor) error {
	for name, out := range outputs {
		for other, in := range inputs {
			if in != nil && overlap(out.Data, in.Data) {
				return fmt.Errorf("output %q: shares memory with input %q", name, other)
			}
		}
		for other, o := range outputs {
			if other != name && overlap(out.Data, o.Data) {
				return fmt.Errorf("output %q: shares memory with output %q", min(name, other), max(name, other))
			}
		}
	}
	return nil
}

func (s *Session) run(ctx context.Context, inputs map[string]*Tensor, given []*Tensor) (map[string]*Tensor, error) {
	ordered, err := arrange(s.inputs, inputs)
	if err != nil {
		return nil, err
	}
	results, err := s.runOrdered(ctx, request{inputs: ordered, outputs: given})
	if err != nil {
		return nil, err
	}
	named := make(map[string]*Tensor, len(results))
	for i, t := range results {
		if t != nil {
			named[s.outputs[i].Name] = t
		}
	}
	return named, nil
}

// runOrdered runs what fits: its tensors are in the model's order, hold what their shapes say, are aligned, and share no memory
// with an output.
func (s *Session) runOrdered(ctx context.Context, r request) ([]*Tensor, error) {
	defer runtime.KeepAlive(s) // or a collection during the last run would close the session
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run: %w", context.Cause(ctx))
	}
	s.held.mu.RLock()
	defer s.held.mu.RUnlock()
	if s.held.native == nil {
		return nil, fmt.Errorf("session: %w", ErrClosed)
	}
	results, err := s.held.native.run(ctx, r)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("run: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	return results, nil
}

// Close frees the model when the runs in flight are done; later runs return ErrClosed. A second Close does nothing. The
// session is closed whatever the error says.
func (s *Session) Close() error {
	s.net.Stop()
	return s.held.close()
}

func (h *held) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.native == nil {
		return nil
	}
	err := h.native.close()
	h.native = nil
	return errors.Join(err, h.env.release())
}
