package fuse

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
)

// errShape says that a value cannot be written in index notation; it stays what it is.
var errShape = errors.New("the index arithmetic of this layout is not understood")

// errLarge ends an analysis that grows out of hand.
var errLarge = errors.New("the expression is too large")

// negligible is what may be added to a sum of exponentials, or held against it, to keep it from 0.
const negligible = 1e-5

// hides is a number that, added to an exponent, removes a term: -10000 is what some exporters write for -inf.
const hides = -1e4

// analysis writes one value of a graph in index notation.
type analysis struct {
	*graph
	space
	generation int             // exponentials of this generation are looked into; see graph.generationOf
	opaque     map[string]bool // values that have been fused: they are taken as they are
	steps      int
	seen       map[digit]place  // an axis that a digit alone counts along
	guards     map[float64]bool // negligible numbers that denominators were guarded with
}

const maxSteps = 4000

// place is an axis of a value.
type place struct {
	value string
	axis  int
}

// leaf is an element of a value that is not looked into. Such values come before all that is made of them: lengths of axes
// can be read off them.
func (a *analysis) leaf(name string, at indices) (poly, error) {
	shape := a.shapeOf(name)
	for i, x := range at {
		if a.class[name] == data && a.extent(x) != shape[i] {
			return nil, errShape // a Slice took a part: that is the value to take
		}
	}
	for i, x := range at {
		if len(x) != 1 || a.sizes[x[0]] != shape[i] {
			continue
		}
		if _, ok := a.seen[x[0]]; !ok {
			a.seen[x[0]] = place{name, i}
		}
	}
	return of(element(name, at)), nil
}

// value is an element of a value of the graph. Inside an exponent, sums are taken apart whatever they are made of.
func (a *analysis) value(name string, idx indices, exponent bool) (poly, error) {
	if a.steps++; a.steps > maxSteps {
		return nil, errLarge
	}
	name = a.rep(name)
	shape := a.shapeOf(name)
	if shape == nil || len(shape) != len(idx) {
		return nil, errShape
	}
	at := slices.Clone(idx)
	for i, n := range shape {
		if n == one {
			at[i] = nil
		}
	}
	if a.class[name] != data {
		if c, ok := a.scalar(name); ok {
			return number(c), nil
		}
		return a.leaf(name, at)
	}
	i, made := a.makers[name]
	if !made || a.opaque[name] || a.nodes[i].Domain != "" || len(a.nodes[i].Outputs) != 1 && a.nodes[i].Op != "Dropout" {
		return a.leaf(name, at)
	}
	n := &a.nodes[i]
	p, err := a.layout(n, at, exponent)
	if p == nil && err == nil && a.generationOf[name] == a.generation {
		p, err = a.algebra(n, at, exponent)
	} else if p == nil && err == nil && exponent {
		p, err = a.linear(n, at)
	}
	var split *splitError
	switch {
	case errors.As(err, &split) || errors.Is(err, errLarge):
		return nil, err
	case err != nil || p == nil:
		return a.leaf(name, at)
	}
	return p, nil
}

// linear takes an exponent apart: sums, products with a number, masks.
func (a *analysis) linear(n *onnxgraph.Node, idx indices) (poly, error) {
	switch n.Op {
	case "Add":
		x, y := a.shapeOf(n.Inputs[0]), a.shapeOf(n.Inputs[1])
		if a.class[n.Inputs[0]] == data && a.class[n.Inputs[1]] == data && slices.Equal(x, y) {
			return nil, nil // a residual, not a key and a bias
		}
		for _, name := range n.Inputs {
			if a.class[name] != data && isVector(a.shapeOf(name)) {
				return nil, nil // the bias of a projection, a part of the keys
			}
		}
		return a.algebra(n, idx, true)
	case "Sub", "Neg", "Sum", "Where":
		return a.algebra(n, idx, true)
	case "Mul", "Div":
		for i, name := range n.Inputs {
			if _, ok := a.scalar(a.rep(name)); ok && (i == 1 || n.Op == "Mul") {
				return a.algebra(n, idx, true)
			}
		}
	}
	return nil, nil
}

func isVector(shape []size) bool {
	n := 0
	for _, s := range shape {
		n += int(truth(s != one))
	}
	return n < 2
}

// algebra writes an operator's result with its operands. It gives nil for operators it does not know.
func (a *analysis) algebra(n *onnxgraph.Node, idx indices, exponent bool) (poly, error) {
	switch n.Op {
	case "Add", "Sub", "Mul", "Div", "Sum", "Where", "Max", "Min":
		return a.elementwise(n, idx, exponent)
	case "Neg":
		p, err := a.value(n.Inputs[0], idx, exponent)
		return scaled(p, -1), err
	case "Reciprocal":
		p, err := a.value(n.Inputs[0], idx, false)
		return power(p, -1), err
	case "Pow":
		x, ok := a.scalar(a.rep(n.Inputs[1]))
		if !ok || len(a.shapeOf(n.Inputs[0])) != len(idx) {
			return nil, nil
		}
		p, err := a.value(n.Inputs[0], idx, false)
		return power(p, x), err
	case "Exp":
		p, err := a.value(n.Inputs[0], idx, true)
		return exp(p), err
	case "Log":
		p, err := a.value(n.Inputs[0], idx, false)
		return log(p), err
	case "Clip":
		return a.clip(n, idx)
	case "Softmax", "LogSoftmax":
		return a.softmax(n, idx)
	case "ReduceSum", "ReduceMean", "ReduceLogSumExp":
		return a.reduce(n, idx)
	case "CumSum":
		return a.cumSum(n, idx)
	case "MatMul":
		return a.matMul(n, idx)
	case "Einsum":
		return a.einsum(n, idx)
	case "Conv":
		return a.conv(n, idx, make([]int, len(idx)))
	}
	return nil, nil
}

// operand is the index of an operand that broadcasts to idx.
func (a *analysis) operand(name string, idx indices, exponent bool) (poly, error) {
	shape := a.shapeOf(name)
	if shape == nil || len(shape) > len(idx) {
		return nil, errShape
	}
	return a.value(name, idx[len(idx)-len(shape):], exponent)
}

func (a *analysis) elementwise(n *onnxgraph.Node, idx indices, exponent bool) (poly, error) {
	args := make([]poly, len(n.Inputs))
	for i, name := range n.Inputs {
		if n.Op == "Where" && i == 0 {
			continue
		}
		var err error
		if args[i], err = a.operand(name, idx, exponent); err != nil {
			return nil, err
		}
	}
	switch n.Op {
	case "Add", "Sum":
		var p poly
		for _, q := range args {
			p = plus(p, q)
		}
		return p, nil
	case "Sub":
		return plus(args[0], scaled(args[1], -1)), nil
	case "Mul":
		return times(args[0], args[1]), nil
	case "Div":
		if len(args[1]) == 0 {
			return nil, nil
		}
		return times(args[0], power(args[1], -1)), nil
	case "Max":
		return a.guarded(args)
	case "Where":
		return a.where(n, idx, args)
	}
	return nil, nil
}

// guarded is max(x, c) with a negligible c: x.
func (a *analysis) guarded(args []poly) (poly, error) {
	if len(args) != 2 {
		return nil, nil
	}
	for i, p := range args {
		if len(p) == 1 && len(p[0].factors) == 0 && p[0].coef > 0 && p[0].coef <= negligible {
			a.guards[p[0].coef] = true
			return args[1-i], nil
		}
	}
	return nil, nil
}

func (a *analysis) clip(n *onnxgraph.Node, idx indices) (poly, error) {
	low, high := math.Inf(-1), math.Inf(1)
	for i, limit := range []*float64{&low, &high} {
		if n.Version < 11 {
			if attr := n.Attrs[[]string{"min", "max"}[i]]; attr != nil {
				*limit = float64(attr.GetF())
			}
		} else if len(n.Inputs) > i+1 && n.Inputs[i+1] != "" {
			c, ok := a.scalar(a.rep(n.Inputs[i+1]))
			if !ok {
				return nil, nil
			}
			*limit = c
		}
	}
	if !(low > 0 && low <= negligible) || high < math.MaxFloat32 {
		return nil, nil
	}
	a.guards[low] = true
	return a.value(n.Inputs[0], idx, false)
}

// where keeps what a condition leaves: numbers that stand in the place of the rest are 0, or so low that exp of them is.
func (a *analysis) where(n *onnxgraph.Node, idx indices, args []poly) (poly, error) {
	shape := a.shapeOf(n.Inputs[0])
	if shape == nil || len(shape) > len(idx) {
		return nil, errShape
	}
	at := slices.Clone(idx[len(idx)-len(shape):])
	for i, s := range shape {
		if s == one {
			at[i] = nil
		}
	}
	for i := 1; i <= 2; i++ {
		fill, rest := args[i], args[3-i]
		if len(fill) > 1 || len(fill) == 1 && len(fill[0].factors) > 0 {
			continue
		}
		keep := of(seal(&base{kind: whereOf, name: a.rep(n.Inputs[0]), idx: at, not: i == 1}))
		switch {
		case len(fill) == 0:
			return times(keep, rest), nil
		case fill[0].coef <= hides:
			return plus(rest, log(keep)), nil
		}
	}
	return nil, nil
}

// softmax is exp(x) over its sum along an axis.
func (a *analysis) softmax(n *onnxgraph.Node, idx indices) (poly, error) {
	axis := int64(-1)
	if n.Version < 13 {
		axis = 1
	}
	if attr := n.Attrs["axis"]; attr != nil {
		axis = attr.GetI()
	}
	if axis < 0 {
		axis += int64(len(idx))
	}
	shape := a.shapeOf(n.Inputs[0])
	if axis < 0 || axis >= int64(len(idx)) || len(shape) != len(idx) || n.Version < 13 && int(axis) != len(idx)-1 {
		return nil, nil // before opset 13 the axes from the given one on are one
	}
	x, err := a.value(n.Inputs[0], idx, true)
	if err != nil {
		return nil, err
	}
	over := a.axis(shape[axis])
	all := slices.Clone(idx)
	all[axis] = over
	y, err := a.value(n.Inputs[0], all, true)
	if err != nil {
		return nil, err
	}
	total := sum(exp(y), over)
	if n.Op == "LogSoftmax" {
		return plus(x, scaled(log(total), -1)), nil
	}
	return times(exp(x), power(total, -1)), nil
}

// axes reads the axes of a reduction; nil: all of them.
func (a *analysis) axes(n *onnxgraph.Node, rank int) ([]bool, error) {
	list := n.Attrs["axes"].GetInts()
	if len(n.Inputs) > 1 && n.Inputs[1] != "" {
		var ok bool
		if list, ok = a.ints(a.rep(n.Inputs[1])); !ok {
			return nil, errShape
		}
	}
	marked := make([]bool, rank)
	for i := range marked {
		marked[i] = len(list) == 0 && n.Attrs["noop_with_empty_axes"].GetI() == 0
	}
	for _, axis := range list {
		if axis < 0 {
			axis += int64(rank)
		}
		if axis < 0 || axis >= int64(rank) {
			return nil, errShape
		}
		marked[axis] = true
	}
	return marked, nil
}

func (a *analysis) reduce(n *onnxgraph.Node, idx indices) (poly, error) {
	shape := a.shapeOf(n.Inputs[0])
	marked, err := a.axes(n, len(shape))
	if err != nil {
		return nil, err
	}
	keep := n.Attrs["keepdims"] == nil || n.Attrs["keepdims"].GetI() != 0
	all, over, next := make(indices, len(shape)), index{}, 0
	for i := range shape {
		switch {
		case marked[i]:
			x := a.axis(shape[i])
			all[i], over = x, append(over, x...)
			if keep {
				next++
			}
		case next >= len(idx):
			return nil, errShape
		default:
			all[i] = idx[next]
			next++
		}
	}
	p, err := a.value(n.Inputs[0], all, n.Op == "ReduceLogSumExp")
	if err != nil {
		return nil, err
	}
	switch n.Op {
	case "ReduceLogSumExp":
		return log(sum(exp(p), over)), nil
	case "ReduceMean":
		count := seal(&base{kind: callOf, name: fmt.Sprint("length", a.extent(over))})
		return times(sum(p, over), power(of(count), -1)), nil
	}
	return sum(p, over), nil
}

func (a *analysis) cumSum(n *onnxgraph.Node, idx indices) (poly, error) {
	list, ok := a.ints(a.rep(n.Inputs[1]))
	if !ok || len(list) != 1 || n.Attrs["exclusive"].GetI() != 0 || n.Attrs["reverse"].GetI() != 0 {
		return nil, nil
	}
	axis := int(list[0])
	if axis < 0 {
		axis += len(idx)
	}
	shape := a.shapeOf(n.Inputs[0])
	if axis < 0 || axis >= len(idx) || len(shape) != len(idx) {
		return nil, errShape
	}
	over := a.axis(shape[axis])
	all := slices.Clone(idx)
	all[axis] = over
	p, err := a.value(n.Inputs[0], all, false)
	if err != nil {
		return nil, err
	}
	before := seal(&base{kind: beforeOf, idx: indices{over, idx[axis]}})
	return sum(times(of(before), p), over), nil
}
