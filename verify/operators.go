package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// Operators runs the whole operator set: every operator, type and engine over the sizes and magnitudes of opCases. The
// truth is the reference's answer to the inputs as stored; the tolerances are those of opCall.limit. The kernel engine
// must count one kernel call a node, the portable engine none; the counter is the process's, so nothing else may run
// kernels meanwhile.
//
// Errors: there is no engine to compare (ErrNothingToCompare), the reference refuses a case, ctx ends. An engine that
// refuses a case fails its row.
func Operators(ctx context.Context, o Options) (report *Report, err error) {
	if err := o.anyCompared(idleReference); err != nil {
		return nil, err
	}
	// One thread by default: a pool of threads for each of the many small models costs far more than it saves.
	engines, err := openEngines(ctx, o.wantedEngines(), max(1, o.Threads), o.opener())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engines.close()) }()
	report = &Report{Schema: Schema, Subject: "operators", Seed: o.Seed, Engines: engines.status, Notes: []string{}}
	count := 0
	for _, def := range ops.All() {
		for _, dtype := range ops.Types() {
			o.progress("%s %s", def.Name, dtype)
			run := &opRun{engines: engines, def: def, dtype: dtype, models: map[string]*opModel{}}
			rows, err := run.all(ctx, &o)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", def.Name, dtype, err)
			}
			report.Results = append(report.Results, rows...)
			count += run.cases
		}
	}
	report.Covered = []string{fmt.Sprintf("%d calls of %d operators in %d types", count, len(ops.All()), len(ops.Types()))}
	if !o.Quick {
		report.Covered = append(report.Covered, "T from 0 to 272, causal and not, every gate",
			"keys to 1e4, biases to -300, removed positions, a huge key in the future")
	}
	report.conclude()
	return report, nil
}

// opRun is one operator in one type.
type opRun struct {
	engines *engineSet
	def     *ops.Def
	dtype   tensor.DType
	models  map[string]*opModel // by attributes
	cases   int
}

// opModel is a one-node model, loaded into every engine.
type opModel struct {
	programs map[Engine]*program
	refused  map[Engine]error // why an engine has no program
	cumSum   bool             // its function body sums with CumSum
}

// runOnce runs the node, and counts the kernel calls.
func (m *opModel) runOnce(ctx context.Context, e Engine, in map[string]*tensor.Tensor, bodies bool) (
	map[string]*tensor.Tensor, uint64, error) {
	if err := m.refused[e]; err != nil {
		return nil, 0, err
	}
	return m.programs[e].runAs(ctx, in, bodies)
}

// run runs a case, and counts the kernel calls.
func (m *opModel) run(ctx context.Context, e Engine, c *opCase, inputs []*tensor.Tensor, bodies bool) (*tensor.Tensor, uint64, error) {
	if c.step != nil {
		return m.runSteps(ctx, e, c, inputs, bodies)
	}
	named := map[string]*tensor.Tensor{}
	for i, p := range c.def.Inputs {
		named[p.Name] = inputs[i]
	}
	out, calls, err := m.runOnce(ctx, e, named, bodies)
	return out[c.def.Outputs[0].Name], calls, err
}

func (r *opRun) all(ctx context.Context, o *Options) (rows []Result, err error) {
	defer func() {
		for _, m := range r.models {
			err = closeAll(err, m.programs)
		}
	}()
	cases, err := opCases(r.def, o)
	if err != nil {
		return nil, err
	}
	rows = make([]Result, len(r.engines.list))
	for i, e := range r.engines.list {
		rows[i] = Result{Name: r.def.Name, Kind: KindOperator, Engine: e, DType: r.dtype.String(), Pass: true}
	}
	for _, c := range cases {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := r.one(ctx, c, rows); err != nil {
			return nil, fmt.Errorf("%s: %w", c.id, err)
		}
		r.cases++
	}
	return rows, nil
}

func (r *opRun) one(ctx context.Context, c *opCase, rows []Result) error {
	inputs, err := c.tensors(r.dtype)
	if err != nil {
		return err
	}
	want, err := callReference(c.def, c.attrs, inputs)
	if err != nil {
		return err
	}
	model, err := r.model(c, inputs)
	if err != nil {
		return err
	}
	call := newOpCall(c.def, c.attrs, inputs)
	for i := range rows {
		row := &rows[i]
		if row.Engine == Portable && len(want.Data) == 0 {
			continue // an empty call is the kernels' and the native engine's alone
		}
		got, calls, err := model.run(ctx, row.Engine, c, inputs, false)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			row.fail("%s: %v", c.id, err)
			continue
		}
		of := rule{engine: row.Engine, dtype: r.dtype, cumSum: model.cumSum && row.Engine == Portable}
		if c.step != nil && c.step.Whole != "AFTFull" { // a cache holds no sums
			of.chunks = c.steps()
		}
		if row.Derived == "" || of.cumSum {
			row.Derived = of.String()
		}
		row.addTensor(c.id, got, want, call.limit(of, want))
		row.countCalls(c.id, calls, map[Engine]uint64{Kernel: uint64(c.steps())}[row.Engine])
		if row.Engine == Native && len(want.Data) > 0 {
			if err := model.addBodies(ctx, row, c, inputs, want, call); err != nil {
				return err
			}
		}
	}
	return nil
}

// addBodies holds the native engine with function bodies, which check the bodies' algebra without ONNX Runtime.
func (m *opModel) addBodies(ctx context.Context, row *Result, c *opCase, inputs []*tensor.Tensor,
	want tensor.Array, call *opCall) error {
	id := c.id + ", bodies"
	got, _, err := m.run(ctx, Native, c, inputs, true)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		row.fail("%s: %v", id, err)
		return nil
	}
	native := rule{engine: Native, dtype: call.dtype}
	l := call.limit(native, want)
	l.finiteOnly = call.beyond(native.bodyRange())
	row.addTensor(id, got, want, l)
	return nil
}

func callReference(def *ops.Def, attrs ops.Attrs, inputs []*tensor.Tensor) (tensor.Array, error) {
	arrays := make([]tensor.Array, len(inputs))
	for i, in := range inputs {
		arrays[i] = in.Array()
	}
	y, err := reference.Call(def.Name, attrs, arrays)
	if err != nil {
		return tensor.Array{}, fmt.Errorf("engine %s: %w", Reference, err)
	}
	return y[0], nil
}

// model builds, or finds, the model of these attributes. Its dimensions are dynamic: one serves every size.
func (r *opRun) model(c *opCase, inputs []*tensor.Tensor) (*opModel, error) {
	def, attrs, inputs, err := c.called(inputs)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprint(attrs, heads(c))
	if m, ok := r.models[key]; ok {
		return m, nil
	}
	described := make([]ops.Input, len(inputs))
	for i, in := range inputs {
		described[i] = ops.Input{DType: in.DType, Shape: in.Shape}
	}
	proto, err := export.Operator(def, attrs, described, export.Options{DType: r.dtype})
	if err != nil {
		return nil, err
	}
	model, err := newLoadable(proto, "")
	if err != nil {
		return nil, err
	}
	m := &opModel{programs: map[Engine]*program{}, refused: map[Engine]error{}, cumSum: usesCumSum(proto)}
	r.models[key] = m
	for _, e := range r.engines.list {
		if p, err := r.engines.load(e, model); err != nil {
			m.refused[e] = err
		} else {
			m.programs[e] = p
		}
	}
	return m, nil
}

// heads tells apart the models of a convolution, whose bodies may be written for one number of heads and channels.
func heads(c *opCase) []int { return []int{c.k.Shape[2], c.q.Shape[2]} }

// usesCumSum reports whether a function body, or the graph itself, sums with CumSum: float running sums lose digits as
// they grow, which the tolerance of bodies allows for.
func usesCumSum(m *onnxpb.ModelProto) bool {
	uses := func(nodes []*onnxpb.NodeProto) bool {
		for _, n := range nodes {
			if n.GetOpType() == "CumSum" && n.GetDomain() == "" {
				return true
			}
		}
		return false
	}
	for _, f := range m.GetFunctions() {
		if uses(f.GetNode()) {
			return true
		}
	}
	return uses(m.GetGraph().GetNode())
}
