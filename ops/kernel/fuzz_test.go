//go:build cgo

package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/ops"
)

// The fuzzers choose what a call is made of; the numbers in it follow from the seed and the regime. A byte is a count less one, cut
// to what the reference computes in a moment.

// FuzzSequences: rule N12, every operator over whole sequences, on every set of instructions, against the reference.
func FuzzSequences(f *testing.F) {
	for op := range ops.Sequences() {
		f.Add(byte(op), byte(op), byte(0), uint64(op), byte(0), byte(11), byte(9), byte(2), byte(1), byte(4), byte(2), byte(4), true)
		f.Add(byte(op), byte(op+1), byte(3), uint64(op), byte(1), byte(39), byte(70), byte(0), byte(16), byte(34), byte(10), byte(0), false)
	}
	f.Fuzz(func(t *testing.T, op, dtype, regime byte, seed uint64, b, steps, sources, heads, per, window, kernel, grid byte, causal bool) {
		def := ops.Sequences()[int(op)%len(ops.Sequences())]
		h := 1 + int(heads%5)
		sz := size{B: 1 + int(b%3), T: 1 + int(steps%48), S: int(sources % 80), Heads: h, D: h * (1 + int(per%18)), Window: 1 + int(window%40),
			Kernel: [2]int{1 + int(kernel%7), 1 + int(kernel/7%7)}, Grid: [2]int{1 + int(grid%6), 1 + int(grid/6%6)}}
		rng := rand.New(rand.NewPCG(seed, 61))
		kind, r := ops.Types()[int(dtype)%3], regimes()[int(regime)%len(regimes())]
		p := newProblem(def.Name, sz, causal, ops.GateAbsent, rng)
		r.edit(p, kind, rng)
		inputs := p.tensors(t, kind)
		p.verify(t, inputs, 1+int(seed%3), p.truth(t, inputs))
		if t.Failed() {
			t.Fatalf("%s: %s, %s, %v, %s", def.Name, sz, kind, p.attrs, r.name)
		}
	})
}

// FuzzSteps: rule N12, the same for the step forms, chunks and states of any length.
func FuzzSteps(f *testing.F) {
	for op := range ops.Steps() {
		f.Add(byte(op), byte(op), byte(0), uint64(op), byte(2), byte(4), byte(9), byte(2), byte(1), byte(4), byte(0))
		f.Add(byte(op), byte(op+1), byte(3), uint64(op), byte(0), byte(39), byte(0), byte(0), byte(16), byte(34), byte(3))
	}
	f.Fuzz(func(t *testing.T, op, dtype, regime byte, seed uint64, b, steps, past, heads, per, window, gate byte) {
		def := ops.Steps()[int(op)%len(ops.Steps())]
		h := 1 + int(heads%5)
		sz := size{B: 1 + int(b%3), T: int(steps % 40), S: int(past % 40), Heads: h, D: h * (1 + int(per%18)), Window: 1 + int(window%40)}
		rng := rand.New(rand.NewPCG(seed, 67))
		kind, r := ops.Types()[int(dtype)%3], regimes()[int(regime)%len(regimes())]
		c := newChunk(t, def, sz, kind, int64(gate%4), func(p *problem) { r.edit(p, kind, rng) }, rng)
		c.verify(t, sz, 1+int(seed%3))
		if t.Failed() {
			t.Fatalf("%s: %s, %s, %s, gate %d", def.Name, sz, kind, r.name, gate%4)
		}
	})
}
