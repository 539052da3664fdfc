package verify

import (
	"context"
	"errors"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Somebody else's model has no blocks that are known. ONNX Runtime is made to show every value of the graph, and the native
// engine runs along: each node on what the engine itself put into it, which gives the node's own error. It decides nothing,
// since a model that shows its values is not the one that was fused to run; it says where a difference begins.

// mostShown is how many elements all values of a model that is told apart node by node have at most: they are held at once.
const mostShown = 1 << 24

// shownValue is a floating-point value of the graph with what it should be, by case.
type shownValue struct {
	dtype tensor.DType
	node  int
	truth []tensor.Array
}

// nodeRun tells the nodes of a model apart.
type nodeRun struct {
	*modelRun
	s      *subject
	label  string
	names  []string // in the order of execution
	values map[string]*shownValue
}

// byNodes adds the layers of engines that round, and names the first wrong one in rows that failed.
func (r *modelRun) byNodes(ctx context.Context, s *subject, label string, rows []Result) error {
	n := &nodeRun{modelRun: r, s: s, label: label, values: map[string]*shownValue{}}
	var engines []Engine
	for i := range rows {
		if e := rows[i].Engine; e != Native && !slices.Contains(engines, e) {
			engines = append(engines, e)
		}
	}
	if len(engines) == 0 {
		return nil
	}
	if err := n.truths(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.note("%snodes cannot be told apart: %v", label, err)
		return nil
	}
	model, err := n.showing()
	if err != nil {
		return err
	}
	for _, e := range engines {
		log, err := n.engine(ctx, e, model)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			r.note("%s%s: nodes cannot be told apart: %v", label, e, err)
			continue
		}
		n.locate(e, log, rows)
	}
	return nil
}

// locate adds an engine's layers to the report, and the first wrong one to its rows that failed.
func (n *nodeRun) locate(e Engine, log *layerLog, rows []Result) {
	first := ""
	for _, l := range log.list {
		l.Other = n.s != n.truth
		n.report.Layers = append(n.report.Layers, *l)
		if first == "" && !l.Pass {
			first = l.Name
		}
	}
	for i := range rows {
		if rows[i].Engine == e && !rows[i].Pass {
			rows[i].Located = first
		}
	}
}

// truths runs the cases in the native engine, and keeps what nodes of the graph itself, not of functions, give.
func (n *nodeRun) truths(ctx context.Context) error {
	own := map[string]bool{}
	for _, node := range n.s.graph.Proto().GetGraph().GetNode() {
		for _, name := range node.GetOutput() {
			own[name] = node.GetOpType() != "Constant"
		}
	}
	elements := 0
	for j, c := range n.cases {
		node := -1
		watch := func(name string, dtype tensor.DType, _ []int, read func() (*tensor.Tensor, error)) error {
			node++
			if !own[name] || !dtype.IsFloat() {
				return nil
			}
			t, err := read()
			if err != nil {
				return err
			}
			if elements += t.Len(); elements > mostShown {
				return errors.New("they are too large together")
			}
			v := n.values[name]
			if v == nil {
				v = &shownValue{dtype: dtype, node: node, truth: make([]tensor.Array, len(n.cases))}
				n.values[name], n.names = v, append(n.names, name)
			}
			v.truth[j] = t.Array()
			return nil
		}
		if _, err := n.s.graph.Run(ctx, c.inputs, onnxgraph.RunOptions{Wide: true, Watch: watch}); err != nil {
			return err
		}
	}
	return nil
}

// showing is the model with all those values as outputs.
func (n *nodeRun) showing() (*loadable, error) {
	p := n.s.graph.Proto()
	of := p.GetGraph()
	g := &onnxpb.GraphProto{Name: of.GetName(), Node: of.GetNode(), Initializer: of.GetInitializer(),
		SparseInitializer: of.GetSparseInitializer(), Input: of.GetInput(), ValueInfo: of.GetValueInfo(), Output: slices.Clone(of.GetOutput())}
	for _, name := range n.names {
		if !slices.ContainsFunc(of.GetOutput(), func(v *onnxpb.ValueInfoProto) bool { return v.GetName() == name }) {
			v := onnxpb.ValueInfo(name, n.values[name].dtype)
			v.GetType().GetTensorType().Shape = nil // any
			g.Output = append(g.Output, v)
		}
	}
	return newLoadable(&onnxpb.ModelProto{IrVersion: p.GetIrVersion(), OpsetImport: p.GetOpsetImport(), Functions: p.GetFunctions(),
		Graph: g}, n.s.dir)
}

// engine runs the cases on an engine and gives its layers.
func (n *nodeRun) engine(ctx context.Context, e Engine, model *loadable) (log *layerLog, err error) {
	n.options.progress("%s, node by node", e)
	p, err := n.engines.load(e, model)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	log = newLayerLog(e, false)
	for j, c := range n.cases {
		out, _, err := p.runCase(ctx, c, c.inputs, false)
		if err != nil {
			return nil, err
		}
		if err := n.compareNodes(ctx, j, out, log); err != nil {
			return nil, err
		}
	}
	return log, nil
}

// compareNodes runs the native engine on what another gave.
func (n *nodeRun) compareNodes(ctx context.Context, j int, out map[string]*tensor.Tensor, log *layerLog) error {
	watch := func(name string, _ tensor.DType, _ []int, read func() (*tensor.Tensor, error)) error {
		v, got := n.values[name], out[name]
		if v == nil || got == nil {
			return nil
		}
		t, err := read()
		if err != nil || !tensor.SameShape(t.Shape, got.Shape) {
			return err
		}
		l, values := log.at(name, v.node), got.Float64s()
		l.Own.add(values, t.Array(), foreignLimit(n.s, v.dtype, t.Array()))
		l.Pass = l.Own.OfAllowed == nil || *l.Own.OfAllowed <= 1
		if l.Accumulated == nil {
			l.Accumulated = &Deviation{}
		}
		if truth := v.truth[j]; tensor.SameShape(truth.Shape, got.Shape) {
			l.Accumulated.add(values, truth, foreignLimit(n.s, v.dtype, truth))
		}
		return nil
	}
	replace := func(name string) *tensor.Tensor {
		if n.values[name] == nil {
			return nil
		}
		return out[name]
	}
	_, err := n.s.graph.Run(ctx, n.cases[j].inputs, onnxgraph.RunOptions{Wide: true, Watch: watch, Replace: replace})
	return err
}
