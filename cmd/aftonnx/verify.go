package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/verify"
)

type verifyFlags struct {
	runtime runtimeFlags
	library []string
	source  importFlags
	export  exportFlags
	sweep   sweepFlags
	judge   judgeFlags
	files   reportFiles
	engines []string
	inputs  []string
	all     string
	against string
	repro   string
	layers  bool
	full    bool
	seed    uint64
}

func (a *app) verifyCommand() *cobra.Command {
	var o verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [CHECKPOINT | model.onnx] [other.onnx]",
		Short: "Cross-check engines on a model, or on the whole operator set",
		Long: `Runs independent engines on the same inputs and compares them element by element.

Without an argument: every operator, type and engine over sizes and magnitudes that break careless sums. With a
checkpoint: it is exported in memory and every engine is held against the reference. With a second model: that one
too is held against the first one's truth. Exit code 1: something differs.`,
		Args: between(0, 2, "a model"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.verify(cmd, args, &o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.engines, "engine", nil,
		"engines to compare, a comma-separated `LIST` of kernel, portable, native (default: all)")
	f.StringArrayVarP(&o.inputs, "input", "i", nil, "an input, `NAME=FILE` (.npy, .pb), instead of a random one")
	f.StringVar(&o.all, "inputs", "", "inputs from an .npz file, a folder of .npy files or a test data set, `PATH`")
	f.StringVar(&o.against, "against", "", "outputs to compare with too, from an .npz file, a folder of .npy files or a test data set, `PATH`")
	f.StringVar(&o.repro, "repro", "", "if an output differs, write the smallest failing model with its inputs and outputs into a new folder, `DIR`")
	f.BoolVar(&o.layers, "layers", false, "also print the errors layer by layer: of its own, and accumulated")
	f.BoolVar(&o.full, "full", false, "also run the kernels against the function bodies at the model's full length")
	f.Uint64Var(&o.seed, "seed", 0, "the seed of random inputs")
	a.addJSON(f, verify.Schema)
	o.source.add(f)
	o.export.add(f)
	o.sweep.add(f)
	o.judge.add(f)
	f.StringArrayVar(&o.library, "ort", nil,
		"the ONNX Runtime library to use, `LIB` (default: found, or fetched once); given several times, each is verified with")
	o.runtime.addOffline(f)
	o.files.add(f)
	return cmd
}

func (a *app) verify(cmd *cobra.Command, args []string, o *verifyFlags) error {
	options, err := o.options(a, cmd)
	if err != nil {
		return err
	}
	if err := o.files.check(slices.Concat(args, o.inputs, []string{o.all, o.against})); err != nil {
		return err
	}
	if len(args) == 0 {
		if err := operatorFlags(cmd.Flags(), o); err != nil {
			return err
		}
	}
	var report *verify.Report
	switch {
	case len(o.library) > 1 && o.repro != "":
		return usagef("--repro: wants one ONNX Runtime, --ort is there %d times", len(o.library))
	case len(o.library) > 1:
		report, err = a.verifyEach(cmd.Flags(), args, o.library)
	case len(args) == 0:
		report, err = verify.Operators(a.ctx, *options)
	default:
		report, options, err = a.verifyModel(cmd.Flags(), args, options, o)
	}
	a.stepsDone()
	if err != nil {
		return err
	}
	if err := a.printReport(report, o.layers); err != nil {
		return err
	}
	a.explain(report)
	written := o.files.write(report)
	if o.repro != "" && !report.Pass {
		if err := a.reproduce(args[0], options, report, o.repro); err != nil {
			return errors.Join(err, written)
		}
	}
	return errors.Join(verdict(report), written)
}

// operatorFlags refuses the flags that only a model has a use for.
func operatorFlags(f *pflag.FlagSet, o *verifyFlags) (err error) {
	f.Visit(func(flag *pflag.Flag) {
		if !slices.Contains([]string{"engine", "seed", "json", "html", "junit", "ort", "offline", "threads"}, flag.Name) {
			err = usagef("--%s: needs a model", flag.Name).hint("without an argument the operator set is verified")
		}
	})
	if err == nil && len(o.sweep.threads) > 1 {
		return usagef("--threads: several numbers need a model").hint("without an argument the operator set is verified")
	}
	return err
}

// checkpointFlags refuses the flags that say how a checkpoint is read and exported.
func checkpointFlags(f *pflag.FlagSet, path string) (err error) {
	f.Visit(func(flag *pflag.Flag) {
		if slices.Contains([]string{
			"dtype", "flatten", "opset", "portable-math", "attention-mask", "stateful", "variant", "causal", "window", "heads",
		}, flag.Name) {
			err = usagef("%q: --%s has no effect: the file is a model, not a checkpoint", path, flag.Name)
		}
	})
	return err
}

// verifyModel verifies a model in all settings. The options of one that fails, if any does, come second.
func (a *app) verifyModel(flags *pflag.FlagSet, args []string, options *verify.Options, o *verifyFlags) (
	*verify.Report, *verify.Options, error) {
	ports := &modelPorts{ // what a checkpoint's export will take and give
		path: args[0], outputs: []onnxgraph.Value{{Name: "y"}, {Name: "logits"}}, optional: "grid",
		inputs: []onnxgraph.Value{{Name: "x", DType: options.Export.DType}, {Name: "grid", DType: tensor.Int64}},
	}
	for i, path := range args { // both are judged before work starts
		f, err := openFile(path)
		if err != nil {
			return nil, nil, err
		}
		if i == 0 && f.graph != nil {
			ports.inputs, ports.outputs, ports.optional = f.graph.Inputs(), f.graph.Outputs(), ""
			err = errors.Join(checkpointFlags(flags, path), refuseGrid(f, options.Grid))
		}
		f.close()
		if err != nil {
			return nil, nil, err
		}
	}
	if len(args) == 2 {
		options.Other = args[1]
	}
	if o.repro != "" {
		if err := checkNewFolder(o.repro); err != nil {
			return nil, nil, err
		}
	}
	var err error
	if options.Inputs, err = a.modelInputs(ports, o.inputs, o.all); err != nil {
		return nil, nil, err
	}
	if o.against != "" {
		if options.Against, err = readOutputs(o.against, ports); err != nil {
			return nil, nil, err
		}
	}
	sweep, err := o.sweep.sweep(flags, &o.export)
	if err != nil {
		return nil, nil, err
	}
	return verify.Models(a.ctx, args[0], *options, sweep)
}

func (o *verifyFlags) options(a *app, cmd *cobra.Command) (*verify.Options, error) {
	if len(o.library) > 0 {
		o.runtime.library = o.library[0]
	}
	engines, err1 := parseEngines(o.engines)
	source, err2 := o.source.options(cmd.Flags())
	sweep, err3 := o.sweep.sweep(cmd.Flags(), &o.export)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	one := o.export
	one.dtype = sweep.DTypes[0].String()
	written, err := one.options(source.Grid)
	for _, n := range sweep.Sequences {
		err = errors.Join(err, checkSizes(n, source.Grid))
	}
	if err != nil {
		return nil, err
	}
	options := &verify.Options{
		Engines: engines, Seed: o.seed, Open: o.runtime.opener(a), Progress: a.step, Grid: source.Grid, Full: o.full,
		Import: source, Export: written,
	}
	if len(sweep.Threads) > 0 {
		options.Threads = sweep.Threads[0]
	}
	return options, errors.Join(o.judge.set(options), o.sweep.setRanges(options))
}

// exportFlags say how a model is written.
type exportFlags struct {
	dtype        string
	flatten      bool
	portableMath string
	opset        int
	mask         bool
	stateful     bool
}

func (e *exportFlags) options(grid [2]int) (export.Options, error) {
	o := export.Options{Flatten: e.flatten, Opset: e.opset, Grid: grid, AttentionMask: e.mask, Stateful: e.stateful, Version: version()}
	dtype, err := parseFloatType(e.dtype)
	if err != nil {
		return o, err
	}
	o.DType = dtype
	if e.opset != 0 && (e.opset < ops.MinOpset || e.opset > ops.MaxOpset) {
		return o, usagef("--opset %d: want %d..%d", e.opset, ops.MinOpset, ops.MaxOpset)
	}
	switch e.portableMath {
	case "float":
	case "double":
		o.DoublePortable = true
	default:
		return o, usagef("--portable-math %q: unknown, want float or double", e.portableMath)
	}
	return o, nil
}
