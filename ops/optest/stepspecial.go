package optest

import (
	"math"
	"slices"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// testStepSpecial: removed tokens do not count wherever they are, and NaN stays in its channel, in later chunks too.
func (e *Engine) testStepSpecial(t *testing.T, def *ops.Def) {
	c := stepCase{sz: size{B: 2, T: 9, D: 4, Heads: 2, Window: 3}, gate: ops.GateAbsent, keys: 1}
	run := func(t *testing.T, edit func(r *stepRun, p *problem)) (*problem, *tensor.Tensor) {
		r, p := e.startSteps(t, def, c, 0)
		edit(r, p)
		var y []*tensor.Tensor
		for range 3 {
			_, out := r.next(t, 3, []int{3, 3})
			y = append(y, out[0])
		}
		return p, joinSteps(t, y)
	}
	t.Run("removed tokens", func(t *testing.T) {
		p, y := run(t, func(r *stepRun, p *problem) {
			for _, at := range []int{0, 1, 5, 9 + 0, 9 + 7} { // of both sequences
				setRow(r.k, at, math.Inf(-1))
			}
		})
		want := referenceY(t, p)
		for i, w := range want.Data {
			e.near(t, y, i, w, 32)
		}
	})
	t.Run("nothing left", func(t *testing.T) {
		_, y := run(t, func(r *stepRun, _ *problem) { fill(r.k, math.Inf(-1)) })
		for i := range y.Len() {
			if y.At(i) != 0 {
				t.Fatalf("Y%v is %v, want 0", tensor.Unravel(i, y.Shape), y.At(i))
			}
		}
	})
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		_, clean := run(t, func(*stepRun, *problem) {})
		_, got := run(t, func(r *stepRun, _ *problem) { r.k.Data[r.k.Shape[2]*4] = bad }) // token 4, sequence 0, the first head
		for i := range got.Len() {
			at := tensor.Unravel(i, got.Shape)
			touched := at[0] == 0 && at[2] < channelsOf(def, clean.Shape[2])
			switch {
			case touched && at[1] >= 4:
				if !math.IsNaN(got.At(i)) {
					t.Fatalf("%v in K of token 4: Y%v is %v, want NaN", bad, at, got.At(i))
				}
			case !touched && got.At(i) != clean.At(i):
				t.Fatalf("%v in K of token 4 moves Y%v from %v to %v", bad, at, clean.At(i), got.At(i))
			}
		}
	}
}

// channelsOf is how many channels a key of testStepSpecial's calls has.
func channelsOf(def *ops.Def, channels int) int {
	if def.Whole == "AFTConv1D" {
		return channels / 2
	}
	return 1
}

// joinSteps joins chunks (B,T,D) along T.
func joinSteps(t *testing.T, chunks []*tensor.Tensor) *tensor.Tensor {
	t.Helper()
	batch, width := chunks[0].Shape[0], chunks[0].Shape[2]
	var values []float64
	for b := range batch {
		for _, y := range chunks {
			n := y.Shape[1] * width
			values = append(values, y.Float64s()[b*n:(b+1)*n]...)
		}
	}
	y, err := tensor.FromFloat64s(chunks[0].DType, []int{batch, len(values) / batch / width, width}, values)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// testStepRefuses: what the declaration's Check refuses, every engine refuses.
func (e *Engine) testStepRefuses(t *testing.T, def *ops.Def) {
	c := stepCase{sz: size{B: 2, T: 9, D: 4, Heads: 2, Window: 4}, keys: 1}
	port := func(name string) int {
		for i, p := range def.Inputs {
			if p.Name == name {
				return i
			}
		}
		return -1
	}
	integers := func(values ...int64) func(*tensor.Tensor) *tensor.Tensor {
		return func(*tensor.Tensor) *tensor.Tensor {
			x, err := tensor.FromInt64s([]int{len(values)}, values)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
	}
	shorter := func(axis int) func(*tensor.Tensor) *tensor.Tensor {
		return func(x *tensor.Tensor) *tensor.Tensor {
			shape := append([]int{}, x.Shape...)
			shape[axis]--
			less, err := tensor.New(x.DType, shape)
			if err != nil {
				t.Fatal(err)
			}
			return less
		}
	}
	for _, bad := range []struct {
		name, input string
		change      func(*tensor.Tensor) *tensor.Tensor
		only        []string // the operators, by what they are the step form of; nil: all
	}{
		{"length beyond the chunk", "length", integers(3, 4), nil},
		{"negative length", "length", integers(3, -1), nil},
		{"negative position", "position", integers(-1, 0), nil},
		{"positions for one sequence", "position", integers(0), nil},
		{"lengths for three sequences", "length", integers(1, 1, 1), nil},
		{"position beyond W", "position", integers(0, 7), []string{"AFTFull", "AFTLocal"}},
		{"a sequence less in n", "n", shorter(0), []string{"AFTSimple", "AFTLocal", "AFTConv1D"}},
		{"a channel less in m", "m", shorter(1), []string{"AFTSimple", "AFTLocal", "AFTConv1D"}},
		{"a slot less in keys", "keys", shorter(1), []string{"AFTLocal", "AFTConv1D", "AFTFull"}},
		{"a slot less in values", "values", shorter(1), []string{"AFTLocal", "AFTConv1D", "AFTFull"}},
		{"a channel less in values", "values", shorter(2), []string{"AFTLocal", "AFTConv1D", "AFTFull"}},
		{"a column less in W", "W", shorter(1), []string{"AFTLocal", "AFTConv1D", "AFTFull"}},
		{"a token less in K", "K", shorter(1), nil},
		{"a channel less in V", "V", shorter(2), nil},
	} {
		if bad.only != nil && !slices.Contains(bad.only, def.Whole) {
			continue
		}
		t.Run(bad.name, func(t *testing.T) {
			r, _ := e.startSteps(t, def, c, 0)
			in := r.inputs(t, 3, []int{3, 3})
			if _, err := e.Run(def, r.attrs, in); err != nil {
				t.Fatal(err)
			}
			i := port(bad.input)
			in[i] = bad.change(in[i])
			if _, err := e.Run(def, r.attrs, in); err == nil {
				t.Fatal("gave a result, want an error")
			}
		})
	}
}
