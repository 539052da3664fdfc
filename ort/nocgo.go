//go:build !cgo

package ort

import "github.com/aftonnx/aftonnx/ops/kernel"

// prober returns nil: without cgo no library can be loaded, so none can be asked for its version.
func prober() func(path string) (string, error) { return nil }

// newEngine cannot be reached: Open reports a build without cgo first.
func newEngine(string) (engine, string, error) { return nil, "", kernel.Available() }

// Trim does nothing in this build.
func Trim() {}
