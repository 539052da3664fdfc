package fuse

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// class is what a value depends on.
type class int

const (
	constant class = iota // initialisers alone
	shaped                // and the shapes of inputs
	data                  // and what inputs hold
)

// graph is a model with what the probes say of it.
type graph struct {
	model        *onnxgraph.Model
	nodes        []onnxgraph.Node
	opset        int64
	makers       map[string]int    // the node that makes a value
	users        map[string][]int  // the nodes that take one
	class        map[string]class  // of every value
	same         map[string]string // a value to the first that is computed alike
	dtypes       map[string]tensor.DType
	shapes       map[string][]size                 // of every value that was computed
	known        [probes]map[string]*tensor.Tensor // values that are not data
	inputs       [probes]map[string]*tensor.Tensor // of the probes
	generationOf map[string]int                    // generation of the exponentials a value is made of; see generations
	logs         map[string]int                    // the generation of the exponentials that a value is a logarithm of
	cones        map[string]int                    // the largest generation anywhere before a value
}

// newGraph runs the model on the inputs of all probes.
func newGraph(ctx context.Context, m *onnxgraph.Model, inputs [probes]map[string]*tensor.Tensor) (*graph, error) {
	g := &graph{model: m, nodes: m.Nodes(), inputs: inputs, makers: map[string]int{}, users: map[string][]int{},
		class: map[string]class{}, same: map[string]string{}, shapes: map[string][]size{}, generationOf: map[string]int{},
		cones: map[string]int{}, logs: map[string]int{}, dtypes: map[string]tensor.DType{}}
	for _, v := range m.Inputs() {
		g.class[v.Name], g.dtypes[v.Name] = data, v.DType
	}
	for i, n := range g.nodes {
		for _, name := range n.Outputs {
			g.makers[name] = i
			g.class[name] = g.classOf(&n)
		}
		for _, name := range n.Inputs {
			g.users[name] = append(g.users[name], i)
		}
		if n.Domain == "" {
			g.opset = n.Version
		}
	}
	g.mergeEqual()
	return g, g.probe(ctx)
}

func (g *graph) classOf(n *onnxgraph.Node) class {
	if n.Domain == "" && (n.Op == "Shape" || n.Op == "Size") {
		return shaped
	}
	c := constant
	if strings.HasPrefix(n.Op, "Random") || n.Op == "Bernoulli" || n.Op == "Multinomial" {
		c = data
	}
	for _, name := range n.Inputs {
		c = max(c, g.class[name])
	}
	return c
}

// mergeEqual finds nodes that compute the same: exporters write a value anew wherever the program does.
func (g *graph) mergeEqual() {
	first := map[string]string{}
	for _, n := range g.nodes {
		if n.Op == "Constant" && n.Domain == "" {
			continue // compared by number where it matters
		}
		var key strings.Builder
		fmt.Fprintf(&key, "%q %q", n.Domain, n.Op)
		for _, name := range n.Inputs {
			fmt.Fprintf(&key, " %q", g.rep(name))
		}
		for _, name := range sortedKeys(n.Attrs) {
			if b, err := (proto.MarshalOptions{Deterministic: true}).Marshal(n.Attrs[name]); err == nil {
				fmt.Fprintf(&key, " %q", b)
			}
		}
		for i, name := range n.Outputs {
			key := fmt.Sprintf("%s > %d", key.String(), i)
			switch earlier, ok := first[key]; {
			case ok:
				g.same[name] = earlier
			case n.Op == "Identity" && n.Domain == "":
				g.same[name] = g.rep(n.Inputs[0])
			default:
				first[key] = name
			}
		}
	}
}

// rep is the first value that is computed as this one is.
func (g *graph) rep(name string) string {
	if earlier, ok := g.same[name]; ok {
		return earlier
	}
	return name
}

// probe runs the model on every probe's inputs and keeps shapes, and the elements of what is not data.
func (g *graph) probe(ctx context.Context) error {
	computable := g.model.Computable()
	hollow, last := map[string]bool{}, []string{}
	for name, c := range g.class {
		hollow[name] = c == data
	}
	for _, n := range g.nodes {
		for _, name := range n.Outputs {
			goesOn := slices.ContainsFunc(g.users[name], func(i int) bool { return computable[g.nodes[i].Outputs[0]] })
			if computable[name] && !goesOn {
				last = append(last, name)
			}
		}
	}
	for p := range g.inputs {
		g.known[p] = map[string]*tensor.Tensor{}
		for name, t := range g.inputs[p] {
			g.note(name, p, t.Shape)
		}
		watch := func(name string, dtype tensor.DType, shape []int, read func() (*tensor.Tensor, error)) (err error) {
			g.note(name, p, shape)
			g.dtypes[name] = dtype
			if g.class[name] != data {
				g.known[p][name], err = read()
			}
			return err
		}
		o := onnxgraph.RunOptions{Outputs: last, Wide: true, Hollow: hollow, Watch: watch}
		if _, err := g.model.Run(ctx, g.inputs[p], o); err != nil {
			return err
		}
	}
	return nil
}

// note records the shape of a value in one probe.
func (g *graph) note(name string, probe int, shape []int) {
	s := g.shapes[name]
	if s == nil {
		s = make([]size, len(shape))
		g.shapes[name] = s
	}
	for i := range min(len(s), len(shape)) {
		s[i][probe] = shape[i]
	}
}

// shapeOf is the shape of a value in all probes, nil when it is not known.
func (g *graph) shapeOf(name string) []size {
	if s := g.shapes[name]; s != nil {
		return s
	}
	shape := g.model.ConstantShape(name)
	if shape == nil {
		return nil
	}
	s := make([]size, len(shape))
	for i, n := range shape {
		s[i] = size{n, n}
	}
	g.shapes[name] = s
	return s
}

// elements are the elements of a value that is not data, in one probe; nil when it is data.
func (g *graph) elements(name string, probe int) *tensor.Tensor {
	if t := g.known[probe][name]; t != nil {
		return t
	}
	if g.class[name] == data {
		return nil
	}
	t, err := g.model.Constant(name)
	if err != nil || t == nil {
		return nil
	}
	if t.DType.IsFloat() {
		if t, err = tensor.FromFloat64s(tensor.Float64, t.Shape, t.Float64s()); err != nil {
			return nil
		}
	}
	g.known[probe][name] = t
	return t
}

// scalar is the number that every element of a value is in every probe.
func (g *graph) scalar(name string) (float64, bool) {
	found := math.NaN()
	for p := range probes {
		t := g.elements(name, p)
		if t == nil || t.Len() == 0 || t.Len() > 1<<20 {
			return 0, false
		}
		for i, x := range t.Float64s() {
			if i == 0 && p == 0 {
				found = x
			}
			if x != found {
				return 0, false
			}
		}
	}
	return found, true
}

// ints are the elements of an integer value, which must be the same in every probe.
func (g *graph) ints(name string) ([]int64, bool) {
	var found []int64
	for p := range probes {
		t := g.elements(name, p)
		if t == nil || t.DType.IsFloat() {
			return nil, false
		}
		list, err := t.Int64s()
		if err != nil || p > 0 && !slices.Equal(list, found) {
			return nil, false
		}
		found = list
	}
	return found, true
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
