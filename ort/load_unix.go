//go:build cgo && !windows

package ort

import (
	"errors"
	"strings"
	"unsafe"
)

// #include <stdlib.h>
// #include "glue.h"
import "C"

// openLibrary loads a library; keep: until the process ends, else only to ask for its version.
func openLibrary(path string, keep bool) (loaded, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	flag := C.int(0)
	if keep {
		flag = 1
	}
	var base unsafe.Pointer
	var version *C.char
	if err := goError(C.aft_ort_load(name, flag, &base, &version)); err != nil {
		// The system's message may begin with the path, which ours names already.
		return loaded{}, errors.New(strings.TrimPrefix(err.Error(), path+": "))
	}
	defer C.aft_ort_free(unsafe.Pointer(version))
	return loaded{base, C.GoString(version)}, nil
}
