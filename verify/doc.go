// Package verify runs independent implementations side by side on the same inputs, compares them element by element with
// a truth, and reports what it found: how far off, where, against which tolerance and what that was derived from.
//
// The engines are reference (Go, float64, the paper's loops: the truth), kernel (ONNX Runtime with this project's
// operators), portable (ONNX Runtime without them: the function bodies) and native (the Go graph of import/onnxgraph in
// float64). A counter in the kernels proves which of the two ONNX Runtime engines ran. It counts for the whole process:
// calls of Model and Operators must not overlap with one another, nor with anything else that runs kernels.
//
// A network is judged block by block: each against the reference on what the engine itself put into it, and the model as it is
// within the noise of the whole. Models of any size are cut between blocks, so that the weights of some blocks are loaded at a
// time.
//
// It knows nothing of files beyond what importer and onnxgraph read, writes nothing and prints nothing: a Report is data.
package verify
