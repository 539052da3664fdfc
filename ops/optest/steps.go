package optest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// testSteps holds the step forms: whatever the chunks, rows are those of the whole sequence, and each call is right for the
// state it was given.
func (e *Engine) testSteps(t *testing.T) {
	for _, def := range ops.Steps() {
		t.Run(def.Name, func(t *testing.T) {
			for _, c := range stepCases() {
				if e.Body && c.wide {
					continue
				}
				t.Run(c.name, func(t *testing.T) { e.testStep(t, def, c) })
			}
			t.Run("padding and what was before the first token", func(t *testing.T) { e.testUnread(t, def) })
			t.Run("special", func(t *testing.T) { e.testStepSpecial(t, def) })
			t.Run("refuses", func(t *testing.T) { e.testStepRefuses(t, def) })
		})
	}
}

// stepCase is a way to cut sequences into chunks.
type stepCase struct {
	name     string
	sz       size
	gate     int64
	keys     float64                // what K is multiplied by
	rise     float64                // what a key rises by with every position
	bias     float64                // what is added to every element of W
	wide     bool                   // beyond what bodies promise
	capacity int                    // AFTFullStep's, 0: as many as there are tokens
	chunk    func(r *rand.Rand) int // the length of the next chunk, at least 1
	ragged   bool                   // every sequence takes as much of a chunk as chance has it
}

func stepCases() []stepCase {
	one := func(*rand.Rand) int { return 1 }
	all := func(*rand.Rand) int { return 13 }
	small := size{B: 2, T: 13, D: 6, Heads: 3, Window: 4}
	long := size{B: 1, T: 150, D: 20, Heads: 5, Window: 33}
	return []stepCase{
		{name: "one by one", sz: small, keys: 1, chunk: one},
		{name: "whole", sz: small, gate: ops.GateTanh, keys: 1, chunk: all},
		{name: "by 2", sz: small, gate: ops.GateIdentity, keys: 1, chunk: func(*rand.Rand) int { return 2 }},
		{name: "by 7", sz: small, gate: ops.GateAbsent, keys: 3, chunk: func(*rand.Rand) int { return 7 }},
		{name: "ragged", sz: size{B: 3, T: 13, D: 6, Heads: 3, Window: 4}, keys: 1, capacity: 20, ragged: true,
			chunk: func(r *rand.Rand) int { return 1 + r.IntN(5) }},
		{name: "window of one", sz: size{B: 2, T: 9, D: 4, Heads: 2, Window: 1}, keys: 1, ragged: true,
			chunk: func(r *rand.Rand) int { return 1 + r.IntN(3) }},
		{name: "window beyond the sequence", sz: size{B: 2, T: 9, D: 4, Heads: 2, Window: 40}, keys: 1, ragged: true,
			chunk: func(r *rand.Rand) int { return 1 + r.IntN(4) }},
		{name: "long", sz: long, gate: ops.GateAbsent, keys: 1, chunk: func(r *rand.Rand) int { return 1 + r.IntN(70) }},
		{name: "low biases", sz: small, gate: ops.GateAbsent, keys: 1, bias: -150, chunk: func(*rand.Rand) int { return 3 }},
		{name: "high biases", sz: small, gate: ops.GateAbsent, keys: 1, bias: 150, chunk: func(*rand.Rand) int { return 3 }},
		{name: "keys rise by 90", sz: long, gate: ops.GateAbsent, keys: 1, rise: 90, wide: true,
			chunk: func(r *rand.Rand) int { return 1 + r.IntN(40) }},
		{name: "keys fall by 90", sz: long, gate: ops.GateAbsent, keys: 1, rise: -90, wide: true,
			chunk: func(r *rand.Rand) int { return 1 + r.IntN(40) }},
		{name: "huge keys", sz: small, gate: ops.GateAbsent, keys: 3000, wide: true, chunk: func(*rand.Rand) int { return 2 }},
	}
}

// stepRun is a batch of sequences that an engine takes a chunk at a time. The sequences are in the engine's type.
type stepRun struct {
	e        *Engine
	def      *ops.Def
	attrs    ops.Attrs
	q, k, v  tensor.Array
	w        *tensor.Tensor // nil: the operator has none
	state    []*tensor.Tensor
	position []int
	garbage  float64 // what padding holds
}

// startSteps makes sequences of c's size, and a state that holds garbage only: at position 0 it is not read.
func (e *Engine) startSteps(t *testing.T, def *ops.Def, c stepCase, garbage float64) (*stepRun, *problem) {
	t.Helper()
	whole, ok := ops.Lookup(def.Whole)
	if !ok {
		t.Fatalf("%s is the step form of %q, which does not exist", def.Name, def.Whole)
	}
	sz := c.sz
	sz.S, sz.Kernel = sz.T, [2]int{sz.Window, 0}
	p := build(t, whole, sz, 1, c.gate, 61)
	for i := range p.k().Data {
		p.k().Data[i] = p.k().Data[i]*c.keys + c.rise*float64(i/p.k().Shape[2]%sz.T)
	}
	for i := range p.w().Data {
		p.w().Data[i] += c.bias
	}
	r := &stepRun{e: e, def: def, attrs: ops.Attrs{"gate": {c.gate}}, position: make([]int, sz.B), garbage: garbage}
	rounded := e.round(t, p.tensors(t, tensor.Float64))
	for i, in := range rounded {
		p.inputs[i] = in.Array()
	}
	r.q, r.k, r.v = p.q(), p.k(), p.v()
	if len(rounded) > 3 {
		r.w = rounded[3]
	}
	r.state = r.emptyState(t, sz, p.k().Shape[2], max(c.capacity, sz.T))
	return r, p
}

// emptyState makes a state of garbage.
func (r *stepRun) emptyState(t *testing.T, sz size, columns, capacity int) []*tensor.Tensor {
	t.Helper()
	var state []*tensor.Tensor
	for i := range r.def.Outputs[1:] {
		port := r.def.Inputs[r.def.Past(1+i)]
		shape := make([]int, len(port.Dims))
		for axis, d := range port.Dims {
			shape[axis] = map[string]int{"B": sz.B, "D": sz.D, "H": columns, "s-1": sz.Window - 1, "C": capacity}[d]
		}
		n, err := tensor.NumElements(shape)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]float64, n)
		for j := range data {
			data[j] = r.garbage
		}
		x, err := tensor.FromFloat64s(port.Type.DType(r.e.DType), shape, data)
		if err != nil {
			t.Fatal(err)
		}
		state = append(state, x)
	}
	if r.def.Name == "AFTFullStep" && capacity > r.w.Shape[0] { // W has a column for every slot
		wide, err := tensor.NewArray(capacity, capacity)
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.w.Len() {
			wide.Data[i/r.w.Shape[1]*capacity+i%r.w.Shape[1]] = r.w.At(i)
		}
		if r.w, err = wide.Tensor(r.e.DType); err != nil {
			t.Fatal(err)
		}
	}
	return state
}

// inputs are those of a chunk of `steps` positions that takes lengths[b] tokens of every sequence.
func (r *stepRun) inputs(t *testing.T, steps int, lengths []int) []*tensor.Tensor {
	t.Helper()
	cut := func(a tensor.Array) *tensor.Tensor {
		width := a.Shape[2]
		out, err := tensor.NewArray(len(lengths), steps, width)
		if err != nil {
			t.Fatal(err)
		}
		for i := range out.Data {
			out.Data[i] = r.garbage
		}
		for b, n := range lengths {
			copy(out.Data[b*steps*width:][:n*width], a.Data[(b*a.Shape[1]+r.position[b])*width:])
		}
		x, err := out.Tensor(r.e.DType)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	in := []*tensor.Tensor{cut(r.q), cut(r.k), cut(r.v)}
	if r.w != nil {
		in = append(in, r.w)
	}
	in = append(in, r.state...)
	for _, values := range [][]int{r.position, lengths} {
		wide := make([]int64, len(values))
		for i, v := range values {
			wide[i] = int64(v)
		}
		x, err := tensor.FromInt64s([]int{len(values)}, wide)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, x)
	}
	return in
}

// next takes a chunk, and moves on.
func (r *stepRun) next(t *testing.T, steps int, lengths []int) (in, out []*tensor.Tensor) {
	t.Helper()
	in = r.inputs(t, steps, lengths)
	out, err := r.e.Run(r.def, r.attrs, in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != len(r.def.Outputs) {
		t.Fatalf("gave %d outputs, want %d", len(out), len(r.def.Outputs))
	}
	for i, x := range out {
		if like := in[r.def.Past(i)]; x.DType != like.DType && r.e.DType != tensor.Float64 || !tensor.SameShape(x.Shape, like.Shape) {
			t.Fatalf("%s is %s, want the type and shape of %s: %s", r.def.Outputs[i].Name, x, r.def.Inputs[r.def.Past(i)].Name, like)
		}
	}
	r.state = out[1:]
	for b, n := range lengths {
		r.position[b] += n
	}
	return in, out
}

func (e *Engine) testStep(t *testing.T, def *ops.Def, c stepCase) {
	r, p := e.startSteps(t, def, c, math.NaN())
	wholeY := referenceY(t, p)
	rng := rand.New(rand.NewPCG(67, 1))
	scale := maxAbs(e.round(t, p.tensors(t, tensor.Float64))[2])
	for calls := 1; slices.Min(r.position) < c.sz.T; calls++ {
		if calls > 20*c.sz.T {
			t.Fatalf("after %d chunks the sequences are at %v", calls, r.position)
		}
		steps := min(c.chunk(rng), c.sz.T-slices.Min(r.position))
		lengths, before := make([]int, c.sz.B), slices.Clone(r.position)
		for b := range lengths {
			lengths[b] = min(steps, c.sz.T-r.position[b])
			if c.ragged {
				lengths[b] = rng.IntN(lengths[b] + 1)
			}
		}
		in, out := r.next(t, steps, lengths)
		e.checkStep(t, c, def, r.attrs, in, out, scale)
		// The sums of the state are rounded once a chunk.
		e.checkRows(t, c, p, out[0], wholeY, before, lengths, scale*float64(16+2*calls))
	}
}

func referenceY(t *testing.T, p *problem) tensor.Array {
	t.Helper()
	y, err := reference.Call(p.def.Name, p.attrs, p.inputs)
	if err != nil {
		t.Fatal(err)
	}
	return y[0]
}

// units is what a unit of rounding is worth in a result of the engine: float16 is computed in float32.
func (e *Engine) units(c stepCase) float64 {
	switch e.DType {
	case tensor.Float64:
		return 0x1p-46 * max(1, c.keys/100, math.Abs(c.rise)*float64(c.sz.T)/100, math.Abs(c.bias)/100) / 16
	default:
		return 0x1p-23
	}
}

// running is what a body's running sums in float add, in units.
func (e *Engine) running(def *ops.Def, c stepCase) float64 {
	if e.Body && (def.Whole == "AFTSimple" || def.Whole == "AFTConv1D") {
		return float64(c.sz.T) / 8
	}
	return 0
}

// checkRows holds the rows of a chunk against those of the whole sequence, within `allowed` units.
func (e *Engine) checkRows(t *testing.T, c stepCase, p *problem, y *tensor.Tensor, whole tensor.Array, before, lengths []int, allowed float64) {
	t.Helper()
	steps, channels := y.Shape[1], y.Shape[2]
	tolerance := e.units(c) * (allowed + e.running(p.def, c)*maxAbsArray(p.v()))
	for b, n := range lengths {
		for i := range n * channels {
			got, want := y.At(b*steps*channels+i), whole.Data[(b*whole.Shape[1]+before[b])*channels+i]
			if limit := tolerance + e.rounding(want, tolerance); !(math.Abs(got-want) <= limit) {
				t.Fatalf("sequence %d, position %d, channel %d is %v, the whole sequence gives %v: off by %.3g, allowed %.3g",
					b, before[b]+i/channels, i%channels, got, want, math.Abs(got-want), limit)
			}
		}
	}
}

func maxAbsArray(a tensor.Array) float64 {
	m := 0.0
	for _, v := range a.Data {
		m = max(m, math.Abs(v))
	}
	return m
}

// rounding is that of the result to float16.
func (e *Engine) rounding(want, tolerance float64) float64 {
	if e.DType == tensor.Float16 {
		return halfUnit16(math.Abs(want) + tolerance)
	}
	return 0
}

// checkStep holds one call against the reference's answer to the same inputs: Y, and the state.
func (e *Engine) checkStep(t *testing.T, c stepCase, def *ops.Def, attrs ops.Attrs, in, out []*tensor.Tensor, scale float64) {
	t.Helper()
	arrays := make([]tensor.Array, len(in))
	for i, x := range in {
		arrays[i] = x.Array()
	}
	want, err := reference.Call(def.Name, attrs, arrays)
	if err != nil {
		t.Fatal(err)
	}
	units := (16 + e.running(def, c)) * e.units(c)
	for i, port := range def.Outputs {
		for j, w := range want[i].Data {
			got, limit := out[i].At(j), 0.0
			switch port.Name {
			case "Y":
				limit = units*scale + e.rounding(w, units*scale)
			case "present_n":
				// No more than the sum of the weights makes of the largest value.
				limit = 2 * units * scale * (1 + want[3].Data[j/(len(want[i].Data)/len(want[3].Data))])
			case "present_d":
				limit = 2 * units * (1 + w)
			case "present_keys":
				if w == reference.EmptyKey && e.DType != tensor.Float64 {
					w = ops.EmptyKey(e.DType)
				}
			}
			if port.Name == "present_m" {
				w = roundTo(port.Type.DType(e.DType), w) // EmptyMax is no float
			}
			if got != w && !(math.Abs(got-w) <= limit) {
				t.Fatalf("%s%v is %v, want %v: off by %.3g, allowed %.3g", port.Name, tensor.Unravel(j, want[i].Shape), got, w,
					math.Abs(got-w), limit)
			}
		}
	}
}

func roundTo(dtype tensor.DType, v float64) float64 {
	if dtype == tensor.Float32 {
		return float64(float32(v))
	}
	return v
}

// testUnread: what padding holds, and what a state holds beyond its tokens, changes no bit.
func (e *Engine) testUnread(t *testing.T, def *ops.Def) {
	c := stepCase{sz: size{B: 2, T: 9, D: 4, Heads: 2, Window: 4}, keys: 1, capacity: 12}
	var runs [2][]*tensor.Tensor
	for i, garbage := range []float64{0, math.NaN()} {
		r, _ := e.startSteps(t, def, c, garbage)
		for _, lengths := range [][]int{{2, 0}, {0, 1}, {3, 5}} {
			_, out := r.next(t, 5, lengths)
			runs[i] = append(runs[i], out...)
		}
	}
	for i, x := range runs[0] {
		port := def.Outputs[i%len(def.Outputs)].Name
		for j := range x.Len() {
			if got, want := runs[1][i].At(j), x.At(j); got != want {
				t.Fatalf("call %d, %s%v: NaN in what is not to be read makes it %v, was %v", i/len(def.Outputs), port,
					tensor.Unravel(j, x.Shape), got, want)
			}
		}
	}
}
