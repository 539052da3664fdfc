package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// isolate runs a model again with the outputs of its layers exposed, and gives every layer's stages with the truth computed
// from what the engine itself fed into that layer: errors of one layer do not show in the next. Without stages the
// layers cannot be told apart; if the engine refuses to, a note says why.
func (r *modelRun) isolate(ctx context.Context, s *subject, e Engine, c *modelCase, n noise) (
	stages []stage, out map[string]*tensor.Tensor, err error) {
	data, err := exposeLayers(s, len(r.truth.stored.Layers))
	if err == nil && data != nil {
		stages, out, err = r.runExposed(ctx, e, data, s.dir, c, n)
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

func (r *modelRun) runExposed(ctx context.Context, e Engine, data []byte, dir string, c *modelCase, n noise) (
	stages []stage, out map[string]*tensor.Tensor, err error) {
	p, err := r.engines.load(e, data, dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if out, _, err = p.run(ctx, c.inputs); err != nil {
		return nil, nil, err
	}
	x := signal{c.x(), make([]float64, len(c.x().Data))}
	for i := range r.truth.stored.Layers {
		of, _, err := n.layer(r.truth.stored, i, x, c.grid)
		if err != nil {
			return nil, nil, err
		}
		last := out[of[len(of)-1].name]
		if last == nil {
			return nil, nil, fmt.Errorf("there is no value %q", of[len(of)-1].name)
		}
		stages = append(stages, of...)
		x.value = last.Array()
		x.variance = make([]float64, len(x.value.Data))
		for j, v := range x.value.Data { // an engine may go on with more digits than it shows
			x.variance[j] = n.round(v)
		}
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
		r.addTensor(caseID, t, s.want, l)
	}
}

// exposeLayers makes graph outputs of what AFT nodes and layers give, by the exporter's names; nil if the output of a
// layer is not to be found.
func exposeLayers(s *subject, layers int) ([]byte, error) {
	m, ok := proto.Clone(s.graph.Proto()).(*onnxpb.ModelProto)
	if !ok {
		return nil, fmt.Errorf("the model cannot be copied")
	}
	var made []string
	for _, n := range m.GetGraph().GetNode() {
		made = append(made, n.GetOutput()...)
	}
	expose := func(name string) bool {
		if !slices.Contains(made, name) {
			return false
		}
		dims := []onnxpb.Dim{onnxpb.Dynamic(""), onnxpb.Dynamic(""), onnxpb.Dynamic("")}
		m.Graph.Output = append(m.Graph.Output, onnxpb.ValueInfo(name, s.dtype, dims...))
		return true
	}
	for i := range layers {
		expose(fmt.Sprintf("layers.%d.aft", i)) // there is none in a layer without an output projection
		if i < layers-1 && !expose(fmt.Sprintf("layers.%d.y", i)) {
			return nil, nil
		}
	}
	return onnxpb.Encode(m)
}
