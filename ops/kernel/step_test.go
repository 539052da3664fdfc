//go:build cgo

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

func chunkSizes() []size {
	return []size{
		{B: 1, T: 1, S: 0, D: 1, Heads: 1, Window: 1},
		{B: 3, T: 2, S: 3, D: 2, Heads: 1, Window: 2},
		{B: 3, T: 1, S: 17, D: 6, Heads: 3, Window: 5},
		{B: 2, T: 13, S: 9, D: 40, Heads: 2, Window: 7},
		{B: 2, T: 5, S: 5, D: 36, Heads: 18, Window: 40},   // a window larger than the sequence
		{B: 2, T: 30, S: 40, D: 67, Heads: 67, Window: 3},  // chunks of rows
		{B: 1, T: 130, S: 20, D: 33, Heads: 1, Window: 60}, // terms that move
		{B: 2, T: 3, S: 800, D: 5, Heads: 1, Window: 500},  // blocks of tokens
		{B: 1, T: 420, S: 3, D: 3, Heads: 3, Window: 400},  // both
		{B: 2, T: 2, S: 1, D: 20, Heads: 20, Window: 5},    // a head a channel, whole vectors of 4 lanes but not 4 of them
		{B: 2, T: 5, S: 6, D: 48, Heads: 48, Window: 4},    // and of 8 or 16
		{B: 1, T: 0, S: 9, D: 4, Heads: 2, Window: 4},      // nothing but the state
	}
}

// Every step form, type and regime against the reference.
func TestStepAccuracy(t *testing.T) {
	for _, def := range ops.Steps() {
		for _, dtype := range ops.Types() {
			t.Run(fmt.Sprintf("%s/%s", def.Name, dtype), func(t *testing.T) {
				t.Parallel()
				for n, r := range regimes() {
					for i, sz := range chunkSizes() {
						if testing.Short() && i >= 5 && (n+i)%4 != 0 {
							continue
						}
						t.Run(fmt.Sprintf("%s/%s", r.name, sz), func(t *testing.T) {
							rng := rand.New(rand.NewPCG(uint64(i), 43))
							c := newChunk(t, def, sz, dtype, int64(i%4), func(p *problem) { r.edit(p, dtype, rng) }, rng)
							c.verify(t, sz, 2)
						})
					}
				}
			})
		}
	}
}

// Small random sizes in random regimes: positions, lengths and windows in every relation to each other.
func TestStepRandomShapes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 47))
	for _, def := range ops.Steps() {
		for i := range 1500 {
			heads := 1 + rng.IntN(3)
			sz := size{B: 1 + rng.IntN(3), T: rng.IntN(30), S: rng.IntN(20), D: heads * (1 + rng.IntN(3)), Heads: heads, Window: 1 + rng.IntN(12)}
			dtype, r := ops.Types()[rng.IntN(3)], regimes()[rng.IntN(len(regimes()))]
			c := newChunk(t, def, sz, dtype, ops.GateAbsent, func(p *problem) { r.edit(p, dtype, rng) }, rng)
			c.verify(t, sz, 1)
			if t.Failed() {
				t.Fatalf("%s chunk %d: %s, %s, %s", def.Name, i, sz, dtype, r.name)
			}
		}
	}
}

// What holds no token, and padding, changes no bit, whatever it is.
func TestStepUnread(t *testing.T) {
	for _, def := range ops.Steps() {
		for _, dtype := range ops.Types() {
			for round, sz := range []size{
				{B: 5, T: 4, S: 9, D: 20, Heads: 2, Window: 6},
				{B: 4, T: 40, S: 9, D: 6, Heads: 3, Window: 4},
			} {
				rng := rand.New(rand.NewPCG(uint64(round), 53))
				c := newChunk(t, def, sz, dtype, ops.GateSigmoid, func(*problem) {}, rng)
				for _, h := range hosts(1) {
					want := c.runAt(t, c.inputs, h)
					for _, value := range []float64{0, math.Inf(1), math.Inf(-1), 6e4} {
						got := c.runAt(t, c.changed(t, sz, value), h)
						for o := range want {
							if string(got[o].Data) != string(want[o].Data) {
								t.Errorf("%s %s %s: %s depends on what is no token", def.Name, dtype, h, def.Outputs[o].Name)
							}
						}
					}
				}
			}
		}
	}
}

// changed is the inputs with value in the place of everything that is not to be read.
func (c *chunk) changed(t *testing.T, sz size, value float64) []*tensor.Tensor {
	t.Helper()
	n := 0
	put := func(x *tensor.Tensor, i int) {
		copy(x.Data[i*x.DType.Size():], bytesOf(x.DType, value))
		n++
	}
	inputs := make([]*tensor.Tensor, len(c.inputs))
	for i, x := range c.inputs {
		inputs[i] = &tensor.Tensor{DType: x.DType, Shape: x.Shape, Data: append([]byte{}, x.Data...)}
	}
	for _, x := range inputs[:3] {
		for i := range x.Len() {
			if per := x.Len() / sz.B; i%per/x.Shape[2] >= c.length[i/per] {
				put(x, i)
			}
		}
	}
	first := c.def.Past(1)
	c.unread(sz, inputs[first:len(inputs)-2], put)
	if n == 0 {
		t.Errorf("%s: everything is read", c.def.Name)
	}
	return inputs
}
