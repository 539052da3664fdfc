// Package safetensors writes safetensors files, one piece of a tensor at a time.
//
// It owns the bytes of the format and nothing else: what a tensor is for is the caller's. Reading such files is the
// business of import/checkpoint, whose files come from strangers.
//
// Format: 8 bytes, little-endian, the length of a JSON header; the header; the tensors' bytes, row-major and little-endian,
// one after another (huggingface/safetensors, README.md).
package safetensors
