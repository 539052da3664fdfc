//go:build cgo

package kernel

// -std=c11, not gnu11: GCC then rounds a product before it adds it, on every machine. -ffast-math is out of the question:
// NaN and infinities are part of the operators' meaning, and a library built with it changes how the whole process
// rounds.

/*
#cgo CFLAGS: -std=c11 -O3 -Wall -Wextra -Wvla
#cgo LDFLAGS: -lm -lpthread
#include "aft.h"
#include "host.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Available is nil: the kernels are compiled in.
func Available() error { return nil }

func table() []C.aft_op {
	var count C.size_t
	first := C.aft_ops(&count)
	return unsafe.Slice(first, int(count))
}

// Calls is how often each operator has run on each element type since the process began.
func Calls() map[Key]uint64 {
	calls := map[Key]uint64{}
	for i, op := range table() {
		for _, dtype := range ops.Types() {
			calls[Key{C.GoString(op.name), dtype}] = uint64(C.aft_calls(C.size_t(i), cType(dtype)))
		}
	}
	return calls
}

// Instructions are the sets of vector instructions that the kernels can use on this machine, the one they use last:
// "portable" is C alone, "avx2", "avx512" and "neon" what their names say.
func Instructions() []string {
	var names []string
	for i := C.size_t(0); ; i++ {
		name := C.aft_instructions(i)
		if name == nil {
			return names
		}
		names = append(names, C.GoString(name))
	}
}

// cType is dtype as aft.h numbers it, 0 for a type that the kernels do not know.
func cType(dtype tensor.DType) C.int32_t {
	switch dtype {
	case tensor.Float32:
		return C.AFT_FLOAT
	case tensor.Float16:
		return C.AFT_FLOAT16
	case tensor.Float64:
		return C.AFT_DOUBLE
	case tensor.Int64:
		return C.AFT_INT64
	default:
		return 0
	}
}

// newCall fills in everything but the data of the inputs.
func newCall(name string, attrs ops.Attrs, inputs []ops.Input) (*C.aft_call, error) {
	call := &C.aft_call{}
	defs := table()
	i := slices.IndexFunc(defs, func(op C.aft_op) bool { return C.GoString(op.name) == name })
	if i < 0 {
		return nil, fmt.Errorf("%s.%s: no such operator", ops.Domain, name)
	}
	call.op = &defs[i]
	if len(inputs) > len(call.in) {
		return nil, fmt.Errorf("%s.%s: has %d inputs, want %d", ops.Domain, name, len(inputs), int(call.op.n_in))
	}
	if err := setAttrs(call, attrs); err != nil {
		return nil, fmt.Errorf("%s.%s: %w", ops.Domain, name, err)
	}
	call.n_in = C.int32_t(len(inputs))
	for i, in := range inputs {
		call.in[i].dtype = cType(in.DType)
		call.in[i].rank = C.int32_t(len(in.Shape))
		for axis, d := range in.Shape[:min(len(in.Shape), len(call.in[i].dims))] {
			call.in[i].dims[axis] = C.int64_t(d)
		}
	}
	return call, nil
}

// setAttrs writes every declared attribute to its place in aft_attrs.
func setAttrs(call *C.aft_call, attrs ops.Attrs) error {
	declared := call.op.attrs[:call.op.n_attrs]
	for name := range attrs {
		if !slices.ContainsFunc(declared, func(a C.aft_attr) bool { return C.GoString(a.name) == name }) {
			return fmt.Errorf("attribute %q: unknown", name)
		}
	}
	for _, a := range declared {
		name := C.GoString(a.name)
		values, ok := attrs[name]
		if !ok {
			return fmt.Errorf("attribute %q: missing", name)
		}
		if want := max(int(a.len), 1); len(values) != want {
			return fmt.Errorf("attribute %q: has %d values, want %d", name, len(values), want)
		}
		place := unsafe.Slice((*C.int64_t)(unsafe.Add(unsafe.Pointer(&call.attrs), a.offset)), len(values))
		for i, v := range values {
			place[i] = C.int64_t(v)
		}
	}
	return nil
}

// check holds attributes and inputs against the C side's rules, as ops.Def.Check does on the Go side.
func check(name string, attrs ops.Attrs, inputs []ops.Input) error {
	call, err := newCall(name, attrs, inputs)
	if err != nil {
		return err
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	for i, in := range inputs {
		if len(in.Values) > 0 {
			pinner.Pin(&in.Values[0])
			call.in[i].data = unsafe.Pointer(&in.Values[0])
		}
	}
	var message [C.AFT_MESSAGE]C.char
	if C.aft_check(call, &message[0]) != C.AFT_OK {
		return errors.New(C.GoString(&message[0]))
	}
	return nil
}

func run(name string, attrs ops.Attrs, inputs, outputs []*tensor.Tensor, h host) error {
	specs := make([]ops.Input, len(inputs))
	for i, t := range inputs {
		specs[i] = ops.Input{DType: t.DType, Shape: t.Shape}
	}
	call, err := newCall(name, attrs, specs)
	if err != nil {
		return err
	}
	for i, t := range inputs[:min(len(inputs), int(call.op.n_in))] { // aft_check refuses more, and fewer
		if err := checkBytes(name, fmt.Sprintf("input %q", C.GoString(call.op.in[i].name)), t); err != nil {
			return err
		}
	}
	if err := checkOutputs(name, call.op, inputs, outputs); err != nil {
		return err
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	for i, t := range inputs {
		if len(t.Data) > 0 {
			pinner.Pin(&t.Data[0])
			call.in[i].data = unsafe.Pointer(&t.Data[0])
		}
	}
	for i, t := range outputs {
		if len(t.Data) > 0 {
			pinner.Pin(&t.Data[0])
			call.out[i] = unsafe.Pointer(&t.Data[0])
		}
	}
	state := &C.aft_host_state{threads: C.size_t(h.threads), fail_alloc: C.int(h.failAlloc),
		instructions: C.size_t(h.instructions)}
	if h.pack && len(inputs) == int(call.n_in) && call.op.bias > 0 {
		lent := C.aft_host{instructions: C.size_t(h.instructions)}
		if C.aft_pack(call.op, &call.attrs, &call.in[call.op.bias], &lent, &call.packed) != C.AFT_OK {
			return fmt.Errorf("%s.%s: no memory to pack W", ops.Domain, name)
		}
		defer C.aft_unpack(call.packed)
	}
	var message [C.AFT_MESSAGE]C.char
	rc := C.aft_host_run(call, state, &message[0])
	if rc != C.AFT_OK {
		err = errors.New(C.GoString(&message[0]))
	}
	if state.live != 0 {
		err = errors.Join(err, fmt.Errorf("%s.%s: %d allocations were not released", ops.Domain, name, int(state.live)))
	}
	return err
}

// checkOutputs requires the outputs that the operator has. Inputs that are missing are for aft_check to say.
func checkOutputs(name string, op *C.aft_op, inputs, outputs []*tensor.Tensor) error {
	if len(outputs) != int(op.n_out) {
		return fmt.Errorf("%s.%s: has %d outputs, want %d", ops.Domain, name, len(outputs), int(op.n_out))
	}
	for i, out := range outputs {
		like := int(op.out[i].like)
		if like >= len(inputs) {
			continue
		}
		if err := checkOutput(name, C.GoString(op.out[i].name), out, C.GoString(op.in[like].name), inputs[like]); err != nil {
			return err
		}
	}
	return nil
}
