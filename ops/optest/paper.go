package optest

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// paperCase is an entry of a manifest in the layout of ../shared/golden, as far as operators need it.
type paperCase struct {
	ID        string   `json:"id"`
	Group     string   `json:"group"`
	Variant   string   `json:"variant"`
	File      string   `json:"file"`
	Tolerance float64  `json:"tolerance"`
	Needs     []string `json:"needs"`
	Output    struct {
		Name string `json:"name"`
	} `json:"output"`
	Params struct {
		Causal          bool   `json:"causal"`
		Window          int    `json:"window"`
		Dims            int    `json:"dims"`
		PadLeft         int64  `json:"pad_left"`
		Grid            []int  `json:"grid"`
		QueryActivation string `json:"query_activation"`
		KeyActivation   string `json:"key_activation"`
		Reparam         *struct {
			Std string  `json:"std"`
			Eps float64 `json:"eps"`
		} `json:"reparam"`
	} `json:"params"`
}

// Paper reads the operator-level cases of group "paper" of a manifest: the learned biases are folded as an exporter folds
// them (factors multiplied, windows cut to bands, kernels re-parameterised), masks and key lengths become -inf. What is no
// operator of ours (whole layers, other recurrences) is left out.
func Paper(dir string) ([]Case, error) {
	var manifest struct {
		Cases []paperCase `json:"cases"`
	}
	if err := goldentest.ReadJSON(filepath.Join(dir, "manifest.json"), &manifest); err != nil {
		return nil, err
	}
	var cases []Case
	for _, p := range manifest.Cases {
		if p.Group != "paper" || !slices.Contains([]string{"full", "simple", "local", "conv"}, p.Variant) {
			continue
		}
		c, err := p.load(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.ID, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func (p *paperCase) load(dir string) (Case, error) {
	stored, err := npy.ReadNPZ(filepath.Join(dir, p.File))
	if err != nil {
		return Case{}, err
	}
	arrays := map[string]tensor.Array{}
	for name, t := range stored {
		arrays[name] = t.Array()
	}
	c := Case{ID: p.ID, Y: arrays[p.Output.Name], Stored: tensor.Float32, Tolerance: p.Tolerance}
	c.Wide = slices.Contains(p.Needs, "row-max") || slices.Contains(p.Needs, "no-cancellation")
	c.Attrs = ops.Attrs{"causal": {0}, "gate": {ops.GateSigmoid}}
	if p.Params.Causal {
		c.Attrs["causal"][0] = 1
	}
	if p.Params.QueryActivation == "tanh" {
		c.Attrs["gate"][0] = ops.GateTanh
	}
	p.maskKeys(arrays)
	bias, err := p.bias(&c, arrays)
	if err != nil {
		return Case{}, err
	}
	return c, p.inputs(&c, arrays, bias)
}

// maskKeys applies what acts on K alone: lengths and an activation.
func (p *paperCase) maskKeys(arrays map[string]tensor.Array) {
	k := arrays["k"]
	t, d := k.Shape[1], k.Shape[2]
	if lengths, ok := arrays["lengths"]; ok {
		for i := range k.Data {
			if float64(i/d%t) >= lengths.Data[i/d/t] {
				k.Data[i] = math.Inf(-1)
			}
		}
	}
	if p.Params.KeyActivation == "tanh" {
		for i, v := range k.Data {
			k.Data[i] = math.Tanh(v)
		}
	}
}

// bias chooses the operator and gives its W, empty for AFTSimple.
func (p *paperCase) bias(c *Case, arrays map[string]tensor.Array) (tensor.Array, error) {
	w, err := p.denseBias(arrays)
	if err != nil {
		return w, err
	}
	switch {
	case p.Variant == "simple", p.Variant == "local" && p.Params.Window == 0:
		c.Op = "AFTSimple"
		return tensor.Array{}, nil
	case p.Variant == "full":
		c.Op = "AFTFull"
		for i, keep := range arrays["mask"].Data {
			if keep == 0 {
				w.Data[i] = math.Inf(-1)
			}
		}
		return w, nil
	case p.Variant == "local":
		c.Op = "AFTLocal"
		c.Attrs["window"] = []int64{int64(p.Params.Window)}
		return reference.FoldBand(w, p.Params.Window, p.Params.Causal)
	case p.Params.Dims == 1:
		c.Op = "AFTConv1D"
		c.Attrs["pad_left"] = []int64{p.Params.PadLeft}
		return w, nil
	default:
		c.Op = "AFTConv2D"
		c.Attrs["pads"] = []int64{int64(w.Shape[1] / 2), int64(w.Shape[2] / 2)}
		return w, nil
	}
}

func (p *paperCase) denseBias(arrays map[string]tensor.Array) (tensor.Array, error) {
	if u, ok := arrays["u"]; ok {
		return reference.FoldFactors(u, arrays["vt"])
	}
	if r := p.Params.Reparam; r != nil {
		fold := reference.Reparam{Unbiased: r.Std == "unbiased (n-1)", Eps: r.Eps}
		return reference.FoldKernel(arrays["w"], arrays["gamma"], arrays["beta"], fold)
	}
	return arrays["w"], nil
}

// inputs lists the operands in the order of the declaration. They stay float64: the suite rounds them to what an engine
// takes, and the rounding of folded biases is part of each case's tolerance.
func (p *paperCase) inputs(c *Case, arrays map[string]tensor.Array, bias tensor.Array) error {
	list := []tensor.Array{arrays["q"], arrays["k"], arrays["v"]}
	if c.Op != "AFTSimple" {
		list = append(list, bias)
	}
	for _, a := range list {
		t, err := a.Tensor(tensor.Float64)
		if err != nil {
			return err
		}
		c.Inputs = append(c.Inputs, t)
	}
	if c.Op != "AFTConv2D" {
		return nil
	}
	grid, err := tensor.FromInt64s([]int{2}, []int64{int64(p.Params.Grid[0]), int64(p.Params.Grid[1])})
	c.Inputs = append(c.Inputs, grid)
	return err
}
