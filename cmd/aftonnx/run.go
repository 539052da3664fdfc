package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/verify"
)

type runFlags struct {
	runtime   runtimeFlags
	inputs    []string
	all       string
	outputDir string
	engine    string
	grid      string
	batch     int
	sequence  int
	seed      uint64
	force     bool
}

func (a *app) runCommand() *cobra.Command {
	var o runFlags
	cmd := &cobra.Command{
		Use:   "run model.onnx [--input NAME=x.npy]... [--output-dir DIR]",
		Short: "Run a model",
		Long: `Runs an ONNX model, ours or another's. Inputs that are not given are random numbers of the seed, and a note says so,
also where others are given.

Engines: kernel (ONNX Runtime with the ai.aft kernels), portable (ONNX Runtime, function bodies instead of kernels),
native (Go alone: needs no ONNX Runtime).`,
		Args: exactly(1, "the model to run"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd.Flags(), args[0], &o) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.inputs, "input", "i", nil, "an input, `NAME=FILE` (.npy, .pb); for grid also grid=H,W")
	f.StringVar(&o.all, "inputs", "", "inputs from an .npz file, a folder of .npy files or a test data set, `PATH`")
	f.StringVar(&o.outputDir, "output-dir", "", "write every output to `DIR`/NAME.npy")
	f.StringVar(&o.engine, "engine", "kernel", "kernel, portable or native")
	f.IntVar(&o.batch, "batch", 1, "the batch of random inputs")
	f.IntVar(&o.sequence, "sequence", 0, "the sequence length of random inputs (0: at most 16)")
	f.StringVar(&o.grid, "grid", "", "the grid `H,W` of random inputs, where the model takes one")
	f.Uint64Var(&o.seed, "seed", 0, "the seed of random inputs")
	f.BoolVar(&o.force, "force", false, "replace outputs that exist and are no arrays")
	a.addJSON(f, runSchema)
	o.runtime.add(f)
	return cmd
}

func (a *app) run(flags *pflag.FlagSet, path string, o *runFlags) error {
	engine, err := parseEngine(o.engine)
	if err != nil || engine == verify.Reference {
		return usagef("--engine %q: want kernel, portable or native", o.engine)
	}
	if err := errors.Join(o.runtime.check(), notNegative(flags, "sequence")); err != nil {
		return err
	}
	if o.batch < 1 {
		return usagef("--batch %d: want 1 or more", o.batch)
	}
	f, err := openModel(path, "run")
	if err != nil {
		return err
	}
	defer f.close()
	inputs, view, err := a.runInputs(flags, f, o)
	if err != nil {
		return err
	}
	view.Engine = engine
	out, err := a.runModel(view, f.data, inputs,
		verify.RunOptions{Open: o.runtime.opener(a), Threads: o.runtime.threads, Dir: filepath.Dir(path)})
	if err != nil {
		return sizesError(flags, view, err)
	}
	if engine == verify.Kernel && !hasOperators(f) {
		a.say("note: %q has no nodes of %s: no kernel has a part in it", path, ops.Domain)
	}
	for _, v := range f.graph.Outputs() {
		view.Outputs = append(view.Outputs, viewTensor(v.Name, out[v.Name]))
	}
	if o.outputDir != "" {
		if err := writeOutputs(out, view, o); err != nil {
			return err
		}
	}
	return a.printRun(view)
}

// sizesError judges the failure of a run on made-up inputs alone: it is their sizes that do not fit, which the command
// line says or leaves to guessing.
func sizesError(flags *pflag.FlagSet, view *runView, err error) error {
	var unfit *failure
	var graph *onnxgraph.Error
	if !errors.As(err, &unfit) && !errors.As(err, &graph) || slices.ContainsFunc(view.Inputs, given) {
		return err
	}
	f := usagef("%w", err)
	if !flags.Changed("sequence") && !flags.Changed("grid") {
		f.hint("the sizes of random inputs are guesses: give --sequence N, or the inputs themselves")
	}
	return f
}

func given(t tensorView) bool { return !t.Random }

// hasOperators reports whether a model has nodes of ai.aft.
func hasOperators(f *modelFile) bool {
	return slices.ContainsFunc(f.graph.Proto().GetGraph().GetNode(), ofAFT)
}

func ofAFT(n *onnxpb.NodeProto) bool { return n.GetDomain() == ops.Domain }

// runInputs reads, casts and completes the inputs.
func (a *app) runInputs(flags *pflag.FlagSet, f *modelFile, o *runFlags) (map[string]*tensor.Tensor, *runView, error) {
	declared := f.graph.Inputs()
	sizes := verify.InputSizes{Batch: o.batch, Sequence: o.sequence}
	var err error
	if sizes.Grid, err = parseGrid(o.grid); err != nil {
		return nil, nil, err
	}
	if err := checkSizes(o.sequence, sizes.Grid); err != nil {
		return nil, nil, err
	}
	if err := refuseGrid(f, sizes.Grid); err != nil {
		return nil, nil, err
	}
	single := o.inputs
	if o.grid != "" {
		single = append(slices.Clone(single), "grid="+o.grid)
	}
	given, err := a.modelInputs(&modelPorts{path: f.path, inputs: declared, outputs: f.graph.Outputs()}, single, o.all)
	if err != nil {
		return nil, nil, err
	}
	all, made, err := verify.SeededInputs(f.graph, given, sizes, o.seed)
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	for _, name := range []string{"batch", "sequence"} {
		if flags.Changed(name) && !slices.ContainsFunc(made, func(n string) bool { return n != "grid" }) {
			return nil, nil, usagef("--%s: is the size of random inputs, and every input is given", name)
		}
	}
	view := &runView{Schema: runSchema, Model: f.path, Seed: o.seed}
	start := false
	for _, v := range declared {
		view.Inputs = append(view.Inputs, viewTensor(v.Name, all[v.Name]))
		if slices.Contains(made, v.Name) {
			if v.Name == wiring.MaskInput {
				a.say("note: input %q is not given: ones, every position is real", v.Name)
				continue
			}
			if _, isState := wiring.IsState(v.Name); isState || verify.Stateful(f.graph.Proto()) && v.Name == wiring.PositionInput {
				start = true
				continue
			}
			view.Inputs[len(view.Inputs)-1].Random = true
			a.say("note: input %q is not given: %s", v.Name, describeMade(all[v.Name], o.seed))
		}
	}
	if start {
		a.say("note: of position and the state, what is not given is that of a sequence's start")
	}
	return all, view, nil
}

// refuseGrid refuses a grid that a model does not take.
func refuseGrid(f *modelFile, grid [2]int) error {
	takes := slices.ContainsFunc(f.graph.Inputs(), func(v onnxgraph.Value) bool { return v.Name == "grid" })
	if grid != [2]int{} && !takes {
		return usagef("%q: --grid has no effect: the model has no input \"grid\"", f.path)
	}
	return nil
}

// describeMade says what an input became that was not given: a few integers in full.
func describeMade(t *tensor.Tensor, seed uint64) string {
	if values, err := t.Int64s(); err == nil && len(values) <= 4 {
		return fmt.Sprintf("%s %v", t.DType, values)
	}
	return fmt.Sprintf("random %s of seed %d", formatShape(t), seed)
}

const runSchema = "aftonnx.run/1"

// runView is the JSON form of a run.
type runView struct {
	Schema  string        `json:"schema"`
	Model   string        `json:"model"`
	Engine  verify.Engine `json:"engine"`
	Seed    uint64        `json:"seed"`
	Inputs  []tensorView  `json:"inputs"`
	Outputs []tensorView  `json:"outputs"`

	Attrs       ops.Attrs `json:"attrs,omitempty"`        // of an operator, those that followed from the shapes included
	KernelCalls *uint64   `json:"kernel_calls,omitempty"` // counted, on the engine kernel
}

// tensorView sums a tensor up. Minimum, maximum and mean are over its finite elements, null without any; so is a
// mean whose sum overflows.
type tensorView struct {
	Name      string   `json:"name"`
	DType     string   `json:"dtype"`
	Shape     []int    `json:"shape"`
	Min       *float64 `json:"min"`
	Max       *float64 `json:"max"`
	Mean      *float64 `json:"mean"`
	NonFinite int      `json:"non_finite"`
	Random    bool     `json:"random,omitempty"`
	File      string   `json:"file,omitempty"`
}

func viewTensor(name string, t *tensor.Tensor) tensorView {
	v := tensorView{Name: name, DType: t.DType.String(), Shape: t.Shape}
	low, high, sum := math.Inf(1), math.Inf(-1), 0.0
	for i := range t.Len() {
		x := t.At(i)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			v.NonFinite++
			continue
		}
		low, high = min(low, x), max(high, x)
		sum += x
	}
	if n := t.Len() - v.NonFinite; n > 0 {
		v.Min, v.Max = &low, &high
		if mean := sum / float64(n); !math.IsInf(mean, 0) && !math.IsNaN(mean) {
			v.Mean = &mean
		}
	}
	return v
}

func (a *app) printRun(v *runView) error {
	if a.json {
		return a.printJSON(v)
	}
	t := &table{header: []string{"output", "type", "shape", "min", "max", "mean", "non-finite", "file"}}
	for _, y := range v.Outputs {
		t.add(printable(y.Name), y.DType, tensor.FormatShape(y.Shape), number(y.Min), number(y.Max),
			number(y.Mean), fmt.Sprint(y.NonFinite), printable(y.File))
	}
	a.printTable(t)
	if v.KernelCalls != nil {
		a.say("note: kernel calls: %d", *v.KernelCalls)
	}
	return nil
}

// number is a cell, empty where there is none.
func number(x *float64) string {
	if x == nil {
		return ""
	}
	return fmt.Sprintf("%.6g", *x)
}

// writeOutputs stages every output and commits all of them, or none where one cannot be staged.
func writeOutputs(out map[string]*tensor.Tensor, view *runView, o *runFlags) error {
	files := map[string]string{}
	for _, v := range view.Outputs {
		name := fileName(v.Name)
		if other, ok := files[name]; ok {
			return usagef("outputs %q and %q would both be written to %q", other, v.Name, name)
		}
		files[name] = v.Name
	}
	if err := os.MkdirAll(o.outputDir, 0o777); err != nil {
		return usagef("--output-dir: %w", err)
	}
	var staged []*atomicfile.Staged
	defer func() {
		for _, s := range staged {
			s.Discard()
		}
	}()
	for i, v := range view.Outputs {
		path := filepath.Join(o.outputDir, fileName(v.Name))
		s, err := stageArray(path, out[v.Name], o.inputs, o.force)
		if err != nil {
			return err
		}
		staged = append(staged, s)
		view.Outputs[i].File = path
	}
	for _, s := range staged {
		if err := s.Commit(); err != nil {
			return outputError(err)
		}
	}
	return nil
}

// fileName makes an output's name a file name: what a path, a shell or a terminal could trip over becomes "_".
func fileName(output string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, output)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
		name = "_" + name[1:]
	}
	return name[:min(len(name), 200)] + ".npy"
}
