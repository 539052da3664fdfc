package dialect_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/preset"
	"github.com/aftonnx/aftonnx/reference"
)

// presetSource is a preset's tensors without a file.
type presetSource struct {
	names   []string
	tensors map[string]preset.Tensor
}

func newPresetSource(p *preset.Preset) *presetSource {
	s := &presetSource{tensors: map[string]preset.Tensor{}}
	for _, t := range p.Tensors() {
		s.names = append(s.names, t.Name)
		s.tensors[t.Name] = t
	}
	return s
}

func (s *presetSource) Names() []string { return s.names }

func (s *presetSource) Tensor(string) (*tensor.Tensor, error) {
	return nil, errors.New("a whole tensor is not needed")
}

func (s *presetSource) Weight(name string) (tensor.Weight, error) {
	t, ok := s.tensors[name]
	if !ok {
		return tensor.Weight{}, errors.New("no tensor " + name)
	}
	return t.Weight(preset.Options{Init: preset.Scattered, DType: tensor.Float32}), nil
}

// parameters counts what a model would learn, but for the biases of its positions.
func parameters(m *reference.Model) int {
	n := 0
	linear := func(l *reference.Linear) {
		if l != nil {
			n += l.Weight.Len() + len(l.Bias)
		}
	}
	norm := func(l *reference.LayerNorm) {
		if l != nil {
			n += len(l.Gain) + len(l.Bias)
		}
	}
	if m.Tokens != nil {
		n += m.Tokens.Weight.Len() + m.Tokens.Positions.Len()
	}
	if p := m.Patches; p != nil {
		n += p.Weight.Len() + len(p.Bias) + len(p.ClassToken) + p.Positions.Len()
	}
	for i := range m.Blocks {
		b := &m.Blocks[i]
		norm(b.Norm)
		linear(&b.Q)
		linear(&b.K)
		linear(&b.V)
		linear(b.Out)
		if b.MLP != nil {
			norm(&b.MLP.Norm)
			linear(&b.MLP.Up)
			linear(&b.MLP.Down)
		}
	}
	norm(m.Norm)
	linear(m.Head)
	return n
}

// biases is how many parameters of a preset are biases of positions: those are folded when they are read.
func biases(p *preset.Preset) int {
	n := 0
	for _, t := range p.Tensors() {
		name := t.Name
		for _, suffix := range []string{".u", ".v_t", ".w", ".gamma", ".beta"} {
			if len(name) > len(suffix) && name[len(name)-len(suffix):] == suffix {
				n += t.Weight(preset.Options{}).Len()
			}
		}
	}
	return n
}

// TestPresets recognises every model of the paper's experiments, at its size, from its configuration.
func TestPresets(t *testing.T) {
	variants := map[preset.Variant]reference.Variant{preset.Full: reference.Full, preset.Simple: reference.Simple,
		preset.Local: reference.Local, preset.Conv: reference.Conv2D}
	for _, p := range preset.All() {
		t.Run(p.Name, func(t *testing.T) {
			config, err := dialect.MetadataConfig(p.Config())
			if err != nil {
				t.Fatal(err)
			}
			r, err := dialect.Recognise(dialect.Input{File: p.Name, Source: newPresetSource(&p), Stored: config})
			if err != nil {
				t.Fatal(err)
			}
			m := r.Model
			if r.Dialect != "aftonnx" || len(r.Notes) > 0 || r.DType != tensor.Float32 {
				t.Errorf("dialect %s, %s, notes %q; want aftonnx, float32 and none", r.Dialect, r.DType, r.Notes)
			}
			if got, want := parameters(m), p.Parameters()-biases(&p); got != want {
				t.Errorf("%d parameters, want %d", got, want)
			}
			if len(m.Blocks) != p.Layers || m.MaxLen() != p.Positions || m.Norm == nil || m.Tied || m.Head == nil {
				t.Errorf("%d blocks, length %d, tied %v; want %d, %d and a norm and a head of its own",
					len(m.Blocks), m.MaxLen(), m.Tied, p.Layers, p.Positions)
			}
			eps := map[bool]float32{true: 1e-6, false: 1e-5}[p.Task == preset.Images]
			for i := range m.Blocks {
				b := &m.Blocks[i]
				heads := 0
				if p.Heads > 0 {
					heads = b.Heads()
				}
				got := []any{b.Variant, b.Causal, b.Window, heads, b.In(), b.OutDim(), b.MLP.Up.Out(), b.Residual, b.Norm.Eps, b.MLP.Norm.Eps}
				want := []any{variants[p.Variant], p.Causal(), p.Window, p.Heads, p.Dim, p.Dim, 4 * p.Dim, true, float64(eps), float64(eps)}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("block %d: variant, causal, window, heads, channels, eps (-want +got):\n%s", i, diff)
				}
				if diff := cmp.Diff(biasShape(&p), b.W.Shape()); diff != "" {
					t.Fatalf("block %d: shape of biases (-want +got):\n%s", i, diff)
				}
			}
			wantEnds(t, m, &p)
		})
	}
}

// biasShape is what the biases of a preset's layer are folded to.
func biasShape(p *preset.Preset) []int {
	switch p.Variant {
	case preset.Full:
		return []int{p.Positions, p.Positions}
	case preset.Local:
		return []int{p.Positions, p.Window} // causal
	case preset.Conv:
		return []int{p.Heads, p.Kernel, p.Kernel}
	}
	return nil
}

// wantEnds checks what stands before and behind the blocks.
func wantEnds(t *testing.T, m *reference.Model, p *preset.Preset) {
	t.Helper()
	if p.Task != preset.Images {
		if m.Tokens == nil || m.Tokens.Vocabulary() != preset.Vocabulary || m.Head.Out() != preset.Vocabulary || m.Head.Bias != nil {
			t.Errorf("no model of %d tokens with a head without bias", preset.Vocabulary)
		}
		return
	}
	pixels := reference.Pixels{Size: [2]int{p.ImageSize, p.ImageSize}, Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}}
	if m.Patches == nil || (m.Patches.ClassToken != nil) != p.ClassToken() || m.Head.Out() != preset.Classes || m.Patches.Patch() != 16 {
		t.Fatal("no model of images as the preset has it")
	}
	if diff := cmp.Diff(pixels, m.Patches.Pixels); diff != "" {
		t.Errorf("pixels (-want +got):\n%s", diff)
	}
	if p.Variant == preset.Conv && slices.ContainsFunc(m.Blocks, func(b reference.Block) bool {
		return b.Pads != [2]int{p.Kernel / 2, p.Kernel / 2}
	}) {
		t.Errorf("kernels of %d taps are not centred", p.Kernel)
	}
}
