package fuse

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Inputs are inputs of a model by name.
type Inputs = map[string]*tensor.Tensor

// Options say how a model is looked at.
type Options struct {
	// Probes are inputs of two sizes: what a model calls by one name has one size, and other dynamic dimensions differ. A
	// model without dynamic dimensions takes the same inputs twice. What they hold does not matter.
	Probes [probes]Inputs
}

// Fusion is an AFT layer that was found and replaced.
type Fusion struct {
	Op     string    // "AFTFull"
	Attrs  ops.Attrs // of the new node
	Output string    // the value of the original model that the node makes
	Weight []int     // the shape of a constant W; nil: none, or computed by the graph
	Notes  []string  // in what the layer differs from what it replaces
}

// Miss is a value that looks like AFT and was left alone.
type Miss struct {
	Output string
	Reason string
}

// Result is what Fuse found.
type Result struct {
	Model   *onnxpb.ModelProto // nil where nothing was found
	Fusions []Fusion
	Misses  []Miss
	Before  int // nodes of the original, functions written out
	After   int
}

// Fuse finds the AFT layers of a model and writes the model that has operators in their place. That both compute the same is
// for the caller to prove. Errors: probes that the model does not take, an opset that no function body is written for.
func Fuse(ctx context.Context, m *onnxgraph.Model, o Options) (*Result, error) {
	g, err := newGraph(ctx, m, o.Probes)
	if err != nil {
		return nil, err
	}
	f := &finder{graph: g, ctx: ctx, opaque: map[string]bool{}, covered: map[string]bool{}, misses: map[string]string{}}
	r, err := newRewriter(g)
	if err != nil {
		return nil, err
	}
	f.rewriter = r
	if err := f.find(); err != nil {
		return nil, err
	}
	result := &Result{Fusions: f.fusions, Before: len(g.nodes)}
	if len(f.fusions) > 0 {
		if g.opset > ops.MaxOpset {
			return nil, fmt.Errorf("the model is of opset %d, want at most %d, for which function bodies are written", g.opset, ops.MaxOpset)
		}
		if result.Model, err = r.finish(); err != nil {
			return nil, err
		}
		result.After = len(result.Model.Graph.Node)
	}
	result.Misses = f.remaining(result.Model)
	return result, nil
}

// finder goes through a graph from its inputs on.
type finder struct {
	*graph
	ctx      context.Context
	rewriter *rewriter
	opaque   map[string]bool
	covered  map[string]bool // values on the way to a layer's last
	fusions  []Fusion
	misses   map[string]string // by value
}

func (f *finder) find() error {
	f.generations(f.opaque)
	for i := range f.nodes {
		if err := f.ctx.Err(); err != nil {
			return err
		}
		root := f.nodes[i].Outputs[0]
		if f.generationOf[root] == 0 || f.covered[root] || f.rep(root) != root || !canEnd(f.nodes[i].Op) {
			continue
		}
		l, a := f.try(root)
		if l == nil {
			continue
		}
		l, a = f.extend(l, a)
		e, err := a.emit(l, f.rewriter.taken)
		if err != nil {
			f.miss(l.root, err)
			continue
		}
		f.rewriter.replace(l, e)
		fusion := Fusion{Op: l.op, Attrs: l.attrs, Output: l.root, Notes: l.notes}
		if l.weight != nil {
			fusion.Weight = l.weight.Shape
		}
		f.fusions = append(f.fusions, fusion)
		f.opaque[l.root] = true
		f.generations(f.opaque)
	}
	return nil
}

// canEnd reports whether a layer may end with an operator: the last thing it does is a product, a division or a sum.
func canEnd(op string) bool {
	return slices.Contains([]string{"Div", "Mul", "MatMul", "ReduceSum", "Einsum", "Exp", "Sum", "Add"}, op)
}

// try reads one value as a layer; nil where it is none.
func (f *finder) try(root string) (*layer, *analysis) {
	splits := map[string]size{}
	for range 16 {
		a := &analysis{graph: f.graph, space: space{splits: splits}, generation: f.generationOf[root], opaque: f.opaque,
			guards: map[float64]bool{}, seen: map[digit]place{}}
		l, err := a.read(f.ctx, root)
		var split *splitError
		switch {
		case err == nil:
			return l, a
		case errors.As(err, &split):
			splits[split.name] = split.major
		default:
			f.miss(root, err)
			return nil, nil
		}
	}
	return nil, nil
}

func (a *analysis) read(ctx context.Context, root string) (*layer, error) {
	shape := a.shapeOf(root)
	if shape == nil {
		return nil, errShape
	}
	idx := make(indices, len(shape))
	for i, n := range shape {
		idx[i] = a.axis(n)
	}
	p, err := a.value(root, idx, false)
	if err != nil {
		return nil, err
	}
	return a.match(ctx, root, idx, p)
}

func (f *finder) miss(root string, err error) {
	var m *miss
	if errors.As(err, &m) && m.reason != "" {
		f.misses[root] = m.reason
	}
}

// extend follows a layer to its gate: through what reshapes or multiplies its result, as long as that is still one layer.
func (f *finder) extend(l *layer, a *analysis) (*layer, *analysis) {
	best, from := l, a
	root := l.root
	path := []string{root}
	for range 12 {
		users := f.users[root]
		if len(users) != 1 || len(f.nodes[users[0]].Outputs) != 1 || f.generationOf[f.nodes[users[0]].Outputs[0]] != a.generation {
			break
		}
		root = f.nodes[users[0]].Outputs[0]
		next, b := f.try(root)
		if next == nil {
			break
		}
		delete(f.misses, root)
		path = append(path, root)
		if next.attrs.Int("gate") != best.attrs.Int("gate") || b.layouts(next) < from.layouts(best) {
			best, from = next, b
		}
	}
	for _, name := range path {
		f.covered[name] = true
	}
	return best, from
}

// layouts counts the nodes that bring operands and result of a layer into place.
func (a *analysis) layouts(l *layer) int {
	e, err := a.emit(l, map[string]bool{})
	if err != nil {
		return 1 << 20
	}
	return len(e.nodes)
}

// remaining are the misses that the fused model still holds, the last of a chain for all of it.
func (f *finder) remaining(fused *onnxpb.ModelProto) []Miss {
	there := map[string]bool{}
	for _, n := range fused.GetGraph().GetNode() {
		for _, name := range n.Output {
			there[name] = true
		}
	}
	var list []Miss
	for _, n := range f.nodes {
		root := n.Outputs[0]
		reason, missed := f.misses[root]
		goesOn := slices.ContainsFunc(f.users[root], func(i int) bool { return f.misses[f.nodes[i].Outputs[0]] != "" })
		if missed && !goesOn && !f.opaque[root] && (fused == nil || there[root]) {
			list = append(list, Miss{Output: root, Reason: reason})
		}
	}
	return list
}

// generations says of every value which exponentials it is made of. An exponential of data belongs to a generation above all
// exponentials that its argument depends on: those of one layer are of one generation, and the layers after it of others.
func (g *graph) generations(opaque map[string]bool) {
	for _, n := range g.nodes {
		own, cone := 0, 0
		for _, name := range n.Inputs {
			cone = max(cone, g.cones[name])
			if isAlgebra(n.Op) && n.Domain == "" {
				own = max(own, g.generationOf[name])
			}
		}
		argument := n.Domain == "" && len(n.Inputs) > 0 && g.class[n.Inputs[0]] == data
		logarithm := 0 // of exponentials, as far as sums alone lie between: exp of it is of their generation
		if argument && slices.Contains([]string{"Add", "Sub", "Neg", "Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Expand"}, n.Op) {
			for _, name := range n.Inputs {
				logarithm = max(logarithm, g.logs[name])
			}
		}
		switch {
		case !argument:
		case n.Op == "Exp" && g.logs[n.Inputs[0]] > 0:
			own = g.logs[n.Inputs[0]]
		case slices.Contains([]string{"Exp", "Softmax", "LogSoftmax", "ReduceLogSumExp"}, n.Op):
			own = cone + 1
		}
		if n.Op == "Log" || n.Op == "LogSoftmax" || n.Op == "ReduceLogSumExp" {
			logarithm = own
		}
		for _, name := range n.Outputs {
			g.generationOf[name], g.cones[name], g.logs[name] = own, max(cone, own), logarithm
			if opaque[name] {
				g.generationOf[name] = 0
			}
		}
	}
}

// isAlgebra reports whether the analysis can look through an operator.
func isAlgebra(op string) bool {
	return slices.Contains([]string{"Add", "Sub", "Mul", "Div", "Sum", "Where", "Max", "Neg", "Reciprocal", "Pow", "Log", "Clip",
		"ReduceSum", "ReduceMean", "CumSum", "MatMul", "Einsum", "Conv", "Pad", "Identity", "Dropout", "Cast", "Transpose", "Reshape",
		"Flatten", "Unsqueeze", "Squeeze", "Expand", "Slice"}, op)
}
