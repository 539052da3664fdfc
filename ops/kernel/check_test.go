//go:build cgo

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// declaredVerdict is what the Go declaration says, plus what a tensor is: its bytes can be counted.
func declaredVerdict(def *ops.Def, attrs ops.Attrs, inputs []ops.Input) error {
	if _, err := def.Check(attrs, inputs); err != nil {
		return err
	}
	for _, in := range inputs {
		if _, err := tensor.ByteLen(in.DType, in.Shape); err != nil {
			return err
		}
	}
	return nil
}

// Calls one to three edits away from a good one: the C side and the declaration say yes to the same.
func TestCheckAgreesWithTheDeclaration(t *testing.T) {
	for _, def := range ops.All() {
		rng := rand.New(rand.NewPCG(5, 29))
		verdicts := map[bool]int{}
		for range 20000 {
			sz := size{B: rng.IntN(3), T: rng.IntN(4), S: rng.IntN(4), D: 2 * rng.IntN(3), Heads: 1 + rng.IntN(2),
				Window: 1 + rng.IntN(3), Kernel: [2]int{1 + rng.IntN(3), 1 + rng.IntN(3)}, Grid: [2]int{rng.IntN(3), rng.IntN(3)}}
			attrs, inputs := randomCall(def.Name, sz, rng)
			for range rng.IntN(4) {
				inputs = spoil(attrs, inputs, rng)
			}
			for i, in := range inputs {
				if n, err := tensor.NumElements(in.Shape); def.Whole != "" && (err != nil || n != len(in.Values)) {
					inputs[i].Values = nil // a tensor has as many values as its shape says
				}
			}
			want, got := declaredVerdict(def, attrs, inputs), check(def.Name, attrs, inputs)
			if (want == nil) != (got == nil) {
				t.Fatalf("%s %v %v:\ndeclaration: %v\nkernel:      %v", def.Name, attrs, inputs, want, got)
			}
			if got != nil && !strings.HasPrefix(got.Error(), ops.Domain+"."+def.Name+": ") {
				t.Fatalf("message does not name the operator: %v", got)
			}
			verdicts[got == nil]++
		}
		if verdicts[true] < 2000 || verdicts[false] < 2000 {
			t.Errorf("%s: %d good and %d bad calls, want plenty of both", def.Name, verdicts[true], verdicts[false])
		}
	}
}

// randomCall is a good call of that size, described.
func randomCall(op string, sz size, rng *rand.Rand) (ops.Attrs, []ops.Input) {
	dtype := ops.Types()[rng.IntN(3)]
	if def, _ := ops.Lookup(op); def.Whole != "" {
		return randomStepCall(def, sz, dtype, rng)
	}
	p := newProblem(op, sz, rng.IntN(2) == 1, rng.Int64N(4), rng)
	var inputs []ops.Input
	for _, a := range p.inputs {
		inputs = append(inputs, ops.Input{DType: dtype, Shape: a.Shape})
	}
	if p.grid != nil {
		inputs = append(inputs, ops.Input{DType: tensor.Int64, Shape: []int{2}, Values: p.grid})
		if rng.IntN(3) == 0 {
			inputs[len(inputs)-1].Values = nil // known only at run time
		}
	}
	return p.attrs, inputs
}

// randomStepCall is randomCall of a step form: chunks and positions that fit their W and cache, as long as those are known.
func randomStepCall(def *ops.Def, sz size, dtype tensor.DType, rng *rand.Rand) (ops.Attrs, []ops.Input) {
	sz.D = sz.Heads * rng.IntN(3)
	const rows = 7
	sizes := map[string]int{"B": sz.B, "T": sz.T, "D": sz.D, "H": sz.Heads, "s": sz.Window, "s-1": sz.Window - 1,
		"C": rows - 1, ">=C": rows, ">=position+length": rows}
	var inputs []ops.Input
	for _, p := range def.Inputs {
		in := ops.Input{DType: p.Type.DType(dtype), Shape: []int{}}
		for _, dim := range p.Dims {
			in.Shape = append(in.Shape, sizes[dim])
		}
		for b := 0; p.Type == ops.Int64 && b < sz.B; b++ {
			in.Values = append(in.Values, rng.Int64N(int64(sz.T)+1))
		}
		if rng.IntN(4) == 0 {
			in.Values = nil // known only at run time
		}
		inputs = append(inputs, in)
	}
	return ops.Attrs{"gate": {rng.Int64N(4)}}, inputs
}

// spoil makes one random edit; some leave the call good.
func spoil(attrs ops.Attrs, inputs []ops.Input, rng *rand.Rand) []ops.Input {
	odd := []int64{-1, 0, 1, 2, 3, 4, 6, 7, 1 << 31, 1 << 32, 1 << 62, math.MaxInt64, math.MinInt64}
	number := func() int64 { return odd[rng.IntN(len(odd))] }
	if len(inputs) == 0 {
		return inputs
	}
	in := &inputs[rng.IntN(len(inputs))]
	in.Shape = slices.Clone(in.Shape)
	switch rng.IntN(8) {
	case 0, 1:
		if len(in.Shape) > 0 {
			in.Shape[rng.IntN(len(in.Shape))] = int(number())
		}
	case 2:
		// The same number wherever a dimension equals another: letters stay in step.
		if len(in.Shape) == 0 {
			break
		}
		old, fresh := in.Shape[rng.IntN(len(in.Shape))], int(number())
		for i := range inputs {
			inputs[i].Shape = slices.Clone(inputs[i].Shape)
			for axis, d := range inputs[i].Shape {
				if d == old {
					inputs[i].Shape[axis] = fresh
				}
			}
		}
	case 3:
		in.DType = tensor.DType(rng.IntN(int(tensor.Bool) + 1))
	case 4:
		if rng.IntN(2) == 0 {
			in.Shape = append(in.Shape, int(number()))
		} else if len(in.Shape) > 0 {
			in.Shape = in.Shape[1:]
		}
	case 5:
		if in.Values != nil {
			in.Values = slices.Clone(in.Values)
			for i := range in.Values {
				in.Values[i] = number()
			}
		}
	case 6:
		if rng.IntN(2) == 0 {
			return inputs[:len(inputs)-1]
		}
		return append(inputs, *in)
	case 7:
		spoilAttr(attrs, number(), rng)
	}
	return inputs
}

func spoilAttr(attrs ops.Attrs, value int64, rng *rand.Rand) {
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	slices.Sort(names)
	name := names[rng.IntN(len(names))]
	switch rng.IntN(8) {
	case 0:
		delete(attrs, name)
		attrs["causal "] = []int64{0}
	case 1:
		attrs[name] = append(slices.Clone(attrs[name]), value)
	default:
		if v := slices.Clone(attrs[name]); len(v) > 0 {
			v[rng.IntN(len(v))] = value
			attrs[name] = v
		}
	}
}

// What is wrong with a chunk is said in the words of the declaration.
func TestChunkMessages(t *testing.T) {
	for _, def := range ops.Steps() {
		said := map[string]bool{}
		for _, c := range []struct{ position, length []int64 }{
			{[]int64{0, 1}, []int64{1, 4}}, {[]int64{0, 1}, []int64{-1, 0}}, {[]int64{0, -5}, []int64{3, 0}},
			{[]int64{6, 0}, []int64{3, 0}}, {[]int64{0, math.MaxInt64}, []int64{0, 3}}, {[]int64{math.MaxInt32, 0}, []int64{1, 0}},
		} {
			attrs, inputs := randomStepCall(def, size{B: 2, T: 3, Heads: 1, Window: 2}, tensor.Float32, rand.New(rand.NewPCG(1, 59)))
			n := len(inputs)
			inputs[n-2].Values, inputs[n-1].Values = c.position, c.length
			want, got := declaredVerdict(def, attrs, inputs), check(def.Name, attrs, inputs)
			if fmt.Sprint(want) != fmt.Sprint(got) {
				t.Errorf("%s:\ndeclaration: %v\nkernel:      %v", def.Name, want, got)
			}
			said[fmt.Sprint(got)] = true
		}
		if len(said) < 6 {
			t.Errorf("%s: %d messages, want one for each call", def.Name, len(said))
		}
	}
}

// A grid whose product overflows to T is not T.
//
// Rule R8 of docs/hostile.md.
func TestCheckGridOverflow(t *testing.T) {
	attrs := ops.Attrs{"causal": {0}, "gate": {0}, "pads": {0, 0}}
	dims := func(shape ...int) ops.Input { return ops.Input{DType: tensor.Float32, Shape: shape} }
	const rows = 1 << 33
	inputs := []ops.Input{dims(1, rows, 1), dims(1, rows, 1), dims(1, rows, 1), dims(1, 1, 1),
		{DType: tensor.Int64, Shape: []int{2}, Values: []int64{rows, 1}}}
	if err := check("AFTConv2D", attrs, inputs); err != nil {
		t.Error(err)
	}
	for _, grid := range [][]int64{{rows, rows}, {1 << 31, 1<<33 + 4}, {-rows, -1}, {math.MinInt64, 2}, {math.MaxInt64, 2}} {
		inputs[4].Values = grid
		if err := check("AFTConv2D", attrs, inputs); err == nil || !strings.Contains(err.Error(), `"grid"`) {
			t.Errorf("grid %v: error %v, want one that names the grid", grid, err)
		}
	}
}

// Run refuses what the kernels would trust.
//
// Rules R7, R20 of docs/hostile.md.
func TestRunRefuses(t *testing.T) {
	good := func() (*problem, []*tensor.Tensor, *tensor.Tensor) {
		p := mixed("AFTSimple", size{B: 1, T: 2, S: 2, D: 3, Heads: 1}, false)
		inputs := p.tensors(t, tensor.Float32)
		y, err := tensor.New(tensor.Float32, inputs[0].Shape)
		if err != nil {
			t.Fatal(err)
		}
		return p, inputs, y
	}
	before := Calls()
	type edit = func(p *problem, in []*tensor.Tensor, y *tensor.Tensor) []*tensor.Tensor
	for name, c := range map[string]struct {
		edit edit
		want string
	}{
		"operator": {func(p *problem, in []*tensor.Tensor, _ *tensor.Tensor) []*tensor.Tensor {
			p.op = "AFTOther"
			return in
		}, "no such operator"},
		"short input": {func(_ *problem, in []*tensor.Tensor, _ *tensor.Tensor) []*tensor.Tensor {
			in[1].Data = in[1].Data[:20]
			return in
		}, `ai.aft.AFTSimple: input "K": float32 (1,2,3) takes 24 bytes, got 20`},
		"short output": {func(_ *problem, in []*tensor.Tensor, y *tensor.Tensor) []*tensor.Tensor {
			y.Data = y.Data[:23]
			return in
		}, `ai.aft.AFTSimple: output "Y": float32 (1,2,3) takes 24 bytes, got 23`},
		"output type": {func(_ *problem, in []*tensor.Tensor, y *tensor.Tensor) []*tensor.Tensor {
			y.DType = tensor.Float64
			return in
		}, `ai.aft.AFTSimple: output "Y": is float64 (1,2,3), want the type and shape of Q: float32 (1,2,3)`},
		"output shape": {func(_ *problem, in []*tensor.Tensor, y *tensor.Tensor) []*tensor.Tensor {
			y.Shape = []int{1, 6}
			return in
		}, "want the type and shape of Q"},
		"no inputs": {func(*problem, []*tensor.Tensor, *tensor.Tensor) []*tensor.Tensor {
			return nil
		}, "has 0 inputs, want 3"},
		"nine inputs": {func(_ *problem, in []*tensor.Tensor, _ *tensor.Tensor) []*tensor.Tensor {
			return slices.Repeat(in, 3)
		}, "has 9 inputs, want 3"},
	} {
		p, inputs, y := good()
		inputs = c.edit(p, inputs, y)
		if err := Run(p.op, p.attrs, inputs, []*tensor.Tensor{y}, 1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	p, inputs, y := good()
	if err := Run(p.op, p.attrs, inputs, []*tensor.Tensor{y}, 0); err == nil {
		t.Error("0 threads were accepted")
	}
	if after := Calls(); after[Key{"AFTSimple", tensor.Float32}] != before[Key{"AFTSimple", tensor.Float32}] {
		t.Error("a refused call was counted")
	}
}

// The C table is the declarations, name for name and in their order.
func TestTable(t *testing.T) {
	defs := ops.All()
	entries := table()
	if len(entries) != len(defs) {
		t.Fatalf("%d operators, declared are %d", len(entries), len(defs))
	}
	for i, def := range defs {
		entry := entries[i]
		if got := text(unsafe.Pointer(entry.name)); got != def.Name {
			t.Errorf("operator %d is %q, want %q", i, got, def.Name)
		}
		if int(entry.n_in) != len(def.Inputs) || int(entry.n_attrs) != len(def.Attrs) {
			t.Fatalf("%s: %d inputs and %d attributes, want %d and %d", def.Name, entry.n_in, entry.n_attrs,
				len(def.Inputs), len(def.Attrs))
		}
		for j, port := range def.Inputs {
			in := entry.in[j]
			types := map[ops.PortType]int{ops.T1: 0, ops.T2: 1, ops.Int64: 2} // AFT_T1, AFT_T2, AFT_I64
			if got := text(unsafe.Pointer(in.name)); got != port.Name || int(in._type) != types[port.Type] {
				t.Errorf("%s: input %d is %q (type %d), want %q %s", def.Name, j, got, in._type, port.Name, port.Type)
			}
		}
		if int(entry.n_out) != len(def.Outputs) {
			t.Fatalf("%s: %d outputs, want %d", def.Name, entry.n_out, len(def.Outputs))
		}
		for j, port := range def.Outputs {
			out := entry.out[j]
			if got := text(unsafe.Pointer(out.name)); got != port.Name || int(out.like) != def.Past(j) {
				t.Errorf("%s: output %d is %q like input %d, want %q like %d", def.Name, j, got, out.like, port.Name, def.Past(j))
			}
		}
		offsets := map[uint64]bool{}
		for j, attr := range def.Attrs {
			if got := text(unsafe.Pointer(entry.attrs[j].name)); got != attr.Name || int(entry.attrs[j].len) != attr.Len {
				t.Errorf("%s: attribute %d is %q of %d, want %q of %d", def.Name, j, got, entry.attrs[j].len, attr.Name, attr.Len)
			}
			offsets[uint64(entry.attrs[j].offset)] = true
		}
		if len(offsets) != len(def.Attrs) {
			t.Errorf("%s: attributes share places", def.Name)
		}
		if entry.check == nil || entry.run == nil {
			t.Errorf("%s: has no functions", def.Name)
		}
	}
	if got, want := len(Calls()), len(defs)*len(ops.Types()); got != want {
		t.Errorf("%d counters, want %d", got, want)
	}
}

// text reads a C string; cgo's own helper is not at hand in a test.
func text(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
