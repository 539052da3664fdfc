package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/reference"
	"github.com/aftonnx/aftonnx/verify"
)

type opsRunFlags struct {
	runtime runtimeFlags
	inputs  []string
	all     string
	attrs   []string
	engine  string
	dtype   string
	output  string
	dir     string
	force   bool

	portableMath string
}

func (a *app) opsRunCommand() *cobra.Command {
	var o opsRunFlags
	cmd := &cobra.Command{
		Use:   "run NAME --input Q=q.npy --input K=k.npy ... [-o y.npy]",
		Short: "Run one operator on arrays",
		Long: `Runs one operator of ai.aft on arrays from files. Attributes that are not given follow from the shapes, or are 0.
The engines kernel and portable compute in the arrays' type; reference and native give float64, unrounded.`,
		Args: exactly(1, "an operator"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("portable-math") && o.engine != string(verify.Portable) {
				return usagef("--portable-math: is for --engine portable alone")
			}
			return a.opsRun(args[0], &o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.inputs, "input", "i", nil, "an input, `NAME=FILE` (.npy, .pb); for grid also grid=H,W")
	f.StringVar(&o.all, "inputs", "", "all inputs from an .npz file or a folder, `PATH`")
	f.StringArrayVar(&o.attrs, "attr", nil, "an attribute, `NAME=N` or NAME=N,N")
	f.StringVar(&o.engine, "engine", "kernel", "reference, kernel, portable or native")
	f.StringVar(&o.dtype, "dtype", "", "round the arrays to float32, float16 or float64 first")
	f.StringVarP(&o.output, "output", "o", "", "write Y to `FILE.npy`")
	f.StringVar(&o.dir, "output-dir", "", "write every output to `DIR`/NAME.npy")
	f.BoolVar(&o.force, "force", false, "replace an output that exists and is no array")
	f.StringVar(&o.portableMath, "portable-math", "float", "the portable engine computes in float or double inside")
	a.addJSON(f, runSchema)
	o.runtime.add(f)
	return cmd
}

func (a *app) opsRun(name string, o *opsRunFlags) error {
	def, err := lookupOp(name)
	if err != nil {
		return err
	}
	engine, err := parseEngine(o.engine)
	if err != nil {
		return err
	}
	if err := o.runtime.check(); err != nil {
		return err
	}
	inputs, err := a.opInputs(def, o)
	if err != nil {
		return err
	}
	attrs, err := opAttrs(def, inputs, o.attrs)
	if err != nil {
		return err
	}
	described := make([]ops.Input, len(inputs))
	for i, in := range inputs {
		described[i] = ops.Input{DType: in.DType, Shape: in.Shape}
		described[i].Values, _ = in.Int64s() // nil for floating-point inputs, as Check wants it
	}
	if _, err := def.Check(attrs, described); err != nil {
		f := inputf("%w", err)
		for _, s := range o.attrs {
			name, _, _ := strings.Cut(s, "=")
			if strings.Contains(err.Error(), fmt.Sprintf("attribute %q", name)) {
				f.code = exitUsage // it was the command line that said so
			}
		}
		return f.hint("see: aftonnx ops %s", def.Name)
	}
	view := &runView{Schema: runSchema, Model: ops.Domain + "." + def.Name, Engine: engine, Attrs: attrs}
	if !a.json {
		a.say("note: attributes %s", describeAttrs(def, attrs))
	}
	outputs, err := a.runOp(view, def, attrs, inputs, described, o)
	if err != nil {
		return err
	}
	return a.finishOp(view, def, inputs, outputs, o)
}

func describeAttrs(def *ops.Def, attrs ops.Attrs) string {
	list := make([]string, len(def.Attrs))
	for i, attr := range def.Attrs {
		list[i] = attr.Name + "=" + strings.Trim(strings.ReplaceAll(fmt.Sprint(attrs[attr.Name]), " ", ","), "[]")
	}
	return strings.Join(list, " ")
}

// opInputs reads the operator's inputs in the order of its declaration.
func (a *app) opInputs(def *ops.Def, o *opsRunFlags) ([]*tensor.Tensor, error) {
	var order []string
	for _, p := range def.Inputs {
		order = append(order, p.Name)
	}
	given, _, err := a.readInputs(o.inputs, o.all, order)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(order, name) {
			return nil, usagef("%s: has no input %q", def.Name, name).hint("%s", nearest("inputs", name, order))
		}
	}
	dtype := tensor.Invalid
	if o.dtype != "" {
		if dtype, err = parseFloatType(o.dtype); err != nil {
			return nil, err
		}
	}
	var list []*tensor.Tensor
	for _, p := range def.Inputs {
		t, ok := given[p.Name]
		if !ok {
			return nil, usagef("%s: input %q is missing", def.Name, p.Name).
				hint("it is %s (%s): --input %s=file.npy", p.Doc, strings.Join(p.Dims, ","), p.Name)
		}
		if p.Type != ops.Int64 && dtype != tensor.Invalid {
			if t, err = a.castInput(p.Name, t, dtype); err != nil {
				return nil, err
			}
		}
		list = append(list, t)
	}
	return list, nil
}

func opAttrs(def *ops.Def, inputs []*tensor.Tensor, list []string) (ops.Attrs, error) {
	given := ops.Attrs{}
	for _, s := range list {
		name, text, err := assignment("attr", s)
		if err != nil {
			return nil, err
		}
		if given[name] != nil {
			return nil, usagef("--attr %q: %q is given twice", s, name)
		}
		if given[name], err = integers("attr", s, text); err != nil {
			return nil, err
		}
		if !hasAttr(def, name) {
			var names []string
			for _, attr := range def.Attrs {
				names = append(names, attr.Name)
			}
			return nil, usagef("%s: has no attribute %q", def.Name, name).hint("%s", nearest("attributes", name, names))
		}
	}
	shapes := make([][]int, len(inputs))
	for i, in := range inputs {
		shapes[i] = in.Shape
	}
	return def.DefaultAttrs(shapes, given), nil
}

func hasAttr(def *ops.Def, name string) bool {
	for _, attr := range def.Attrs {
		if attr.Name == name {
			return true
		}
	}
	return false
}

func integers(flag, whole, list string) ([]int64, error) {
	var out []int64
	for _, s := range strings.Split(list, ",") {
		v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			return nil, usagef("--%s %q: %q is not an integer", flag, whole, s)
		}
		out = append(out, v)
	}
	return out, nil
}

// runOp computes the outputs, in the order of the declaration: with the reference itself, else with a model of the one node.
func (a *app) runOp(view *runView, def *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor, described []ops.Input,
	o *opsRunFlags) ([]*tensor.Tensor, error) {
	if view.Engine == verify.Reference {
		arrays := make([]tensor.Array, len(inputs))
		for i, in := range inputs {
			arrays[i] = in.Array()
		}
		results, err := reference.Call(def.Name, attrs, arrays)
		if err != nil {
			return nil, inputf("%w", err)
		}
		outputs := make([]*tensor.Tensor, len(results))
		for i, r := range results {
			if outputs[i], err = r.Tensor(tensor.Float64); err != nil {
				return nil, err
			}
		}
		return outputs, nil
	}
	written := exportFlags{dtype: inputs[0].DType.String(), portableMath: o.portableMath}
	options, err := written.options([2]int{})
	if err != nil {
		return nil, err
	}
	proto, err := export.Operator(def, attrs, described, options)
	if err != nil {
		return nil, err
	}
	model, err := onnxpb.Encode(proto)
	if err != nil {
		return nil, err
	}
	named := map[string]*tensor.Tensor{}
	for i, p := range def.Inputs {
		named[p.Name] = inputs[i]
	}
	out, err := a.runModel(view, model, named, verify.RunOptions{
		Open: o.runtime.opener(a), Threads: o.runtime.threads, Wide: true,
	})
	if err != nil {
		return nil, err
	}
	outputs := make([]*tensor.Tensor, len(def.Outputs))
	for i, p := range def.Outputs {
		outputs[i] = out[p.Name]
	}
	return outputs, nil
}

func (a *app) finishOp(view *runView, def *ops.Def, inputs, outputs []*tensor.Tensor, o *opsRunFlags) error {
	for i, p := range def.Inputs {
		view.Inputs = append(view.Inputs, viewTensor(p.Name, inputs[i]))
	}
	for i, p := range def.Outputs {
		view.Outputs = append(view.Outputs, viewTensor(p.Name, outputs[i]))
	}
	if o.output != "" {
		if err := writeOutput(&view.Outputs[0], o.output, outputs[0], o); err != nil {
			return err
		}
	}
	if o.dir != "" {
		if err := os.MkdirAll(o.dir, 0o777); err != nil {
			return usagef("--output-dir: %w", err)
		}
		for i, p := range def.Outputs {
			if err := writeOutput(&view.Outputs[i], filepath.Join(o.dir, fileName(p.Name)), outputs[i], o); err != nil {
				return err
			}
		}
	}
	return a.printRun(view)
}

func writeOutput(view *tensorView, path string, t *tensor.Tensor, o *opsRunFlags) error {
	staged, err := stageArray(path, t, o.inputs, o.force)
	if err != nil {
		return err
	}
	if err := staged.Commit(); err != nil {
		return outputError(err)
	}
	view.File = path
	return nil
}

// outputError advises on an output that cannot be written.
func outputError(err error) error {
	f := usagef("%w", err)
	if errors.Is(err, atomicfile.ErrExists) {
		f.hint("give --force to replace it, or another name")
	}
	return f
}

// runModel loads a model into the view's engine and runs it once. How many kernels that called is put into the view.
func (a *app) runModel(view *runView, model []byte, in map[string]*tensor.Tensor, o verify.RunOptions) (
	map[string]*tensor.Tensor, error) {
	e, before := view.Engine, kernelCalls()
	out, err := verify.Run(a.ctx, e, model, in, o)
	if e == verify.Kernel {
		calls := kernelCalls() - before
		view.KernelCalls = &calls
	}
	if err != nil && inputCode(err) == 0 && a.ctx.Err() == nil {
		return nil, inputf("engine %s: %w", e, err) // the engine refused these inputs
	}
	return out, err
}

func kernelCalls() (n uint64) {
	for _, calls := range ort.KernelCalls() {
		n += calls
	}
	return n
}
