package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/spelling"
	"github.com/aftonnx/aftonnx/preset"
)

type newFlags struct {
	preset string
	list   bool
	seed   uint64
	init   string
	dtype  string
	output string
	force  bool
}

func (a *app) newCommand() *cobra.Command {
	var o newFlags
	cmd := &cobra.Command{
		Use:   "new --preset NAME [-o FILE.safetensors]",
		Short: "A model of the paper with seeded weights",
		Long: `Writes a checkpoint of a model from the experiments of arXiv:2105.14103, in full size, with random weights: a starting
point for training, something to export and to measure. One seed gives one file, byte for byte, on every machine.

Weights start as the paper's do, in which biases are 0 and the kernels of AFT-conv add nothing. With --init scattered those
are random too, so that verifying the model says something about them.`,
		Args: between(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.new(cmd, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.preset, "preset", "", "the `NAME` of the model")
	f.BoolVar(&o.list, "list", false, "list the models instead")
	f.Uint64Var(&o.seed, "seed", 0, "the seed of the weights")
	f.StringVar(&o.init, "init", string(preset.Paper), "how weights start: paper or scattered (no constants)")
	f.StringVar(&o.dtype, "dtype", "float32", "the type of the weights: float32, float16 or float64")
	f.StringVarP(&o.output, "output", "o", "",
		"the `FILE.safetensors` to write (default: the model's name, in the current directory)")
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	a.addJSON(f, newSchema+", "+presetsSchema)
	return cmd
}

func (a *app) new(cmd *cobra.Command, o *newFlags) error {
	switch {
	case o.list && cmd.Flags().Changed("preset"):
		return usagef("--list and --preset: want one of them")
	case o.list:
		return a.listPresets()
	case o.preset == "":
		return usagef("missing flag: --preset NAME").hint("names: aftonnx new --list")
	}
	p, err1 := lookupPreset(o.preset)
	dtype, err2 := parseFloatType(o.dtype)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	init := preset.Init(o.init)
	if init != preset.Paper && init != preset.Scattered {
		return usagef("--init %q: unknown, want paper or scattered", o.init)
	}
	view := &newView{Schema: newSchema, File: o.output, Preset: p.Name, Seed: o.seed, Init: o.init, DType: o.dtype,
		Parameters: p.Parameters()}
	switch o.output {
	case "":
		view.File = p.Name + ".safetensors"
	case "-":
		return usagef("refusing to write a model to standard output").hint("name a file with -o")
	}
	if err := a.writePreset(&p, preset.Options{Seed: o.seed, Init: init, DType: dtype}, o.force, view); err != nil {
		return err
	}
	if p.Variant == preset.Conv && init == preset.Paper {
		a.say("note: gamma and beta start at 0, as in the paper: the kernels add nothing yet, and verifying the model does not " +
			"test them (--init scattered does)")
	}
	if a.json {
		return a.printJSON(view)
	}
	fmt.Fprintf(a.out, "%s: %d parameters, %d bytes, sha256 %s\n", printable(view.File), view.Parameters, view.Bytes, view.SHA256)
	return nil
}

// writePreset writes the file and completes the view with what it holds.
func (a *app) writePreset(p *preset.Preset, o preset.Options, force bool, view *newView) error {
	sum := sha256.New()
	progress := &progressWriter{ctx: a.ctx, total: int64(p.Parameters()) * int64(o.DType.Size()),
		step: func(percent int64) { a.step(fmt.Sprintf("%s: %d%%", view.File, percent)) }}
	staged, err := atomicfile.StageFunc(view.File, atomicfile.Options{Force: force}, func(w io.Writer) error {
		return preset.Write(io.MultiWriter(progress, sum, w), p, o)
	})
	a.stepsDone()
	if err != nil {
		return outputError(err)
	}
	if err := staged.Commit(); err != nil {
		return outputError(err)
	}
	view.Bytes, view.SHA256 = progress.done, hex.EncodeToString(sum.Sum(nil))
	return nil
}

// progressWriter counts, tells how far it is, and stops when the program is interrupted.
type progressWriter struct {
	ctx         context.Context
	done, total int64
	step        func(percent int64)
}

func (w *progressWriter) Write(p []byte) (int, error) {
	w.done += int64(len(p))
	w.step(min(100, 100*w.done/max(w.total, 1)))
	return len(p), w.ctx.Err()
}

func lookupPreset(name string) (preset.Preset, error) {
	p, ok := preset.Lookup(name)
	if ok {
		return p, nil
	}
	f := usagef("--preset %q: unknown", name)
	if near := nearestPresets(name); near != nil {
		f.hint("did you mean %s?", strings.Join(near, " or "))
	}
	return p, f.hint("names: aftonnx new --list")
}

// nearestPresets are the names that a name begins, else those that are fewest typing errors away, nil if all are far. They are
// long and alike, so that many would be near enough for nearest.
func nearestPresets(name string) []string {
	var near []string
	for _, p := range preset.All() {
		if strings.HasPrefix(p.Name, strings.ToLower(name)) {
			near = append(near, p.Name)
		}
	}
	if near != nil {
		return near
	}
	least := 0
	for _, p := range preset.All() {
		distance := spelling.Distance(strings.ToLower(name), p.Name)
		if near == nil || distance < least {
			near, least = nil, distance
		}
		if distance == least {
			near = append(near, p.Name)
		}
	}
	if !similar(name, near[0]) {
		return nil
	}
	return near
}

const (
	newSchema     = "aftonnx.new/1"
	presetsSchema = "aftonnx.presets/1"
)

// newView is the JSON form of a new file.
type newView struct {
	Schema     string `json:"schema"`
	File       string `json:"file"`
	Preset     string `json:"preset"`
	Seed       uint64 `json:"seed"`
	Init       string `json:"init"`
	DType      string `json:"dtype"`
	Parameters int    `json:"parameters"`
	Bytes      int64  `json:"bytes"`
	SHA256     string `json:"sha256"`
}

// presetView is the JSON form of a preset. Sizes that its variant does not have are left out.
type presetView struct {
	Name       string `json:"name"`
	Task       string `json:"task"`
	Variant    string `json:"variant"`
	Causal     bool   `json:"causal"`
	Layers     int    `json:"layers"`
	Dim        int    `json:"dim"`
	Positions  int    `json:"positions,omitempty"`
	Window     int    `json:"window,omitempty"`
	Rank       int    `json:"rank,omitempty"`
	Heads      int    `json:"heads,omitempty"`
	Kernel     int    `json:"kernel,omitempty"`
	ImageSize  int    `json:"image_size,omitempty"`
	Parameters int    `json:"parameters"`
	Paper      string `json:"paper"` // the tables that report it; empty: none does
}

type presetsView struct {
	Schema  string       `json:"schema"`
	Presets []presetView `json:"presets"`
}

func (a *app) listPresets() error {
	view := presetsView{Schema: presetsSchema}
	t := &table{header: []string{"preset", "task", "aft", "layers", "dim", "positions", "parameters", "paper"}}
	for _, p := range preset.All() {
		v := presetView{
			Name: p.Name, Task: string(p.Task), Variant: string(p.Variant), Causal: p.Causal(), Layers: p.Layers, Dim: p.Dim,
			Positions: p.Positions, Window: p.Window, Rank: p.Rank, Heads: p.Heads, Kernel: p.Kernel, ImageSize: p.ImageSize,
			Parameters: p.Parameters(), Paper: p.Source,
		}
		view.Presets = append(view.Presets, v)
		t.add(v.Name, v.Task, describeAFT(&p), fmt.Sprint(v.Layers), fmt.Sprint(v.Dim), positionsCell(v.Positions),
			fmt.Sprint(v.Parameters), paperCell(v.Paper))
	}
	if a.json {
		return a.printJSON(view)
	}
	a.printTable(t)
	return nil
}

// describeAFT names the layers as the paper does: AFT-local-s, AFT-conv-h-s.
func describeAFT(p *preset.Preset) string {
	switch p.Variant {
	case preset.Local:
		return fmt.Sprintf("AFT-local-%d, d'=%d", p.Window, p.Rank)
	case preset.Full:
		return fmt.Sprintf("AFT-full, d'=%d", p.Rank)
	case preset.Conv:
		return fmt.Sprintf("AFT-conv-%d-%d", p.Heads, p.Kernel)
	}
	return "AFT-" + string(p.Variant)
}

func positionsCell(n int) string {
	if n == 0 {
		return "any"
	}
	return fmt.Sprint(n)
}

func paperCell(source string) string {
	if source == "" {
		return "not in the paper"
	}
	return source
}
