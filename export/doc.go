// Package export turns a reference model, or one call of an operator, into an ONNX model.
//
// AFT layers become nodes of the domain ai.aft, each operator with a model-local function of standard operators: a
// runtime that has our kernels uses them, any other inlines the function. With Options.Flatten the bodies take the
// nodes' place and nothing of the domain is left.
//
// The same model and options give the same bytes, whatever the machine and the day. The package returns messages: it
// knows no files, no checkpoints and no engine.
package export
