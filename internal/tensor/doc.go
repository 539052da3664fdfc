// Package tensor holds the two in-memory arrays every other package exchanges:
//
//   - Tensor: typed, row-major, little-endian bytes, as files and ONNX Runtime hold them;
//   - Array: float64, what the reference computes on.
//
// It owns element types, shapes and conversions between them, and nothing else: no files, no operators.
// Every product of dimensions in this repository is formed by NumElements or ByteLen, which report overflow.
package tensor
