package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Model verifies a model: a checkpoint, which is exported in memory first, or an ONNX file.
//
// The truth of a model that this project exported is the reference on the weights as the ONNX file stores them; the
// tolerance follows from the model's own numbers (bound.go). When the checkpoint is known, or Options.Source is set,
// every stored weight must be the checkpoint's, rounded once, and a row of its own says what the rounding does to the
// outputs. The truth of anybody else's model is the native engine in float64. Options.Other names a second model that
// is held against the same truth on the same inputs.
//
// A network is judged block by block, on what the engine itself put into each; a model of more than Options.PartBytes in
// parts, one of which is loaded at a time (network.go).
//
// A truth that is not finite for finite inputs, and weights that are not, fail: every engine would agree with them. An
// engine that refuses the model fails its rows, one that has nothing of its own to run in it is left out with a note.
//
// Errors: the file cannot be read, the inputs do not fit it or are too large (*InputError), no engine is left to compare
// (ErrNothingToCompare), ctx ends. Kernel calls are counted for the whole process: nothing else may run kernels meanwhile.
func Model(ctx context.Context, path string, o Options) (*Report, error) {
	return verifyModel(ctx, path, o, nil, nil)
}

// verifyModel is Model. The first layer that differs goes into found, if there is one; then is called before the model is closed.
func verifyModel(ctx context.Context, path string, o Options, found *failing, then func(*Report) error) (report *Report, err error) {
	if err := o.anyCompared(idleReference); err != nil && len(o.Against) == 0 {
		return nil, err
	}
	s, err := openSubject(path, &o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	run := &modelRun{options: &o, truth: s, found: found}
	if o.Other == "" {
		if err := s.refuse(path, o.Import); err != nil {
			return nil, err
		}
		if err := o.anyCompared(func(e Engine) string { return run.idle(s, e) }); err != nil && len(o.Against) == 0 {
			return nil, fmt.Errorf("%q: %w", path, err)
		}
	}
	cases, err := o.cases(ctx, s)
	if err != nil {
		return nil, err
	}
	engines, err := openEngines(ctx, o.wantedEngines(), o.Threads, o.opener())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engines.close()) }()
	engines.level = o.Optimization
	report = &Report{
		Schema: Schema, Subject: path, Seed: o.Seed, Engines: engines.status, Notes: append([]string{}, s.notes...),
	}
	run.engines, run.cases, run.report = engines, cases, report
	if err := run.all(ctx); err != nil {
		return nil, err
	}
	for _, c := range cases {
		report.Covered = append(report.Covered, c.id)
	}
	if s.stored != nil {
		report.Covered = append(report.Covered, o.coverage(s))
	}
	report.conclude()
	if then != nil {
		err = then(report)
	}
	return report, err
}

// all makes the rows.
func (r *modelRun) all(ctx context.Context) error {
	s, report := r.truth, r.report
	if !s.walked() {
		if err := r.truths(ctx); err != nil {
			return err
		}
	}
	rows, err := r.compare(ctx, s, "")
	if err != nil {
		return err
	}
	report.Results = append(report.Results, rows...)
	if row, told := s.digest(); told {
		report.Results = append(report.Results, row)
	}
	if err := report.addWeights(s, "weights"); err != nil {
		return err
	}
	if err := r.addRounding(s); err != nil {
		return err
	}
	if r.options.Other != "" {
		if err := r.other(ctx, report); err != nil {
			return err
		}
	}
	if len(r.options.Against) > 0 {
		if err := r.against(ctx); err != nil {
			return err
		}
	}
	if r.options.Full {
		return r.fullLength(ctx, report)
	}
	return nil
}

func (o *Options) coverage(s *subject) string {
	text := "the only layer"
	if n := len(s.stored.Blocks); n > 1 {
		text = fmt.Sprintf("all %d layers", n)
	}
	if n := s.stored.MaxLen(); n > 0 {
		text += fmt.Sprintf(", biases reach %d positions", n)
	}
	if n := len(o.parts(s)); n > 1 {
		text += fmt.Sprintf(", in %d parts of at most %.4g MiB of weights or a single layer", n, float64(o.partBytes())/(1<<20))
	}
	return text
}

// modelRun is one call of Model.
type modelRun struct {
	options *Options
	engines *engineSet
	truth   *subject
	cases   []*modelCase
	want    []map[string]tensor.Array // by case, then by output
	report  *Report
	found   *failing // nil: nobody asks
}

// note adds a note to the report, once.
func (r *modelRun) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.report.Notes, text) {
		r.report.Notes = append(r.report.Notes, text)
	}
}

// idle is why an engine has nothing to compare in a model, "" if it has.
func (r *modelRun) idle(s *subject, e Engine) string {
	switch {
	case e == Native && s == r.truth && s.stored == nil:
		return "is the truth of somebody else's model"
	case e == Kernel && s.nodes() == 0:
		return "has nothing to run: there are no nodes of " + ops.Domain
	}
	return idleReference(e)
}

// truths computes the outputs that everything is compared with, where the reference does not do it block by block.
func (r *modelRun) truths(ctx context.Context) error {
	native := &program{engine: Native, graph: r.truth.graph}
	for _, c := range r.cases {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		out, _, err := native.run(ctx, c.inputs)
		if err != nil {
			return r.unfit(fmt.Errorf("engine %s: %s: %w", Native, c.id, err))
		}
		want := map[string]tensor.Array{}
		for name, t := range out {
			want[name] = t.Array()
		}
		r.want = append(r.want, want)
	}
	return nil
}

// InputError says that the model does not take the inputs that were given.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the engine's error.
func (e *InputError) Unwrap() error { return e.Err }

// unfit marks the truth's refusal of given inputs.
func (r *modelRun) unfit(err error) error {
	if len(r.options.Inputs) == 0 {
		return err
	}
	return &InputError{err}
}

// compare runs a model on every engine and case; label tells a second model's rows apart.
func (r *modelRun) compare(ctx context.Context, s *subject, label string) ([]Result, error) {
	rows, err := r.rows(ctx, s, label)
	r.found.noteRows(r, s, rows)
	return rows, err
}

func (r *modelRun) rows(ctx context.Context, s *subject, label string) (rows []Result, err error) {
	if r.truth.walked() {
		return r.byBlocks(ctx, s, label)
	}
	for _, e := range r.engines.list {
		if reason := r.idle(s, e); reason != "" {
			if e == Kernel {
				r.note("%s%s %s", label, e, reason)
			}
			continue
		}
		r.options.progress("%s", e)
		of, err := r.engine(ctx, s, e, label)
		if err != nil {
			return nil, err
		}
		rows = append(rows, of...)
	}
	return rows, r.byNodes(ctx, s, label, rows)
}

func (r *modelRun) engine(ctx context.Context, s *subject, e Engine, label string) (rows []Result, err error) {
	for _, v := range s.graph.Outputs() {
		rows = append(rows, Result{Name: label + v.Name, Kind: KindOutput, Engine: e, DType: v.DType.String(), Pass: true})
	}
	p, err := r.engines.load(e, s.loadable())
	if err != nil {
		for i := range rows {
			rows[i].fail("%v", err)
		}
		return rows, nil
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for i, c := range r.cases {
		out, calls, err := p.runCase(ctx, c, c.inputs, false)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			for j := range rows {
				rows[j].fail("%s: %v", c.id, err)
			}
			continue
		}
		r.judge(&judgement{s: s, engine: e, index: i, rows: rows}, out, calls)
	}
	return rows, nil
}

// judgement is one case of one engine.
type judgement struct {
	s      *subject
	engine Engine
	index  int      // of the case
	rows   []Result // one an output
}

// expect is the truth of an output in a case, or why nothing can be held against it. -Inf in somebody else's output may be a
// mask; that of a stack of layers is finite.
func (r *modelRun) expect(index int, name string) (want tensor.Array, problem string) {
	want, ok := r.want[index][name]
	if !ok {
		return want, fmt.Sprintf("the first model has no output %q", name)
	}
	broken := isUndefined
	if r.truth.stored == nil {
		broken = isUndefinedBesideMask
	}
	if i := slices.IndexFunc(want.Data, broken); i >= 0 && r.cases[index].finite() {
		return want, fmt.Sprintf("the truth is not finite: nothing to compare: element %v is %v",
			tensor.Unravel(i, want.Shape), want.Data[i])
	}
	return want, ""
}

// judge holds the outputs of a run of somebody else's model against the truth.
func (r *modelRun) judge(of *judgement, out map[string]*tensor.Tensor, calls uint64) {
	c, nodes := r.cases[of.index], uint64(0)
	if of.engine == Kernel {
		nodes = of.s.nodes()
	}
	for j, v := range of.s.graph.Outputs() {
		row := &of.rows[j]
		want, problem := r.expect(of.index, v.Name)
		if problem != "" {
			row.fail("%s: %s", c.id, problem)
			continue
		}
		row.countCalls(c.id, calls, nodes)
		l := foreignLimit(of.s, v.DType, want)
		l.by, row.Derived = r.options.Statistic, foreignRule(v.DType)
		if t, given := r.options.tolerance(v.Name); given {
			l, row.Derived = t.limit(want, r.options.Statistic), t.String()
		}
		row.addTensor(c.id, out[v.Name], want, l)
	}
}

// noiseOf is the noise of an engine that runs a model, against the truth of the first one.
func (r *modelRun) noiseOf(s *subject, e Engine) noise {
	n := noiseOf(rule{engine: e, dtype: s.dtype, cumSum: e == Portable && usesCumSum(s.graph.Proto()), wide: s.wideBodies()})
	if r.truth.stored == nil {
		return n
	}
	if unit := unitOf(s.dtype); unit != unitOf(r.truth.dtype) {
		n.weight = max(unit, unitOf(r.truth.dtype)) / 2
		n.input = n.weight
	}
	return n
}

// noise carries an engine's roundings through the reference model; nil for a foreign graph.
func (r *modelRun) noise(s *subject, e Engine, c *modelCase) ([]stage, noise, error) {
	n := r.noiseOf(s, e)
	if r.truth.stored == nil {
		return nil, n, nil
	}
	stages, err := propagate(r.truth.stored, c.reference(r.truth.stored), n)
	if err != nil {
		return nil, n, fmt.Errorf("%s: tolerance: %w", c.id, err)
	}
	return stages, n, nil
}

// foreignUnits scales the tolerance of a graph whose layers are not known.
const foreignUnits = 16

// foreignLimit allows 16 units of rounding of the largest element, times the square root of the number of nodes.
func foreignLimit(s *subject, dtype tensor.DType, want tensor.Array) limit {
	l := newLimit(len(want.Data))
	largest := largestFinite(want.Data)
	units := foreignUnits * math.Sqrt(float64(max(1, len(s.graph.Nodes()))))
	for i := range want.Data {
		l.scale[i] = largest
		if dtype.IsFloat() {
			l.tolerance[i] = units * unitOf(dtype) * largest
		}
	}
	return l
}

func unitOf(dtype tensor.DType) float64 {
	switch dtype {
	case tensor.Float64:
		return 0x1p-52
	case tensor.Float16:
		return 0x1p-10
	case tensor.BFloat16:
		return 0x1p-7
	}
	return epsilon32
}

func foreignRule(dtype tensor.DType) string {
	if !dtype.IsFloat() {
		return "equal"
	}
	return fmt.Sprintf("%d*sqrt(nodes)*2^%.0f*max|want|", foreignUnits, math.Log2(unitOf(dtype)))
}
