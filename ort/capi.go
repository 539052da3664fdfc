//go:build cgo

package ort

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// #cgo CFLAGS: -std=c11 -O2 -Wall -Wextra -Wno-unused-parameter -I${SRCDIR}/../ops/kernel
// #cgo linux LDFLAGS: -ldl
// #include <stdlib.h>
// #include "glue.h"
import "C"

// goError takes a message over from C; NULL is no error.
func goError(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.aft_ort_free(unsafe.Pointer(message))
	return errors.New(C.GoString(message))
}

// loaded is a library in this process.
type loaded struct {
	base    unsafe.Pointer // its OrtApiBase
	version string
}

// loadLibrary loads a library for good.
func loadLibrary(path string) (loaded, error) { return openLibrary(path, true) }

// prober returns the function that asks a library for its version.
func prober() func(path string) (string, error) {
	return func(path string) (string, error) {
		lib, err := openLibrary(path, false)
		return lib.version, err
	}
}

// use makes the library's functions the ones that all of this file calls.
func (l loaded) use() error { return goError(C.aft_ort_use(l.base)) }

func releaseLibrary() { C.aft_ort_release() }

// Trim gives the system back what the C library keeps of freed memory, where it can (glibc), so that what a session takes can be
// seen from outside the process.
func Trim() { C.aft_ort_trim() }

func hasConfig(options unsafe.Pointer, key string) (bool, error) {
	c := C.CString(key)
	defer C.free(unsafe.Pointer(c))
	var found C.int
	err := goError(C.aft_ort_has_config(options, c, &found))
	return found != 0, err
}

func registerKernels(options unsafe.Pointer) error { return goError(C.aft_ort_register(options)) }

// floatingPointMode is the control word of the thread's floating-point unit; the caller locks the thread.
func floatingPointMode() uint64 { return uint64(C.aft_ort_fp_mode()) }

// boundSession is an OrtSession, which owner frees.
type boundSession struct {
	owner       interface{ Destroy() error }
	session     unsafe.Pointer
	inputNames  cStrings
	outputNames cStrings
}

// cStrings is a C array of C strings.
type cStrings struct {
	array **C.char
	n     int
}

func newCStrings(values []Value) cStrings {
	if len(values) == 0 {
		return cStrings{}
	}
	c := cStrings{(**C.char)(C.malloc(C.size_t(len(values)) * C.size_t(unsafe.Sizeof((*C.char)(nil))))), len(values)}
	for i, v := range values {
		unsafe.Slice(c.array, c.n)[i] = C.CString(v.Name)
	}
	return c
}

func (c cStrings) free() {
	for _, s := range unsafe.Slice(c.array, c.n) {
		C.free(unsafe.Pointer(s))
	}
	C.free(unsafe.Pointer(c.array))
}

func (b *boundSession) close() error {
	err := b.owner.Destroy()
	b.inputNames.free()
	b.outputNames.free()
	b.session, b.inputNames, b.outputNames = nil, cStrings{}, cStrings{}
	return err
}

func (b *boundSession) ports() (inputs, outputs []Value, err error) {
	var nIn, nOut C.size_t
	if err := goError(C.aft_ort_port_count(b.session, &nIn, &nOut)); err != nil {
		return nil, nil, err
	}
	if inputs, err = b.side(int(nIn), false); err != nil {
		return nil, nil, err
	}
	if outputs, err = b.side(int(nOut), true); err != nil {
		return nil, nil, err
	}
	b.inputNames, b.outputNames = newCStrings(inputs), newCStrings(outputs)
	return inputs, outputs, nil
}

// side reads all inputs or all outputs.
func (b *boundSession) side(n int, output bool) ([]Value, error) {
	what, flag := "input", C.int(0)
	if output {
		what, flag = "output", 1
	}
	values := make([]Value, n)
	for i := range values {
		var port C.aft_ort_port
		err := goError(C.aft_ort_port_read(b.session, flag, C.size_t(i), &port))
		if err == nil {
			values[i], err = toValue(&port)
		}
		name := C.GoString(port.name)
		C.aft_ort_port_free(&port)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", what, name, err)
		}
	}
	return values, nil
}

func toValue(port *C.aft_ort_port) (Value, error) {
	if port.is_tensor == 0 {
		return Value{}, errors.New("is no dense tensor (a sequence, map or optional), want a tensor")
	}
	dtype, ok := onnxpb.DType(int32(port.dtype))
	if !ok {
		return Value{}, fmt.Errorf("has ONNX element type %d, want a number or bool", int(port.dtype))
	}
	v := Value{Name: C.GoString(port.name), DType: dtype, AnyShape: port.has_shape == 0}
	names := unsafe.Slice(port.symbols, int(port.rank))
	for i, size := range unsafe.Slice(port.dims, int(port.rank)) {
		v.Dims = append(v.Dims, Dim{Size: int(max(size, -1)), Name: C.GoString(names[i])})
	}
	return v, nil
}

// buffers describes tensors to C, their memory pinned; nil tensors stay zero. All dims stand in one slice, with a place
// to spare so that a scalar's have an address too.
func buffers(tensors []*Tensor, pins *runtime.Pinner) []C.aft_ort_buffer {
	total := 1
	for _, t := range tensors {
		if t != nil {
			total += len(t.Shape)
		}
	}
	dims := make([]C.int64_t, 0, total)
	all := dims[:total]
	pins.Pin(&all[0])
	described := make([]C.aft_ort_buffer, len(tensors))
	for i, t := range tensors {
		if t == nil {
			continue
		}
		d := &described[i]
		d.dims, d.rank, d.dtype = &all[len(dims)], C.size_t(len(t.Shape)), C.int32_t(onnxpb.DataType(t.DType))
		for _, size := range t.Shape {
			dims = append(dims, C.int64_t(size))
		}
		if len(t.Data) > 0 {
			pins.Pin(&t.Data[0])
			d.data, d.bytes = unsafe.Pointer(&t.Data[0]), C.size_t(len(t.Data))
		}
	}
	return described
}

func (b *boundSession) run(ctx context.Context, r request) ([]*Tensor, error) {
	options, release, err := watch(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	given := r.outputs
	if given == nil {
		given = make([]*Tensor, b.outputNames.n)
	}
	var pins runtime.Pinner
	defer pins.Unpin()
	in, out := buffers(r.inputs, &pins), buffers(given, &pins)
	values := make([]unsafe.Pointer, len(given))
	defer func() {
		for _, v := range values {
			C.aft_ort_value_free(v)
		}
	}()
	err = goError(C.aft_ort_run(b.session, options,
		b.inputNames.array, unsafe.SliceData(in), C.size_t(len(in)),
		b.outputNames.array, unsafe.SliceData(out), unsafe.SliceData(values), C.size_t(len(out))))
	if err != nil || r.outputs != nil {
		return nil, err
	}
	results := make([]*Tensor, len(values))
	for i, v := range values {
		if results[i], err = copyValue(v); err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
	}
	return results, nil
}

// watch makes a run stop when ctx ends. Release comes after the run: no stop can arrive later.
func watch(ctx context.Context) (options unsafe.Pointer, release func(), err error) {
	if ctx.Done() == nil {
		return nil, func() {}, nil
	}
	s, options, err := newStopper()
	if err != nil {
		return nil, nil, err
	}
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop()
	})
	return options, func() {
		if !cancel() {
			<-stopped
		}
		s.close()
	}, nil
}

// copyValue copies a tensor of ONNX Runtime's into Go memory.
func copyValue(v unsafe.Pointer) (*Tensor, error) {
	var number C.int32_t
	var rank C.size_t
	var data unsafe.Pointer
	if err := goError(C.aft_ort_value_read(v, &number, &rank, nil, &data)); err != nil {
		return nil, err
	}
	dims := make([]C.int64_t, rank+1)
	if err := goError(C.aft_ort_value_read(v, &number, &rank, &dims[0], &data)); err != nil {
		return nil, err
	}
	dtype, ok := onnxpb.DType(int32(number))
	if !ok {
		return nil, fmt.Errorf("has ONNX element type %d, want a number or bool", int(number))
	}
	shape := make([]int, rank)
	for i := range shape {
		shape[i] = int(dims[i])
	}
	n, err := tensor.ByteLen(dtype, shape)
	if err != nil {
		return nil, err
	}
	bytes := []byte{}
	if n > 0 {
		bytes = slices.Clone(unsafe.Slice((*byte)(data), n))
	}
	return tensor.FromBytes(dtype, shape, bytes)
}
