//go:build cgo && asan && linux

package ort

// ONNX Runtime throws C++ exceptions inside itself. The address sanitizer wraps the function that throws when the program
// starts, so the C++ library must be there by then and not only when ONNX Runtime is loaded.

// #cgo LDFLAGS: -Wl,--no-as-needed -lstdc++
import "C"
