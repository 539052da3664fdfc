package onnxgraph

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// The limits of a model's structure. IR 3 is ONNX 1.0's; opset 7 is the first whose operators broadcast as today's do.
const (
	minIR, maxIR       = 3, 13
	minOpset, maxOpset = 7, 25
	maxName            = 64 << 10
	maxArity           = 4096
	maxSubgraphs       = 8
	maxFunctions       = 10000
	maxCallDepth       = 100
	maxExpanded        = 1 << 20 // nodes and operands after inlining
)

// checked is what a checked model yields.
type checked struct {
	graph     *onnxpb.GraphProto
	imports   map[string]int64
	functions map[functionID]*function
	known     *catalog
	inputs    []Value
	outputs   []Value
	consts    map[string]*constant
}

// checkModel holds a model against the ONNX IR specification as far as execution relies on it. Initialisers may
// have their data in folder.
func checkModel(m *onnxpb.ModelProto, folder *onnxpb.Folder) (*checked, error) {
	if v := m.GetIrVersion(); v < minIR || v > maxIR {
		return nil, &Error{Place: "ir_version", Found: fmt.Sprintf("is %d", v),
			Allowed: fmt.Sprintf("%d..%d", minIR, maxIR)}
	}
	if m.GetGraph() == nil {
		return nil, &Error{Found: "the model holds no graph"}
	}
	if key, twice := onnxpb.RepeatedMetadata(m); twice { // readers would take the first, or the last
		return nil, &Error{Place: "metadata_props", Found: "key " + quote(key) + " is there twice", Allowed: "once"}
	}
	imports, err := checkImports("opset_import", m.GetOpsetImport())
	if err != nil {
		return nil, err
	}
	c := &checked{graph: m.Graph, imports: imports, known: newCatalog(), consts: map[string]*constant{}}
	if c.functions, err = checkFunctions(m.GetFunctions(), c.known); err != nil {
		return nil, err
	}
	if err := c.checkGraph(folder); err != nil {
		return nil, err
	}
	return c, nil
}

// checkImports returns the versions by domain; the standard domain's two names are one.
func checkImports(place string, list []*onnxpb.OperatorSetIdProto) (map[string]int64, error) {
	if len(list) == 0 {
		return nil, &Error{Place: place, Found: "is empty", Allowed: "the operator sets that the nodes come from"}
	}
	imports := make(map[string]int64, len(list))
	for i, o := range list {
		domain, at := normalDomain(o.GetDomain()), fmt.Sprintf("%s[%d]", place, i)
		if domain != "" {
			if err := checkName("domain", domain); err != nil {
				return nil, within(at, err)
			}
		}
		if _, ok := imports[domain]; ok {
			return nil, &Error{Place: at, Found: "domain " + quote(o.GetDomain()) + " is imported twice", Allowed: "once"}
		}
		low, high := int64(1), int64(math.MaxInt32)
		switch domain {
		case "":
			low, high = minOpset, maxOpset
		case ops.Domain:
			low, high = ops.Version, ops.Version
		}
		if v := o.GetVersion(); v < low || v > high {
			return nil, &Error{Place: at, Found: fmt.Sprintf("version of domain %s is %d", quote(o.GetDomain()), v),
				Allowed: fmt.Sprintf("%d..%d", low, high)}
		}
		imports[domain] = o.GetVersion()
	}
	return imports, nil
}

func normalDomain(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

// checkGraph checks the main graph and collects its inputs, outputs and initialisers.
func (c *checked) checkGraph(folder *onnxpb.Folder) error {
	s := newScope(nil)
	if err := c.initializers(s, folder); err != nil {
		return err
	}
	if err := c.graphInputs(s); err != nil {
		return err
	}
	w := &walker{imports: c.imports, functions: c.functions, known: c.known}
	if err := w.nodes(c.graph.GetNode(), s); err != nil {
		return err
	}
	if err := checkSize(w, c.functions); err != nil {
		return within("graph", err)
	}
	return c.graphOutputs(s)
}

func (c *checked) initializers(s *scope, dir *onnxpb.Folder) error {
	if len(c.graph.GetSparseInitializer()) > 0 {
		return &Error{Place: "graph.sparse_initializer", Found: "sparse tensors are not supported",
			Allowed: "dense initialisers"}
	}
	for i, t := range c.graph.GetInitializer() {
		at := fmt.Sprintf("graph.initializer[%d]", i)
		if err := s.define(t.GetName()); err != nil {
			return within(at, err)
		}
		v, err := newConstant(t, dir)
		if err != nil {
			return within(at, fromProtobuf(err))
		}
		c.consts[t.GetName()] = v
	}
	return nil
}

func (c *checked) graphInputs(s *scope) error {
	seen := map[string]bool{}
	for i, info := range c.graph.GetInput() {
		at := fmt.Sprintf("graph.input[%d]", i)
		v, err := checkValue(info)
		if err != nil {
			return within(at, err)
		}
		if seen[v.Name] {
			return &Error{Place: at, Found: "name " + quote(v.Name) + " is defined twice", Allowed: "once"}
		}
		seen[v.Name] = true
		if t, ok := c.consts[v.Name]; ok { // IR 3 wanted every initialiser to be an input
			if problem := v.misfit(t.described(), map[string]int{}); problem != nil {
				return &Error{Place: "initializer " + quote(v.Name), Found: problem.Found,
					Allowed: problem.Allowed + ", as the graph input of that name says"}
			}
			continue
		}
		s.names[v.Name] = true // a name, as checkValue saw, that neither an initialiser nor another input has
		c.inputs = append(c.inputs, v)
	}
	return nil
}

func (c *checked) graphOutputs(s *scope) error {
	if len(c.graph.GetOutput()) == 0 {
		return &Error{Place: "graph.output", Found: "is empty", Allowed: "at least one output"}
	}
	seen := map[string]bool{}
	for i, info := range c.graph.GetOutput() {
		at := fmt.Sprintf("graph.output[%d]", i)
		v, err := checkValue(info)
		if err != nil {
			return within(at, err)
		}
		if seen[v.Name] {
			return &Error{Place: at, Found: "output " + quote(v.Name) + " is listed twice", Allowed: "once"}
		}
		seen[v.Name] = true
		if !s.names[v.Name] {
			return &Error{Place: at, Found: "nothing produces " + quote(v.Name)}
		}
		c.outputs = append(c.outputs, v)
	}
	return nil
}

// checkValue reads the declaration of a graph input or output.
func checkValue(info *onnxpb.ValueInfoProto) (Value, error) {
	v := Value{Name: info.GetName()}
	if err := checkName("name", v.Name); err != nil {
		return v, err
	}
	at := quote(v.Name)
	t := info.GetType().GetTensorType()
	if t == nil {
		return v, &Error{Place: at, Found: "is no tensor", Allowed: "a tensor type"}
	}
	d, ok := onnxpb.DType(t.GetElemType())
	if !ok {
		return v, &Error{Place: at, Found: "the element type is " + onnxpb.DataTypeName(t.GetElemType()),
			Allowed: "a floating-point type, an integer type or bool"}
	}
	v.DType = d
	if t.GetShape() == nil {
		return v, nil
	}
	v.Dims = []Dim{}
	for i, p := range t.GetShape().GetDim() {
		dim := Dim{Size: -1, Name: p.GetDimParam()}
		if fixed, ok := p.GetValue().(*onnxpb.TensorShapeProto_Dimension_DimValue); ok {
			if fixed.DimValue < 0 || fixed.DimValue > math.MaxInt {
				return v, &Error{Place: at, Found: fmt.Sprintf("dimension %d is %d", i, fixed.DimValue), Allowed: ">= 0"}
			}
			dim.Size = int(fixed.DimValue)
		}
		v.Dims = append(v.Dims, dim)
	}
	return v, nil
}

// misfit says how t differs from the declaration, nil when it does not. sizes binds the names of dynamic dimensions.
func (v Value) misfit(t *tensor.Tensor, sizes map[string]int) *InputError {
	if t.DType != v.DType {
		return &InputError{Name: v.Name, Found: "is " + t.DType.String(), Allowed: v.DType.String()}
	}
	if v.Dims == nil {
		return nil
	}
	shape := "has shape " + tensor.FormatShape(t.Shape)
	if len(t.Shape) != len(v.Dims) {
		return &InputError{Name: v.Name, Found: shape,
			Allowed: fmt.Sprintf("rank %d, %s", len(v.Dims), formatDims(v.Dims))}
	}
	for i, d := range v.Dims {
		if d.Size >= 0 && d.Size != t.Shape[i] {
			return &InputError{Name: v.Name, Found: shape, Allowed: formatDims(v.Dims)}
		}
		if d.Size >= 0 || d.Name == "" {
			continue
		}
		if known, ok := sizes[d.Name]; ok && known != t.Shape[i] {
			return &InputError{Name: v.Name, Found: shape,
				Allowed: fmt.Sprintf("%s with %s = %d, as another input has it", formatDims(v.Dims),
					printable(d.Name), known)}
		}
		sizes[d.Name] = t.Shape[i]
	}
	return nil
}

// formatDims writes declared dimensions as "(batch,?,64)".
func formatDims(dims []Dim) string {
	parts := make([]string, len(dims))
	for i, d := range dims {
		switch {
		case d.Size >= 0:
			parts[i] = strconv.Itoa(d.Size)
		case d.Name != "":
			parts[i] = printable(d.Name)
		default:
			parts[i] = "?"
		}
	}
	return "(" + strings.Join(parts, ",") + ")"
}

// checkName refuses names that are empty, longer than 64 KiB, or hold what does not print: such a name could hide in a
// terminal or a log what it is.
func checkName(what, name string) error {
	switch {
	case name == "":
		return &Error{Found: fmt.Sprintf("the %s is empty", what)}
	case len(name) > maxName:
		return &Error{Found: fmt.Sprintf("the %s has %d bytes", what, len(name)),
			Allowed: fmt.Sprintf("at most %d", maxName)}
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return &Error{Found: fmt.Sprintf("the %s %s contains %U", what, quote(name), r),
				Allowed: "printable characters"}
		}
	}
	return nil
}

// quote shows a name from a file in an error: quoted, and cut where it is longer than a line.
func quote(name string) string {
	if len(name) > 120 {
		return strconv.Quote(name[:120]) + "..."
	}
	return strconv.Quote(name)
}

// printable leaves a plain name as it is and quotes any other.
func printable(name string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if name == "" || len(name) > 120 || strings.ContainsFunc(name, odd) {
		return quote(name)
	}
	return name
}

// sorted returns the keys of m in order.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
