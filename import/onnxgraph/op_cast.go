package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// castOperators change the element type.
func castOperators() []operator {
	saturate := newer{attrs: map[string]int64{"saturate": 19}}
	return []operator{
		{name: "Cast", in: span{1, 1}, attrs: kinds{"to": attrInt, "saturate": attrInt}, newer: saturate, run: runCast},
		{name: "CastLike", in: span{2, 2}, since: 15, attrs: kinds{"saturate": attrInt}, newer: saturate, run: runCastLike},
	}
}

func runCast(c *call) ([]*value, error) {
	to := c.int("to", 0)
	if to != int64(int32(to)) {
		return nil, fmt.Errorf("attribute \"to\" is %d, want a tensor's data type", to)
	}
	d, ok := onnxpb.DType(int32(to))
	if !ok {
		return nil, fmt.Errorf("attribute \"to\" is %s, want a floating-point type, an integer type or bool",
			onnxpb.DataTypeName(int32(to)))
	}
	return c.cast(c.in[0], d)
}

func runCastLike(c *call) ([]*value, error) { return c.cast(c.in[0], c.in[1].dtype) }

// cast converts as follows. Between floating-point types nothing is rounded (see the package). To an integer, numbers
// are truncated towards zero and held within the type's range, and NaN gives 0; ONNX leaves both open. Between integers
// the lower bits stay. To bool, everything but 0 is true.
func (c *call) cast(v *value, d tensor.DType) ([]*value, error) {
	if v.isFloat() && d.IsFloat() || v.dtype == d {
		out, err := c.view(v, v.shape)
		if err == nil {
			out[0].dtype = d
		}
		return out, err
	}
	out, err := c.alloc(d, v.shape)
	if err != nil {
		return nil, err
	}
	switch {
	case d.IsFloat():
		for i, x := range v.i {
			out.f[i] = float64(x)
		}
	case !v.isFloat():
		for i, x := range v.i {
			out.i[i] = wrap(d, x)
		}
	case d == tensor.Bool:
		for i, x := range v.f {
			out.i[i] = truth(x != 0)
		}
	default:
		low, high := integerRange(d)
		for i, x := range v.f {
			out.i[i] = truncate(x, low, high)
		}
	}
	return []*value{out}, nil
}

func truncate(x float64, low, high int64) int64 {
	switch {
	case math.IsNaN(x):
		return 0
	case x >= float64(high): // 2^63 for int64: the next float64 above its largest value
		return high
	case x <= float64(low):
		return low
	}
	return int64(x)
}

// integerRange is what a type holds; uint64 ends at the largest int64, which it is computed in.
func integerRange(d tensor.DType) (low, high int64) {
	bits := 8 * d.Size()
	switch d {
	case tensor.Uint64:
		return 0, math.MaxInt64
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		return 0, 1<<bits - 1
	}
	return -1 << (bits - 1), 1<<(bits-1) - 1
}
