//go:build cgo && aftonnx_planted_fault

package ort

// The test that a wrong kernel is found builds with this tag.

// #cgo CFLAGS: -DAFT_PLANTED_FAULT
import "C"
