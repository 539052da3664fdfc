package reference

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

func TestTokenEmbedding(t *testing.T) {
	e := &TokenEmbedding{Weight: tensor.Hold(of(t, []int{3, 2}, 1, 2, 30, 40, 500, 600))}
	tokens := of(t, []int{2, 3}, 2, 0, 1, 1, 1, math.Copysign(0, -1))
	same(t, "tokens", must(t)(e.Forward(tokens)), of(t, []int{2, 3, 2}, 500, 600, 1, 2, 30, 40, 30, 40, 30, 40, 1, 2))
	e.Positions = tensor.Hold(of(t, []int{4, 2}, 0.5, 0, 0.25, 1, 0, 0.125, nan, nan))
	same(t, "with positions", must(t)(e.Forward(tokens)),
		of(t, []int{2, 3, 2}, 500.5, 600, 1.25, 3, 30, 40.125, 30.5, 40, 30.25, 41, 1, 2.125))
	same(t, "the table", must(t)(e.Weight.Array()), of(t, []int{3, 2}, 1, 2, 30, 40, 500, 600))
	for _, shape := range [][]int{{0, 3}, {2, 0}} {
		y := must(t)(e.Forward(Array{Shape: shape}))
		if !tensor.SameShape(y.Shape, []int{shape[0], shape[1], 2}) || len(y.Data) != 0 {
			t.Errorf("no tokens %v: shape %v", shape, y.Shape)
		}
	}
	if e.Vocabulary() != 3 || e.Dim() != 2 {
		t.Errorf("%d tokens of %d channels, want 3 of 2", e.Vocabulary(), e.Dim())
	}
}

func TestTokenEmbedding_refused(t *testing.T) {
	table, places := tensor.Hold(random(seeded(1), 1, 3, 2)), tensor.Hold(random(seeded(1), 1, 4, 2))
	unread := tensor.Computed([]int{3, 2}, func() (Array, error) { return Array{}, errors.New("is gone") })
	one := of(t, []int{1, 1}, 0)
	for _, c := range []struct {
		embedding TokenEmbedding
		tokens    Array
		want      string
	}{
		{TokenEmbedding{}, one, "embed.weight: has shape (), want rank 2"},
		{TokenEmbedding{Weight: tensor.Hold(random(seeded(1), 1, 0, 2))}, one, "embed.weight: has shape (0,2), want at least 1 at axis 0"},
		{TokenEmbedding{Weight: tensor.Hold(random(seeded(1), 1, 6))}, one, "embed.weight: has shape (6), want rank 2"},
		{TokenEmbedding{Weight: tensor.Hold(Array{Shape: []int{3, 2}})}, one, "embed.weight: has 0 values"},
		{TokenEmbedding{Weight: unread}, one, "embed.weight: is gone"},
		{TokenEmbedding{Weight: table, Positions: unread}, one, "positions.weight: is gone"},
		{TokenEmbedding{Weight: table, Positions: tensor.Hold(random(seeded(1), 1, 8))}, one, "positions.weight: has shape (8), want rank 2"},
		{TokenEmbedding{Weight: table, Positions: tensor.Hold(random(seeded(1), 1, 4, 3))}, one,
			"positions.weight: has shape (4,3), want 2 channels as the embedding has"},
		{TokenEmbedding{Weight: table}, of(t, []int{2, 2}, 0, 1, 2, 3), "tokens: element [1 1] is 3, want a whole number in 0..2"},
		{TokenEmbedding{Weight: table}, of(t, []int{1, 2}, 0, -1), "tokens: element [0 1] is -1, want"},
		{TokenEmbedding{Weight: table}, of(t, []int{1, 1}, 0.5), "tokens: element [0 0] is 0.5, want"},
		{TokenEmbedding{Weight: table}, of(t, []int{1, 1}, nan), "tokens: element [0 0] is NaN, want"},
		{TokenEmbedding{Weight: table}, of(t, []int{1, 1}, inf), "tokens: element [0 0] is +Inf, want"},
		{TokenEmbedding{Weight: table}, of(t, []int{1, 1}, -inf), "tokens: element [0 0] is -Inf, want"},
		{TokenEmbedding{Weight: table}, of(t, []int{1, 1}, 1e300), "tokens: element [0 0] is 1e+300, want"},
		{TokenEmbedding{Weight: table}, of(t, []int{2}, 0, 1), "tokens: has shape (2), want rank 2"},
		{TokenEmbedding{Weight: table}, Array{Shape: []int{1, 2}}, "tokens: has 0 values"},
		{TokenEmbedding{Weight: table, Positions: places}, of(t, []int{1, 5}, 0, 1, 2, 0, 1), "tokens: has 5 positions, but there are embeddings for 4"},
	} {
		if y, err := c.embedding.Forward(c.tokens); err == nil || !strings.HasPrefix(err.Error(), c.want) || !y.Empty() {
			t.Errorf("shape %v, %v; want %q", y.Shape, err, c.want)
		}
	}
}

// twoChannels is an image of 2 channels and 4 x 6 pixels, two of them: pixel (c,row,column) of image b is
// 1000 b + 100 c + 10 row + column.
func twoChannels() Array {
	a := Array{Shape: []int{2, 2, 4, 6}}
	for i := range 96 {
		at := tensor.Unravel(i, a.Shape)
		a.Data = append(a.Data, float64(1000*at[0]+100*at[1]+10*at[2]+at[3]))
	}
	return a
}

// TestPatchEmbedding: patches of 2 x 2 make a grid of 2 x 3. Channel 0 of h picks the upper right pixel of image channel 0,
// channel 1 the lower left one of image channel 1, channel 2 the differences between rows and between columns.
func TestPatchEmbedding(t *testing.T) {
	e := &PatchEmbedding{Weight: tensor.Hold(of(t, []int{3, 2, 2, 2},
		0, 1, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 1, 0,
		0, -1, 0, 1, 0, 0, -1, 1))}
	want := of(t, []int{2, 6, 3},
		1, 110, 11, 3, 112, 11, 5, 114, 11, 21, 130, 11, 23, 132, 11, 25, 134, 11,
		1001, 1110, 11, 1003, 1112, 11, 1005, 1114, 11, 1021, 1130, 11, 1023, 1132, 11, 1025, 1134, 11)
	check := func(what string, want Array) {
		t.Helper()
		h, grid, err := e.Forward(twoChannels())
		if err != nil || grid != [2]int{2, 3} {
			t.Fatalf("%s: grid %v, %v; want (2,3)", what, grid, err)
		}
		same(t, what, h, want)
	}
	check("weights", want)
	e.Bias = []float64{0.5, 0.25, -11}
	for i := range want.Data {
		want.Data[i] += e.Bias[i%3]
	}
	check("bias", want)
	e.Positions = tensor.Hold(random(seeded(91), 0, 6, 3))
	places, _ := e.Positions.Held()
	for i := range places.Data {
		places.Data[i] = float64(i) / 32
	}
	plain := clone(want)
	for i := range want.Data {
		want.Data[i] += places.Data[i%18]
	}
	check("positions", want)
	// The class token is position 0: everything else moves on by one.
	e.ClassToken = []float64{7, 8, 9}
	e.Positions = tensor.Hold(Array{Shape: []int{7, 3}, Data: append([]float64{0.5, 0.25, 0.125}, places.Data...)})
	withToken := Array{Shape: []int{2, 7, 3}}
	for b := range 2 {
		withToken.Data = append(withToken.Data, 7.5, 8.25, 9.125)
		withToken.Data = append(withToken.Data, want.Data[b*18:(b+1)*18]...)
	}
	check("class token and positions", withToken)
	e.Positions = Weight{}
	for i := range 42 {
		withToken.Data[i%21+i/21*21] = append(append([]float64{}, e.ClassToken...), plain.Data[i/21*18:(i/21+1)*18]...)[i%21]
	}
	check("class token", withToken)
	if e.Dim() != 3 || e.Channels() != 2 || e.Patch() != 2 {
		t.Errorf("(D,C,p) is (%d,%d,%d)", e.Dim(), e.Channels(), e.Patch())
	}
}

// TestPatchEmbedding_sum is the formula of the doc comment, index by index, on patches of 3 x 3.
func TestPatchEmbedding_sum(t *testing.T) {
	r := seeded(92)
	const p, channels, dim = 3, 2, 5
	w, x := random(r, 1, dim, channels, p, p), random(r, 1, 2, channels, 6, 9)
	e := &PatchEmbedding{Weight: tensor.Hold(w), Bias: random(r, 1, dim).Data}
	h, grid, err := e.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	want := Array{Shape: []int{2, grid[0] * grid[1], dim}}
	for b := range 2 {
		for place := range 6 {
			for d := range dim {
				total := e.Bias[d]
				for c := range channels {
					for i := range p {
						for j := range p {
							row, column := p*(place/3)+i, p*(place%3)+j
							total += w.Data[((d*channels+c)*p+i)*p+j] * x.Data[((b*channels+c)*6+row)*9+column]
						}
					}
				}
				want.Data = append(want.Data, total)
			}
		}
	}
	near(t, "sum", h, want, 1e-13)
}

func TestPatchEmbedding_refused(t *testing.T) {
	image := twoChannels()
	shaped := func(shape ...int) Array { return random(seeded(1), 1, shape...) }
	for _, c := range []struct {
		spoil  func(e *PatchEmbedding)
		pixels Array
		want   string
	}{
		{func(e *PatchEmbedding) { e.Weight = Weight{} }, image, "patch.weight: has shape (), want rank 4"},
		{func(e *PatchEmbedding) { e.Weight = tensor.Hold(shaped(3, 2, 2)) }, image, "patch.weight: has shape (3,2,2), want rank 4"},
		{func(e *PatchEmbedding) { e.Weight = tensor.Hold(shaped(3, 0, 2, 2)) }, image, "patch.weight: has shape (3,0,2,2), want at least 1 at axis 1"},
		{func(e *PatchEmbedding) { e.Weight = tensor.Hold(shaped(3, 2, 2, 1)) }, image, "patch.weight: has shape (3,2,2,1), want square patches"},
		{func(e *PatchEmbedding) { e.Bias = []float64{} }, image, "patch.bias: has 0 values, want 3"},
		{func(e *PatchEmbedding) { e.ClassToken = []float64{1} }, image, "class_token: has 1 values, want 3"},
		{func(e *PatchEmbedding) { e.Positions = tensor.Hold(shaped(18)) }, image, "positions.weight: has shape (18), want rank 2"},
		{func(e *PatchEmbedding) { e.Positions = tensor.Hold(shaped(6, 2)) }, image, "positions.weight: has shape (6,2), want 3 channels"},
		{func(e *PatchEmbedding) { e.Positions = tensor.Hold(shaped(7, 3)) }, image, "pixels: gives 6 positions, but there are embeddings for 7"},
		{func(e *PatchEmbedding) {
			e.Positions, e.ClassToken = tensor.Hold(shaped(6, 3)), []float64{1, 2, 3}
		}, image, "pixels: gives 7 positions, but there are embeddings for 6"},
		{func(e *PatchEmbedding) { e.Pixels.Mean = []float64{1} }, image, "mean: has 1 values, want 2, one a channel"},
		{func(e *PatchEmbedding) { e.Pixels.Mean = []float64{0, nan} }, image, "mean: holds NaN, want finite numbers"},
		{func(e *PatchEmbedding) { e.Pixels.Mean = []float64{-inf, 0} }, image, "mean: holds -Inf, want finite numbers"},
		{func(e *PatchEmbedding) { e.Pixels.Std = []float64{1, 1, 1} }, image, "std: has 3 values, want 2"},
		{func(e *PatchEmbedding) { e.Pixels.Std = []float64{1, 0} }, image, "std: holds 0, want finite numbers above 0"},
		{func(e *PatchEmbedding) { e.Pixels.Std = []float64{-1, 1} }, image, "std: holds -1, want"},
		{func(e *PatchEmbedding) { e.Pixels.Std = []float64{1, nan} }, image, "std: holds NaN, want"},
		{func(e *PatchEmbedding) { e.Pixels.Std = []float64{1, inf} }, image, "std: holds +Inf, want"},
		{func(e *PatchEmbedding) { e.Pixels.Size = [2]int{4, 5} }, image, "image_size: is 4 x 5, want multiples of the patch size 2"},
		{func(e *PatchEmbedding) { e.Pixels.Size = [2]int{0, 4} }, image, "image_size: is 0 x 4"},
		{func(e *PatchEmbedding) { e.Pixels.Size = [2]int{-4, 4} }, image, "image_size: is -4 x 4"},
		{func(e *PatchEmbedding) { e.Pixels.Size = [2]int{1 << 62, 1 << 62} }, image, "image_size: is 4611686018427387904 x 4611686018427387904"},
		{func(e *PatchEmbedding) {
			e.Pixels.Size, e.Positions = [2]int{4, 6}, tensor.Hold(shaped(7, 3))
		}, image, "image_size: (4,6) has 6 positions, but positions.weight has 7"},
		{nil, shaped(2, 4, 6), "pixels: has shape (2,4,6), want rank 4"},
		{nil, shaped(1, 3, 4, 6), "pixels: has shape (1,3,4,6), want 2 channels"},
		{nil, shaped(1, 2, 4, 5), "pixels: is 4 x 5, want multiples of the patch size 2"},
		{nil, shaped(1, 2, 0, 6), "pixels: is 0 x 6"},
		{nil, Array{Shape: []int{1, 2, 4, 6}}, "pixels: has 0 values"},
		{func(e *PatchEmbedding) {
			e.Weight = tensor.Computed([]int{3, 2, 2, 2}, func() (Array, error) { return Array{}, errors.New("is gone") })
		}, image, "patch.weight: is gone"},
		{func(e *PatchEmbedding) {
			e.Positions = tensor.Computed([]int{6, 3}, func() (Array, error) { return Array{}, errors.New("is gone") })
		}, image, "positions.weight: is gone"},
	} {
		e := &PatchEmbedding{Weight: tensor.Hold(shaped(3, 2, 2, 2)), Bias: []float64{1, 2, 3}}
		if c.spoil != nil {
			c.spoil(e)
		}
		if h, _, err := e.Forward(c.pixels); err == nil || !strings.HasPrefix(err.Error(), c.want) || !h.Empty() {
			t.Errorf("shape %v, %v; want %q", h.Shape, err, c.want)
		}
	}
	// What the pixels' rules allow, and that they change nothing that is computed.
	e := &PatchEmbedding{Weight: tensor.Hold(shaped(3, 2, 2, 2))}
	want, _, err := e.Forward(image)
	if err != nil {
		t.Fatal(err)
	}
	e.Pixels = Pixels{Size: [2]int{8, 8}, Mean: []float64{0.5, -1}, Std: []float64{0.25, 3}}
	got, _, err := e.Forward(image)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "pixels", got, want)
	none, grid, err := e.Forward(Array{Shape: []int{0, 2, 4, 6}})
	if err != nil || grid != [2]int{2, 3} || !tensor.SameShape(none.Shape, []int{0, 6, 3}) {
		t.Errorf("no images: shape %v, grid %v, %v", none.Shape, grid, err)
	}
}
