package reference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

func randomNorm(r *rand.Rand, dim int) *LayerNorm {
	return &LayerNorm{Gain: random(r, 1, dim).Data, Bias: random(r, 1, dim).Data, Eps: 1e-3}
}

func randomLinear(r *rand.Rand, out, in int) Linear {
	return Linear{Weight: tensor.Hold(random(r, 0.5, out, in)), Bias: random(r, 1, out).Data}
}

func randomMLP(r *rand.Rand, dim int) *MLP {
	return &MLP{Norm: *randomNorm(r, dim), Up: randomLinear(r, 4*dim, dim), Down: randomLinear(r, dim, 4*dim)}
}

// randomBlock is a whole block around the layer of layers(), which gives as many channels as it takes.
func randomBlock(seed uint64, v Variant) *Block {
	r := seeded(seed)
	b := &Block{Layer: *layers(seed)[v], Norm: randomNorm(r, 4), Residual: true, MLP: randomMLP(r, 4)}
	out := randomLinear(r, 4, 6)
	b.Out = &out
	return b
}

// plainNorm is LayerNorm row by row in 200 bits.
func plainNorm(x Array, n *LayerNorm) Array {
	y := Array{Shape: x.Shape}
	for start := 0; start < len(x.Data); start += len(n.Gain) {
		y.Data = append(y.Data, normalise(x.Data[start:start+len(n.Gain)], n)...)
	}
	return y
}

func plainSum(a, b Array) Array {
	y := Array{Shape: a.Shape}
	for i := range a.Data {
		y.Data = append(y.Data, a.Data[i]+b.Data[i])
	}
	return y
}

// plainMLP is h + fc2(gelu(fc1(norm2(h)))), gelu by erf.
func plainMLP(h Array, m *MLP) Array {
	x := project(plainNorm(h, &m.Norm), m.Up)
	for i, v := range x.Data {
		x.Data[i] = v * (1 + math.Erf(v/math.Sqrt(2))) / 2
	}
	return plainSum(h, project(x, m.Down))
}

// plainBlock writes a block out: h = x + out(AFT(norm1(x))), y = h + MLP(h), without what the block has not.
func plainBlock(t *testing.T, x Array, b *Block, grid [2]int) Array {
	t.Helper()
	in := x
	if b.Norm != nil {
		in = plainNorm(x, b.Norm)
	}
	inputs := []Array{project(in, b.Q), project(in, b.K), project(in, b.V)}
	if b.Variant != Simple {
		inputs = append(inputs, must(t)(b.W.Array()))
	}
	if b.Variant == Conv2D {
		inputs = append(inputs, of(t, []int{2}, float64(grid[0]), float64(grid[1])))
	}
	h := must(t)(callY(b.Variant.Op(), b.Attrs(), inputs))
	if b.Out != nil {
		h = project(h, *b.Out)
	}
	if b.Residual {
		h = plainSum(x, h)
	}
	if b.MLP != nil {
		h = plainMLP(h, b.MLP)
	}
	return h
}

// TestBlock: every choice of parts around every variant, against the block written out.
func TestBlock(t *testing.T) {
	x := random(seeded(81), 1, 2, 12, 4)
	for _, v := range []Variant{Full, Simple, Local, Conv1D, Conv2D} {
		whole := randomBlock(82, v)
		for parts := range 16 {
			b := *whole
			if parts&1 == 0 {
				b.Norm = nil
			}
			b.Residual = parts&2 != 0
			if parts&4 == 0 {
				b.MLP = nil
			}
			b.Causal = parts&8 != 0 && v != Local // whose band would be another
			before := clone(x)
			got := must(t)(b.Forward(x, Places{Grid: [2]int{3, 4}}))
			want := plainBlock(t, x, &b, [2]int{3, 4})
			near(t, fmt.Sprintf("%s, parts %04b", v, parts), got, want, 1e-13*(1+maxAbs(want.Data)))
			same(t, "x", x, before)
			half := b
			half.MLP = nil
			same(t, fmt.Sprintf("%s, parts %04b: Attend", v, parts), must(t)(b.Attend(x, Places{Grid: [2]int{3, 4}})),
				must(t)(half.Forward(x, Places{Grid: [2]int{3, 4}})))
		}
	}
}

// TestBlock_byHand: one channel, one position, all numbers whole. LayerNorm of a single channel is its bias.
//
//	norm1 = 2; v = 3*2 + 1 = 7, the mean of one source; gate absent; out = -1*7 + 4 = -3; h = 10 - 3 = 7
//	norm2 = 0; fc1 gives 0*5 + (1000, -1000); gelu (1000, 0); fc2 gives 0.5*1000 + 8*0 + 6 = 506; y = 7 + 506
func TestBlock_byHand(t *testing.T) {
	linear := func(out, in int, weight, bias []float64) Linear {
		return Linear{Weight: tensor.Hold(of(t, []int{out, in}, weight...)), Bias: bias}
	}
	out := linear(1, 1, []float64{-1}, []float64{4})
	b := Block{
		Layer: Layer{Variant: Simple, Options: Options{Gate: GateAbsent}, Q: linear(1, 1, []float64{9}, nil),
			K: linear(1, 1, []float64{5}, nil), V: linear(1, 1, []float64{3}, []float64{1}), Out: &out},
		Norm: &LayerNorm{Gain: []float64{100}, Bias: []float64{2}, Eps: 1}, Residual: true,
		MLP: &MLP{Norm: LayerNorm{Gain: []float64{100}, Eps: 1}, Up: linear(2, 1, []float64{5, 5}, []float64{1000, -1000}),
			Down: linear(1, 2, []float64{0.5, 8}, []float64{6})},
	}
	x := of(t, []int{1, 1, 1}, 10)
	same(t, "attend", must(t)(b.Attend(x, Places{})), of(t, x.Shape, 7))
	same(t, "whole", must(t)(b.Forward(x, Places{})), of(t, x.Shape, 513))
}

// An MLP whose second projection is 0 passes h on.
func TestMLP(t *testing.T) {
	m := randomMLP(seeded(83), 4)
	h := random(seeded(84), 1, 2, 3, 4)
	near(t, "mlp", must(t)(m.Forward(h)), plainMLP(h, m), 1e-13*10)
	m.Down = Linear{Weight: tensor.Hold(random(seeded(1), 0, 4, 16))}
	before := clone(h)
	same(t, "nothing", must(t)(m.Forward(h)), before)
	same(t, "h", h, before)
	if _, err := m.Forward(random(seeded(1), 1, 2, 3, 5)); err == nil || !strings.HasPrefix(err.Error(), "norm2: x: has shape (2,3,5)") {
		t.Errorf("5 channels: %v", err)
	}
}

func TestBlock_refused(t *testing.T) {
	for _, c := range []struct {
		spoil func(b *Block)
		want  string
	}{
		{func(b *Block) { b.Variant = "" }, `variant "": unknown`},
		{func(b *Block) { b.Norm.Gain = nil }, "norm1.weight: has no values"},
		{func(b *Block) { b.Norm.Bias = b.Norm.Bias[:3] }, "norm1.bias: has 3 values, want 4"},
		{func(b *Block) { b.Norm.Eps = -1 }, "norm1.eps: is -1"},
		{func(b *Block) { b.Norm = randomNorm(seeded(1), 5) }, "norm1.weight: has 5 values, want 4 as q.weight has columns"},
		{func(b *Block) { b.Out = nil }, "gives 6 channels, want 4, which it takes and adds"},
		{func(b *Block) { b.MLP.Norm = LayerNorm{} }, "norm2.weight: has no values"},
		{func(b *Block) { b.MLP = randomMLP(seeded(1), 5) }, "norm2.weight: has 5 values, want 4 as the layer gives channels"},
		{func(b *Block) { b.MLP.Up = Linear{} }, "fc1.weight: has shape (), want rank 2"},
		{func(b *Block) { b.MLP.Up.Bias = b.MLP.Up.Bias[:2] }, "fc1.bias: has 2 values, want 16"},
		{func(b *Block) { b.MLP.Up = randomLinear(seeded(1), 16, 3) }, "fc1.weight: has 3 columns, want 4, the channels"},
		{func(b *Block) { b.MLP.Down = Linear{} }, "fc2.weight: has shape (), want rank 2"},
		{func(b *Block) { b.MLP.Down = randomLinear(seeded(1), 4, 15) }, "fc2.weight: has 15 columns, want 16 as fc1.weight has rows"},
		{func(b *Block) { b.MLP.Down = randomLinear(seeded(1), 3, 16) }, "fc2.weight: has 3 rows, want 4, the channels"},
	} {
		b := randomBlock(85, Simple)
		c.spoil(b)
		if err := b.Check(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if _, err := b.Forward(random(seeded(1), 1, 1, 3, 4), Places{}); err == nil {
			t.Errorf("runs although %q", c.want)
		}
	}
	for _, c := range []struct {
		x    Array
		want string
	}{
		{random(seeded(1), 1, 1, 3, 5), "norm1: x: has shape (1,3,5), want 4 channels"},
		{random(seeded(1), 1, 3, 4), "x: has shape (3,4), want rank 3"},
		{random(seeded(1), 1, 1, 13, 4), "x: has 13 positions, but w has biases for 12"},
	} {
		if _, err := randomBlock(86, Full).Forward(c.x, Places{}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
