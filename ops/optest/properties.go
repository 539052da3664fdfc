package optest

import (
	"fmt"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// testProperties holds what follows from the equations for any data.
func (e *Engine) testProperties(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, causal := range []int64{0, 1} {
			for i, sz := range propertySizes() {
				name := fmt.Sprintf("%s causal=%d size=%d", def.Name, causal, i)
				p := func(t *testing.T) *problem { return build(t, def, sz, causal, ops.GateAbsent, uint64(41+i)) }
				t.Run(name+" mean", func(t *testing.T) { e.testMean(t, p(t)) })
				t.Run(name+" shift", func(t *testing.T) { e.testShift(t, p(t)) })
				t.Run(name+" batch", func(t *testing.T) { e.testBatch(t, p(t)) })
			}
		}
	}
}

// propertySizes are odd, prime and off the edges of blocks; one window and kernel reaches beyond the sequence.
func propertySizes() []size {
	return []size{
		{B: 3, T: 13, S: 13, D: 6, Heads: 3, Window: 4, Kernel: [2]int{5, 2}, Grid: [2]int{3, 5}},
		{B: 2, T: 33, S: 33, D: 17, Heads: 17, Window: 40, Kernel: [2]int{41, 9}, Grid: [2]int{7, 5}},
	}
}

// testMean: the ratio is a weighted mean, so it lies between the least and the greatest V of its channel.
func (e *Engine) testMean(t *testing.T, p *problem) {
	y := e.mustRun(t, p)
	v := p.v()
	steps, channels := v.Shape[1], v.Shape[2]
	slack := 16 * e.epsilon() * 4
	for i := range y.Len() {
		at := tensor.Unravel(i, y.Shape)
		low, high := math.Inf(1), math.Inf(-1)
		for s := range steps {
			value := v.Data[(at[0]*steps+s)*channels+at[2]]
			low, high = min(low, value), max(high, value)
		}
		if got := y.At(i); !(got >= low-slack && got <= high+slack) {
			t.Fatalf("Y%v is %v, want a mean of V in [%v, %v]", at, got, low, high)
		}
	}
}

// testShift: a constant added to all K of a channel cancels. 8 keeps every sum exact in float32; float16 is left out,
// where it would not.
func (e *Engine) testShift(t *testing.T, p *problem) {
	if e.DType == tensor.Float16 {
		return
	}
	rounded := p.k()
	for i := range rounded.Data {
		rounded.Data[i] = math.Round(rounded.Data[i]*1024) / 1024
	}
	before := e.mustRun(t, p)
	for i := range rounded.Data {
		rounded.Data[i] += 8
	}
	after := e.mustRun(t, p)
	for i := range before.Len() {
		e.near(t, after, i, before.At(i), 64)
	}
}

// testBatch: an entry's result does not depend on what else is in the batch. For a kernel, not by a bit.
func (e *Engine) testBatch(t *testing.T, p *problem) {
	together := e.mustRun(t, p)
	b := p.q().Shape[0]
	n := together.Len() / b
	for entry := range b {
		alone := *p
		alone.inputs = append([]tensor.Array{}, p.inputs...)
		for i, a := range p.inputs[:3] {
			per := len(a.Data) / b
			alone.inputs[i] = tensor.Array{Shape: append([]int{1}, a.Shape[1:]...), Data: a.Data[entry*per : (entry+1)*per]}
		}
		y := e.mustRun(t, &alone)
		for i := range n {
			got, want := y.At(i), together.At(entry*n+i)
			if e.Body {
				e.near(t, y, i, want, 32)
			} else if got != want {
				t.Fatalf("entry %d alone gives Y%v = %v, in its batch %v", entry, tensor.Unravel(i, y.Shape), got, want)
			}
		}
	}
}

// testEmpty: no batch or no positions give no elements, and S = 0 leaves nothing to sum.
func (e *Engine) testEmpty(t *testing.T) {
	for _, def := range ops.Sequences() {
		for _, zero := range []string{"B", "T"} {
			t.Run(def.Name+" "+zero+"=0", func(t *testing.T) {
				sz := small()
				if zero == "B" {
					sz.B = 0
				} else {
					sz.T, sz.S, sz.Grid = 0, 0, [2]int{0, 3}
				}
				if y := e.mustRun(t, build(t, def, sz, 0, 0, 43)); y.Len() != 0 {
					t.Fatalf("Y has %d elements, want none", y.Len())
				}
			})
		}
	}
	for _, name := range []string{"AFTFull", "AFTSimple"} {
		def, _ := ops.Lookup(name)
		t.Run(name+" S=0", func(t *testing.T) {
			sz := small()
			sz.S = 0
			y := e.mustRun(t, build(t, def, sz, 0, 0, 47))
			for i := range y.Len() {
				if y.At(i) != 0 {
					t.Fatalf("Y%v is %v, want 0", tensor.Unravel(i, y.Shape), y.At(i))
				}
			}
		})
	}
}
