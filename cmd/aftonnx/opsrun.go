package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
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
		RunE: func(_ *cobra.Command, args []string) error { return a.opsRun(args[0], &o) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.inputs, "input", "i", nil, "an input, `NAME=FILE` (.npy, .pb); for grid also grid=H,W")
	f.StringVar(&o.all, "inputs", "", "all inputs from an .npz file or a folder, `PATH`")
	f.StringArrayVar(&o.attrs, "attr", nil, "an attribute, `NAME=N` or NAME=N,N")
	f.StringVar(&o.engine, "engine", "kernel", "reference, kernel, portable or native")
	f.StringVar(&o.dtype, "dtype", "", "round the arrays to float32, float16 or float64 first")
	f.StringVarP(&o.output, "output", "o", "", "write Y to `FILE.npy`")
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
	engine, err := verify.ParseEngine(o.engine)
	if err != nil {
		return usagef("--%w", err)
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
		return inputf("%w", err).hint("see: aftonnx ops %s", def.Name)
	}
	y, err := a.runOp(engine, def, attrs, inputs, described, o)
	if err != nil {
		return err
	}
	return a.finishOp(engine, def, inputs, y, o)
}

// opInputs reads the operator's inputs in the order of its declaration.
func (a *app) opInputs(def *ops.Def, o *opsRunFlags) ([]*tensor.Tensor, error) {
	grid, files, err := splitGrid(o.inputs)
	if err != nil {
		return nil, err
	}
	var order []string
	for _, p := range def.Inputs {
		order = append(order, p.Name)
	}
	given, err := a.readInputs(files, o.all, order)
	if err != nil {
		return nil, err
	}
	if grid != nil {
		given["grid"] = grid
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
		delete(given, p.Name)
	}
	for name := range given {
		return nil, usagef("%s: has no input %q", def.Name, name).hint("%s", nearest("inputs", name, order))
	}
	return list, nil
}

// splitGrid takes the literal grid=H,W out of the inputs; any other is a file.
func splitGrid(inputs []string) (*tensor.Tensor, []string, error) {
	var files []string
	var grid *tensor.Tensor
	for _, s := range inputs {
		value, ok := strings.CutPrefix(s, "grid=")
		if !ok || strings.Trim(value, "0123456789,") != "" || grid != nil {
			files = append(files, s)
			continue
		}
		hw, err := integers("input", s, value)
		if err != nil {
			return nil, nil, err
		}
		if grid, err = tensor.FromInt64s([]int{len(hw)}, hw); err != nil {
			return nil, nil, err
		}
	}
	return grid, files, nil
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

// runOp computes Y: with the reference itself, else with a model of the one node.
func (a *app) runOp(e verify.Engine, def *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor, described []ops.Input,
	o *opsRunFlags) (*tensor.Tensor, error) {
	if e == verify.Reference {
		arrays := make([]tensor.Array, len(inputs))
		for i, in := range inputs {
			arrays[i] = in.Array()
		}
		y, err := reference.Call(def.Name, attrs, arrays)
		if err != nil {
			return nil, inputf("%w", err)
		}
		return y.Tensor(tensor.Float64)
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
	out, err := a.runModel(e, model, named, verify.RunOptions{
		Open: o.runtime.opener(a), Threads: o.runtime.threads, Wide: true,
	})
	if err != nil {
		return nil, err
	}
	return out[def.Output.Name], nil
}

func (a *app) finishOp(e verify.Engine, def *ops.Def, inputs []*tensor.Tensor, y *tensor.Tensor, o *opsRunFlags) error {
	view := runView{Schema: runSchema, Model: ops.Domain + "." + def.Name, Engine: e}
	for i, p := range def.Inputs {
		view.Inputs = append(view.Inputs, viewTensor(p.Name, inputs[i]))
	}
	view.Outputs = []tensorView{viewTensor(def.Output.Name, y)}
	if o.output != "" {
		staged, err := stageArray(o.output, y, o.inputs, o.force)
		if err != nil {
			return err
		}
		if err := staged.Commit(); err != nil {
			return outputError(err)
		}
		view.Outputs[0].File = o.output
	}
	return a.printRun(&view)
}

// outputError advises on an output that cannot be written.
func outputError(err error) error {
	f := usagef("%w", err)
	if errors.Is(err, atomicfile.ErrExists) {
		f.hint("give --force to replace it, or another name")
	}
	return f
}

// runModel loads a model into an engine and runs it once.
func (a *app) runModel(e verify.Engine, model []byte, in map[string]*tensor.Tensor, o verify.RunOptions) (
	map[string]*tensor.Tensor, error) {
	out, err := verify.Run(a.ctx, e, model, in, o)
	if err != nil && inputCode(err) == 0 && a.ctx.Err() == nil {
		return nil, inputf("engine %s: %w", e, err) // the engine refused these inputs
	}
	return out, err
}
