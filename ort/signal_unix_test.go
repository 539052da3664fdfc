//go:build cgo && unix

package ort_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// Runs have the same bits while signals interrupt their threads, a profile is taken, and the process starts others.
//
// Rules R19, R23 of docs/hostile.md.
func TestRunsUnderSignals(t *testing.T) {
	s := load(t, open(t), simple(tensor.Float32), ort.SessionOptions{Threads: 2})
	if err := pprof.StartCPUProfile(io.Discard); err == nil { // unless the tests are being profiled
		defer pprof.StopCPUProfile()
	}
	done := make(chan struct{})
	var disturbers, runners sync.WaitGroup
	disturb := func(what func() error, pause time.Duration) {
		disturbers.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(pause):
				}
				if err := what(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	disturb(func() error { return syscall.Kill(os.Getpid(), syscall.SIGURG) }, 50*time.Microsecond)
	disturb(func() error { return exec.Command("true").Run() }, time.Millisecond)
	for g := range 4 {
		in := qkv(t, tensor.Float32, 2, 20+g, 8)
		want := run(t, s, in)["y"].Data
		runners.Go(func() {
			for i := range 200 {
				out, err := s.Run(context.Background(), in)
				if err != nil || !bytes.Equal(out["y"].Data, want) {
					t.Errorf("goroutine %d, run %d: other bits or %v", g, i, err)
					return
				}
			}
		})
	}
	runners.Wait()
	close(done)
	disturbers.Wait()
}
