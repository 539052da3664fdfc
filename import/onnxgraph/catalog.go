package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops"
)

// catalog is what this engine executes: standard operators by name, and the operators of ai.aft.
type catalog struct {
	standard map[string]*operator
	natives  map[string]*ops.Def
}

// operator is one standard operator: what a node may hold, over all opsets that are accepted, and what it computes.
type operator struct {
	name  string
	since int64 // the opset that introduced it, 0 when that is below every accepted one
	in    span
	out   span // left zero: exactly one
	attrs kinds
	newer newer
	run   func(*call) ([]*value, error)
}

// newer is the opset that brought what an operator had not from the start.
type newer struct {
	attrs  map[string]int64
	inputs map[int]int64 // by place
}

// span is how many operands there may be; inputs beyond min are optional.
type span struct{ min, max int }

// many as span.max means any number.
const many = maxArity

// kinds are attributes by name.
type kinds map[string]onnxpb.AttributeProto_AttributeType

func newCatalog() *catalog {
	c := &catalog{standard: map[string]*operator{}, natives: map[string]*ops.Def{}}
	for _, family := range families() {
		for _, op := range family {
			if op.out == (span{}) {
				op.out = span{1, 1}
			}
			c.standard[op.name] = &op
		}
	}
	for _, d := range ops.All() {
		c.natives[d.Name] = d
	}
	return c
}

func families() [][]operator {
	return [][]operator{
		binaryOperators(), unaryOperators(), logicOperators(), reduceOperators(), softmaxOperators(), normOperators(),
		matrixOperators(), convOperators(), poolOperators(), scatterOperators(), shapeOperators(), layoutOperators(), indexOperators(), constantOperators(), castOperators(),
	}
}

// native returns the ai.aft operator that id names, nil when it names none.
func (c *catalog) native(id functionID) *ops.Def {
	if c == nil || id.domain != ops.Domain || id.overload != "" {
		return nil
	}
	return c.natives[id.name]
}

// recheck checks a node after inlining, when operands may have turned out to be left out by the call, and references to
// parameters have their values.
func (c *catalog) recheck(n *node) error {
	if d := c.native(functionID{domain: n.domain, name: n.op}); d != nil {
		if err := checkInputs(n.inputs, span{len(d.Inputs), len(d.Inputs)}); err != nil {
			return err
		}
		_, err := nativeAttrs(d, n.attrs)
		return err
	}
	if op := c.standard[n.op]; op != nil && n.domain == "" {
		if err := checkInputs(n.inputs, op.in); err != nil {
			return err
		}
		for _, name := range sorted(n.attrs) {
			if err := op.checkAttr(name, n.attrs[name].GetType()); err != nil {
				return err
			}
		}
	}
	return nil
}

// check holds a node against the operator.
func (op *operator) check(n *onnxpb.NodeProto, version int64) error {
	if version < op.since {
		return &Error{Found: fmt.Sprintf("%s at opset %d", op.name, version),
			Allowed: fmt.Sprintf("opset %d, which introduced it", op.since)}
	}
	if err := checkInputs(n.GetInput(), op.in); err != nil {
		return err
	}
	if len(n.GetOutput()) > op.out.max { // any may be left out
		return &Error{Found: fmt.Sprintf("has %d outputs", len(n.GetOutput())),
			Allowed: fmt.Sprintf("at most %d", op.out.max)}
	}
	for _, a := range n.GetAttribute() {
		if err := op.checkAttr(a.GetName(), a.GetType()); err != nil {
			return err
		}
		if since := op.newer.attrs[a.GetName()]; version < since {
			return &Error{Found: fmt.Sprintf("attribute %s at opset %d", quote(a.GetName()), version),
				Allowed: fmt.Sprintf("opset %d, which introduced it", since)}
		}
	}
	for i := range n.GetInput() {
		if since := op.newer.inputs[i]; version < since && n.GetInput()[i] != "" {
			return &Error{Found: fmt.Sprintf("has input %d at opset %d", i, version),
				Allowed: fmt.Sprintf("opset %d, which introduced it", since)}
		}
	}
	return nil
}

func checkInputs(names []string, s span) error {
	allowed := fmt.Sprintf("%d..%d", s.min, s.max)
	if s.max == many {
		allowed = fmt.Sprintf("at least %d", s.min)
	}
	if len(names) < s.min || len(names) > s.max {
		return &Error{Found: fmt.Sprintf("has %d inputs", len(names)), Allowed: allowed}
	}
	for i, name := range names[:s.min] {
		if name == "" {
			return &Error{Found: fmt.Sprintf("leaves out input %d", i), Allowed: allowed}
		}
	}
	return nil
}

func (op *operator) checkAttr(name string, kind onnxpb.AttributeProto_AttributeType) error {
	want, ok := op.attrs[name]
	if !ok {
		return &Error{Found: "attribute " + quote(name) + " is not known", Allowed: "one of " + list(sorted(op.attrs))}
	}
	if kind != want {
		return &Error{Found: fmt.Sprintf("attribute %s is of type %s", quote(name), kind), Allowed: want.String()}
	}
	return nil
}
