//go:build cgo

package kernel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// wide is a size with several tasks for every operator, whatever its split: more than 64 channels, more than 128 rows.
func wide() size {
	return size{B: 2, T: 150, S: 140, D: 70, Heads: 7, Window: 9, Kernel: [2]int{3, 5}, Grid: [2]int{12, 11}}
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
func TestWritesOnlyItsOutput(t *testing.T) {
	for _, def := range ops.All() {
		for _, dtype := range ops.Types() {
			for _, causal := range []bool{false, true} {
				sz := size{B: 2, T: 9, S: 11, D: 5, Heads: 5, Window: 3, Kernel: [2]int{3, 3}, Grid: [2]int{4, 3}}
				p := mixed(def.Name, sz, causal)
				inputs := p.tensors(t, dtype)
				want := p.runOn(t, inputs, 1)
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
					if err := Run(p.op, p.attrs, moved, y, 2); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(y.Data, want.Data) {
						t.Fatalf("%s %s: other bits at offset %d", def.Name, dtype, offset)
					}
					for i := range y.Data {
						y.Data[i] = 0xc9
					}
					if clean := bytes.Repeat([]byte{0xc9}, len(out)); !bytes.Equal(out, clean) {
						t.Fatalf("%s %s: wrote beside its output at offset %d", def.Name, dtype, offset)
					}
					for i := range buffers {
						if !bytes.Equal(buffers[i], copies[i]) {
							t.Fatalf("%s %s: changed input %d at offset %d", def.Name, dtype, i, offset)
						}
					}
				}
			}
		}
	}
}

// The bits depend neither on the number of threads nor on what else is in the batch.
func TestSameBits(t *testing.T) {
	for _, def := range ops.All() {
		for _, dtype := range ops.Types() {
			for _, causal := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s causal=%v", def.Name, dtype, causal), func(t *testing.T) {
					t.Parallel()
					p := mixed(def.Name, wide(), causal)
					inputs := p.tensors(t, dtype)
					want := p.runOn(t, inputs, 1)
					for _, threads := range []int{2, 3, 8} {
						if got := p.runOn(t, inputs, threads); !bytes.Equal(got.Data, want.Data) {
							t.Errorf("other bits with %d threads", threads)
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
						if got := p.runOn(t, alone, 2); !bytes.Equal(got.Data, want.Data[entry*n:(entry+1)*n]) {
							t.Errorf("other bits for entry %d of the batch alone", entry)
						}
					}
				})
			}
		}
	}
}

// Calls from many threads at once share nothing but the counters.
func TestConcurrentCalls(t *testing.T) {
	for _, def := range ops.All() {
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

// A kernel that gets no memory says so, gives back what it has, counts nothing, and works the next time.
func TestNoMemory(t *testing.T) {
	for _, def := range ops.All() {
		p := mixed(def.Name, wide(), true)
		inputs := p.tensors(t, tensor.Float32)
		y, err := tensor.New(tensor.Float32, inputs[0].Shape)
		if err != nil {
			t.Fatal(err)
		}
		before := Calls()[Key{def.Name, tensor.Float32}]
		err = run(p.op, p.attrs, inputs, y, host{threads: 2, failAlloc: 1})
		if def.Name == "AFTSimple" { // needs no memory
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "no memory") {
			t.Errorf("%s: error %v, want one that says there is no memory", def.Name, err)
		}
		if after := Calls()[Key{def.Name, tensor.Float32}]; after != before {
			t.Errorf("%s: counted a call that failed", def.Name)
		}
		p.runOn(t, inputs, 2)
	}
}

// An output that shares memory with an input is refused.
func TestOverlap(t *testing.T) {
	for _, def := range ops.All() {
		p := mixed(def.Name, size{B: 1, T: 4, S: 4, D: 2, Heads: 2, Window: 2, Kernel: [2]int{1, 1}, Grid: [2]int{2, 2}}, true)
		inputs := p.tensors(t, tensor.Float32)
		q := inputs[0]
		if err := Run(p.op, p.attrs, inputs, q, 1); err == nil || !strings.Contains(err.Error(), `"Q"`) {
			t.Errorf("%s: error %v, want one that names Q", def.Name, err)
		}
		shared := make([]byte, 2*len(q.Data))
		q.Data = shared[:len(q.Data)]
		y := &tensor.Tensor{DType: q.DType, Shape: q.Shape, Data: shared[len(q.Data)-1 : 2*len(q.Data)-1]}
		if err := Run(p.op, p.attrs, inputs, y, 1); err == nil {
			t.Errorf("%s: one shared byte was accepted", def.Name)
		}
		y.Data = shared[len(q.Data):]
		if err := Run(p.op, p.attrs, inputs, y, 1); err != nil {
			t.Errorf("%s: neighbours in memory: %v", def.Name, err)
		}
	}
}
