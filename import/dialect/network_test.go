package dialect_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// norm and mlp are lines of a block's parts, of the tests' 6 channels.
func norm(name string) []string { return []string{name + ".weight 6", name + ".bias 6"} }

func mlp(up, down string) []string {
	return []string{up + ".weight 24 6", up + ".bias 24", down + ".weight 6 24", down + ".bias 6"}
}

// ownBlocks are two blocks in our own naming.
func ownBlocks(keys int, biases ...string) []string {
	var lines []string
	for n := range 2 {
		at := fmt.Sprintf("layers.%d.", n)
		lines = concat(lines, norm(at+"norm1"), prefixed(at, own(keys, biases...)), norm(at+"norm2"), mlp(at+"fc1", at+"fc2"))
	}
	return lines
}

func suBlocks(keys int, biases ...string) []string {
	var lines []string
	for n := range 2 {
		at := fmt.Sprintf("blocks.%d.", n)
		lines = concat(lines, norm(at+"norm1"), prefixed(at+"aft.", su(keys, biases...)), norm(at+"norm2"), mlp(at+"ffn.fc1", at+"ffn.fc2"))
	}
	return lines
}

// The whole models that the tests are about.
func ownText() []string {
	return concat([]string{"embed.weight 11 6", "positions.weight 9 6"}, ownBlocks(6, "u 9 4", "v_t 9 4"), norm("norm"),
		[]string{"head.weight 11 6"})
}

func ownImage() []string {
	return concat([]string{"patch.weight 6 3 2 2", "patch.bias 6"}, ownBlocks(3, "w 3 3 3", "gamma 3", "beta 3"), norm("norm"),
		[]string{"head.weight 4 6", "head.bias 4"})
}

func ownClassified() []string {
	return concat([]string{"patch.weight 6 3 2 2", "patch.bias 6", "class_token 6", "positions.weight 5 6"},
		ownBlocks(6, "u 5 4", "v_t 5 4"), norm("norm"), []string{"head.weight 4 6", "head.bias 4"})
}

func suText() []string {
	return concat([]string{"token_emb.weight 11 6", "pos_emb.weight 9 6"}, suBlocks(6, "position_bias 9 9"), norm("norm"),
		[]string{"lm_head.weight 11 6"})
}

func suImage() []string {
	return concat([]string{"patch_embed.proj.weight 6 3 2 2", "patch_embed.proj.bias 6", "position_embedding 1 4 6"},
		suBlocks(3, "position_bias 3 1 3 3", "position_gain 3 1 1 1", "position_offset 3 1 1 1"), norm("norm"),
		[]string{"head.weight 4 6", "head.bias 4"})
}

// stored is the config inside our own checkpoints.
func stored(t *testing.T, pairs ...string) *dialect.Config {
	t.Helper()
	metadata := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		metadata[pairs[i]] = pairs[i+1]
	}
	c, err := dialect.MetadataConfig(metadata)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func localConfig(t *testing.T, more ...string) *dialect.Config {
	return stored(t, concat([]string{"variant", "local", "causal", "true", "window", "3"}, more)...)
}

// summary is what a model was recognised as.
type summary struct {
	Dialect                   string
	Blocks                    int
	Variant                   reference.Variant
	Tokens, Positions         []int // shapes
	Patch                     []int
	ClassToken                bool
	Norm1, MLP, Norm, HasBias bool
	Head                      []int
	Tied                      bool
	MaxLen                    int
	Size                      [2]int
	Eps                       float64
}

func summarise(r *dialect.Result) summary {
	m := r.Model
	s := summary{Dialect: r.Dialect, Blocks: len(m.Blocks), Variant: m.Blocks[0].Variant, MaxLen: m.MaxLen(), Tied: m.Tied,
		Norm1: m.Blocks[0].Norm != nil, MLP: m.Blocks[0].MLP != nil, Norm: m.Norm != nil}
	if m.Tokens != nil {
		s.Tokens, s.Positions = m.Tokens.Weight.Shape(), m.Tokens.Positions.Shape()
	}
	if p := m.Patches; p != nil {
		s.Patch, s.Positions, s.ClassToken, s.Size = p.Weight.Shape(), p.Positions.Shape(), p.ClassToken != nil, p.Pixels.Size
	}
	if m.Head != nil {
		s.Head, s.HasBias = m.Head.Weight.Shape(), m.Head.Bias != nil
	}
	if m.Norm != nil {
		s.Eps = m.Norm.Eps
	}
	return s
}

// without drops the lines of these tensors.
func without(lines []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		name, _, _ := strings.Cut(line, " ")
		return slices.Contains(names, name)
	})
}

// TestNetworks recognises whole models, complete and with parts left out.
func TestNetworks(t *testing.T) {
	eps := float64(float32(1e-5))
	text := summary{Dialect: "aftonnx", Blocks: 2, Variant: reference.Local, Tokens: []int{11, 6}, Positions: []int{9, 6}, Norm1: true,
		MLP: true, Norm: true, Head: []int{11, 6}, MaxLen: 9, Eps: eps}
	but := func(s summary, change func(*summary)) summary {
		change(&s)
		return s
	}
	image := summary{Dialect: "aftonnx", Blocks: 2, Variant: reference.Conv2D, Patch: []int{6, 3, 2, 2}, Norm1: true, MLP: true, Norm: true,
		HasBias: true, Head: []int{4, 6}, Eps: eps}
	conv := stored(t, "variant", "conv", "causal", "false")
	full := stored(t, "variant", "full", "causal", "false")
	cases := []struct {
		name   string
		lines  []string
		stored *dialect.Config
		o      dialect.Options
		want   summary
	}{
		{"text", ownText(), localConfig(t), dialect.Options{}, text},
		{"text, another eps", ownText(), localConfig(t, "eps", "0.25"), dialect.Options{}, but(text, func(s *summary) { s.Eps = 0.25 })},
		{"text, flags", ownText(), nil, dialect.Options{Variant: "full", Causal: ptr(true)},
			but(text, func(s *summary) { s.Variant = reference.Full })},
		{"text, any length", without(ownText(), "positions.weight"), localConfig(t), dialect.Options{},
			but(text, func(s *summary) { s.Positions = nil })},
		{"text, tied", without(ownText(), "head.weight"), localConfig(t), dialect.Options{}, but(text, func(s *summary) { s.Tied = true })},
		{"text, tied with a bias", append(without(ownText(), "head.weight"), "head.bias 11"), localConfig(t), dialect.Options{},
			but(text, func(s *summary) { s.Tied, s.HasBias = true, true })},
		{"text, no norms", without(ownText(), "layers.0.norm1.weight", "layers.0.norm1.bias", "layers.1.norm1.weight", "layers.1.norm1.bias",
			"norm.weight", "norm.bias"), localConfig(t), dialect.Options{},
			but(text, func(s *summary) { s.Norm1, s.Norm, s.Eps = false, false, 0 })},
		{"text, norms without biases", without(ownText(), "layers.0.norm1.bias", "layers.1.norm2.bias", "norm.bias"), localConfig(t),
			dialect.Options{}, text},
		{"text, no MLPs", slices.DeleteFunc(ownText(), func(l string) bool {
			return strings.Contains(l, ".fc") || strings.Contains(l, ".norm2.")
		}), localConfig(t), dialect.Options{}, but(text, func(s *summary) { s.MLP = false })},
		{"blocks on x", ownBlocks(6, "u 9 4", "v_t 9 4"), localConfig(t), dialect.Options{}, but(text, func(s *summary) {
			s.Tokens, s.Positions, s.Norm, s.Head, s.Eps = nil, nil, false, nil, 0
		})},
		{"image", ownImage(), conv, dialect.Options{}, image},
		{"image with a grid in its config", ownImage(), stored(t, "variant", "conv", "causal", "false", "grid.0", "2", "grid.1", "2"),
			dialect.Options{}, image},
		{"image of a size", ownImage(), stored(t, "variant", "conv", "causal", "false", "image_size.0", "4", "image_size.1", "6"),
			dialect.Options{}, but(image, func(s *summary) { s.Size = [2]int{4, 6} })},
		{"image with a class token", ownClassified(), full, dialect.Options{}, but(image, func(s *summary) {
			s.Variant, s.Positions, s.ClassToken, s.MaxLen, s.Size = reference.Full, []int{5, 6}, true, 5, [2]int{4, 4}
		})},
		{"su text", suText(), nil, dialect.Options{}, but(text, func(s *summary) { s.Dialect, s.Variant = "su", reference.Full })},
		{"su text, local", suText(), nil, dialect.Options{Variant: "local", Window: 3, Causal: ptr(true)},
			but(text, func(s *summary) { s.Dialect = "su" })},
		{"su image", suImage(), nil, dialect.Options{}, but(image, func(s *summary) {
			s.Dialect, s.Positions, s.MaxLen, s.Size = "su", []int{4, 6}, 4, [2]int{4, 4}
		})},
	}
	for _, c := range cases {
		for _, prefix := range []string{"", "module.", "model/", "state_dict/model.", "_orig_mod.", "model/_orig_mod.module."} {
			t.Run(c.name+" "+prefix, func(t *testing.T) {
				src := file(t, append(prefixed(prefix, c.lines), "optimizer/state/0/exp_avg 3")...)
				r, err := dialect.Recognise(dialect.Input{File: "x.pt", Source: src, Stored: c.stored, Options: c.o})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, summarise(r)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				wantPlaced(t, r.Model, src, prefix, c.lines)
				for i := range r.Model.Blocks {
					if !r.Model.Blocks[i].Residual {
						t.Errorf("block %d adds nothing to what it takes", i)
					}
				}
			})
		}
	}
}

// wantPlaced holds the first element of every part around the layers against the tensor of that name, by either naming.
func wantPlaced(t *testing.T, m *reference.Model, src *source, prefix string, lines []string) {
	t.Helper()
	first := func(w tensor.Weight) []float64 {
		a, err := w.Array()
		if err != nil {
			t.Fatal(err)
		}
		return a.Data
	}
	parts := map[string][]float64{}
	if m.Tokens != nil {
		parts["embed.weight"], parts["token_emb.weight"] = first(m.Tokens.Weight), first(m.Tokens.Weight)
		parts["positions.weight"], parts["pos_emb.weight"] = first(m.Tokens.Positions), first(m.Tokens.Positions)
	}
	if p := m.Patches; p != nil {
		parts["patch.weight"], parts["patch_embed.proj.weight"] = first(p.Weight), first(p.Weight)
		parts["patch.bias"], parts["patch_embed.proj.bias"], parts["class_token"] = p.Bias, p.Bias, p.ClassToken
		parts["positions.weight"], parts["position_embedding"] = first(p.Positions), first(p.Positions)
	}
	for i, b := range m.Blocks {
		for _, block := range []string{fmt.Sprintf("layers.%d.", i), fmt.Sprintf("blocks.%d.", i)} {
			if b.Norm != nil {
				parts[block+"norm1.weight"], parts[block+"norm1.bias"] = b.Norm.Gain, b.Norm.Bias
			}
			if b.MLP == nil {
				continue
			}
			parts[block+"norm2.weight"], parts[block+"norm2.bias"] = b.MLP.Norm.Gain, b.MLP.Norm.Bias
			for _, ffn := range []string{"", "ffn."} {
				parts[block+ffn+"fc1.weight"], parts[block+ffn+"fc1.bias"] = first(b.MLP.Up.Weight), b.MLP.Up.Bias
				parts[block+ffn+"fc2.weight"], parts[block+ffn+"fc2.bias"] = first(b.MLP.Down.Weight), b.MLP.Down.Bias
			}
		}
	}
	if m.Norm != nil {
		parts["norm.weight"], parts["norm.bias"] = m.Norm.Gain, m.Norm.Bias
	}
	if m.Head != nil {
		parts["head.weight"], parts["lm_head.weight"], parts["head.bias"] = first(m.Head.Weight), first(m.Head.Weight), m.Head.Bias
	}
	for _, line := range lines {
		name, _, _ := strings.Cut(line, " ")
		inBlock := strings.HasPrefix(name, "layers.") || strings.HasPrefix(name, "blocks.")
		if inBlock && !strings.Contains(name, ".norm") && !strings.Contains(name, ".fc") {
			continue // a layer's own
		}
		got, ok := parts[name]
		if !ok || len(got) == 0 || got[0] != src.tensors[prefix+name].At(0) {
			t.Errorf("%s: its values are not in their place", name)
		}
	}
}

// TestTiedByStorage: a head that is the embedding under another name is tied; one that merely equals it is not.
func TestTiedByStorage(t *testing.T) {
	for tied, offset := range map[bool]int64{true: 64, false: 1024} {
		src := file(t, ownText()...)
		origins := map[string]int64{"embed.weight": 64, "head.weight": offset}
		r, err := dialect.Recognise(dialect.Input{Source: placedSource{src, origins}, Stored: localConfig(t)})
		if err != nil {
			t.Fatal(err)
		}
		if r.Model.Tied != tied {
			t.Errorf("head at %d, embedding at 64: tied is %v", offset, r.Model.Tied)
		}
	}
}

// placedSource is a source whose tensors lie at these places of one file.
type placedSource struct {
	*source
	offsets map[string]int64
}

func (s placedSource) Weight(name string) (tensor.Weight, error) {
	w, err := s.source.Weight(name)
	if offset, ok := s.offsets[name]; ok && err == nil {
		w = tensor.NewWeight(tensor.WeightOptions{Shape: w.Shape(), DType: w.DType(), Parts: w.Parts,
			Origin: &tensor.Origin{Path: "x", Offset: offset}})
	}
	return w, err
}

func TestNetwork_grid(t *testing.T) {
	_, err := dialect.Recognise(dialect.Input{Source: file(t, ownImage()...), Stored: stored(t, "variant", "conv", "causal", "false"),
		Options: dialect.Options{Grid: [2]int{2, 2}}})
	var flag *dialect.FlagError
	if !errors.As(err, &flag) || cmp.Diff(flag.Given, []string{"--grid"}) != "" {
		t.Errorf("got %v, want a FlagError about --grid", err)
	}
}
