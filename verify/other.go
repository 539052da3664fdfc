package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
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
	if s, err = r.align(s); err != nil {
		return fmt.Errorf("%q: %w", r.options.Other, err)
	}
	for _, note := range s.notes {
		if note != s.foreign { // the truth is the first model's
			report.Notes = append(report.Notes, fmt.Sprintf("%q: %s", r.options.Other, note))
		}
	}
	second := &modelRun{options: r.options, engines: r.engines, truth: r.truth, want: r.want, report: report, found: r.found}
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

// align gives the inputs and outputs of a second model that the first has no such name for the names of the first's that are
// left over, one after the other, if there are as many.
func (r *modelRun) align(s *subject) (*subject, error) {
	names := map[string]string{}
	for _, edge := range []struct {
		kind          string
		first, second []onnxgraph.Value
	}{{"input", r.truth.graph.Inputs(), s.graph.Inputs()}, {"output", r.truth.graph.Outputs(), s.graph.Outputs()}} {
		first, second := leftOver(edge.first, edge.second), leftOver(edge.second, edge.first)
		if len(first) != len(second) {
			continue
		}
		for i, v := range second {
			names[v.Name] = first[i].Name
			r.note("%q: %s %q is compared as %q", r.options.Other, edge.kind, v.Name, first[i].Name)
		}
	}
	if len(names) == 0 {
		return s, nil
	}
	p, ok := proto.Clone(s.graph.Proto()).(*onnxpb.ModelProto)
	if !ok {
		return nil, errors.New("is no model")
	}
	renameValues(p.GetGraph(), names)
	data, err := onnxpb.Encode(p)
	if err != nil {
		return nil, err
	}
	renamed, err := newSubject(r.options.Other, s.dir, data, p)
	if err != nil {
		return nil, err
	}
	renamed.source = s.source
	return renamed, nil
}

// leftOver are the values whose names are not among others.
func leftOver(values, others []onnxgraph.Value) []onnxgraph.Value {
	return slices.DeleteFunc(slices.Clone(values), func(v onnxgraph.Value) bool {
		return slices.ContainsFunc(others, func(o onnxgraph.Value) bool { return o.Name == v.Name })
	})
}

// renameValues renames values everywhere in a graph. A value that has one of the new names gets a name that nobody has.
func renameValues(g *onnxpb.GraphProto, names map[string]string) {
	for _, name := range slices.Collect(maps.Values(names)) {
		if _, moved := names[name]; !moved {
			names[name] = "aftonnx." + name
		}
	}
	rename := func(list []string) {
		for i, name := range list {
			if to, ok := names[name]; ok {
				list[i] = to
			}
		}
	}
	for _, n := range g.GetNode() {
		rename(n.Input)
		rename(n.Output)
	}
	for _, list := range [][]*onnxpb.ValueInfoProto{g.GetInput(), g.GetOutput(), g.GetValueInfo()} {
		for _, v := range list {
			if to, ok := names[v.GetName()]; ok {
				v.Name = to
			}
		}
	}
	for _, t := range g.GetInitializer() {
		if to, ok := names[t.GetName()]; ok {
			t.Name = to
		}
	}
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
