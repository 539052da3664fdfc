// Package infer opens a model file, a checkpoint or ONNX, to run it many times on any engine.
//
// It owns how a file becomes a session: a checkpoint is exported in memory, and every engine runs the same exported model.
// What the inputs mean is the business of package task; whether engines agree is that of package verify.
package infer
