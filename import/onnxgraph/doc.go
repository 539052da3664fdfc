// Package onnxgraph reads any ONNX model into a graph that Go executes: the native engine.
//
// The work is divided. internal/onnxpb reads the bytes. This package checks the model (names, single assignment,
// attributes, functions, budgets), inlines its functions and keeps the operators, attributes and tensors. onnx-go gets
// the bare topology, with unique names and no data, and decodes it into the Backend of this package: a gonum graph whose
// edges lead from an output to its inputs and carry the input's position. That graph decides the order of execution and
// the operands of every node; one operator family a file says what the nodes compute.
//
// Numbers: floating-point values of every type are computed in float64 and rounded only where they leave the graph, and
// not even there when RunOptions.Wide is set. A Cast between floating-point types changes a value's type and not its
// digits. The engine thus gives the mathematics of the graph, to which the rounding of other engines is compared; what a
// model does on purpose with rounding or overflow of float16 or float32 it does not show. Integers are exact and wrap as
// their type does; bool is 0 or 1.
//
// Nodes of the domain ai.aft run through package reference, whether or not the model has function bodies for them;
// Options.Inline runs the bodies instead. Sub-graphs (If, Loop, Scan), sparse tensors, strings, and external data
// of anything but initialisers are refused by name. An initialiser that is also a graph input is a constant: it cannot be overridden.
package onnxgraph
