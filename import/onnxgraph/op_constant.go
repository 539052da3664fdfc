package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// constantOperators make values out of attributes and sizes.
func constantOperators() []operator {
	return []operator{
		{name: "Constant", attrs: kinds{"value": attrTensor, "value_float": attrFloat, "value_floats": attrFloats,
			"value_int": attrInt, "value_ints": attrInts}, run: runConstant},
		{name: "ConstantOfShape", in: span{1, 1}, since: 9, attrs: kinds{"value": attrTensor}, run: runConstantOfShape},
		{name: "Range", in: span{3, 3}, since: 11, run: runRange},
	}
}

func runConstant(c *call) ([]*value, error) {
	if len(c.node.attrs) != 1 {
		return nil, fmt.Errorf("there are %d values, want one attribute", len(c.node.attrs))
	}
	var v *value
	switch {
	case c.has("value"):
		var err error
		if v, err = c.tensorValue(); err != nil {
			return nil, err
		}
	case c.has("value_float"):
		v = &value{dtype: tensor.Float32, shape: []int{}, f: []float64{c.float("value_float", 0)}}
	case c.has("value_int"):
		v = &value{dtype: tensor.Int64, shape: []int{}, i: []int64{c.int("value_int", 0)}}
	case c.has("value_ints"):
		v = &value{dtype: tensor.Int64, shape: []int{len(c.ints("value_ints"))}, i: c.ints("value_ints")}
	default:
		list := c.node.attrs["value_floats"].GetFloats()
		v = &value{dtype: tensor.Float32, shape: []int{len(list)}, f: make([]float64, len(list))}
		for i, x := range list {
			v.f[i] = float64(x)
		}
	}
	return c.view(v, v.shape)
}

// tensorValue is the tensor in the attribute "value".
func (c *call) tensorValue() (*value, error) {
	t, err := onnxpb.TensorFromProto(c.node.attrs["value"].GetT())
	if err != nil {
		return nil, err
	}
	return fromTensor(t)
}

// runConstantOfShape repeats the one element of the attribute "value", float32 0 by default.
func runConstantOfShape(c *call) ([]*value, error) {
	shape, err := sizes(c, 0, "the shape")
	if err != nil {
		return nil, err
	}
	v := &value{dtype: tensor.Float32, shape: []int{}, f: []float64{0}}
	if c.has("value") {
		if v, err = c.tensorValue(); err != nil {
			return nil, err
		}
		if v.len() != 1 {
			return nil, fmt.Errorf("attribute \"value\" has %d elements, want 1", v.len())
		}
	}
	out, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	v.spread(out)
	return []*value{out}, nil
}

// runRange gives start + i*delta for all i >= 0 that stay before limit.
func runRange(c *call) ([]*value, error) {
	for i, v := range c.in {
		if v.len() != 1 || v.dtype != c.in[0].dtype || v.dtype == tensor.Bool {
			return nil, fmt.Errorf("operand %d is %s %s, want one number of the type of the first", i, v.dtype,
				tensor.FormatShape(v.shape))
		}
	}
	var n float64
	if c.in[0].isFloat() {
		n = math.Ceil((c.in[1].f[0] - c.in[0].f[0]) / c.in[2].f[0])
	} else if delta := c.in[2].i[0]; delta != 0 {
		n = rangeLen(c.in[0].i[0], c.in[1].i[0], delta)
	} else {
		n = math.NaN()
	}
	if math.IsNaN(n) || n > math.MaxInt32*1024 {
		return nil, fmt.Errorf("the range has no size this engine can hold: it needs a delta other than 0 and finite numbers")
	}
	out, err := c.alloc(c.in[0].dtype, []int{int(max(n, 0))})
	if err != nil {
		return nil, err
	}
	for i := range out.f {
		out.f[i] = c.in[0].f[0] + float64(i)*c.in[2].f[0]
	}
	for i := range out.i {
		out.i[i] = wrap(out.dtype, c.in[0].i[0]+int64(i)*c.in[2].i[0])
	}
	return []*value{out}, nil
}

// rangeLen counts without overflow: the distance of two int64 fits a uint64.
func rangeLen(start, limit, delta int64) float64 {
	up := delta > 0
	if up && limit <= start || !up && limit >= start {
		return 0
	}
	distance, step := uint64(limit)-uint64(start), uint64(delta)
	if !up {
		distance, step = -distance, -step
	}
	return float64((distance-1)/step + 1)
}

// spread fills out with the only element of v.
func (v *value) spread(out *value) {
	for i := range out.f {
		out.f[i] = v.f[0]
	}
	for i := range out.i {
		out.i[i] = v.i[0]
	}
}
