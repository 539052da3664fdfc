// Package ops declares the operator set of the ONNX domain "ai.aft", each operator once.
//
// A Def yields everything that depends on an operator's shape: the checks of types, shapes and attributes (Check), the
// decomposition into standard ONNX operators (Function), the reference page (Markdown), and the list that the
// completeness test holds against the reference, the kernels and the conformance cases. One file holds one operator;
// its stem (aft_full) is the stem of its reference, its kernel and its tests.
//
// Letters, here and everywhere: B batch, T query positions, S source positions, D channels, H heads.
//
// The package does no I/O, contains no cgo and knows no engine.
package ops

//go:generate go run ./gen
