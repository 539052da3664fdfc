//go:build cgo

package export_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/reference"
)

// statefulRun feeds the sequences of wiringtest.Inputs to a stateful model, on ONNX Runtime, as any host would: what came out
// as present_ goes in as past_. The state begins with zeros.
type statefulRun struct {
	inputs   map[string]*tensor.Tensor
	position []int64
	logits   [][]float64 // by sequence
}

func startStateful(t *testing.T, m *reference.Model, o export.Options) *statefulRun {
	t.Helper()
	r := &statefulRun{inputs: map[string]*tensor.Tensor{}, position: make([]int64, wiringtest.Batch), logits: make([][]float64, wiringtest.Batch)}
	for _, in := range mustModel(t, m, o).Graph.Input {
		if _, isState := wiring.IsState(in.GetName()); !isState {
			continue
		}
		var shape []int
		for _, d := range in.GetType().GetTensorType().GetShape().GetDim() {
			size := int(d.GetDimValue())
			switch d.GetDimParam() {
			case "batch":
				size = wiringtest.Batch
			case "capacity":
				size = wiringtest.Length
			}
			shape = append(shape, size)
		}
		dtype := o.DType
		if name := in.GetName(); dtype == tensor.Float16 && !strings.HasSuffix(name, ".keys") && !strings.HasSuffix(name, ".values") {
			dtype = tensor.Float32
		}
		zeros, err := tensor.New(dtype, shape)
		if err != nil {
			t.Fatal(err)
		}
		r.inputs[in.GetName()] = zeros
	}
	return r
}

// chunk takes some tokens of every sequence, in `steps` columns; -1 fills up.
func (r *statefulRun) chunk(t *testing.T, run func(map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error), output string,
	tokens tensor.Array, steps int, lengths []int) {
	t.Helper()
	ids := make([]int64, len(lengths)*steps)
	for i := range ids {
		ids[i] = -1
		if b, at := i/steps, i%steps; at < lengths[b] {
			ids[i] = int64(tokens.Data[b*tokens.Shape[1]+int(r.position[b])+at])
		}
	}
	var err error
	if r.inputs[wiring.TokenInput], err = tensor.FromInt64s([]int{len(lengths), steps}, ids); err != nil {
		t.Fatal(err)
	}
	if r.inputs[wiring.PositionInput], err = tensor.FromInt64s([]int{len(lengths)}, r.position); err != nil {
		t.Fatal(err)
	}
	out, err := run(r.inputs)
	if err != nil {
		t.Fatal(err)
	}
	y := out[output]
	row := y.Shape[2]
	for b, n := range lengths {
		r.logits[b] = append(r.logits[b], y.Float64s()[b*steps*row:][:n*row]...)
		r.position[b] += int64(n)
	}
	for name, x := range out {
		if part, isState := wiring.IsState(name); isState {
			r.inputs[wiring.PastPrefix+part] = x
		}
	}
}

// TestStateful runs every causal language model in chunks, in each type and where the graphs differ, against the reference on
// whole sequences.
func TestStateful(t *testing.T) {
	rt := openRuntime(t)
	for _, n := range wiringtest.Stateful() {
		in := wiringtest.Inputs(n.Model, false)
		want, err := n.Model.Forward(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []export.Options{
			{DType: tensor.Float32}, {DType: tensor.Float16, Opset: 13}, {DType: tensor.Float64, Opset: 18, Flatten: true}, {DType: tensor.Float32, Opset: 21},
		} {
			o.Stateful = true
			t.Run(fmt.Sprintf("%s %+v", n.Name, o), func(t *testing.T) {
				proto := mustModel(t, n.Model, o)
				r := startStateful(t, n.Model, o)
				once := func(in map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) { return run(t, rt, proto, in) }
				for _, lengths := range [][]int{{3, 1}, {0, 2}, {1, 0}, {2, 3}} {
					r.chunk(t, once, wiring.OutputName(n.Model), in.X, 3, lengths)
				}
				got, err := tensor.FromFloat64s(tensor.Float64, want.Shape, append(append([]float64{}, r.logits[0]...), r.logits[1]...))
				if err != nil {
					t.Fatal(err)
				}
				near(t, got, want, networkTolerance(n.Model, o.DType))
			})
		}
	}
}

// TestStateful_badInputs: tokens that cannot be, and positions beyond the last, are refused.
func TestStateful_badInputs(t *testing.T) {
	rt := openRuntime(t)
	model := network(t, "language, tied")
	o := export.Options{DType: tensor.Float32, Stateful: true}
	proto := mustModel(t, model, o)
	for _, c := range []struct {
		name     string
		ids      []int64
		position int64
		fits     bool
	}{
		{"tokens, then padding", []int64{1, 2, -1}, 0, true},
		{"no tokens", []int64{-1, -1, -1}, 5, true},
		{"the last position", []int64{1, -1, -1}, wiringtest.Positions - 1, true},
		{"padding beyond the last position", []int64{1, 2, -1}, wiringtest.Positions - 2, true},
		{"a token behind padding", []int64{1, -1, 2}, 0, false},
		{"a token below -1", []int64{1, -2, -1}, 0, false},
		{"a token after the last", []int64{1, wiringtest.Vocabulary, -1}, 0, false},
		{"a negative position", []int64{1, 2, 3}, -1, false},
		{"positions beyond the last", []int64{1, 2, -1}, wiringtest.Positions - 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startStateful(t, model, o)
			for name, x := range r.inputs { // room for all positions
				if len(x.Shape) == 3 && x.Shape[1] == wiringtest.Length {
					wide, err := tensor.New(x.DType, []int{1, wiringtest.Positions, x.Shape[2]})
					if err != nil {
						t.Fatal(err)
					}
					r.inputs[name] = wide
					continue
				}
				one, err := tensor.New(x.DType, append([]int{1}, x.Shape[1:]...))
				if err != nil {
					t.Fatal(err)
				}
				r.inputs[name] = one
			}
			var err error
			if r.inputs[wiring.TokenInput], err = tensor.FromInt64s([]int{1, 3}, c.ids); err != nil {
				t.Fatal(err)
			}
			if r.inputs[wiring.PositionInput], err = tensor.FromInt64s([]int{1}, []int64{c.position}); err != nil {
				t.Fatal(err)
			}
			_, err = run(t, rt, proto, r.inputs)
			if (err == nil) != c.fits {
				t.Errorf("error is %v, fits %v", err, c.fits)
			}
		})
	}
}

// TestStateful_refused names why a model cannot be run a chunk at a time.
func TestStateful_refused(t *testing.T) {
	notCausal := network(t, "language, tied")
	notCausal.Blocks[1].Causal = false
	grid := network(t, "image, conv")
	for _, c := range []struct {
		model *reference.Model
		o     export.Options
		want  string
	}{
		{notCausal, export.Options{}, "layer 1: is not causal"},
		{grid, export.Options{}, "stateful: wants a language model"},
		{network(t, "language, tied"), export.Options{AttentionMask: true}, "stateful: cannot take attention_mask"},
	} {
		c.o.Stateful = true
		_, err := export.Model(c.model, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want one that says %q", err, c.want)
		}
	}
}
