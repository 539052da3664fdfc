package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// functionID is what a node names when it calls a model-local function.
type functionID struct{ domain, name, overload string }

func (id functionID) String() string {
	text := id.name
	if id.domain != "" {
		text = id.domain + "." + text
	}
	if id.overload != "" {
		text += ":" + id.overload
	}
	return "function " + quote(text)
}

// function is a checked model-local function.
type function struct {
	id       functionID
	proto    *onnxpb.FunctionProto
	imports  map[string]int64
	params   map[string]bool // attribute parameters
	defaults map[string]*onnxpb.AttributeProto
	calls    []functionID // once for every calling node
	size     int64        // of its own nodes; after checkSize with those of its callees
	state    visit
	height   int // of the calls below it
}

type visit int

const (
	unvisited visit = iota
	inProgress
	done
)

// checkFunctions checks every function of the model, called or not, and that their calls end.
func checkFunctions(list []*onnxpb.FunctionProto, known *catalog) (map[functionID]*function, error) {
	if len(list) > maxFunctions {
		return nil, &Error{Place: "functions", Found: fmt.Sprintf("there are %d", len(list)),
			Allowed: fmt.Sprintf("at most %d", maxFunctions)}
	}
	functions, order := make(map[functionID]*function, len(list)), make([]*function, len(list))
	for i, p := range list {
		id := functionID{normalDomain(p.GetDomain()), p.GetName(), p.GetOverload()}
		if err := checkName("name", id.name); err != nil {
			return nil, within(fmt.Sprintf("functions[%d]", i), err)
		}
		if functions[id] != nil {
			return nil, &Error{Place: fmt.Sprintf("functions[%d]", i), Found: id.String() + " is defined twice",
				Allowed: "once"}
		}
		order[i] = &function{id: id, proto: p}
		functions[id] = order[i]
	}
	stages := []func(*function) error{
		(*function).signature,
		func(f *function) error { return f.body(functions, known) },
		func(f *function) error { return f.measure(functions, 0) },
	}
	for _, stage := range stages {
		for _, f := range order {
			if err := stage(f); err != nil {
				return nil, within(f.id.String(), err)
			}
		}
	}
	return functions, nil
}

// signature checks what callers see: the opsets, the inputs and the attribute parameters. Names alone are required
// parameters, whole attributes are defaults.
func (f *function) signature() error {
	var err error
	if f.imports, err = checkImports("opset_import", f.proto.GetOpsetImport()); err != nil {
		return err
	}
	f.params, f.defaults = map[string]bool{}, map[string]*onnxpb.AttributeProto{}
	for _, name := range f.proto.GetAttribute() {
		if err := f.parameter(name); err != nil {
			return err
		}
	}
	for _, a := range f.proto.GetAttributeProto() {
		if err := f.parameter(a.GetName()); err != nil {
			return err
		}
		if err := (&walker{}).attribute(a, newScope(nil)); err != nil {
			return within("attribute "+quote(a.GetName()), err)
		}
		f.defaults[a.GetName()] = a
	}
	return nil
}

func (f *function) parameter(name string) error {
	if err := checkName("attribute name", name); err != nil {
		return err
	}
	if f.params[name] {
		return &Error{Found: "attribute " + quote(name) + " is declared twice", Allowed: "once"}
	}
	f.params[name] = true
	return nil
}

func (f *function) body(functions map[functionID]*function, known *catalog) error {
	s := newScope(nil)
	for i, name := range f.proto.GetInput() {
		if err := s.define(name); err != nil {
			return within(fmt.Sprintf("input[%d]", i), err)
		}
	}
	w := &walker{imports: f.imports, functions: functions, known: known, params: f.params}
	if err := w.nodes(f.proto.GetNode(), s); err != nil {
		return err
	}
	f.calls, f.size = w.calls, w.size
	if len(f.proto.GetOutput()) == 0 {
		return &Error{Place: "output", Found: "is empty", Allowed: "at least one output"}
	}
	seen := map[string]bool{}
	for i, name := range f.proto.GetOutput() {
		at := fmt.Sprintf("output[%d]", i)
		if !s.names[name] {
			return &Error{Place: at, Found: "nothing produces " + quote(name)}
		}
		if seen[name] {
			return &Error{Place: at, Found: "output " + quote(name) + " is listed twice", Allowed: "once"}
		}
		seen[name] = true
	}
	return nil
}

// measure adds the callees' sizes and finds cycles and calls that nest too deep. Every function is measured once.
func (f *function) measure(functions map[functionID]*function, depth int) error {
	switch {
	case f.state == done:
		return nil
	case f.state == inProgress:
		return &Error{Found: "calls itself, directly or through other functions"}
	case depth > maxCallDepth:
		return &Error{Found: "calls nest too deep", Allowed: fmt.Sprintf("at most %d levels", maxCallDepth)}
	}
	f.state = inProgress
	for _, id := range f.calls {
		callee := functions[id]
		if err := callee.measure(functions, depth+1); err != nil {
			return err
		}
		f.height = max(f.height, callee.height+1)
		f.size = min(f.size+callee.size, maxExpanded+1)
	}
	f.state = done
	if f.height > maxCallDepth {
		return &Error{Found: "calls nest too deep", Allowed: fmt.Sprintf("at most %d levels", maxCallDepth)}
	}
	return nil
}

// checkSize bounds what inlining the calls of a graph makes.
func checkSize(w *walker, functions map[functionID]*function) error {
	size := w.size
	for _, id := range w.calls {
		size = min(size+functions[id].size, maxExpanded+1)
	}
	if size > maxExpanded {
		return &Error{Found: fmt.Sprintf("the nodes and their operands, functions inlined, are more than %d",
			maxExpanded)}
	}
	return nil
}

// checkCall holds a node against the signature of the function that it calls.
func (f *function) checkCall(n *onnxpb.NodeProto) error {
	if in, out := len(n.GetInput()), len(n.GetOutput()); in > len(f.proto.GetInput()) || out > len(f.proto.GetOutput()) {
		return &Error{Found: fmt.Sprintf("has %d inputs and %d outputs", in, out),
			Allowed: fmt.Sprintf("at most %d and %d, as %s declares", len(f.proto.GetInput()),
				len(f.proto.GetOutput()), f.id)}
	}
	given := map[string]bool{}
	for _, a := range n.GetAttribute() {
		if !f.params[a.GetName()] {
			return &Error{Found: "attribute " + quote(a.GetName()) + " is not declared by " + f.id.String()}
		}
		given[a.GetName()] = true
	}
	for _, name := range f.proto.GetAttribute() {
		if !given[name] {
			return &Error{Found: "attribute " + quote(name) + " is missing",
				Allowed: "it, as " + f.id.String() + " has no default for it"}
		}
	}
	return nil
}
