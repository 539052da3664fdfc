//go:build cgo

package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// mixedChunk is a chunk whose sequences differ: in the last one lanes take the exact path at some rows.
func mixedChunk(t testing.TB, def *ops.Def, sz size, dtype tensor.DType) *chunk {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 61))
	return newChunk(t, def, sz, dtype, ops.GateSigmoid, func(p *problem) {
		k := p.k()
		per := len(k.Data) / k.Shape[0]
		for i := len(k.Data) - per; i < len(k.Data); i++ {
			k.Data[i] *= 2000
		}
	}, rng)
}

// Operands at every byte offset, between sentinels: the results are the same by a bit, nothing else is written.
func TestStepWritesOnlyItsOutputs(t *testing.T) {
	for _, def := range ops.Steps() {
		for _, dtype := range ops.Types() {
			for _, h := range hosts(2) {
				for _, sz := range []size{
					{B: 3, T: 9, S: 5, D: 5, Heads: 5, Window: 3},   // less than a vector
					{B: 2, T: 1, S: 7, D: 40, Heads: 5, Window: 4},  // some vectors
					{B: 2, T: 30, S: 7, D: 34, Heads: 1, Window: 5}, // chunks of rows
				} {
					testStepWritesOnlyItsOutputs(t, mixedChunk(t, def, sz, dtype), h)
				}
			}
		}
	}
}

func testStepWritesOnlyItsOutputs(t *testing.T, c *chunk, h host) {
	t.Helper()
	want := c.runAt(t, c.inputs, h)
	for offset := range 17 {
		var buffers, copies, results [][]byte
		move := func(tensors []*tensor.Tensor) []*tensor.Tensor {
			moved := make([]*tensor.Tensor, len(tensors))
			for i, x := range tensors {
				buffer, inside := guarded(x.Data, offset)
				moved[i] = &tensor.Tensor{DType: x.DType, Shape: x.Shape, Data: inside}
				buffers = append(buffers, buffer)
			}
			return moved
		}
		in := move(c.inputs)
		for _, b := range buffers {
			copies = append(copies, bytes.Clone(b))
		}
		out := move(newOutputs(t, c.def.Name, c.inputs))
		results = buffers[len(copies):]
		if err := run(c.def.Name, c.attrs, in, out, h); err != nil {
			t.Fatal(err)
		}
		for i, x := range out {
			name := c.def.Outputs[i].Name
			if !bytes.Equal(x.Data, want[i].Data) {
				t.Fatalf("%s %s: other bits of %s at offset %d", c.def.Name, h, name, offset)
			}
			for j := range x.Data {
				x.Data[j] = 0xc9
			}
			if clean := bytes.Repeat([]byte{0xc9}, len(results[i])); !bytes.Equal(results[i], clean) {
				t.Fatalf("%s %s: wrote beside %s at offset %d", c.def.Name, h, name, offset)
			}
		}
		for i := range copies {
			if !bytes.Equal(buffers[i], copies[i]) {
				t.Fatalf("%s %s: changed input %d at offset %d", c.def.Name, h, i, offset)
			}
		}
	}
}

// The bits depend neither on the number of threads nor on what else is in the batch.
func TestStepSameBits(t *testing.T) {
	for _, def := range ops.Steps() {
		for _, dtype := range ops.Types() {
			t.Run(fmt.Sprintf("%s/%s", def.Name, dtype), func(t *testing.T) {
				t.Parallel()
				sizes := []size{
					{B: 3, T: 40, S: 50, D: 280, Heads: 7, Window: 9},
					{B: 3, T: 2, S: 400, D: 600, Heads: 150, Window: 380},
				}
				if testing.Short() {
					sizes = sizes[:1]
				}
				for _, sz := range sizes {
					for _, h := range hosts(1) {
						testStepSameBits(t, mixedChunk(t, def, sz, dtype), h)
					}
				}
			})
		}
	}
}

func testStepSameBits(t *testing.T, c *chunk, h host) {
	t.Helper()
	want := c.runAt(t, c.inputs, h)
	for _, threads := range []int{2, 3, 8} {
		h.threads = threads
		for i, got := range c.runAt(t, c.inputs, h) {
			if !bytes.Equal(got.Data, want[i].Data) {
				t.Errorf("%s: other bits of %s than one thread", h, c.def.Outputs[i].Name)
			}
		}
	}
	for b := range c.position {
		alone := append([]*tensor.Tensor{}, c.inputs...)
		for i, port := range c.def.Inputs {
			if port.Dims[0] != "B" {
				continue
			}
			x := c.inputs[i]
			n := len(x.Data) / x.Shape[0]
			alone[i] = &tensor.Tensor{DType: x.DType, Shape: append([]int{1}, x.Shape[1:]...), Data: x.Data[b*n : (b+1)*n]}
		}
		for i, got := range c.runAt(t, alone, h) {
			n := len(got.Data)
			if !bytes.Equal(got.Data, want[i].Data[b*n:(b+1)*n]) {
				t.Errorf("%s: other bits of %s for sequence %d alone", h, c.def.Outputs[i].Name, b)
			}
		}
	}
}

// Calls from many threads at once share nothing but the counters.
func TestStepConcurrentCalls(t *testing.T) {
	for _, def := range ops.Steps() {
		c := mixedChunk(t, def, size{B: 2, T: 9, S: 20, D: 9, Heads: 3, Window: 3}, tensor.Float32)
		want := c.runAt(t, c.inputs, host{threads: 1})
		key := Key{def.Name, tensor.Float32}
		before := Calls()[key]
		const goroutines, calls = 8, 20
		var done sync.WaitGroup
		for range goroutines {
			done.Go(func() {
				for range calls {
					for i, got := range c.runAt(t, c.inputs, host{threads: 2}) {
						if !bytes.Equal(got.Data, want[i].Data) {
							t.Errorf("%s: other bits of %s beside concurrent calls", def.Name, def.Outputs[i].Name)
						}
					}
				}
			})
		}
		done.Wait()
		if got := Calls()[key] - before; got != goroutines*calls {
			t.Errorf("%s: counted %d calls, want %d", def.Name, got, goroutines*calls)
		}
	}
}

// A kernel that gets no memory, at whichever of its allocations, says so, gives back what it has, counts nothing, and works
// the next time.
func TestStepNoMemory(t *testing.T) {
	for _, def := range ops.Steps() {
		for _, dtype := range ops.Types() {
			c := mixedChunk(t, def, size{B: 2, T: 40, S: 30, D: 300, Heads: 2, Window: 7}, dtype)
			c.length[0] = max(c.length[0], 1)
			copy(c.inputs[len(c.inputs)-1].Data, []byte{byte(c.length[0])})
			copy(c.inputs[2].Data, bytesOf(dtype, math.NaN())) // odd: one more way through the code
			key := Key{def.Name, dtype}
			failed := 0
			for i := 1; ; i++ {
				before := Calls()[key]
				err := run(def.Name, c.attrs, c.inputs, newOutputs(t, def.Name, c.inputs), host{threads: 2, failAlloc: i})
				if err == nil {
					break
				}
				failed++
				if !strings.Contains(err.Error(), "no memory") {
					t.Fatalf("%s %s: error %v, want one that says there is no memory", def.Name, dtype, err)
				}
				if after := Calls()[key]; after != before {
					t.Errorf("%s %s: counted a call that failed", def.Name, dtype)
				}
			}
			if want := map[bool]int{true: 1, false: 3}[dtype == tensor.Float64]; failed < want {
				t.Errorf("%s %s: %d allocations were made, want at least %d", def.Name, dtype, failed, want)
			}
			c.runAt(t, c.inputs, host{threads: 2})
		}
	}
}

// Outputs that share memory with an input or with each other are refused.
func TestStepOverlap(t *testing.T) {
	for _, def := range ops.Steps() {
		c := mixedChunk(t, def, size{B: 1, T: 4, S: 4, D: 2, Heads: 2, Window: 2}, tensor.Float32)
		for i, port := range def.Outputs {
			outputs := newOutputs(t, def.Name, c.inputs)
			past := c.inputs[def.Past(i)]
			outputs[i] = past
			want := fmt.Sprintf("output %q: shares memory with input %q", port.Name, def.Inputs[def.Past(i)].Name)
			if err := Run(def.Name, c.attrs, c.inputs, outputs, 1); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", def.Name, err, want)
			}
			outputs = newOutputs(t, def.Name, c.inputs)
			other := (i + 1) % len(outputs)
			n, m := len(outputs[i].Data), len(outputs[other].Data)
			shared := make([]byte, n+m)
			outputs[i].Data, outputs[other].Data = shared[:n], shared[n-1:n-1+m]
			err := Run(def.Name, c.attrs, c.inputs, outputs, 1)
			if err == nil || !strings.Contains(err.Error(), "shares memory with output") {
				t.Errorf("%s: error %v, want one that names two outputs", def.Name, err)
			}
			outputs[other].Data = shared[n:]
			if err := Run(def.Name, c.attrs, c.inputs, outputs, 1); err != nil {
				t.Errorf("%s: neighbours in memory: %v", def.Name, err)
			}
		}
	}
}
