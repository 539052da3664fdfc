// Package modelfile stages an ONNX model beside its final name, with its weights in the model, in a file of their own, or
// in the file that they were read from. It knows which of them when, and how the files come and go together; what the bytes
// are is the business of onnxpb, and how a file is published that of atomicfile.
package modelfile
