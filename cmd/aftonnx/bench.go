package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/bench"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/verify"
)

type benchFlags struct {
	runtime  runtimeFlags
	cases    []string
	all      bool
	repeats  int
	spinning bool
	markdown bool
	plot     string
	force    bool
	fuse     string
	batch    int
	sequence int
	decode   bool
}

func (a *app) benchCommand() *cobra.Command {
	var o benchFlags
	cmd := &cobra.Command{
		Use:   "bench [--case NAME]...",
		Short: "The kernels' speed beside what a user would run instead",
		Long: `Times every operator's kernel beside the same model's function body, the graph that a user would have, ONNX Runtime's fused
attention, and a floor: what the machine's memory and ONNX Runtime's own operators need for the same bytes and products. All
engines of a case run in turns in one process, and what they compute is checked. A ratio is a time divided by the kernel's.

A case is an operator and its size, such as AFTLocal/s32/causal/T1024, AFTConv1D/h8/s16/causal/T512/D256, AFTConv2D/k15/14x14/D384/B16
or AFTFull/T197/D384/B16; a pattern such as 'AFTSimple*' means those of the default set, a few minutes without --case. --all adds
16384 positions and whole models of the paper, which --case 'enwik8*' also names.

--fuse times a model of another exporter as it is (user) beside what "aftonnx fuse" makes of it.

--decode times a token after 256 to 16384 others, in networks of two blocks with 512 channels: with each form of AFT and its
state, and with ONNX Runtime's attention and its cache of keys and values (mha). Ratios are to AFT-local with kernels.`,
		Args: exactly(0, ""),
		RunE: func(*cobra.Command, []string) error { return a.bench(&o) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.cases, "case", nil, "only this case, or those of this pattern, `NAME`; may be repeated")
	f.BoolVar(&o.all, "all", false, "16384 positions and whole models too")
	f.IntVar(&o.repeats, "repeats", 3, "repeats of the whole, whose spread is told")
	f.BoolVar(&o.spinning, "spinning", false, "let idle threads of ONNX Runtime spin, its default: engines then disturb each other")
	f.BoolVar(&o.markdown, "markdown", false, "the tables of docs/performance.md")
	f.StringVar(&o.plot, "plot", "", "write how times grow with T as `FILE.svg`")
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	f.StringVar(&o.fuse, "fuse", "", "instead: `MODEL.onnx` as it is, and fused")
	f.BoolVar(&o.decode, "decode", false, "instead: a token at a time, by the tokens before it")
	f.IntVar(&o.batch, "batch", 1, "the batch of that model's inputs")
	f.IntVar(&o.sequence, "sequence", 256, "their sequence length")
	a.addJSON(f, benchSchema)
	o.runtime.add(f)
	return cmd
}

const benchSchema = "aftonnx.bench/1"

func (a *app) bench(o *benchFlags) (err error) {
	if err := o.check(a); err != nil {
		return err
	}
	options, err := o.selection()
	if err != nil {
		return err
	}
	if o.fuse != "" {
		if err := a.benchFused(&options, o); err != nil {
			return err
		}
	}
	rt, err := ort.Open(a.ctx, o.runtime.options(a))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	options.Step = func(what string) { a.step(what) }
	report := &bench.Report{Schema: benchSchema, Version: version(), Machine: bench.ThisMachine(kernel.Instructions()),
		ONNXRuntime: rt.Version(), Threads: options.Threads, Spinning: o.spinning, Repeats: o.repeats}
	report.Results, err = bench.Run(a.ctx, rt, options)
	a.stepsDone()
	if errors.Is(err, bench.ErrMismatch) {
		return &failure{code: exitMismatch, err: err}
	}
	if err != nil && o.fuse != "" && a.ctx.Err() == nil {
		return usagef("--batch %d --sequence %d: %w", o.batch, o.sequence, err)
	}
	if err != nil {
		return err
	}
	switch {
	case a.json:
		err = a.printJSON(report)
	case o.markdown:
		fmt.Fprint(a.out, bench.Markdown(report))
	default:
		a.printBench(report)
	}
	return errors.Join(err, a.writePlot(report, o)) // last: figures took minutes
}

func (o *benchFlags) check(a *app) error {
	if err := o.runtime.check(); err != nil {
		return err
	}
	if o.repeats < 1 || o.repeats > 1000 {
		return usagef("--repeats %d: want 1..1000", o.repeats)
	}
	if o.fuse != "" && (len(o.cases) > 0 || o.all || o.plot != "" || o.markdown) {
		return usagef("--fuse: is measured alone, without --case, --all, --plot or --markdown")
	}
	if o.decode && (len(o.cases) > 0 || o.all || o.fuse != "") {
		return usagef("--decode: is measured alone, without --case, --all or --fuse")
	}
	if o.batch < 1 || o.sequence < 1 {
		return usagef("--batch %d --sequence %d: want 1 or more", o.batch, o.sequence)
	}
	if o.markdown && a.json {
		return usagef("--markdown and --json: want one of them")
	}
	if err := kernel.Available(); err != nil {
		return &failure{code: exitRuntime, err: err}
	}
	return nil
}

func (o *benchFlags) selection() (bench.Options, error) {
	options := bench.Options{Threads: o.runtime.threads, Spinning: o.spinning, Plan: bench.DefaultPlan()}
	options.Plan.Repeats = o.repeats
	if options.Threads == 0 {
		options.Threads = 2 // fixed, so that figures of one machine compare
	}
	known := bench.Cases()
	if o.all {
		known = append(known, bench.Long()...)
		options.Models = bench.Models()
	}
	options.Cases = known
	if len(o.cases) > 0 {
		var err error
		var names []string
		options.Models, names = bench.SelectModels(o.cases, bench.Models())
		if options.Cases, err = bench.Select(names, known); err != nil {
			return options, usagef("--case: %w", err)
		}
	}
	if o.decode {
		options.Cases, options.Decoding = nil, bench.DecodePositions()
	} else if o.plot != "" && !bench.Plottable(options.Cases) {
		return options, usagef("--plot: want a case at two lengths, with B = 1 and D = 512")
	}
	return options, nil
}

// benchFused replaces the cases by a model and what it is fused to.
func (a *app) benchFused(options *bench.Options, o *benchFlags) error {
	f, err := openModel(o.fuse, "fuse")
	if err != nil {
		return err
	}
	defer f.close()
	result, err := a.findAFT(f, &fuseFlags{})
	if err != nil {
		return err
	}
	if result.Model == nil {
		return inputf("%q: no AFT layer in standard operators was found", o.fuse)
	}
	fused, err := onnxpb.Encode(result.Model)
	if err != nil {
		return inputf("%q: %w", o.fuse, err)
	}
	inputs, err := verify.SizedInputs(f.graph, o.batch, o.sequence, 0)
	if err != nil {
		return usagef("--batch %d --sequence %d: %w", o.batch, o.sequence, err)
	}
	options.Cases, options.Models = nil, nil
	options.Fused = []bench.FusedModel{{Name: filepath.Base(o.fuse), Original: f.data, Fused: fused, Dir: filepath.Dir(o.fuse),
		Inputs: inputs, Output: f.graph.Outputs()[0].Name}}
	return nil
}

func (a *app) writePlot(r *bench.Report, o *benchFlags) error {
	if o.plot == "" {
		return nil
	}
	staged, err := atomicfile.StageFunc(o.plot, atomicfile.Options{Force: o.force}, func(w io.Writer) error {
		_, err := io.WriteString(w, bench.Plot(r.Results))
		return err
	})
	if err == nil {
		err = staged.Commit()
	}
	if err != nil {
		return outputError(err)
	}
	return nil
}

func (a *app) printBench(r *bench.Report) {
	t := &table{header: []string{"case", "engine", "median ms", "best ms", "ratio", "spread", "GFLOP/s", "GB/s", "peak MiB", "note"}}
	figure := func(x float64) string {
		if x == 0 {
			return ""
		}
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	for _, row := range r.Results {
		note := row.Graph
		if row.StateBytes > 0 {
			note += fmt.Sprintf(", a state of %d bytes", row.StateBytes)
		}
		if row.Input != bench.Ordinary {
			note = "keys " + string(row.Input)
		}
		if row.DType != "float32" {
			note = row.DType
		}
		t.add(row.Case, string(row.Engine), strconv.FormatFloat(row.MedianMS, 'f', 3, 64), strconv.FormatFloat(row.BestMS, 'f', 3, 64),
			figure(row.Ratio), figure(row.Spread[0])+"-"+figure(row.Spread[1]), figure(row.GFLOPS), figure(row.GBS), figure(row.PeakMiB), note)
	}
	a.printTable(t)
}
