package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
)

// conclude judges the model as it is, in one piece and with no value shown, where that was not what ran: it is that which
// others will run. Its tolerance is that of all noise carried from the start to the end.
func (w *walk) conclude(ctx context.Context, v *rival) error {
	if v.lost != nil && len(w.parts) > 1 {
		v.row.fail("%v", v.lost)
		return nil
	}
	if v.lost != nil {
		w.run.note("%s: blocks cannot be judged one by one: %v", v.engine, v.lost)
	}
	name := wiring.OutputName(w.model)
	outs := v.values
	asItIs := len(w.parts) == 1 && (v.engine != Native || v.lost != nil)
	if asItIs {
		var err error
		if outs, err = w.runWhole(ctx, v); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			v.row.fail("%v", err)
			return nil
		}
	}
	total := Result{Pass: true}
	for j, c := range w.run.cases {
		want, problem := w.run.expect(j, name)
		if problem != "" {
			v.row.fail("%s: %s", c.id, problem)
			continue
		}
		if j >= len(outs) || outs[j][name] == nil {
			v.row.fail("%s: the engine gave no output %q", c.id, name)
			continue
		}
		l, judged := w.wholeLimit(j, want)
		if v.given != nil {
			l, judged = v.given.limit(want, w.run.options.Statistic), true
		}
		if !judged && v.lost != nil {
			v.row.fail("%s: neither blocks nor the whole can be judged", c.id)
		}
		l.finiteOnly = l.finiteOnly && (v.engine == Portable || v.bodies)
		l.by = w.run.options.Statistic
		total.addTensor(v.describe(c, "in one piece"), outs[j][name], want, l)
	}
	w.conclusion(v, &total)
	return nil
}

// conclusion adds the whole model to a row. The row's error is that of the whole.
func (w *walk) conclusion(v *rival, total *Result) {
	row := v.row
	if v.given != nil {
		row.absorb(total)
		row.Located = v.blocks.Located
		return
	}
	row.MaxAbs, row.MaxRel = max(row.MaxAbs, total.MaxAbs), max(row.MaxRel, total.MaxRel)
	if !v.bodies {
		row.MaxAbs, row.MaxRel = total.MaxAbs, total.MaxRel
	}
	row.Cases += total.Cases
	if row.Pass && !v.bodies {
		row.HeatMap = total.HeatMap
	}
	if !total.Pass {
		row.fail("%s", total.Problem)
	}
}

// wholeLimit is the tolerance of the whole model, where there is one.
func (w *walk) wholeLimit(j int, want tensor.Array) (l limit, judged bool) {
	if j < len(w.whole) && !w.whole[j].steep {
		return w.whole[j].limit(), true
	}
	return unjudged(want), false
}

func (w *walk) runWhole(ctx context.Context, v *rival) (outs []map[string]*tensor.Tensor, err error) {
	p, err := w.run.engines.load(v.engine, w.s.loadable())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, c := range w.run.cases {
		out, calls, err := p.runCase(ctx, c, c.inputs, v.bodies)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.id, err)
		}
		outs = append(outs, out)
		if v.engine == Kernel {
			v.row.countCalls(c.id, calls, w.s.nodes())
		}
	}
	return outs, nil
}
