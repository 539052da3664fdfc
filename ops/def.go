package ops

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Domain and Version are the operator set's identity in an ONNX opset import. The version stays 1: operators are added,
// and a changed operator gets a new name.
const (
	Domain  = "ai.aft"
	Version = 1
)

// The values of the attribute "gate": what is done to Q before it multiplies the ratio of sums.
const (
	GateSigmoid  = 0 // Y = sigmoid(Q) * ratio, the paper's default
	GateTanh     = 1 // Y = tanh(Q) * ratio
	GateIdentity = 2 // Y = Q * ratio
	GateAbsent   = 3 // Y = ratio; Q gives only the shape
)

// Def is the declaration of one operator.
type Def struct {
	Name    string // ONNX op_type and Go name: "AFTFull"
	Stem    string // files and C symbols: "aft_full"
	Summary string // one line
	Doc     string // the formula and its rules, as plain text
	Inputs  []Port
	Outputs []Port // Y first, of the shape of Q
	Attrs   []Attr
	// Whole is the operator over whole sequences that this one is the step form of, "" for those themselves. A step form has
	// no attribute "causal", it always is; its outputs after Y are the inputs of the same names, "present_" taken off, renewed.
	Whole string

	check func(c *call) error     // relations between shapes that the dims of Inputs cannot say
	body  func(b *builder) string // appends the decomposition's nodes, returns the name of the ratio of sums
}

// Port is an input or output.
type Port struct {
	Name string
	Type PortType
	Dims []string // one letter or expression a dimension; a letter means the same size wherever it stands
	Doc  string
}

// PortType is what element types a port takes.
type PortType string

// T1 is one of float, float16 and double, the same for all T1 ports of a node; T2 follows from it, double for double and
// float for the others: sums that last; Int64 is int64 alone.
const (
	T1    PortType = "T1"
	T2    PortType = "T2"
	Int64 PortType = "int64"
)

// DType is the element type of a port of that type where T1 is t1.
func (t PortType) DType(t1 tensor.DType) tensor.DType {
	switch {
	case t == Int64:
		return tensor.Int64
	case t == T2 && t1 == tensor.Float16:
		return tensor.Float32
	}
	return t1
}

// Attr is an attribute. Every attribute is written on every node: an ONNX IR 8 function cannot default one.
type Attr struct {
	Name    string
	Len     int   // 0: an INT; n: INTS of exactly n values
	Default int64 // what a command line may assume when nothing else follows from the shapes
	Doc     string
}

// Attrs are the attributes of one node by name; an INT has one value.
type Attrs map[string][]int64

// Int returns the value of an INT attribute, 0 when it is absent.
func (a Attrs) Int(name string) int64 {
	if v := a[name]; len(v) > 0 {
		return v[0]
	}
	return 0
}

// Equal reports whether a and b hold the same values.
func (a Attrs) Equal(b Attrs) bool {
	if len(a) != len(b) {
		return false
	}
	for name, v := range a {
		if w, ok := b[name]; !ok || !slices.Equal(v, w) {
			return false
		}
	}
	return true
}

// Input is what Check knows of one input: its type and shape, and the values of an int64 one where they are known.
type Input struct {
	DType  tensor.DType
	Shape  []int
	Values []int64
}

// All returns the operators: those over whole sequences, then their step forms.
func All() []*Def { return slices.Concat(Sequences(), Steps()) }

// Sequences returns the operators over whole sequences, in the order of the paper.
func Sequences() []*Def {
	return []*Def{aftFull(), aftSimple(), aftLocal(), aftConv1D(), aftConv2D()}
}

// Steps returns the step forms: causal operators that take a sequence in chunks and hand a state on.
func Steps() []*Def {
	return []*Def{aftFullStep(), aftSimpleStep(), aftLocalStep(), aftConv1DStep()}
}

// Lookup returns the operator of that name.
func Lookup(name string) (*Def, bool) {
	for _, d := range All() {
		if d.Name == name {
			return d, true
		}
	}
	return nil, false
}

// Types are the element types T1 stands for.
func Types() []tensor.DType {
	return []tensor.DType{tensor.Float32, tensor.Float16, tensor.Float64}
}

// Check holds a node's attributes and inputs against the declaration and returns the shapes of the outputs. An error names
// the operator, the attribute or input, what was found and what is allowed.
func (d *Def) Check(attrs Attrs, inputs []Input) ([][]int, error) {
	c := &call{def: d, attrs: attrs, inputs: inputs, dims: map[string]int{}}
	if err := c.checkAttrs(); err != nil {
		return nil, err
	}
	if err := c.checkInputs(); err != nil {
		return nil, err
	}
	if d.check != nil {
		if err := d.check(c); err != nil {
			return nil, err
		}
	}
	shapes := [][]int{slices.Clone(inputs[0].Shape)}
	for i := range d.Outputs[1:] {
		shapes = append(shapes, slices.Clone(inputs[d.Past(1+i)].Shape))
	}
	return shapes, nil
}

// present marks the outputs that renew an input.
const present = "present_"

// Past is the input that output i of a step form renews, whose type and shape it has. Output 0, Y, has those of input 0.
func (d *Def) Past(i int) int {
	if i == 0 {
		return 0
	}
	name := strings.TrimPrefix(d.Outputs[i].Name, present)
	return slices.IndexFunc(d.Inputs, func(p Port) bool { return p.Name == name })
}

// call is one node under Check.
type call struct {
	def    *Def
	attrs  Attrs
	inputs []Input
	dims   map[string]int // sizes of the letters bound so far
}

func (c *call) errorf(format string, args ...any) error {
	return fmt.Errorf(Domain+"."+c.def.Name+": "+format, args...)
}

func (c *call) checkAttrs() error {
	for name := range c.attrs {
		if !slices.ContainsFunc(c.def.Attrs, func(a Attr) bool { return a.Name == name }) {
			return c.errorf("attribute %q: unknown", name)
		}
	}
	for _, a := range c.def.Attrs {
		v, ok := c.attrs[a.Name]
		if !ok {
			return c.errorf("attribute %q: missing", a.Name)
		}
		if want := max(a.Len, 1); len(v) != want {
			return c.errorf("attribute %q: has %d values, want %d", a.Name, len(v), want)
		}
	}
	if v := c.attrs.Int("causal"); v != 0 && v != 1 {
		return c.errorf("attribute %q: is %d, want 0 or 1", "causal", v)
	}
	if v := c.attrs.Int("gate"); v < GateSigmoid || v > GateAbsent {
		return c.errorf("attribute %q: is %d, want 0 (sigmoid), 1 (tanh), 2 (identity) or 3 (absent)", "gate", v)
	}
	return nil
}

func (c *call) checkInputs() error {
	if len(c.inputs) != len(c.def.Inputs) {
		return c.errorf("has %d inputs, want %d", len(c.inputs), len(c.def.Inputs))
	}
	for i, p := range c.def.Inputs {
		in := c.inputs[i]
		if err := c.checkType(p, in); err != nil {
			return err
		}
		if len(in.Shape) != len(p.Dims) {
			return c.errorf("input %q: has shape %s, want rank %d", p.Name, tensor.FormatShape(in.Shape), len(p.Dims))
		}
		for axis, letter := range p.Dims {
			if err := c.bind(p, in, axis, letter); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *call) checkType(p Port, in Input) error {
	if p.Type != T1 {
		if want := p.Type.DType(c.inputs[0].DType); in.DType != want {
			return c.errorf("input %q: is %s, want %s", p.Name, in.DType, want)
		}
		return nil
	}
	if !slices.Contains(Types(), in.DType) {
		return c.errorf("input %q: is %s, want float32, float16 or float64", p.Name, in.DType)
	}
	if first := c.inputs[0].DType; in.DType != first {
		return c.errorf("input %q: is %s, but Q is %s", p.Name, in.DType, first)
	}
	return nil
}

// bind gives a single letter its size, or holds the size against the one it has. Expressions (">=T", "2s-1", "2") are
// the business of the operator's own check.
func (c *call) bind(p Port, in Input, axis int, letter string) error {
	size := in.Shape[axis]
	if size < 0 {
		return c.errorf("input %q: has shape %s, want dimensions >= 0", p.Name, tensor.FormatShape(in.Shape))
	}
	if len(letter) != 1 || letter[0] < 'A' || letter[0] > 'Z' {
		return nil
	}
	if known, ok := c.dims[letter]; ok && known != size {
		return c.errorf("input %q: has shape %s, want %s = %d at axis %d", p.Name, tensor.FormatShape(in.Shape), letter, known, axis)
	}
	c.dims[letter] = size
	return nil
}

// atLeast requires dimension axis of input i to be at least n.
func (c *call) atLeast(i, axis, n int, what string) error {
	if in := c.inputs[i]; in.Shape[axis] < n {
		return c.errorf("input %q: has shape %s, want at least %s = %d at axis %d",
			c.def.Inputs[i].Name, tensor.FormatShape(in.Shape), what, n, axis)
	}
	return nil
}

// exactly requires dimension axis of input i to be n.
func (c *call) exactly(i, axis, n int, what string) error {
	if in := c.inputs[i]; in.Shape[axis] != n {
		return c.errorf("input %q: has shape %s, want %s = %d at axis %d",
			c.def.Inputs[i].Name, tensor.FormatShape(in.Shape), what, n, axis)
	}
	return nil
}

// within requires an attribute's value i to lie in lo..hi.
func (c *call) within(name string, i int, lo, hi int64, what string) error {
	if v := c.attrs[name][i]; v < lo || v > hi {
		return c.errorf("attribute %q: is %d, want %d..%d (%s)", name, v, lo, hi, what)
	}
	return nil
}
