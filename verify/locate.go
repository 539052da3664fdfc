package verify

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// locate runs a model again with the outputs of its layers exposed and names the first that differs from the truth by more
// than its own tolerance. "" if the layers' values cannot be told apart in the graph, or none of them differs.
func (r *modelRun) locate(ctx context.Context, s *subject, e Engine, c *modelCase, stages []stage) (string, error) {
	data, found, err := exposeStages(s, stages)
	if err != nil || len(found) == 0 {
		return "", err
	}
	p, err := r.engines.load(e, data)
	if err != nil {
		return "", err
	}
	out, _, err := p.run(ctx, c.inputs)
	if err := closeAll(err, map[Engine]*program{e: p}); err != nil {
		return "", err
	}
	for i := range stages {
		st := &stages[i]
		t, ok := out[st.name]
		if !ok || st.finiteOnly {
			continue
		}
		row := Result{Pass: true}
		row.add(c.id, t.Float64s(), t.Shape, st.want, st.limit())
		if !row.Pass {
			return fmt.Sprintf("%s: %s", st.name, row.Problem), nil
		}
	}
	return "", nil
}

// exposeStages makes graph outputs of the values that are called as stages are.
func exposeStages(s *subject, stages []stage) ([]byte, []string, error) {
	m, ok := proto.Clone(s.graph.Proto()).(*onnxpb.ModelProto)
	if !ok {
		return nil, nil, fmt.Errorf("the model cannot be copied")
	}
	made := map[string]bool{}
	for _, n := range m.GetGraph().GetNode() {
		for _, name := range n.GetOutput() {
			made[name] = true
		}
	}
	for _, v := range m.GetGraph().GetOutput() {
		made[v.GetName()] = false // is one already
	}
	var found []string
	for i := range stages {
		if name := stages[i].name; made[name] {
			dims := []onnxpb.Dim{onnxpb.Dynamic(""), onnxpb.Dynamic(""), onnxpb.Dynamic("")}
			m.Graph.Output = append(m.Graph.Output, onnxpb.ValueInfo(name, s.dtype, dims...))
			found = append(found, name)
		}
	}
	data, err := onnxpb.Encode(m)
	return data, found, err
}
