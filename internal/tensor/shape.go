package tensor

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// NumElements is the product of the dimensions, 1 for a scalar. A negative dimension is an error, and so is a product
// of the non-zero dimensions that does not fit an int: [0, 1<<62, 4] is refused in whatever order it is written.
func NumElements(shape []int) (int, error) {
	product, empty := uint64(1), false
	for i, d := range shape {
		switch {
		case d < 0:
			return 0, fmt.Errorf("shape %s: dimension %d is %d, want >= 0", FormatShape(shape), i, d)
		case d == 0:
			empty = true
		default:
			hi, lo := bits.Mul64(product, uint64(d))
			if hi != 0 || lo > math.MaxInt {
				return 0, fmt.Errorf("shape %s: more than %d elements", FormatShape(shape), math.MaxInt)
			}
			product = lo
		}
	}
	if empty {
		return 0, nil
	}
	return int(product), nil
}

// ByteLen is the number of bytes that a tensor of that type and shape takes.
func ByteLen(dtype DType, shape []int) (int, error) {
	if dtype.Size() == 0 {
		return 0, fmt.Errorf("element type %s has no size", dtype)
	}
	n, err := NumElements(shape)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt/dtype.Size() {
		return 0, fmt.Errorf("shape %s of %s: more than %d bytes", FormatShape(shape), dtype, math.MaxInt)
	}
	return n * dtype.Size(), nil
}

// FormatShape writes a shape as "(2,3)"; "()" is a scalar.
func FormatShape(shape []int) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = strconv.Itoa(d)
	}
	return "(" + strings.Join(parts, ",") + ")"
}

// SameShape reports whether a and b have the same rank and dimensions.
func SameShape(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Unravel turns a row-major offset into the index of that element.
func Unravel(offset int, shape []int) []int {
	index := make([]int, len(shape))
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] > 0 {
			index[i] = offset % shape[i]
			offset /= shape[i]
		}
	}
	return index
}
