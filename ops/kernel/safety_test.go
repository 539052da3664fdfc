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

// wide is a size with several tasks for every operator, whatever its split: more than 256 channels,
// more than 252 sources.
func wide() size {
	return size{B: 2, T: 290, S: 280, D: 280, Heads: 7, Window: 9, Kernel: [2]int{3, 5}, Grid: [2]int{12, 11}}
}

// mixed is a problem whose batch entries differ: in the last one every lane takes the exact path at some rows.
func mixed(op string, sz size, causal bool) *problem {
	rng := rand.New(rand.NewPCG(3, 23))
	p := newProblem(op, sz, causal, ops.GateSigmoid, rng)
	k := p.k()
	per := len(k.Data) / k.Shape[0]
	for i := len(k.Data) - per; i < len(k.Data); i++ {
		k.Data[i] *= 2000
	}
	return p
}

// guarded copies data into a larger buffer at an offset, between sentinels.
func guarded(data []byte, offset int) (buffer, inside []byte) {
	const zone = 256
	buffer = bytes.Repeat([]byte{0xc9}, len(data)+2*zone)
	inside = buffer[zone+offset : zone+offset+len(data) : zone+offset+len(data)]
	copy(inside, data)
	return buffer, inside
}

// Operands at every byte offset, between sentinels: the result is the same by a bit, nothing else is written.
//
// Rule R7 of docs/hostile.md.
func TestWritesOnlyItsOutput(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, dtype := range ops.Types() {
			for _, causal := range []bool{false, true} {
				for _, h := range hosts(2) {
					for _, d := range []int{5, 40} { // less than a vector, and some
						sz := size{B: 2, T: 9, S: 11, D: d, Heads: 5, Window: 3, Kernel: [2]int{3, 3}, Grid: [2]int{4, 3}}
						testWritesOnlyItsOutput(t, mixed(def.Name, sz, causal), dtype, h)
					}
				}
			}
		}
	}
}

func testWritesOnlyItsOutput(t *testing.T, p *problem, dtype tensor.DType, h host) {
	t.Helper()
	inputs := p.tensors(t, dtype)
	want := p.runAt(t, inputs, h)
	for offset := range 17 {
		var buffers, copies [][]byte
		moved := make([]*tensor.Tensor, len(inputs))
		for i, x := range inputs {
			buffer, inside := guarded(x.Data, offset)
			moved[i] = &tensor.Tensor{DType: x.DType, Shape: x.Shape, Data: inside}
			buffers, copies = append(buffers, buffer), append(copies, bytes.Clone(buffer))
		}
		out, inside := guarded(make([]byte, len(want.Data)), offset)
		y := &tensor.Tensor{DType: dtype, Shape: want.Shape, Data: inside}
		if err := run(p.op, p.attrs, moved, []*tensor.Tensor{y}, h); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(y.Data, want.Data) {
			t.Fatalf("%s %s %s: other bits at offset %d", p.op, dtype, h, offset)
		}
		for i := range y.Data {
			y.Data[i] = 0xc9
		}
		if clean := bytes.Repeat([]byte{0xc9}, len(out)); !bytes.Equal(out, clean) {
			t.Fatalf("%s %s %s: wrote beside its output at offset %d", p.op, dtype, h, offset)
		}
		for i := range buffers {
			if !bytes.Equal(buffers[i], copies[i]) {
				t.Fatalf("%s %s %s: changed input %d at offset %d", p.op, dtype, h, i, offset)
			}
		}
	}
}

// The bits depend neither on the number of threads nor on what else is in the batch.
//
// Rule N11 of docs/hostile.md.
func TestSameBits(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, dtype := range ops.Types() {
			for _, causal := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s causal=%v", def.Name, dtype, causal), func(t *testing.T) {
					t.Parallel()
					for _, h := range hosts(1) {
						testSameBits(t, mixed(def.Name, wide(), causal), dtype, h)
					}
				})
			}
		}
	}
}

func testSameBits(t *testing.T, p *problem, dtype tensor.DType, h host) {
	t.Helper()
	inputs := p.tensors(t, dtype)
	want := p.runAt(t, inputs, h)
	for _, threads := range []int{2, 3, 8} {
		h.threads = threads
		if got := p.runAt(t, inputs, h); !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s: other bits than one thread", h)
		}
	}
	for entry := range 2 {
		alone := append([]*tensor.Tensor{}, inputs...)
		for i, x := range inputs[:3] {
			n := len(x.Data) / 2
			shape := append([]int{1}, x.Shape[1:]...)
			alone[i] = &tensor.Tensor{DType: dtype, Shape: shape, Data: x.Data[entry*n : (entry+1)*n]}
		}
		n := len(want.Data) / 2
		if got := p.runAt(t, alone, h); !bytes.Equal(got.Data, want.Data[entry*n:(entry+1)*n]) {
			t.Errorf("%s: other bits for entry %d of the batch alone", h, entry)
		}
	}
}

// Calls from many threads at once share nothing but the counters.
func TestConcurrentCalls(t *testing.T) {
	for _, def := range ops.Sequences() {
		p := mixed(def.Name, size{B: 2, T: 20, S: 20, D: 9, Heads: 3, Window: 3, Kernel: [2]int{2, 2}, Grid: [2]int{4, 5}}, true)
		inputs := p.tensors(t, tensor.Float32)
		want := p.runOn(t, inputs, 1)
		key := Key{def.Name, tensor.Float32}
		before := Calls()[key]
		const goroutines, calls = 8, 20
		var done sync.WaitGroup
		for range goroutines {
			done.Go(func() {
				for range calls {
					if got := p.runOn(t, inputs, 2); !bytes.Equal(got.Data, want.Data) {
						t.Errorf("%s: other bits beside concurrent calls", def.Name)
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
//
// Rule R9 of docs/hostile.md.
func TestNoMemory(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, dtype := range ops.Types() {
			p := mixed(def.Name, wide(), true)
			p.v().Data[0] = math.NaN() // odd: one more way through the code
			inputs := p.tensors(t, dtype)
			y, err := tensor.New(dtype, inputs[0].Shape)
			if err != nil {
				t.Fatal(err)
			}
			failed := 0
			for i := 1; ; i++ {
				before := Calls()[Key{def.Name, dtype}]
				if err = run(p.op, p.attrs, inputs, []*tensor.Tensor{y}, host{threads: 2, failAlloc: i}); err == nil {
					break
				}
				failed++
				if !strings.Contains(err.Error(), "no memory") {
					t.Fatalf("%s %s: error %v, want one that says there is no memory", def.Name, dtype, err)
				}
				if after := Calls()[Key{def.Name, dtype}]; after != before {
					t.Errorf("%s %s: counted a call that failed", def.Name, dtype)
				}
			}
			if needs := dtype != tensor.Float64 || def.Name != "AFTSimple"; failed == 0 && needs {
				t.Errorf("%s %s: no allocation was made", def.Name, dtype)
			}
			p.runOn(t, inputs, 2)
		}
	}
}

// An output that shares memory with an input is refused.
func TestOverlap(t *testing.T) {
	for _, def := range ops.Sequences() {
		p := mixed(def.Name, size{B: 1, T: 4, S: 4, D: 2, Heads: 2, Window: 2, Kernel: [2]int{1, 1}, Grid: [2]int{2, 2}}, true)
		inputs := p.tensors(t, tensor.Float32)
		q := inputs[0]
		if err := Run(p.op, p.attrs, inputs, []*tensor.Tensor{q}, 1); err == nil || !strings.Contains(err.Error(), `"Q"`) {
			t.Errorf("%s: error %v, want one that names Q", def.Name, err)
		}
		shared := make([]byte, 2*len(q.Data))
		q.Data = shared[:len(q.Data)]
		y := &tensor.Tensor{DType: q.DType, Shape: q.Shape, Data: shared[len(q.Data)-1 : 2*len(q.Data)-1]}
		if err := Run(p.op, p.attrs, inputs, []*tensor.Tensor{y}, 1); err == nil {
			t.Errorf("%s: one shared byte was accepted", def.Name)
		}
		y.Data = shared[len(q.Data):]
		if err := Run(p.op, p.attrs, inputs, []*tensor.Tensor{y}, 1); err != nil {
			t.Errorf("%s: neighbours in memory: %v", def.Name, err)
		}
	}
}
