package wiringtest

import (
	"math"
	"math/rand/v2"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// The sizes of all networks.
const (
	Dim        = 6  // channels
	Hidden     = 12 // channels within an MLP
	Heads      = 3  // of the convolutions
	Vocabulary = 11
	Positions  = 9 // rows of biases and of embeddings of positions
	Classes    = 4
	Channels   = 3 // of pixels
	Patch      = 2
)

// Network is a model with a name that says what is special about it.
type Network struct {
	Name  string
	Model *reference.Model
}

// Stateful are the networks that can be run a chunk at a time, and one whose kernels have a tap after the token.
func Stateful() []Network {
	all := []Network{{"language, a tap after the token", changed(language(15, false, reference.Conv1D, reference.Full),
		func(m *reference.Model) { m.Blocks[0].PadLeft = 1 })}}
	for _, n := range Networks() {
		if n.Model.Tokens != nil {
			all = append(all, n)
		}
	}
	return all
}

// Networks are new each time: tests may change them.
func Networks() []Network {
	full, local, conv, grid := reference.Full, reference.Local, reference.Conv1D, reference.Conv2D
	bare := func(m *reference.Model) {
		m.Norm = nil
		for i := range m.Blocks {
			m.Blocks[i].Norm, m.Blocks[i].MLP = nil, nil
		}
	}
	return []Network{
		{"language, tied", language(1, true, local, full)},
		{"language, tied with a bias", changed(language(2, true, local), func(m *reference.Model) { m.Head.Bias = values(90, Vocabulary) })},
		{"language, another head", language(3, false, full, local)},
		{"language, any length", changed(language(4, false, reference.Simple, conv), func(m *reference.Model) {
			m.Tokens.Positions = reference.Weight{}
			m.Head.Bias = nil
		})},
		{"language, a norm and no head", changed(language(5, false, full), func(m *reference.Model) { m.Head = nil })},
		{"language, neither norms nor MLPs", changed(language(6, false, local, local), bare)},
		{"image, conv", image(7, grid, grid)},
		{"image, conv with positions, any shape", changed(image(8, grid), func(m *reference.Model) {
			m.Patches.Positions = weight(91, 6, Dim)
			m.Patches.Bias = nil
		})},
		{"image, class token and positions", changed(classified(9), func(m *reference.Model) {
			m.Patches.Positions = weight(92, 7, Dim)
			m.Patches.Pixels = reference.Pixels{Size: [2]int{2 * Patch, 3 * Patch}, Mean: []float64{0.5, 0.25, 0.1},
				Std: []float64{0.25, 0.5, 1}}
			m.Labels = []string{"cat", "dog", "a tram, or a bus", "other"}
		})},
		{"image, class token, any size", classified(10)},
		{"blocks on x", changed(language(11, false, local, conv), func(m *reference.Model) { m.Tokens, m.Norm, m.Head = nil, nil, nil })},
		{"blocks on x, a norm without bias", changed(language(12, false, full), func(m *reference.Model) {
			m.Tokens, m.Head = nil, nil
			m.Norm.Bias, m.Blocks[0].Norm.Bias, m.Blocks[0].MLP.Norm.Bias = nil, nil, nil
			m.Blocks[0].MLP.Up.Bias, m.Blocks[0].MLP.Down.Bias = nil, nil
		})},
		{"blocks on x, another eps", changed(language(13, false, reference.Simple), func(m *reference.Model) {
			m.Tokens, m.Head = nil, nil
			m.Norm.Eps, m.Blocks[0].Norm.Eps, m.Blocks[0].MLP.Norm.Eps = 0.5, 0.25, 0
		})},
		{"blocks on a grid", changed(language(14, false, grid), func(m *reference.Model) {
			m.Tokens = nil
			m.Blocks[0].Grid = [2]int{2, 3}
		})},
	}
}

func changed(m *reference.Model, change func(*reference.Model)) *reference.Model {
	change(m)
	return m
}

// language is causal, with everything but a bias of the head when that is tied.
func language(seed uint64, tied bool, variants ...reference.Variant) *reference.Model {
	m := &reference.Model{Blocks: blocks(seed, variants, true), Tied: tied}
	seed = 1000 * seed
	m.Tokens = &reference.TokenEmbedding{Weight: weight(seed, Vocabulary, Dim), Positions: weight(seed+1, Positions, Dim)}
	m.Norm = norm(seed + 2)
	m.Head = linear(seed+3, Vocabulary, Dim)
	if tied {
		m.Head = &reference.Linear{Weight: m.Tokens.Weight}
	}
	return m
}

// image pools to the mean.
func image(seed uint64, variants ...reference.Variant) *reference.Model {
	m := &reference.Model{Blocks: blocks(seed, variants, false)}
	seed = 1000 * seed
	m.Patches = &reference.PatchEmbedding{Weight: weight(seed, Dim, Channels, Patch, Patch), Bias: values(seed+1, Dim)}
	m.Norm = norm(seed + 2)
	m.Head = linear(seed+3, Classes, Dim)
	return m
}

func classified(seed uint64) *reference.Model {
	m := image(seed, reference.Full, reference.Full)
	m.Patches.ClassToken = values(seed+93, Dim)
	return m
}

func blocks(seed uint64, variants []reference.Variant, causal bool) []reference.Block {
	list := make([]reference.Block, len(variants))
	for i, v := range variants {
		seed := 1000*seed + 100*uint64(i) + 10
		list[i] = reference.Block{
			Layer: layer(seed, v, causal && v != reference.Conv2D), Residual: true, Norm: norm(seed + 20),
			MLP: &reference.MLP{Norm: *norm(seed + 22), Up: *linear(seed+24, Hidden, Dim), Down: *linear(seed+26, Dim, Hidden)},
		}
	}
	return list
}

func layer(seed uint64, v reference.Variant, causal bool) reference.Layer {
	keys := Dim
	if v == reference.Conv1D || v == reference.Conv2D {
		keys = Heads
	}
	l := reference.Layer{
		Variant: v, Options: reference.Options{Causal: causal},
		Q: *linear(seed, Dim, Dim), K: *linear(seed+2, keys, Dim), V: *linear(seed+4, Dim, Dim), Out: linear(seed+6, Dim, Dim),
	}
	switch v {
	case reference.Full:
		l.W = weight(seed+8, Positions, Positions)
	case reference.Local:
		l.Window, l.W = 3, weight(seed+8, Positions, 5)
		if causal {
			l.W = weight(seed+8, Positions, 3)
		}
	case reference.Conv1D:
		l.PadLeft, l.W = 1, weight(seed+8, Heads, 3)
		if causal {
			l.PadLeft = 2
		}
	case reference.Conv2D:
		l.Pads, l.W = [2]int{1, 1}, weight(seed+8, Heads, 3, 3)
	}
	return l
}

func linear(seed uint64, out, in int) *reference.Linear {
	return &reference.Linear{Weight: weight(seed, out, in), Bias: values(seed+1, out)}
}

func norm(seed uint64) *reference.LayerNorm {
	gain := values(seed, Dim)
	for i := range gain {
		gain[i] += 1.25
	}
	return &reference.LayerNorm{Gain: gain, Bias: values(seed+1, Dim), Eps: float64(float32(1e-5))}
}

func weight(seed uint64, shape ...int) reference.Weight {
	return reference.Hold(random(seed, shape...))
}

func values(seed uint64, n int) []float64 { return random(seed, n).Data }

// random is an array of numbers that float16 holds, so that no type rounds a weight.
func random(seed uint64, shape ...int) tensor.Array {
	n := 1
	for _, d := range shape {
		n *= d
	}
	a := tensor.Array{Shape: shape, Data: make([]float64, n)}
	rng := rand.New(rand.NewPCG(seed, 11))
	for i := range a.Data {
		a.Data[i] = math.Round(96*rng.NormFloat64()) / 256
	}
	return a
}
