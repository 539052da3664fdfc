package reference

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// layers makes one layer of every variant, 4 channels in, 6 hidden (2 heads), 5 out, no longer than 12 positions.
func layers(seed uint64) map[Variant]*Layer {
	r := seeded(seed)
	linear := func(out, in int) Linear {
		return Linear{Weight: tensor.Hold(random(r, 0.5, out, in)), Bias: random(r, 1, out).Data}
	}
	made := map[Variant]*Layer{}
	for _, v := range []Variant{Full, Simple, Local, Conv1D, Conv2D} {
		out := linear(5, 6)
		made[v] = &Layer{Variant: v, Q: linear(6, 4), K: linear(6, 4), V: linear(6, 4), Out: &out}
	}
	made[Full].W = tensor.Hold(random(r, 1, 12, 13))
	made[Local].W, made[Local].Window = tensor.Hold(random(r, 1, 12, 5)), 3
	made[Conv1D].K, made[Conv1D].W, made[Conv1D].PadLeft = linear(2, 4), tensor.Hold(random(r, 1, 2, 3)), 1
	made[Conv2D].K, made[Conv2D].W, made[Conv2D].Pads = linear(2, 4), tensor.Hold(random(r, 1, 2, 3, 4)), [2]int{1, 2}
	return made
}

// TestForward writes a layer out: projections as sums over channels, the operator by Call with the layer's Attrs.
func TestForward(t *testing.T) {
	x := random(seeded(51), 1, 2, 12, 4)
	for v, l := range layers(52) {
		for _, causal := range []bool{false, true} {
			if l.Causal = causal; causal && v == Local {
				l.W, l.Window = tensor.Hold(random(seeded(53), 1, 12, 3)), 3
			}
			inputs := []Array{project(x, l.Q), project(x, l.K), project(x, l.V)}
			if v != Simple {
				inputs = append(inputs, must(t)(l.W.Array()))
			}
			grid := [2]int{}
			if v == Conv2D {
				grid = [2]int{3, 4}
				inputs = append(inputs, of(t, []int{2}, 3, 4))
			}
			want := project(must(t)(callY(v.Op(), l.Attrs(), inputs)), *l.Out)
			near(t, fmt.Sprint(v, causal), must(t)(l.Forward(x, Places{Grid: grid})), want, 1e-13)
			bare := *l
			bare.Out = nil
			near(t, fmt.Sprint(v, causal, " without out"), project(must(t)(bare.Forward(x, Places{Grid: grid})), *l.Out), want, 1e-13)
		}
	}
}

// project is y[b,t,o] = bias[o] + sum_i x[b,t,i] weight[o,i].
func project(x Array, l Linear) Array {
	weight, err := l.Weight.Array()
	if err != nil {
		panic(err)
	}
	in, out := weight.Shape[1], weight.Shape[0]
	y := Array{Shape: []int{x.Shape[0], x.Shape[1], out}}
	for row := range x.Shape[0] * x.Shape[1] {
		for o := range out {
			sum := 0.0
			if l.Bias != nil {
				sum = l.Bias[o]
			}
			for i := range in {
				sum += x.Data[row*in+i] * weight.Data[o*in+i]
			}
			y.Data = append(y.Data, sum)
		}
	}
	return y
}

func TestLinear(t *testing.T) {
	l := Linear{Weight: tensor.Hold(of(t, []int{2, 5}, 1, 2, 3, 4, 5, -1, 0, 1, 0, -1))}
	x := of(t, []int{1, 2, 5}, 1, 1, 1, 1, 1, 5, 4, 3, 2, 1)
	same(t, "without bias", must(t)(l.Forward(x)), of(t, []int{1, 2, 2}, 15, -1, 35, -3))
	l.Bias = []float64{100, 10}
	same(t, "with bias", must(t)(l.Forward(x)), of(t, []int{1, 2, 2}, 115, 9, 135, 7))
	same(t, "empty", must(t)(l.Forward(of(t, []int{0, 3, 5}))), of(t, []int{0, 3, 2}))
	if _, err := l.Forward(of(t, []int{1, 1, 4}, 1, 2, 3, 4)); err == nil || !strings.Contains(err.Error(), "want 5 channels") {
		t.Errorf("4 channels: %v", err)
	}
}

func TestLayerSizes(t *testing.T) {
	want := map[Variant][]int{ // in, hidden, out, heads, longest
		Full: {4, 6, 5, 0, 12}, Simple: {4, 6, 5, 0, 0}, Local: {4, 6, 5, 0, 12}, Conv1D: {4, 6, 5, 2, 0}, Conv2D: {4, 6, 5, 2, 0},
	}
	attrs := map[Variant]map[string][]int64{
		Full: {"causal": {0}, "gate": {1}}, Simple: {"causal": {0}, "gate": {1}},
		Local:  {"causal": {0}, "gate": {1}, "window": {3}},
		Conv1D: {"causal": {0}, "gate": {1}, "pad_left": {1}},
		Conv2D: {"causal": {0}, "gate": {1}, "pads": {1, 2}},
	}
	for v, l := range layers(54) {
		l.Gate = GateTanh
		if err := l.Check(); err != nil {
			t.Errorf("%s: %v", v, err)
		}
		got := []int{l.In(), l.Hidden(), l.OutDim(), l.Heads(), l.MaxLen()}
		if diff := cmp.Diff(want[v], got); diff != "" {
			t.Errorf("%s: in, hidden, out, heads, longest (-want +got):\n%s", v, diff)
		}
		if diff := cmp.Diff(attrs[v], l.Attrs()); diff != "" {
			t.Errorf("%s: attributes (-want +got):\n%s", v, diff)
		}
		l.Causal, l.Out = true, nil
		if got := l.Attrs()["causal"][0]; got != 1 || l.OutDim() != 6 {
			t.Errorf("%s: causal is %d, %d channels without out; want 1 and 6", v, got, l.OutDim())
		}
	}
}

func TestLayerRefused(t *testing.T) {
	shaped := func(shape ...int) Array { return random(seeded(1), 1, shape...) }
	for _, c := range []struct {
		variant Variant
		spoil   func(l *Layer)
		want    string
	}{
		{Full, func(l *Layer) { l.Variant = "fu\nll" }, `variant "fu\nll": unknown`},
		{Full, func(l *Layer) { *l = Layer{} }, `variant "": unknown`},
		{Full, func(l *Layer) { *l = Layer{Variant: Full} }, `q.weight: has shape (), want rank 2`},
		{Full, func(l *Layer) { l.Gate = 9 }, "gate: is 9"},
		{Full, func(l *Layer) { l.Q.Weight = tensor.Hold(shaped(0, 4)) }, "q.weight: has shape (0,4), want at least 1 at axis 0"},
		{Full, func(l *Layer) { l.Q.Bias = []float64{1} }, "q.bias: has 1 values, want 6"},
		{Full, func(l *Layer) { l.K.Weight, l.K.Bias = tensor.Hold(shaped(2, 4)), nil }, "k.weight: has shape (2,4), want (6,4), as q"},
		{Full, func(l *Layer) { l.V.Weight = tensor.Hold(shaped(6, 3)) }, "v.weight: has shape (6,3), want (6,4), as q"},
		{Full, func(l *Layer) { l.Out.Weight = tensor.Hold(shaped(5, 7)) }, "out.weight: has shape (5,7), want 6 columns"},
		{Full, func(l *Layer) { l.Out.Bias = nil; l.Out.Weight = tensor.Hold(Array{Shape: []int{5, 6}}) }, "out.weight: has 0 values"},
		{Full, func(l *Layer) { l.W = Weight{} }, "w: has shape (), want rank 2"},
		{Full, func(l *Layer) { l.W = tensor.Hold(shaped(12, 0)) }, "w: has shape (12,0), want at least 1 at axis 1"},
		{Simple, func(l *Layer) { l.W = tensor.Hold(shaped(12, 12)) }, `w: has shape (12,12), want none for variant "simple"`},
		{Local, func(l *Layer) { l.Window = 0 }, "window: is 0, want 1.."},
		{Local, func(l *Layer) { l.Window = 2 }, "w: has shape (12,5), want 2*window-1 = 3 columns"},
		{Local, func(l *Layer) { l.Causal = true }, "w: has shape (12,5), want window = 3 columns"},
		{Conv1D, func(l *Layer) { l.K.Weight, l.K.Bias = tensor.Hold(shaped(4, 4)), nil },
			"k.weight: has 4 heads, want a divisor of the 6 hidden"},
		{Conv1D, func(l *Layer) { l.W = tensor.Hold(shaped(3, 3)) }, "w: has shape (3,3), want 2 rows"},
		{Conv1D, func(l *Layer) { l.PadLeft = 3 }, "pad_left: is 3, want 0..2"},
		{Conv2D, func(l *Layer) { l.W = tensor.Hold(shaped(2, 3)) }, "w: has shape (2,3), want rank 3"},
		{Conv2D, func(l *Layer) { l.Pads[1] = 4 }, "pads: is (1,4), want 0..3 at place 1"},
		{Conv2D, func(l *Layer) { l.Grid = [2]int{0, 4} }, "grid: is (0,4), want two sizes of at least 1"},
	} {
		l := layers(55)[c.variant]
		c.spoil(l)
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.variant, err, c.want)
		}
		if _, err := l.Forward(shaped(1, 12, 4), Places{Grid: [2]int{3, 4}}); err == nil {
			t.Errorf("%s: runs although %q", c.variant, c.want)
		}
	}
	for _, c := range []struct {
		variant Variant
		x       Array
		grid    [2]int
		want    string
	}{
		{Full, shaped(1, 13, 4), [2]int{}, "x: has 13 positions, but w has biases for 12"},
		{Local, shaped(1, 13, 4), [2]int{}, "x: has 13 positions, but w has biases for 12"},
		{Full, shaped(12, 4), [2]int{}, "x: has shape (12,4), want rank 3"},
		{Simple, shaped(1, 12, 3), [2]int{}, "q: x: has shape (1,12,3), want 4 channels"},
		{Conv2D, shaped(1, 12, 4), [2]int{}, `input "grid": is (0,0)`},
		{Conv2D, shaped(1, 12, 4), [2]int{5, 2}, `input "grid": is (5,2)`},
	} {
		if _, err := layers(56)[c.variant].Forward(c.x, Places{Grid: c.grid}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.variant, err, c.want)
		}
	}
}

func TestFixedGrid(t *testing.T) {
	x := random(seeded(57), 1, 1, 12, 4)
	l := layers(58)[Conv2D]
	want := must(t)(l.Forward(x, Places{Grid: [2]int{3, 4}}))
	l.Grid = [2]int{3, 4}
	same(t, "the layer's grid", must(t)(l.Forward(x, Places{Grid: [2]int{}})), want)
	same(t, "the same grid twice", must(t)(l.Forward(x, Places{Grid: [2]int{3, 4}})), want)
	if _, err := l.Forward(x, Places{Grid: [2]int{4, 3}}); err == nil || !strings.Contains(err.Error(), "is (4,3), but the layer's is (3,4)") {
		t.Errorf("another grid: %v", err)
	}
}

func TestModel(t *testing.T) {
	first, last := layers(59), layers(60)
	second := last[Full]
	for _, p := range []*Linear{&second.Q, &second.K, &second.V} {
		p.Weight = tensor.Hold(random(seeded(61), 0.5, 6, 5))
	}
	m := Stack(*first[Conv2D], *second)
	x := random(seeded(62), 1, 2, 12, 4)
	want := must(t)(second.Forward(must(t)(first[Conv2D].Forward(x, Places{Grid: [2]int{2, 6}})), Places{}))
	same(t, "two layers", must(t)(m.Forward(Inputs{X: x, Grid: [2]int{2, 6}})), want)
	if m.MaxLen() != 12 || !m.NeedsGrid() {
		t.Errorf("longest %d, needs a grid %v; want 12, true", m.MaxLen(), m.NeedsGrid())
	}
	m.Blocks[0].Grid = [2]int{2, 6}
	same(t, "with a fixed grid", must(t)(m.Forward(Inputs{X: x})), want)
	if m.NeedsGrid() {
		t.Error("needs a grid although its layer has one")
	}
	m.Blocks[1].W = tensor.Hold(random(seeded(63), 1, 12, 9))
	for want, m := range map[string]*Model{
		"has no layers": {},
		"layer 1: takes 4 channels, but layer 0 gives 5": Stack(*first[Full], *first[Simple]),
		"layer 1: q.weight: has shape (), want rank 2":   Stack(*first[Full], Layer{Variant: Full}),
		"layer 1: x: has 12 positions":                   m,
	} {
		if _, err := m.Forward(Inputs{X: x, Grid: [2]int{2, 6}}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
