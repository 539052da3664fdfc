package reference

import (
	"fmt"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// part is positions from..to of batch entry b, as a batch of one.
func part(a Array, b, from, to int) Array {
	steps, width := a.Shape[1], 1
	for _, d := range a.Shape[2:] {
		width *= d
	}
	shape := append([]int{1, to - from}, a.Shape[2:]...)
	return Array{Shape: shape, Data: a.Data[(b*steps+from)*width : (b*steps+to)*width]}
}

// rows is w[from:,from:] of a square table, w[from:] of a band.
func rows(t *testing.T, w Weight, v Variant, from int) Weight {
	a := must(t)(w.Array())
	height, width, skip := a.Shape[0], a.Shape[1], 0
	if v == Full {
		skip = from
	}
	out := Array{Shape: []int{height - from, width - skip}}
	for row := from; row < height; row++ {
		out.Data = append(out.Data, a.Data[row*width+skip:(row+1)*width]...)
	}
	return tensor.Hold(out)
}

// maskCases are two blocks of each variant that lives on a line, causal and not.
func maskCases(t *testing.T, f func(name string, v Variant, m *Model)) {
	t.Helper()
	for _, v := range []Variant{Full, Simple, Local, Conv1D} {
		for _, causal := range []bool{false, true} {
			m := &Model{Blocks: []Block{*randomBlock(121, v), *randomBlock(122, v)}}
			for i := range m.Blocks {
				if m.Blocks[i].Causal = causal; causal && v == Local {
					m.Blocks[i].W = tensor.Hold(random(seeded(123), 1, 12, 3))
				}
			}
			f(fmt.Sprintf("%s, causal %v", v, causal), v, m)
		}
	}
}

// lengthMask is 1 where a sequence of that length has a position, right or left in the row.
func lengthMask(steps int, left bool, lengths ...int) Array {
	mask := Array{Shape: []int{len(lengths), steps}}
	for _, n := range lengths {
		for s := range steps {
			keep := 0.0
			if !left && s < n || left && s >= steps-n {
				keep = 1
			}
			mask.Data = append(mask.Data, keep)
		}
	}
	return mask
}

// spoil puts NaN wherever the mask is 0: nothing there may be looked at.
func spoil(x, mask Array) Array {
	y := clone(x)
	width := len(x.Data) / len(mask.Data)
	for i := range y.Data {
		if mask.Data[i/width] == 0 {
			y.Data[i] = nan
		}
	}
	return y
}

// TestMask_tail: padding behind a sequence changes not a bit of what its positions get.
func TestMask_tail(t *testing.T) {
	x, mask := random(seeded(124), 1, 3, 12, 4), lengthMask(12, false, 7, 12, 1)
	maskCases(t, func(name string, _ Variant, m *Model) {
		for b, n := range []int{7, 12, 1} {
			want := must(t)(m.Forward(Inputs{X: part(x, b, 0, n)}))
			padded := must(t)(m.Forward(Inputs{X: x, Mask: mask}))
			same(t, fmt.Sprintf("%s, length %d", name, n), part(padded, b, 0, n), want)
			spoilt := must(t)(m.Forward(Inputs{X: spoil(x, mask), Mask: mask}))
			same(t, fmt.Sprintf("%s, length %d beside NaN", name, n), part(spoilt, b, 0, n), want)
		}
	})
}

// TestMask_language: the same from tokens to logits, with positions.
func TestMask_language(t *testing.T) {
	for _, variants := range [][]Variant{{Local, Full}, {Simple, Conv1D}} {
		m := languageModel(125, variants...)
		tokens := of(t, []int{2, 6}, 1, 2, 3, 4, 0, 0, 6, 5, 0, 0, 0, 0)
		got := must(t)(m.Forward(Inputs{X: tokens, Mask: lengthMask(6, false, 4, 2)}))
		for b, n := range []int{4, 2} {
			want := must(t)(m.Forward(Inputs{X: part(tokens, b, 0, n)}))
			same(t, fmt.Sprintf("%v, length %d", variants, n), part(got, b, 0, n), want)
		}
	}
}

// TestMask_rowsOfGrid: a 2-D convolution without its last row of the grid is that of the grid without the row.
func TestMask_rowsOfGrid(t *testing.T) {
	for _, causal := range []bool{false, true} {
		m := &Model{Blocks: []Block{*randomBlock(126, Conv2D), *randomBlock(127, Conv2D)}}
		m.Blocks[0].Causal, m.Blocks[1].Causal = causal, causal
		x, mask := random(seeded(128), 1, 1, 12, 4), lengthMask(12, false, 8)
		want := must(t)(m.Forward(Inputs{X: part(x, 0, 0, 8), Grid: [2]int{2, 4}}))
		got := must(t)(m.Forward(Inputs{X: spoil(x, mask), Grid: [2]int{3, 4}, Mask: mask}))
		same(t, fmt.Sprint("causal ", causal), part(got, 0, 0, 8), want)
	}
}

// TestMask_left: padding before a sequence moves it, so biases that belong to positions have to move with it; then causal
// layers give it the very numbers that it gets alone, and others too.
func TestMask_left(t *testing.T) {
	const n = 7
	x, mask := random(seeded(129), 1, 1, 12, 4), lengthMask(12, true, n)
	maskCases(t, func(name string, v Variant, m *Model) {
		got := must(t)(m.Forward(Inputs{X: spoil(x, mask), Mask: mask}))
		alone := &Model{Blocks: append([]Block{}, m.Blocks...)}
		for i := range alone.Blocks {
			if v == Full || v == Local {
				alone.Blocks[i].W = rows(t, m.Blocks[i].W, v, 12-n)
			}
		}
		same(t, name, part(got, 0, 12-n, 12), must(t)(alone.Forward(Inputs{X: part(x, 0, 12-n, 12)})))
	})
}

// TestMask_nothing: where no source is left the operator gives 0, so the layer its output bias, and the block x plus that.
// Other sequences of the batch do not notice.
func TestMask_nothing(t *testing.T) {
	x := random(seeded(130), 1, 2, 12, 4)
	for v, l := range layers(131) {
		out := randomLinear(seeded(132), 4, 6)
		l.Out = &out
		at := Places{Grid: [2]int{3, 4}, Mask: lengthMask(12, false, 12, 0)}
		y := must(t)(l.Forward(x, at))
		same(t, string(v), part(y, 0, 0, 12), must(t)(l.Forward(part(x, 0, 0, 12), Places{Grid: [2]int{3, 4}})))
		for i, got := range part(y, 1, 0, 12).Data {
			if got != out.Bias[i%4] {
				t.Fatalf("%s: value %d is %v, want the bias %v", v, i, got, out.Bias[i%4])
			}
		}
		block := Block{Layer: *l, Residual: true}
		for i, got := range part(must(t)(block.Forward(x, at)), 1, 0, 12).Data {
			if want := x.Data[48+i] + out.Bias[i%4]; got != want {
				t.Fatalf("%s: value %d of the block is %v, want %v", v, i, got, want)
			}
		}
		bare := *l
		bare.Out = nil
		for i, got := range part(must(t)(bare.Forward(x, at)), 1, 0, 12).Data {
			if got != 0 {
				t.Fatalf("%s: value %d without out is %v, want 0", v, i, got)
			}
		}
	}
}

// TestMask_firstRows: causal rows before the first source have nothing, whatever gate.
func TestMask_firstRows(t *testing.T) {
	x := random(seeded(133), 1, 1, 12, 4)
	for v, l := range layers(134) {
		for _, gate := range []Gate{GateSigmoid, GateTanh, GateIdentity, GateAbsent} {
			l.Causal, l.Gate, l.Out = true, gate, nil
			if v == Local {
				l.W = tensor.Hold(random(seeded(135), 1, 12, 3))
			}
			y := must(t)(l.Forward(x, Places{Grid: [2]int{3, 4}, Mask: lengthMask(12, true, 8)}))
			for i, got := range y.Data {
				if (i/6 < 4) != (got == 0) {
					t.Fatalf("%s, gate %v: position %d has %v", v, gate, i/6, got)
				}
			}
		}
	}
}

// A mask of any numbers but 0 is no mask.
func TestMask_ones(t *testing.T) {
	x := random(seeded(136), 1, 1, 12, 4)
	for v, l := range layers(137) {
		want := must(t)(l.Forward(x, Places{Grid: [2]int{3, 4}}))
		mask := of(t, []int{1, 12}, 1, 1, 2, 1, -1, 0.5, 1, 1, 255, 1, 1, 1)
		same(t, string(v), must(t)(l.Forward(x, Places{Grid: [2]int{3, 4}, Mask: mask})), want)
	}
}
