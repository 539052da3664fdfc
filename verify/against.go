package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// StoredLabel begins the names of the rows that hold an engine against outputs which were stored before.
const StoredLabel = "stored "

// stored is an output that was computed before, by somebody.
type stored struct {
	name  string
	dtype tensor.DType // of the model's output
	want  tensor.Array
	limit limit
	rule  string
}

// against holds the engines, and the truth, against stored outputs on the inputs that were given.
func (r *modelRun) against(ctx context.Context) error {
	list, err := r.storedOutputs()
	if err != nil {
		return err
	}
	truth := Reference
	if r.truth.stored == nil {
		truth = Native
	}
	rows := storedRows(list, truth)
	for i := range list {
		if got, ok := r.want[0][list[i].name]; ok {
			rows[i].add(r.cases[0].id, got.Data, got.Shape, list[i].want, list[i].limit)
		}
	}
	r.report.Results = append(r.report.Results, rows...)
	for _, e := range r.engines.list {
		if e == truth || e == Kernel && r.truth.nodes() == 0 {
			continue
		}
		r.options.progress("%s, stored outputs", e)
		rows, err := r.engineAgainst(ctx, e, list)
		if err != nil {
			return err
		}
		r.report.Results = append(r.report.Results, rows...)
	}
	return nil
}

func storedRows(list []stored, e Engine) (rows []Result) {
	for _, s := range list {
		rows = append(rows, Result{Name: StoredLabel + s.name, Kind: KindOutput, Engine: e, DType: s.dtype.String(), Pass: true, Derived: s.rule})
	}
	return rows
}

func (r *modelRun) engineAgainst(ctx context.Context, e Engine, list []stored) (rows []Result, err error) {
	rows = storedRows(list, e)
	c := r.cases[0]
	p, err := r.engines.load(e, r.truth.loadable())
	if err == nil {
		defer func() { err = errors.Join(err, p.close()) }()
		var out map[string]*tensor.Tensor
		if out, _, err = p.runCase(ctx, c, c.inputs, false); err == nil {
			for i, s := range list {
				rows[i].addTensor(c.id, out[s.name], s.want, s.limit)
			}
			return rows, nil
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for i := range rows {
		rows[i].fail("%v", err)
	}
	return rows, nil
}

// storedOutputs are the stored arrays, with what is allowed. They are the model's outputs, and of each the whole.
func (r *modelRun) storedOutputs() (list []stored, err error) {
	if len(r.options.Inputs) == 0 {
		return nil, &InputError{errors.New("outputs to compare with need the inputs that they belong to")}
	}
	var names []string
	types := map[string]tensor.DType{}
	for _, v := range r.truth.graph.Outputs() {
		names, types[v.Name] = append(names, v.Name), v.DType
	}
	for _, name := range slices.Sorted(maps.Keys(r.options.Against)) {
		if !slices.Contains(names, name) {
			return nil, &InputError{fmt.Errorf("there is no output %q to compare with, want one of %q", name, names)}
		}
		s := stored{name: name, dtype: types[name], want: r.options.Against[name].Array()}
		if s.limit, s.rule, err = r.storedLimit(name, s.dtype, s.want); err != nil {
			return nil, err
		}
		s.limit.by = r.options.Statistic
		list = append(list, s)
	}
	return list, nil
}

// storedLimit allows a stored output and an engine each the noise of the whole model with function bodies. Where that cannot be
// told, as of somebody else's model, it is some units of rounding of the largest element.
func (r *modelRun) storedLimit(name string, dtype tensor.DType, want tensor.Array) (limit, string, error) {
	if t, given := r.options.tolerance(name); given {
		return t.limit(want, r.options.Statistic), t.String(), nil
	}
	if r.truth.stored != nil {
		stages, n, err := r.noise(r.truth, Portable, r.cases[0])
		if err != nil {
			return limit{}, "", err
		}
		if end := &stages[len(stages)-1]; !end.steep && !end.finiteOnly && tensor.SameShape(end.value.Shape, want.Shape) {
			l := end.limit()
			for i := range l.tolerance {
				l.tolerance[i] *= 2
			}
			return l, "twice " + n.String() + ", of the whole model", nil
		}
	}
	return foreignLimit(r.truth, dtype, want), foreignRule(dtype), nil
}
