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
	runtime  runtimeFlags
	source   importFlags
	export   exportFlags
	engines  []string
	inputs   []string
	all      string
	batch    int
	sequence int
	full     bool
	seed     uint64
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
	f.IntVar(&o.batch, "batch", 0, "the batch of random inputs (0: 2)")
	f.IntVar(&o.sequence, "sequence", 0, "the sequence length of random inputs (0: at most 64, chosen by cost)")
	f.BoolVar(&o.full, "full", false, "also run the kernels against the function bodies at the model's full length")
	f.Uint64Var(&o.seed, "seed", 0, "the seed of random inputs")
	a.addJSON(f, verify.Schema)
	o.source.add(f)
	o.export.add(f)
	o.runtime.add(f)
	return cmd
}

func (a *app) verify(cmd *cobra.Command, args []string, o *verifyFlags) error {
	options, err := o.options(a, cmd)
	if err != nil {
		return err
	}
	var report *verify.Report
	if len(args) == 0 {
		if err := operatorFlags(cmd.Flags()); err != nil {
			return err
		}
		report, err = verify.Operators(a.ctx, *options)
	} else {
		report, err = a.verifyModel(cmd.Flags(), args, options, o)
	}
	a.stepsDone()
	if err != nil {
		return err
	}
	if err := a.printReport(report); err != nil {
		return err
	}
	a.explain(report)
	return verdict(report)
}

// operatorFlags refuses the flags that only a model has a use for.
func operatorFlags(f *pflag.FlagSet) (err error) {
	f.Visit(func(flag *pflag.Flag) {
		if !slices.Contains([]string{"engine", "seed", "json", "ort", "offline", "threads"}, flag.Name) {
			err = usagef("--%s: needs a model", flag.Name).hint("without an argument the operator set is verified")
		}
	})
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

func (a *app) verifyModel(flags *pflag.FlagSet, args []string, options *verify.Options, o *verifyFlags) (*verify.Report, error) {
	ports := &modelPorts{ // what a checkpoint's export will take and give
		path: args[0], outputs: []onnxgraph.Value{{Name: "y"}}, optional: "grid",
		inputs: []onnxgraph.Value{{Name: "x", DType: options.Export.DType}, {Name: "grid", DType: tensor.Int64}},
	}
	for i, path := range args { // both are judged before work starts
		f, err := openFile(path)
		if err != nil {
			return nil, err
		}
		if i == 0 && f.graph != nil {
			ports.inputs, ports.outputs, ports.optional = f.graph.Inputs(), f.graph.Outputs(), ""
			err = errors.Join(checkpointFlags(flags, path), refuseGrid(f, options.Grid))
		}
		f.close()
		if err != nil {
			return nil, err
		}
	}
	if len(args) == 2 {
		options.Other = args[1]
	}
	var err error
	if options.Inputs, err = a.modelInputs(ports, o.inputs, o.all); err != nil {
		return nil, err
	}
	return verify.Model(a.ctx, args[0], *options)
}

func (o *verifyFlags) options(a *app, cmd *cobra.Command) (*verify.Options, error) {
	if err := notNegative(cmd.Flags(), "batch", "sequence"); err != nil {
		return nil, err
	}
	engines, err1 := parseEngines(o.engines)
	source, err2 := o.source.options(cmd.Flags())
	written, err3 := o.export.options(source.Grid)
	if err := errors.Join(o.runtime.check(), err1, err2, err3, checkSizes(o.sequence, source.Grid)); err != nil {
		return nil, err
	}
	return &verify.Options{
		Engines: engines, Seed: o.seed, Threads: o.runtime.threads, Open: o.runtime.opener(a), Progress: a.step,
		Batch: o.batch, Sequence: o.sequence, Grid: source.Grid, Full: o.full, Import: source, Export: written,
	}, nil
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
