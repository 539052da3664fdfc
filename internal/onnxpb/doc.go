// Package onnxpb is the wire form of ONNX: generated messages, a decoder that is bounded by what the file holds, a
// deterministic encoder, a writer that holds a piece of a weight at a time, external data, and the two-way conversion
// between TensorProto and tensor.Tensor.
//
// It knows the format and nothing of operators. zonnx.pb.go is generated from onnx.proto, which this project wrote from
// the field numbers of the ONNX specification; a test reads files of other producers with it.
package onnxpb

//go:generate go run ./gen
