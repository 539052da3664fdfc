package reference

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// languageModel has 2 blocks of 4 channels, 7 tokens, at most 12 positions and a tied head.
func languageModel(seed uint64, variants ...Variant) *Model {
	r := seeded(seed)
	m := &Model{
		Tokens: &TokenEmbedding{Weight: tensor.Hold(random(r, 1, 7, 4)), Positions: tensor.Hold(random(r, 1, 12, 4))},
		Norm:   randomNorm(r, 4),
		Tied:   true,
	}
	m.Head = &Linear{Weight: m.Tokens.Weight}
	for i, v := range variants {
		m.Blocks = append(m.Blocks, *randomBlock(seed+uint64(i), v))
	}
	return m
}

// imageModel takes 2 channels in patches of 2 x 2, has 2 blocks of 4 channels and tells 3 classes apart.
func imageModel(seed uint64, variants ...Variant) *Model {
	r := seeded(seed)
	head := randomLinear(r, 3, 4)
	m := &Model{
		Patches: &PatchEmbedding{Weight: tensor.Hold(random(r, 0.01, 4, 2, 2, 2)), Bias: random(r, 1, 4).Data},
		Norm:    randomNorm(r, 4),
		Head:    &head,
		Labels:  []string{"cat", "dog", "boat"},
	}
	for i, v := range variants {
		m.Blocks = append(m.Blocks, *randomBlock(seed+uint64(i), v))
	}
	return m
}

// TestModel_language writes a language model out, and its halves.
func TestModel_language(t *testing.T) {
	m := languageModel(101, Local, Full)
	tokens := of(t, []int{2, 5}, 0, 6, 3, 3, 1, 2, 2, 5, 4, 0)
	h := Array{Shape: []int{2, 5, 4}}
	table, places := must(t)(m.Tokens.Weight.Array()), must(t)(m.Tokens.Positions.Array())
	for i, token := range tokens.Data {
		for c := range 4 {
			h.Data = append(h.Data, table.Data[int(token)*4+c]+places.Data[i%5*4+c])
		}
	}
	embedded, at, err := m.Embed(Inputs{X: tokens, Grid: [2]int{9, 9}})
	if err != nil || at.Grid != [2]int{9, 9} || !at.Mask.Empty() {
		t.Fatalf("places %v, %v", at, err)
	}
	same(t, "embedded", embedded, h)
	for i := range m.Blocks {
		h = plainBlock(t, h, &m.Blocks[i], [2]int{})
	}
	want := project(plainNorm(h, m.Norm), *m.Head)
	near(t, "logits", must(t)(m.Forward(Inputs{X: tokens})), want, 1e-12*maxAbs(want.Data))
	near(t, "finished", must(t)(m.Finish(clone(h))), want, 1e-12*maxAbs(want.Data))
	// Without a norm and a head, what the last block gives.
	m.Norm, m.Head, m.Tied = nil, nil, false
	near(t, "bare", must(t)(m.Forward(Inputs{X: tokens})), h, 1e-12*maxAbs(h.Data))
	m.Norm, m.Tokens.Positions = randomNorm(seeded(1), 4), Weight{}
	if m.MaxLen() != 12 {
		t.Errorf("longest %d, want the layers' 12", m.MaxLen())
	}
	near(t, "normed", must(t)(m.Finish(clone(h))), plainNorm(h, m.Norm), 1e-12)
}

// TestModel_image writes an image model out: pooled to the class token, and to the mean over positions.
func TestModel_image(t *testing.T) {
	for _, token := range []bool{true, false} {
		variants := []Variant{Conv2D, Full}
		if token {
			variants = []Variant{Simple, Full}
		}
		m := imageModel(102, variants...)
		places := 6
		if token {
			m.Patches.ClassToken, places = []float64{1, -2, 0, 3}, 7
		}
		m.Patches.Positions = tensor.Hold(random(seeded(103), 1, places, 4))
		if m.MaxLen() != places {
			t.Errorf("longest %d, want %d", m.MaxLen(), places)
		}
		h, at, err := m.Embed(Inputs{X: twoChannels(), Grid: [2]int{1, 6}})
		if err != nil || at.Grid != [2]int{2, 3} || !tensor.SameShape(h.Shape, []int{2, places, 4}) {
			t.Fatalf("embedded as %v on %v, %v", h.Shape, at.Grid, err)
		}
		for i := range m.Blocks {
			h = plainBlock(t, h, &m.Blocks[i], [2]int{2, 3})
		}
		finished := must(t)(m.Finish(clone(h)))
		pooled := Array{Shape: []int{2, 1, 4}, Data: make([]float64, 8)}
		for i, v := range plainNorm(h, m.Norm).Data {
			at := tensor.Unravel(i, h.Shape)
			switch {
			case !token:
				pooled.Data[at[0]*4+at[2]] += v / 6
			case at[1] == 0:
				pooled.Data[at[0]*4+at[2]] = v
			}
		}
		want := project(pooled, *m.Head)
		want.Shape = []int{2, 3}
		near(t, fmt.Sprint("class token ", token), must(t)(m.Forward(Inputs{X: twoChannels()})), want, 1e-12*maxAbs(want.Data))
		near(t, "finished", finished, want, 1e-12*maxAbs(want.Data))
	}
}

func TestPool(t *testing.T) {
	m := imageModel(104, Simple)
	h := of(t, []int{2, 3, 2}, 1, 10, 2, 20, 6, 60, -1, 0, -2, 0, -3, 9)
	same(t, "mean", m.Pool(h), of(t, []int{2, 1, 2}, 3, 30, -2, 3))
	m.Patches.ClassToken = []float64{0, 0}
	same(t, "class token", m.Pool(h), of(t, []int{2, 1, 2}, 1, 10, -1, 0))
}

func TestModel_sizes(t *testing.T) {
	grown := func(m *Model, f func(m *Model)) *Model { f(m); return m }
	for _, c := range []struct {
		name       string
		model      *Model
		longest    int
		conv, grid bool
		stack      bool
	}{
		{"stack", Stack(*layers(105)[Simple]), 0, false, false, true},
		{"stack of local", Stack(*layers(105)[Local]), 12, false, false, true},
		{"stack on a grid", Stack(*layers(105)[Conv2D]), 0, true, true, true},
		{"stack on its own grid", grown(Stack(*layers(105)[Conv2D]), func(m *Model) { m.Blocks[0].Grid = [2]int{3, 4} }), 0, true, false, true},
		{"norm before", grown(Stack(*layers(105)[Simple]), func(m *Model) { m.Blocks[0].Norm = randomNorm(seeded(1), 4) }), 0, false, false, false},
		{"norm behind", grown(Stack(*layers(105)[Simple]), func(m *Model) { m.Norm = randomNorm(seeded(1), 5) }), 0, false, false, false},
		{"head", grown(Stack(*layers(105)[Simple]), func(m *Model) { l := randomLinear(seeded(1), 2, 5); m.Head = &l }), 0, false, false, false},
		{"mlp", grown(Stack(*layers(105)[Simple]), func(m *Model) { m.Blocks[0].MLP = randomMLP(seeded(1), 5) }), 0, false, false, false},
		{"residual", &Model{Blocks: []Block{{Layer: randomBlock(1, Simple).Layer, Residual: true}}}, 0, false, false, false},
		{"tokens", languageModel(105, Simple), 12, false, false, false},
		{"tokens of few positions", grown(languageModel(105, Full), func(m *Model) { m.Tokens.Positions = tensor.Hold(random(seeded(1), 1, 9, 4)) }), 9, false, false, false},
		{"tokens on a grid", languageModel(105, Conv2D), 12, true, true, false},
		{"image", imageModel(105, Conv2D, Simple), 0, true, false, false},
		{"image of biases", imageModel(105, Simple, Full), 12, false, false, false},
	} {
		if err := c.model.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := c.model.MaxLen(); got != c.longest {
			t.Errorf("%s: longest %d, want %d", c.name, got, c.longest)
		}
		if c.model.HasConv2D() != c.conv || c.model.NeedsGrid() != c.grid || c.model.IsStack() != c.stack {
			t.Errorf("%s: 2-D %v, needs a grid %v, stack %v; want %v, %v, %v", c.name, c.model.HasConv2D(), c.model.NeedsGrid(),
				c.model.IsStack(), c.conv, c.grid, c.stack)
		}
	}
}

// TestModel_refused: every message of Check.
func TestModel_refused(t *testing.T) {
	language := func() *Model { return languageModel(106, Simple, Simple) }
	image := func() *Model { return imageModel(107, Simple, Simple) }
	stack := func() *Model { return Stack(*layers(108)[Simple]) }
	for _, c := range []struct {
		model func() *Model
		spoil func(m *Model)
		want  string
	}{
		{language, func(m *Model) { m.Blocks = nil }, "has no layers"},
		{language, func(m *Model) { m.Blocks[1].Q.Bias = []float64{1} }, "layer 1: q.bias: has 1 values"},
		{language, func(m *Model) { m.Blocks[1].Norm.Eps = nan }, "layer 1: norm1.eps: is NaN"},
		{language, func(m *Model) { m.Blocks[0].MLP.Down.Bias = []float64{} }, "layer 0: fc2.bias: has 0 values"},
		{stack, func(m *Model) { m.Blocks = append(m.Blocks, m.Blocks[0]) }, "layer 1: takes 4 channels, but layer 0 gives 5"},
		{language, func(m *Model) { m.Patches = image().Patches }, "takes tokens and pixels, want one of them"},
		{language, func(m *Model) { m.Tokens.Weight = Weight{} }, "embed.weight: has shape (), want rank 2"},
		{language, func(m *Model) { m.Tokens.Positions = tensor.Hold(random(seeded(1), 1, 12, 5)) }, "positions.weight: has shape (12,5), want 4"},
		{language, func(m *Model) {
			m.Tokens = &TokenEmbedding{Weight: tensor.Hold(random(seeded(1), 1, 7, 5))}
		}, "embed.weight: has 5 columns, but layer 0 takes 4 channels"},
		{image, func(m *Model) { m.Patches.Bias = []float64{1} }, "patch.bias: has 1 values, want 4"},
		{image, func(m *Model) {
			m.Patches = &PatchEmbedding{Weight: tensor.Hold(random(seeded(1), 1, 5, 2, 2, 2))}
		}, "patch.weight: has 5 rows, but layer 0 takes 4 channels"},
		{image, func(m *Model) {
			m.Patches.ClassToken = make([]float64, 4)
			m.Blocks[1] = *randomBlock(109, Conv2D)
		}, "class_token: does not lie on the grid of 2-D convolutions"},
		{language, func(m *Model) { m.Norm.Bias = []float64{1} }, "norm.bias: has 1 values, want 4"},
		{language, func(m *Model) { m.Norm = randomNorm(seeded(1), 3) }, "norm.weight: has 3 values, but the last layer gives 4 channels"},
		{image, func(m *Model) { m.Head = nil }, "head: is missing behind the pooled image"},
		{image, func(m *Model) { m.Head.Bias = []float64{1} }, "head.bias: has 1 values, want 3"},
		{image, func(m *Model) { *m.Head = Linear{} }, "head.weight: has shape (), want rank 2"},
		{image, func(m *Model) { *m.Head = randomLinear(seeded(1), 3, 5) }, "head.weight: has 5 columns, but the last layer gives 4 channels"},
		{language, func(m *Model) { *m.Head = randomLinear(seeded(1), 8, 4) }, "head.weight: is to be the token embedding, which it does not fit"},
		{image, func(m *Model) { m.Tied = true }, "head.weight: is to be the token embedding"},
		{language, func(m *Model) { m.Head = nil }, "head.weight: is to be the token embedding, but there is no head"},
		{image, func(m *Model) { m.Labels = m.Labels[:2] }, "labels: are 2, want 3, one a row of head.weight"},
		{stack, func(m *Model) { m.Labels = []string{"a"} }, "labels: are 1, but there is no head"},
	} {
		m := c.model()
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		c.spoil(m)
		if err := m.Check(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if y, err := m.Forward(Inputs{X: of(t, []int{1, 1}, 0)}); err == nil || !y.Empty() {
			t.Errorf("runs although %q", c.want)
		}
	}
}

// TestModel_inputs: the part that an input or an unreadable weight does not suit is named.
func TestModel_inputs(t *testing.T) {
	gone := func(shape ...int) Weight {
		return tensor.Computed(shape, func() (Array, error) { return Array{}, errors.New("is gone") })
	}
	one := of(t, []int{1, 2}, 0, 1)
	for _, c := range []struct {
		spoil func(m *Model)
		in    Inputs
		want  string
	}{
		{nil, Inputs{X: of(t, []int{1, 2}, 0, 7)}, "tokens: element [0 1] is 7"},
		{nil, Inputs{}, "tokens: has shape (), want rank 2"},
		{nil, Inputs{X: Array{Shape: []int{1, 13}, Data: make([]float64, 13)}}, "tokens: has 13 positions, but there are embeddings for 12"},
		{func(m *Model) { m.Tokens.Positions = Weight{} }, Inputs{X: Array{Shape: []int{1, 13}, Data: make([]float64, 13)}},
			"layer 1: x: has 13 positions, but w has biases for 12"},
		{nil, Inputs{X: one, Mask: of(t, []int{2}, 1, 1)}, "layer 0: mask: has shape (2), want rank 2"},
		{nil, Inputs{X: one, Mask: of(t, []int{1, 1}, 1)}, "layer 0: mask: has shape (1,1), want (1,2) as x"},
		{nil, Inputs{X: one, Mask: of(t, []int{2, 2}, 1, 1, 1, 1)}, "layer 0: mask: has shape (2,2), want (1,2) as x"},
		{nil, Inputs{X: one, Mask: Array{Shape: []int{1, 2}}}, "layer 0: mask: has 0 values"},
		{func(m *Model) { m.Blocks[1].W = gone(12, 13) }, Inputs{X: one}, "layer 1: w: is gone"},
		{func(m *Model) { m.Blocks[0].K.Weight = gone(6, 4) }, Inputs{X: one}, "layer 0: k: weight: is gone"},
		{func(m *Model) { m.Blocks[0].Out.Weight = gone(4, 6) }, Inputs{X: one}, "layer 0: out: weight: is gone"},
		{func(m *Model) { m.Blocks[1].MLP.Up.Weight = gone(16, 4) }, Inputs{X: one}, "layer 1: fc1: weight: is gone"},
		{func(m *Model) { m.Blocks[1].MLP.Down.Weight = gone(4, 16) }, Inputs{X: one}, "layer 1: fc2: weight: is gone"},
		{func(m *Model) { m.Head.Weight = gone(7, 4) }, Inputs{X: one}, "head: weight: is gone"},
	} {
		m := languageModel(110, Simple, Full)
		if c.spoil != nil {
			c.spoil(m)
		}
		if y, err := m.Forward(c.in); err == nil || !strings.HasPrefix(err.Error(), c.want) || !y.Empty() {
			t.Errorf("shape %v, %v; want %q", y.Shape, err, c.want)
		}
	}
	m := imageModel(111, Conv2D)
	m.Blocks[0].Grid = [2]int{3, 2}
	want := "layer 0: grid: is (2,3), but the layer's is (3,2)"
	if _, err := m.Forward(Inputs{X: twoChannels()}); err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	h := random(seeded(1), 1, 1, 2, 5)
	if _, err := languageModel(112, Simple).Finish(h); err == nil || !strings.HasPrefix(err.Error(), "norm: x: has shape (1,2,5)") {
		t.Errorf("finished: %v", err)
	}
}

// Tokens, pixels and x are only read, and a model run twice gives the same bits.
func TestModel_inputsAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		model *Model
		x     Array
	}{
		"language": {languageModel(113, Simple, Full), of(t, []int{1, 3}, 1, 2, 3)},
		"image":    {imageModel(113, Full), twoChannels()},
		"stack":    {Stack(*layers(113)[Simple]), random(seeded(1), 1, 1, 3, 4)},
		"residual": {&Model{Blocks: []Block{*randomBlock(113, Full)}}, random(seeded(1), 1, 1, 3, 4)},
	} {
		before := clone(c.x)
		first := must(t)(c.model.Forward(Inputs{X: c.x}))
		same(t, name, c.x, before)
		same(t, name, must(t)(c.model.Forward(Inputs{X: c.x})), first)
	}
}

// TestModel_causal: with causal layers, a position's logits are those of the text up to it, to the bit; a later token moves
// nothing before it.
func TestModel_causal(t *testing.T) {
	m := languageModel(114, Simple, Full)
	m.Blocks[0].Causal, m.Blocks[1].Causal = true, true
	tokens := of(t, []int{1, 6}, 1, 5, 0, 2, 6, 3)
	whole := must(t)(m.Forward(Inputs{X: tokens}))
	for n := 1; n <= 6; n++ {
		same(t, fmt.Sprint("the first ", n), part(whole, 0, 0, n), must(t)(m.Forward(Inputs{X: part(tokens, 0, 0, n)})))
	}
	moved := clone(tokens)
	moved.Data[3] = 4
	other := must(t)(m.Forward(Inputs{X: moved}))
	same(t, "before", part(other, 0, 0, 3), part(whole, 0, 0, 3))
	for at := 3; at < 6; at++ {
		if a, b := part(other, 0, at, at+1), part(whole, 0, at, at+1); slices.Equal(a.Data, b.Data) {
			t.Errorf("position %d does not see token 3", at)
		}
	}
}
