package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// isolate runs a model again with the outputs of its layers exposed, and gives every layer's stages with the truth computed
// from what the engine itself fed into that layer: errors of one layer do not show in the next. Without stages the
// layers cannot be told apart; if the engine refuses to, a note says why.
func (r *modelRun) isolate(ctx context.Context, s *subject, e Engine, c *modelCase, n noise) (
	stages []stage, out map[string]*tensor.Tensor, err error) {
	model, err := exposeLayers(s, r.truth.stored)
	if err == nil && model != nil {
		stages, out, err = r.runExposed(ctx, e, model, c, n)
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		r.note("%s: layers cannot be judged one by one: %v", e, err)
		return nil, nil, nil
	}
	return stages, out, nil
}

func (r *modelRun) runExposed(ctx context.Context, e Engine, model *loadable, c *modelCase, n noise) (
	stages []stage, out map[string]*tensor.Tensor, err error) {
	p, err := r.engines.load(e, model)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if out, _, err = p.runCase(ctx, c, c.inputs, false); err != nil {
		return nil, nil, err
	}
	x, at, err := n.embed(r.truth.stored, c.reference(r.truth.stored))
	if err != nil {
		return nil, nil, err
	}
	for j := range x.variance {
		x.variance[j] = 0
	}
	for i := range r.truth.stored.Blocks {
		of, _, err := n.block(r.truth.stored, i, x, at)
		if err != nil {
			return nil, nil, err
		}
		last := out[of[len(of)-1].name]
		if last == nil {
			return nil, nil, fmt.Errorf("there is no value %q", of[len(of)-1].name)
		}
		stages = append(stages, of...)
		x = n.shown(last.Array())
	}
	return stages, out, nil
}

// locate names the first layer that differs from the truth on the engine's own input to it, "" if none does or the
// layers cannot be told apart.
func (r *modelRun) locate(ctx context.Context, s *subject, e Engine, c *modelCase, n noise) (string, error) {
	stages, out, err := r.isolate(ctx, s, e, c, n)
	if err != nil {
		return "", err
	}
	for i := range stages {
		row := Result{Pass: true}
		row.addStage(c.id, &stages[i], out, e)
		if !row.Pass {
			return fmt.Sprintf("%s: %s", stages[i].name, row.Problem), nil
		}
	}
	return "", nil
}

// addStage holds one value inside a model against its truth; a value that the graph does not expose is left out.
func (r *Result) addStage(caseID string, s *stage, out map[string]*tensor.Tensor, e Engine) {
	if t, ok := out[s.name]; ok {
		l := s.limit()
		l.finiteOnly = l.finiteOnly && e == Portable
		r.addTensor(caseID, t, s.value, l)
	}
}

// exposeLayers makes graph outputs of what AFT nodes and layers give, beside those that there are; nil if the output of a
// layer is not to be found.
func exposeLayers(s *subject, m *reference.Model) (*loadable, error) {
	c := cutting{dtype: s.dtype}
	for _, v := range s.graph.Outputs() {
		c.to = append(c.to, v.Name)
	}
	for i := range m.Blocks {
		of := blockNames(m, i)
		c.to = append(c.to, of.aft, of.output)
	}
	p, err := cut(s.graph.Proto(), c)
	if err != nil {
		return nil, err
	}
	shown := map[string]bool{}
	for _, v := range p.GetGraph().GetOutput() {
		shown[v.GetName()] = true
	}
	for i := range len(m.Blocks) - 1 {
		if !shown[blockNames(m, i).output] {
			return nil, nil
		}
	}
	return newLoadable(p, s.dir)
}
