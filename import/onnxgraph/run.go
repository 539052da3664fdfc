package onnxgraph

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// RunOptions say what Run returns and how much it may hold.
type RunOptions struct {
	Wide    bool     // floating-point results come back as float64, unrounded, and floating-point inputs may come so
	Outputs []string // nil: the graph's; any other value of the model can be asked for by its name, see Nodes

	// Given are values of nodes that are known beforehand: they are taken as they are, and what only they need does not run.
	Given map[string]*tensor.Tensor

	// Hollow names values of floating-point type that may be any number where a matrix product or a convolution makes them:
	// for who asks for shapes, and for what depends on shapes alone.
	Hollow map[string]bool

	// Watch sees every value that a node makes, in the order of execution: its type and shape, and a function that copies its
	// elements.
	Watch func(name string, dtype tensor.DType, shape []int, read func() (*tensor.Tensor, error)) error

	// Replace is asked for every value that a node makes, after Watch: what it gives takes the value's place, nil leaves it. It has
	// the value's shape, and goes on with all digits that it has.
	Replace func(name string) *tensor.Tensor

	// MaxElements bounds the elements that results of nodes hold at one time, at 8 bytes each; 0 means 2^28 (2 GiB).
	MaxElements int64
}

const defaultMaxElements = 1 << 28

// Run executes the nodes that the outputs need. Inputs must fit their declarations: an *InputError says which does not.
// An operator that this engine does not have, and whatever a node refuses, is an *Error that names the node. A cancelled
// ctx stops between nodes and inside matrix products and convolutions, and gives ctx's error.
func (m *Model) Run(
	ctx context.Context, inputs map[string]*tensor.Tensor, o RunOptions,
) (map[string]*tensor.Tensor, error) {
	if o.Outputs == nil {
		for _, v := range m.outputs {
			o.Outputs = append(o.Outputs, v.Name)
		}
	}
	if o.MaxElements == 0 {
		o.MaxElements = defaultMaxElements
	}
	e := &execution{model: m, options: &o, inputs: inputs, given: o.Given, values: map[string]*value{}, uses: map[string]int{},
		budget: &budget{limit: o.MaxElements}}
	if err := e.checkInputs(); err != nil {
		return nil, err
	}
	if e.keeps() {
		e.kept = m.kept.snapshot()
	}
	if err := e.prepare(o.Outputs); err != nil {
		return nil, err
	}
	for i, s := range m.plan {
		if !e.needed[i] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := e.step(ctx, s); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, within(s.node.place(), err)
		}
	}
	return e.results(o)
}

// execution is one Run.
type execution struct {
	model   *Model
	options *RunOptions
	inputs  map[string]*tensor.Tensor
	given   map[string]*tensor.Tensor
	kept    map[string]*value // of the model; added to by this run
	values  map[string]*value
	uses    map[string]int // how many operands and results still need a value
	needed  []bool         // by place in the plan
	budget  *budget
}

func (e *execution) checkInputs() error {
	declared, names := map[string]bool{}, []string{}
	sizes := map[string]int{}
	for _, v := range e.model.inputs {
		declared[v.Name] = true
		names = append(names, v.Name)
		t := e.inputs[v.Name]
		if t == nil {
			return &InputError{Name: v.Name, Found: "the input is missing",
				Allowed: strings.TrimSpace(v.DType.String() + " " + v.shape())}
		}
		if n, err := tensor.ByteLen(t.DType, t.Shape); err != nil || n != len(t.Data) {
			return &InputError{Name: v.Name,
				Found: fmt.Sprintf("%d bytes do not fill shape %s", len(t.Data), tensor.FormatShape(t.Shape))}
		}
		if v.DType.IsFloat() && t.DType == tensor.Float64 && e.options.Wide {
			t = &tensor.Tensor{DType: v.DType, Shape: t.Shape}
		}
		if problem := v.misfit(t, sizes); problem != nil {
			return problem
		}
	}
	for _, name := range sorted(e.inputs) {
		if declared[name] {
			continue
		}
		if e.model.consts[name] != nil {
			return &InputError{Name: name, Found: "is an initialiser, a constant of the model",
				Allowed: "an input: " + list(names)}
		}
		return &InputError{Name: name, Found: "the model has no such input", Allowed: list(names)}
	}
	return nil
}

// shape writes the declared dimensions, "" when the model does not say.
func (v Value) shape() string {
	if v.Dims == nil {
		return ""
	}
	return formatDims(v.Dims)
}

// prepare marks the nodes that the outputs need, counts the uses of every value, and refuses operators that this engine
// does not have before anything is computed.
func (e *execution) prepare(outputs []string) error {
	e.needed = make([]bool, len(e.model.plan))
	var pending []int
	need := func(name string) {
		e.uses[name]++
		if i, ok := e.model.makers[name]; ok && !e.needed[i] && e.given[name] == nil && e.kept[name] == nil {
			e.needed[i] = true
			pending = append(pending, i)
		}
	}
	for _, name := range outputs {
		if _, ok := e.model.makers[name]; !ok && e.inputs[name] == nil && e.model.consts[name] == nil {
			return &InputError{Name: name, Found: "the model has no such value"}
		}
		need(name)
	}
	for len(pending) > 0 {
		s := e.model.plan[pending[len(pending)-1]]
		pending = pending[:len(pending)-1]
		for _, name := range s.inputs {
			if name != "" {
				need(name)
			}
		}
	}
	for i, s := range e.model.plan {
		if !e.needed[i] || e.operator(s.node) != nil {
			continue
		}
		domain := s.node.domain
		if domain == "" {
			domain = "ai.onnx"
		}
		return &Error{Place: s.node.place(),
			Found: fmt.Sprintf("operator %s of domain %s, opset version %d, is not supported by the native engine",
				quote(s.node.op), quote(domain), s.node.version)}
	}
	return nil
}

func (e *execution) operator(n *node) func(*call) ([]*value, error) {
	return operatorOf(e.model.known, n)
}

// operatorOf returns what executes a node, nil when nothing does.
func operatorOf(known *catalog, n *node) func(*call) ([]*value, error) {
	if d := known.native(functionID{domain: n.domain, name: n.op}); d != nil {
		return func(c *call) ([]*value, error) { return runNative(d, c) }
	}
	if op := known.standard[n.op]; op != nil && n.domain == "" {
		return op.run
	}
	return nil
}

// step executes one node, keeps the outputs that something needs and lets go of the inputs that nothing needs any more.
func (e *execution) step(ctx context.Context, s step) error {
	c := &call{ctx: ctx, node: s.node, in: make([]*value, len(s.inputs)), budget: e.budget,
		hollow: e.options.Hollow[s.node.outputs[0]]}
	for i, name := range s.inputs {
		if name == "" {
			continue
		}
		v, err := e.value(name)
		if err != nil {
			return err
		}
		c.in[i] = v
	}
	before := e.budget.alive
	results, err := e.operator(s.node)(c)
	if err != nil {
		return err
	}
	if len(results) < len(s.node.outputs) {
		return fmt.Errorf("gives %d outputs, want %d", len(results), len(s.node.outputs))
	}
	e.budget.alive = before // scratch memory is gone
	for i, name := range s.node.outputs {
		if e.options.Watch == nil {
			break
		}
		v := results[i]
		if err := e.options.Watch(name, v.dtype, v.shape, func() (*tensor.Tensor, error) { return v.tensor(true) }); err != nil {
			return err
		}
	}
	if e.kept != nil && e.constantInputs(s) {
		for i, name := range s.node.outputs {
			e.kept[name] = results[i]
			e.model.kept.add(name, results[i])
		}
	}
	if err := e.replace(s.node.outputs, results); err != nil {
		return err
	}
	for i, name := range s.node.outputs {
		if e.uses[name] > 0 && e.given[name] == nil {
			e.values[name] = results[i]
			e.budget.alive += int64(results[i].len())
		}
	}
	for _, name := range s.inputs {
		e.release(name)
	}
	return nil
}

// replace puts other values in the place of a node's results.
func (e *execution) replace(names []string, results []*value) error {
	if e.options.Replace == nil {
		return nil
	}
	for i, name := range names {
		t := e.options.Replace(name)
		if t == nil {
			continue
		}
		if !tensor.SameShape(t.Shape, results[i].shape) {
			return fmt.Errorf("output %s: the value in its place has shape %s, want %s", quote(name), tensor.FormatShape(t.Shape),
				tensor.FormatShape(results[i].shape))
		}
		v, err := fromTensor(t)
		if err != nil {
			return fmt.Errorf("output %s: %w", quote(name), err)
		}
		v.dtype = results[i].dtype
		results[i] = v
	}
	return nil
}

// value returns a value that some node made, or widens an input or initialiser when it is used first.
func (e *execution) value(name string) (*value, error) {
	if v := e.values[name]; v != nil {
		return v, nil
	}
	if v := e.kept[name]; v != nil {
		return v, nil
	}
	t := e.inputs[name]
	if t == nil {
		t = e.given[name]
	}
	if t == nil {
		c := e.model.consts[name]
		if c == nil {
			return nil, fmt.Errorf("value %s was not computed", quote(name))
		}
		var err error
		if t, err = c.read(e.budget); err != nil {
			return nil, fmt.Errorf("%s: %w", quote(name), err)
		}
	}
	v, err := fromTensor(t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", quote(name), err)
	}
	if in := slices.IndexFunc(e.model.inputs, func(in Value) bool { return in.Name == name }); in >= 0 && e.inputs[name] == t {
		v.dtype = e.model.inputs[in].DType // a wide one keeps its digits
	}
	if e.kept != nil && e.model.consts[name].isHeld() && e.inputs[name] == nil {
		e.kept[name] = v
		e.model.kept.add(name, v)
		return v, nil
	}
	e.values[name] = v
	return v, nil
}

func (e *execution) release(name string) {
	if name == "" {
		return
	}
	if e.uses[name]--; e.uses[name] > 0 {
		return
	}
	if v := e.values[name]; v != nil {
		_, made := e.model.makers[name]
		if made && e.given[name] == nil || e.model.consts[name].isExternal() {
			e.budget.alive -= int64(v.len())
		}
		delete(e.values, name)
	}
}

// results rounds the outputs and holds them against what the graph declares.
func (e *execution) results(o RunOptions) (map[string]*tensor.Tensor, error) {
	declared := map[string]tensor.DType{}
	for _, v := range e.model.outputs {
		declared[v.Name] = v.DType
	}
	out := map[string]*tensor.Tensor{}
	for _, name := range o.Outputs {
		v, err := e.value(name)
		if err != nil {
			return nil, within("output "+quote(name), err)
		}
		if d, ok := declared[name]; ok && d != v.dtype {
			return nil, &Error{Place: "output " + quote(name), Found: "the graph computes " + v.dtype.String(),
				Allowed: d.String() + ", as declared"}
		}
		if out[name], err = v.tensor(o.Wide); err != nil {
			return nil, within("output "+quote(name), err)
		}
	}
	return out, nil
}
