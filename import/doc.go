// Package importer reads a file of any known kind into a reference model: PyTorch and safetensors checkpoints of AFT layers
// (import/checkpoint reads the bytes, import/dialect knows the names), and ONNX files that this project exported.
//
// The kind is decided by content. What a checkpoint's names do not say comes from Options, else from a config.json beside
// the file, else from the config our own checkpoints carry; what is still missing is a *FlagError.
//
// The package must not know how models are exported or run.
package importer
