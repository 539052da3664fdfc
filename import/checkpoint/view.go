package checkpoint

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// view is a tensor as a file describes it: some elements of a block. Only newView makes one.
type view struct {
	block   *block
	dtype   tensor.DType
	shape   []int
	strides []int // in elements; nil: contiguous
	start   int64 // byte offset in the block
	bytes   int64 // that the tensor takes when materialised
}

// viewSpec is what a file says about a view. Numbers are unchecked.
type viewSpec struct {
	dtype   tensor.DType
	shape   []int
	strides []int // as many as dimensions
	offset  int   // in elements
	numel   int   // elements of the storage
}

// newView checks that every element of the view lies in its storage of s.numel elements, which is the whole block:
//
//	0 <= offset, and offset + sum_i (shape_i - 1) stride_i < numel, or the view is empty
//
// in arithmetic that cannot wrap. Strides are never negative in PyTorch; 0 repeats elements.
func newView(b *block, s viewSpec) (*view, error) {
	if len(s.strides) != len(s.shape) {
		return nil, &Error{Found: fmt.Sprintf("%d strides for shape %s", len(s.strides), tensor.FormatShape(s.shape)),
			Allowed: "one stride for each dimension"}
	}
	n, err := tensor.ByteLen(s.dtype, s.shape)
	if err != nil {
		return nil, &Error{Found: err.Error(), Allowed: "sizes that fit the file"}
	}
	for _, stride := range s.strides {
		if stride < 0 {
			return nil, &Error{Found: "strides " + tensor.FormatShape(s.strides), Allowed: "strides of 0 or more"}
		}
	}
	if s.offset < 0 || s.offset > s.numel {
		return nil, &Error{Found: fmt.Sprintf("storage offset %d", s.offset), Allowed: fmt.Sprintf("0 to %d", s.numel)}
	}
	if last, ok := lastElement(s); n > 0 && (!ok || last >= uint64(s.numel)) {
		return nil, &Error{
			Found: fmt.Sprintf("shape %s with strides %s from element %d", tensor.FormatShape(s.shape),
				tensor.FormatShape(s.strides), s.offset),
			Allowed: fmt.Sprintf("the %d elements of its storage", s.numel),
		}
	}
	v := &view{block: b, dtype: s.dtype, shape: s.shape, start: int64(s.offset) * int64(s.dtype.Size()), bytes: int64(n)}
	if n > 0 && !contiguous(s.shape, s.strides) {
		v.strides = s.strides
	}
	return v, nil
}

// lastElement is the storage index of the last element of a non-empty view.
func lastElement(s viewSpec) (uint64, bool) {
	last := uint64(s.offset)
	for i, d := range s.shape {
		hi, step := bits.Mul64(uint64(d-1), uint64(s.strides[i]))
		sum, carry := bits.Add64(last, step, 0)
		if hi != 0 || carry != 0 || sum > math.MaxInt64 {
			return 0, false
		}
		last = sum
	}
	return last, true
}

// contiguous reports whether row-major order walks the storage without gaps. The stride of a dimension of 1 does not count.
func contiguous(shape, strides []int) bool {
	want := 1
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && strides[i] != want {
			return false
		}
		want *= shape[i]
	}
	return true
}

// materialise reads the view as a dense row-major tensor.
func (v *view) materialise(src source) (*tensor.Tensor, error) {
	data, err := v.data(src)
	if err != nil {
		return nil, err
	}
	if v.dtype == tensor.Bool {
		if i := slices.IndexFunc(data, func(b byte) bool { return b > 1 }); i >= 0 {
			return nil, &Error{Place: v.block.place(), Found: fmt.Sprintf("bool element %d is %d", i, data[i]),
				Allowed: "0 or 1"}
		}
	}
	return &tensor.Tensor{DType: v.dtype, Shape: append([]int{}, v.shape...), Data: data}, nil
}

func (v *view) data(src source) ([]byte, error) {
	if v.strides != nil {
		data := make([]byte, 0, v.bytes)
		err := v.pieces(src, func(p []byte) bool {
			data = append(data, p...)
			return true
		})
		return data, err
	}
	data := make([]byte, v.bytes)
	err := v.block.read(src, data, v.start)
	if v.block.bigEndian {
		swapBytes(data, v.dtype.Size())
	}
	return data, err
}
