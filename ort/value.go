package ort

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Value is an input or output of a model.
type Value struct {
	Name     string
	DType    DType
	Dims     []Dim
	AnyShape bool // the model states no shape: any rank will do, and Dims is empty
}

// Dim is one dimension of a Value.
type Dim struct {
	Size int    // -1: decided by each run
	Name string // "batch", "" when the model gives none
}

// String is "x float32 (batch,4,?)".
func (v Value) String() string { return v.Name + " " + v.kind() }

func (v Value) kind() string { return v.DType.String() + " " + v.shape() }

func (v Value) shape() string {
	if v.AnyShape {
		return "(...)"
	}
	dims := make([]string, len(v.Dims))
	for i, d := range v.Dims {
		switch {
		case d.Size >= 0:
			dims[i] = strconv.Itoa(d.Size)
		case d.Name != "":
			dims[i] = d.Name
		default:
			dims[i] = "?"
		}
	}
	return "(" + strings.Join(dims, ",") + ")"
}

// arrange checks a run's inputs against the model's and returns them in the model's order. Names of dimensions
// are not held against each other: exporters reuse them freely, and operators check what they need.
func arrange(values []Value, given map[string]*Tensor) ([]*Tensor, error) {
	for name := range given {
		if !slices.ContainsFunc(values, func(v Value) bool { return v.Name == name }) {
			return nil, &InputError{name, fmt.Sprintf("the model has no such input, it takes %s", list(values))}
		}
	}
	ordered := make([]*Tensor, len(values))
	for i, v := range values {
		t, ok := given[v.Name]
		if !ok {
			return nil, &InputError{v.Name, fmt.Sprintf("missing, the model takes %s", list(values))}
		}
		if err := v.accept(t); err != nil {
			return nil, err
		}
		ordered[i] = readable(t)
	}
	return ordered, nil
}

func list(values []Value) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = v.String()
	}
	return strings.Join(names, "; ")
}

// accept checks type, rank, fixed dimensions and the length of the data.
func (v Value) accept(t *Tensor) error {
	fail := func(format string, args ...any) error {
		return &InputError{v.Name, fmt.Sprintf(format, args...) + ", want " + v.kind()}
	}
	if t == nil {
		return fail("is nil")
	}
	if t.DType != v.DType {
		return fail("is %s %s", t.DType, tensor.FormatShape(t.Shape))
	}
	n, err := tensor.ByteLen(t.DType, t.Shape)
	if err != nil {
		return fail("%v", err)
	}
	if n != len(t.Data) {
		return fail("has %d bytes of data where its shape %s takes %d", len(t.Data), tensor.FormatShape(t.Shape), n)
	}
	if v.AnyShape {
		return nil
	}
	if len(t.Shape) != len(v.Dims) {
		return fail("has shape %s of rank %d", tensor.FormatShape(t.Shape), len(t.Shape))
	}
	for axis, d := range v.Dims {
		if d.Size >= 0 && t.Shape[axis] != d.Size {
			return fail("has shape %s", tensor.FormatShape(t.Shape))
		}
	}
	return nil
}

// isAligned reports whether the elements lie where C may read and write them in place.
func isAligned(t *Tensor) bool {
	return len(t.Data) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%uintptr(t.DType.Size()) == 0
}

// readable returns t, or a copy of it where C must not read it in place: elements that are not aligned, and bools that
// are neither 0 nor 1, which C++ has no meaning for.
func readable(t *Tensor) *Tensor {
	switch {
	case !isAligned(t):
		// An allocation whose size is a multiple of an element's is aligned to it.
		data := make([]byte, len(t.Data))
		copy(data, t.Data)
		return &Tensor{DType: t.DType, Shape: t.Shape, Data: data}
	case t.DType == tensor.Bool && slices.ContainsFunc(t.Data, func(b byte) bool { return b > 1 }):
		data := slices.Clone(t.Data)
		for i, b := range data {
			if b != 0 {
				data[i] = 1
			}
		}
		return &Tensor{DType: t.DType, Shape: t.Shape, Data: data}
	}
	return t
}

// overlap reports whether two slices share a byte.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	firstA, firstB := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return firstA < firstB+uintptr(len(b)) && firstB < firstA+uintptr(len(a))
}
