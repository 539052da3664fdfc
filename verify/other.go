package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
)

// other holds a second model against the truth of the first, on the same inputs. Where the second is of a coarser type,
// its inputs are rounded and the tolerance allows for the rounding of inputs and weights.
func (r *modelRun) other(ctx context.Context, report *Report) (err error) {
	o := *r.options
	o.Source = nil
	s, err := openSubject(r.options.Other, &o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if r.truth.source == nil {
		if err := s.refuse(r.options.Other, o.Import); err != nil {
			return err
		}
	}
	for _, note := range s.notes {
		if note != s.foreign { // the truth is the first model's
			report.Notes = append(report.Notes, fmt.Sprintf("%q: %s", r.options.Other, note))
		}
	}
	second := &modelRun{options: r.options, engines: r.engines, truth: r.truth, want: r.want, report: report}
	if err := r.options.anyCompared(func(e Engine) string { return second.idle(s, e) }); err != nil {
		return fmt.Errorf("%q: %w", r.options.Other, err)
	}
	for _, c := range r.cases {
		inputs, err := castInputs(s, c.inputs)
		if err != nil {
			return fmt.Errorf("%q: %w", r.options.Other, err)
		}
		if m := r.truth.stored; m != nil && inputs[wiring.InputName(m)] == nil {
			return fmt.Errorf("%q: does not take the first model's input %q", r.options.Other, wiring.InputName(m))
		}
		second.cases = append(second.cases, &modelCase{id: c.id, inputs: inputs, grid: c.grid})
	}
	rows, err := second.compare(ctx, s, "other ")
	if err != nil {
		return fmt.Errorf("%q: %w", r.options.Other, err)
	}
	report.Results = append(report.Results, rows...)
	if r.truth.exact != nil && s.graph.Proto().GetProducerName() == export.Producer {
		s.exact = r.truth.exact
	}
	return report.addWeights(s, "other weights")
}

// castInputs gives the second model the first one's inputs, in its own types.
func castInputs(s *subject, inputs map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	out := map[string]*tensor.Tensor{}
	for _, v := range s.graph.Inputs() {
		t, ok := inputs[v.Name]
		if !ok {
			return nil, fmt.Errorf("takes an input %q that the first model does not have", v.Name)
		}
		cast, err := t.Cast(v.DType)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", v.Name, err)
		}
		out[v.Name] = cast
	}
	return out, nil
}
