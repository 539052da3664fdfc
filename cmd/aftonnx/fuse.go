package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/import/onnxgraph/fuse"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/verify"
)

type fuseFlags struct {
	runtime runtimeFlags
	output  string
	dryRun  bool
	seed    uint64
	force   bool
}

func (a *app) fuseCommand() *cobra.Command {
	var o fuseFlags
	cmd := &cobra.Command{
		Use:   "fuse model.onnx [-o FILE.onnx]",
		Short: "Replace AFT written out in standard operators by ai.aft operators",
		Long: `Finds the AFT layers of a model that another exporter wrote (as Exp, MatMul, Div, Softmax, CumSum, Conv ...), replaces each
by its ai.aft operator with a function body, and writes the fused model after it has been compared with the original: in
float64, and on ONNX Runtime with the kernels and without them, on inputs of several sizes and seeds. A difference means
exit code 1 and no file. What is not understood is left as it is.

The table says what was fused and what looked like AFT and was left, and why. --dry-run stops there and needs no ONNX Runtime.`,
		Args: exactly(1, "the model to fuse"),
		RunE: func(_ *cobra.Command, args []string) error { return a.fuse(args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "the `FILE.onnx` to write (default: NAME.fused.onnx, in the current directory)")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be fused, and write nothing")
	f.Uint64Var(&o.seed, "seed", 0, "the seed of the inputs to compare on")
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	a.addJSON(f, fuseSchema)
	o.runtime.add(f)
	return cmd
}

const fuseSchema = "aftonnx.fuse/1"

// fuseView is the JSON form of a fusion.
type fuseView struct {
	Schema  string              `json:"schema"`
	Model   string              `json:"model"`
	File    string              `json:"file,omitempty"` // what was written; empty: nothing
	DryRun  bool                `json:"dry_run"`
	Fused   []fusedView         `json:"fused"`
	Left    []leftView          `json:"left"`
	Before  int                 `json:"nodes_before"` // functions written out
	After   int                 `json:"nodes_after,omitempty"`
	Compare *verify.Equivalence `json:"comparison,omitempty"`
}

type fusedView struct {
	Op     string    `json:"op"`
	Output string    `json:"output"` // the value that the new node makes
	Attrs  ops.Attrs `json:"attributes"`
	Weight []int     `json:"w_shape,omitempty"` // of a constant W
	Notes  []string  `json:"notes,omitempty"`
}

type leftView struct {
	Output string `json:"output"`
	Reason string `json:"reason"`
}

func (a *app) fuse(path string, o *fuseFlags) error {
	if err := o.runtime.check(); err != nil {
		return err
	}
	if o.dryRun && o.output != "" {
		return usagef("--dry-run and --output: want one of them")
	}
	if o.output == "" {
		base := filepath.Base(path)
		o.output = strings.TrimSuffix(base, filepath.Ext(base)) + ".fused.onnx"
	}
	f, err := openModel(path, "fuse")
	if err != nil {
		return err
	}
	defer f.close()
	var to target
	if !o.dryRun {
		if to, err = a.exportTarget(path, &exportCommandFlags{output: o.output, force: o.force}); err != nil {
			return err
		}
		if err := f.keep(to.path); err != nil {
			return err
		}
	}
	a.step("looking for AFT layers in " + path)
	result, err := a.findAFT(f, o)
	a.stepsDone()
	if err != nil {
		return err
	}
	view := newFuseView(path, result)
	if view.DryRun = o.dryRun; o.dryRun {
		return a.printFusion(view)
	}
	if result.Model == nil {
		none := inputf("%q: no AFT layer in standard operators was found, nothing is written", path)
		if hasOperators(f) {
			none.hint("the model has %s operators already", ops.Domain)
		}
		return errors.Join(a.printFusion(view), none)
	}
	return a.finishFusion(f, result.Model, view, to, o)
}

// findAFT looks at the model at two sizes.
func (a *app) findAFT(f *modelFile, o *fuseFlags) (*fuse.Result, error) {
	probes, err := verify.ProbeInputs(a.ctx, f.graph, o.seed)
	if err == nil {
		var result *fuse.Result
		if result, err = fuse.Fuse(a.ctx, f.graph, fuse.Options{Probes: probes}); err == nil {
			return result, nil
		}
	}
	if a.ctx.Err() != nil {
		return nil, a.ctx.Err()
	}
	return nil, inputf("%q: %w", f.path, err)
}

func newFuseView(path string, r *fuse.Result) *fuseView {
	view := &fuseView{Schema: fuseSchema, Model: path, Before: r.Before, After: r.After, Fused: []fusedView{}, Left: []leftView{}}
	for _, x := range r.Fusions {
		view.Fused = append(view.Fused, fusedView{Op: x.Op, Output: x.Output, Attrs: x.Attrs, Weight: x.Weight, Notes: x.Notes})
	}
	for _, x := range r.Misses {
		view.Left = append(view.Left, leftView{x.Output, x.Reason})
	}
	return view
}

// finishFusion compares and publishes.
func (a *app) finishFusion(f *modelFile, m *onnxpb.ModelProto, view *fuseView, to target, o *fuseFlags) error {
	onnxpb.SetMetadata(m, "io.aftonnx.fused", version())
	data, err := onnxpb.Encode(m)
	if err != nil {
		return inputf("%q: %w", f.path, err)
	}
	view.Compare, err = verify.Equivalent(a.ctx, f.data, m, verify.EquivalentOptions{
		Open: o.runtime.opener(a), Threads: o.runtime.threads, Seed: o.seed, Dir: filepath.Dir(f.path), Progress: a.step})
	a.stepsDone()
	switch {
	case a.ctx.Err() != nil:
		return a.ctx.Err()
	case err != nil && inputCode(err) == 0:
		return inputf("%q: %w", f.path, err)
	case err != nil:
		return err
	}
	if !view.Compare.Pass() {
		return errors.Join(a.printFusion(view), &failure{code: exitMismatch,
			err: fmt.Errorf("%q: the fused model differs from the original, nothing is written", f.path)})
	}
	if err := atomicfile.Write(to.path, atomicfile.Options{Force: to.replace}, data); err != nil {
		return outputError(err)
	}
	view.File = to.path
	return a.printFusion(view)
}

func (a *app) printFusion(v *fuseView) error {
	if a.json {
		return a.printJSON(v)
	}
	t := &table{header: []string{"result", "operator", "value", "detail"}}
	for _, x := range v.Fused {
		def, _ := ops.Lookup(x.Op)
		detail := describeAttrs(def, x.Attrs)
		if x.Weight != nil {
			detail += ", W " + tensor.FormatShape(x.Weight)
		}
		for _, note := range x.Notes {
			detail += "; " + note
		}
		t.add("fused", qualified(ops.Domain, x.Op), printable(x.Output), detail)
	}
	for _, x := range v.Left {
		t.add("left", "", printable(x.Output), x.Reason)
	}
	if len(t.rows) > 0 {
		a.printTable(t)
	}
	if v.Compare != nil {
		a.printComparison(v.Compare)
	}
	if v.File != "" {
		fmt.Fprintf(a.out, "%s: %d nodes, %d before\n", printable(v.File), v.After, v.Before)
	}
	return nil
}

func (a *app) printComparison(e *verify.Equivalence) {
	t := &table{header: []string{"engine", "cases", "max error", "original", "allowed", "calls", "result"}}
	for _, r := range e.Rows {
		original, calls, result := fmt.Sprintf("%.2g", float64(r.Original)), "-", wordPass
		if r.Engine == verify.Native {
			original = "-"
		}
		if r.Engine == verify.Kernel {
			calls = fmt.Sprintf("%d/%d", r.Calls, r.Nodes)
		}
		if !r.Pass {
			result = wordFail
		}
		t.add(string(r.Engine), fmt.Sprint(r.Cases), fmt.Sprintf("%.2g", float64(r.MaxError)), original,
			fmt.Sprintf("%.2g", float64(r.Allowed)), calls, result)
	}
	a.printTable(t)
	for _, r := range e.Rows {
		if r.Problem != "" {
			a.say("%s: %s", r.Engine, r.Problem)
		}
	}
	for _, note := range e.Notes {
		a.say("note: %s", note)
	}
}
