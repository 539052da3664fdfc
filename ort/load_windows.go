//go:build cgo && windows

package ort

import (
	"errors"
	"syscall"
	"unsafe"
)

// #include "glue.h"
import "C"

// openLibrary loads a library; keep: until the process ends, else only to ask for its version.
func openLibrary(path string, keep bool) (loaded, error) {
	handle, err := syscall.LoadLibrary(path)
	if err != nil {
		return loaded{}, err
	}
	if !keep {
		defer syscall.FreeLibrary(handle)
	}
	symbol, err := syscall.GetProcAddress(handle, "OrtGetApiBase")
	if err != nil {
		return loaded{}, errors.New("has no function OrtGetApiBase: it is no ONNX Runtime")
	}
	base := C.aft_ort_call_base(C.uintptr_t(symbol))
	if base == nil {
		return loaded{}, errors.New("OrtGetApiBase gives nothing: it is no ONNX Runtime")
	}
	version := C.aft_ort_version(base)
	defer C.aft_ort_free(unsafe.Pointer(version))
	return loaded{base, C.GoString(version)}, nil
}
