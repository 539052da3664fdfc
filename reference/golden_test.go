package reference

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// goldenCase is an entry of the manifest of shared/golden, group "paper": truth in float64 made with NumPy from the paper's
// equations, independently of this package.
type goldenCase struct {
	ID, Group, Variant, File string
	Params                   struct {
		Variant, Bias string
		Causal        bool
		Window, Dims  int
		Grid          [2]int
		PadLeft       int    `json:"pad_left"`
		QueryGate     string `json:"query_activation"`
		KeyMap        string `json:"key_activation"`
		Reparam       *struct {
			Std string
			Eps float64
		}
	}
	arrays map[string]Array
}

func TestGolden(t *testing.T) {
	dir := goldentest.Shared(t, "golden")
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Cases []*goldenCase }
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	worst, ran := 0.0, 0
	for _, c := range manifest.Cases {
		if c.Group != "paper" || c.Variant == "rwkv4-wkv" { // a bias per channel: no operator of ours
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			c.read(t, dir)
			got := c.run(t)
			want := c.arrays["y"]
			near(t, c.ID, got, want, 1e-12*maxAbs(want.Data))
			for i := range want.Data {
				worst = max(worst, math.Abs(got.Data[i]-want.Data[i])/maxAbs(want.Data))
			}
			ran++
		})
	}
	t.Logf("%d cases, the worst is off by %.2g of max|y|", ran, worst)
	if ran < 70 {
		t.Errorf("%d cases ran, want at least 70", ran)
	}
}

func (c *goldenCase) read(t *testing.T, dir string) {
	arrays, err := npy.ReadNPZ(filepath.Join(dir, c.File))
	if err != nil {
		t.Fatal(err)
	}
	c.arrays = map[string]Array{}
	for name, a := range arrays {
		c.arrays[name] = a.Array()
	}
	if lengths, ok := c.arrays["lengths"]; ok { // keys at and after the length do not count
		k := c.arrays["k"]
		per := k.Shape[1] * k.Shape[2]
		for i := range k.Data {
			if float64(i%per/k.Shape[2]) >= lengths.Data[i/per] {
				k.Data[i] = math.Inf(-1)
			}
		}
	}
	if c.Params.KeyMap == "tanh" {
		for i, v := range c.arrays["k"].Data {
			c.arrays["k"].Data[i] = math.Tanh(v)
		}
	}
}

// bias folds what the case stores into the W of its operator.
func (c *goldenCase) bias(t *testing.T, variant string) Array {
	w := c.arrays["w"]
	if c.Params.Bias == "factorised" {
		w = must(t)(FoldFactors(c.arrays["u"], c.arrays["vt"]))
	}
	if mask, ok := c.arrays["mask"]; ok { // true = counts
		for i, keep := range mask.Data {
			if keep == 0 {
				w.Data[i] = math.Inf(-1)
			}
		}
	}
	if r := c.Params.Reparam; r != nil {
		fold := Reparam{Unbiased: r.Std == "unbiased (n-1)", Eps: r.Eps}
		w = must(t)(FoldKernel(w, c.arrays["gamma"], c.arrays["beta"], fold))
	}
	if variant == "local" && c.Params.Window > 0 {
		w = must(t)(FoldBand(w, c.Params.Window, c.Params.Causal))
	}
	return w
}

func (c *goldenCase) run(t *testing.T) Array {
	p := c.Params
	o := Options{Causal: p.Causal}
	if p.QueryGate == "tanh" {
		o.Gate = GateTanh
	}
	if c.Variant == "layer" {
		return c.runLayer(t, o)
	}
	q, k, v, w := c.arrays["q"], c.arrays["k"], c.arrays["v"], c.bias(t, c.Variant)
	switch {
	case c.Variant == "full":
		return must(t)(AFTFull(q, k, v, w, o))
	case c.Variant == "simple", c.Variant == "local" && p.Window == 0:
		return must(t)(AFTSimple(q, k, v, o))
	case c.Variant == "local":
		return must(t)(AFTLocal(q, k, v, w, LocalOptions{o, p.Window}))
	case c.Variant == "conv" && p.Dims == 1:
		return must(t)(AFTConv1D(q, k, v, w, Conv1DOptions{o, p.PadLeft}))
	case c.Variant == "conv" && p.Dims == 2:
		return must(t)(AFTConv2D(q, k, v, w, Conv2DOptions{o, p.Grid, [2]int{p.Window / 2, p.Window / 2}}))
	default:
		t.Fatalf("variant %q in %d dimensions", c.Variant, p.Dims)
		return Array{}
	}
}

func (c *goldenCase) runLayer(t *testing.T, o Options) Array {
	linear := func(name string) Linear {
		return Linear{Weight: tensor.Hold(c.arrays["W"+name]), Bias: c.arrays["b"+name].Data}
	}
	variant := Variant(c.Params.Variant)
	if variant == "conv" {
		variant = Conv1D
	}
	out := linear("o")
	l := &Layer{
		Variant: variant, Options: o, Window: c.Params.Window, PadLeft: c.Params.PadLeft,
		Q: linear("q"), K: linear("k"), V: linear("v"), Out: &out, W: tensor.Hold(c.bias(t, c.Params.Variant)),
	}
	return must(t)(l.Forward(c.arrays["x"], Places{}))
}
