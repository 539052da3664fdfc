package onnxgraph

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// convOperators slide over one or two spatial axes.
func convOperators() []operator {
	return []operator{
		{name: "Conv", in: span{2, 3}, attrs: kinds{"auto_pad": attrString, "dilations": attrInts, "group": attrInt,
			"kernel_shape": attrInts, "pads": attrInts, "strides": attrInts}, run: runConv},
	}
}

// conv is one convolution over (N,C,H,W); a one-dimensional one has H = 1.
type conv struct {
	x, w, bias              []float64
	batch, inputs, outputs  int
	perGroup, outGroup      int // input and output channels of one group
	in, out, kernel         [2]int
	strides, dilations, top [2]int // top: the padding before the first row and column
}

// runConv computes Conv over one or two spatial axes: a correlation, with zeros around the input.
func runConv(c *call) ([]*value, error) {
	x, w := c.in[0], c.in[1]
	rank := len(x.shape) - 2
	switch {
	case !x.isFloat() || w.dtype != x.dtype:
		return nil, fmt.Errorf("operands are %s and %s, want one floating-point type", x.dtype, w.dtype)
	case rank < 1 || rank > 2 || len(w.shape) != len(x.shape):
		return nil, fmt.Errorf("operands have shapes %s and %s, want one or two spatial axes",
			tensor.FormatShape(x.shape), tensor.FormatShape(w.shape))
	}
	k := &conv{x: x.f, w: w.f, batch: x.shape[0], inputs: x.shape[1], outputs: w.shape[0], perGroup: w.shape[1]}
	group := c.int("group", 1)
	if group < 1 || group > int64(max(k.outputs, 1)) || int64(k.perGroup)*group != int64(k.inputs) ||
		int64(k.outputs)%group != 0 {
		return nil, fmt.Errorf("group is %d, want a divisor of %d outputs that splits %d inputs into groups of %d",
			group, k.outputs, k.inputs, k.perGroup)
	}
	k.outGroup = k.outputs / int(group)
	if b := c.input(2); b != nil {
		if b.dtype != x.dtype || !tensor.SameShape(b.shape, []int{k.outputs}) {
			return nil, fmt.Errorf("the bias is %s %s, want %s (%d)", b.dtype,
				tensor.FormatShape(b.shape), x.dtype, k.outputs)
		}
		k.bias = b.f
	}
	shape, err := k.geometry(c, x.shape[2:], w.shape[2:])
	if err != nil {
		return nil, err
	}
	y, err := c.alloc(x.dtype, append([]int{k.batch, k.outputs}, shape...))
	if err != nil {
		return nil, err
	}
	if len(y.f) == 0 || c.hollow {
		return []*value{y}, nil
	}
	if k.dense() {
		k.product(c, y.f)
		return []*value{y}, c.ctx.Err()
	}
	plane := k.out[0] * k.out[1]
	parallel(k.batch*k.outputs, plane*k.perGroup*k.kernel[0]*k.kernel[1], func(lo, hi int) {
		for i := lo; i < hi && c.ctx.Err() == nil; i++ {
			k.plane(y.f[i*plane:(i+1)*plane], i/k.outputs, i%k.outputs)
		}
	})
	return []*value{y}, c.ctx.Err()
}

// geometry reads the attributes and returns the spatial shape of the output.
func (k *conv) geometry(c *call, in, kernel []int) ([]int, error) {
	rank := len(in)
	k.in, k.out, k.kernel, k.strides, k.dilations = [2]int{1, 1}, [2]int{1, 1}, [2]int{1, 1}, [2]int{1, 1}, [2]int{1, 1}
	if given := c.ints("kernel_shape"); given != nil {
		for i := range kernel {
			if len(given) != rank || given[i] != int64(kernel[i]) {
				return nil, fmt.Errorf("attribute \"kernel_shape\" is %v, want %v, the shape of the weights", given,
					kernel)
			}
		}
	}
	steps, err := positive(c, "strides", rank)
	if err != nil {
		return nil, err
	}
	dilations, err := positive(c, "dilations", rank)
	if err != nil {
		return nil, err
	}
	shape := make([]int, rank)
	for i := range rank {
		at := 2 - rank + i
		k.in[at], k.kernel[at], k.strides[at], k.dilations[at] = in[i], kernel[i], steps[i], dilations[i]
		if kernel[i] < 1 || kernel[i] > math.MaxInt32 {
			return nil, fmt.Errorf("the kernel has shape %s, want at least 1 on every axis", tensor.FormatShape(kernel))
		}
		reach := (kernel[i]-1)*dilations[i] + 1
		before, after, err := pads(c, i, rank, in[i], reach, steps[i])
		if err != nil {
			return nil, err
		}
		padded := in[i] + before + after
		if padded < reach {
			return nil, fmt.Errorf("spatial axis %d has %d elements with padding, want at least %d, the kernel's reach", i, padded, reach)
		}
		shape[i] = (padded-reach)/steps[i] + 1
		k.out[at], k.top[at] = shape[i], before
	}
	return shape, nil
}

// positive reads a list attribute of positive numbers, one an axis; 1 is the default.
func positive(c *call, name string, rank int) ([]int, error) {
	out := make([]int, rank)
	given := c.ints(name)
	if given != nil && len(given) != rank {
		return nil, fmt.Errorf("attribute %q has %d values, want %d", name, len(given), rank)
	}
	for i := range out {
		if out[i] = 1; given == nil {
			continue
		}
		if given[i] < 1 || given[i] > math.MaxInt32 {
			return nil, fmt.Errorf("attribute %q is %v, want 1..%d", name, given, math.MaxInt32)
		}
		out[i] = int(given[i])
	}
	return out, nil
}

// pads returns the padding before and after spatial axis i.
func pads(c *call, i, rank, size, reach, step int) (before, after int, err error) {
	switch how := c.string("auto_pad", "NOTSET"); how {
	case "NOTSET", "":
		list := c.ints("pads")
		if list == nil {
			return 0, 0, nil
		}
		if len(list) != 2*rank {
			return 0, 0, fmt.Errorf("attribute \"pads\" has %d values, want %d", len(list), 2*rank)
		}
		if b, a := list[i], list[rank+i]; b >= 0 && b <= math.MaxInt32 && a >= 0 && a <= math.MaxInt32 {
			return int(b), int(a), nil
		}
		return 0, 0, fmt.Errorf("attribute \"pads\" is %v, want 0..%d", list, math.MaxInt32)
	case "VALID":
		return 0, 0, nil
	case "SAME_UPPER", "SAME_LOWER":
		total := max(((size+step-1)/step-1)*step+reach-size, 0)
		if how == "SAME_LOWER" {
			return total - total/2, total / 2, nil
		}
		return total / 2, total - total/2, nil
	default:
		return 0, 0, fmt.Errorf("attribute \"auto_pad\" is %s, want \"NOTSET\", \"SAME_UPPER\", \"SAME_LOWER\" or \"VALID\"", quote(how))
	}
}

// plane computes one output channel of one batch entry.
func (k *conv) plane(y []float64, b, channel int) {
	if k.bias != nil {
		for i := range y {
			y[i] = k.bias[channel]
		}
	}
	group := channel / k.outGroup
	for c := range k.perGroup {
		x := k.x[(b*k.inputs+group*k.perGroup+c)*k.in[0]*k.in[1]:]
		w := k.w[(channel*k.perGroup+c)*k.kernel[0]*k.kernel[1]:]
		for r := range k.kernel[0] {
			for s := range k.kernel[1] {
				k.tap(y, x, w[r*k.kernel[1]+s], r, s)
			}
		}
	}
}

// tap adds one weight times what it sees. Zeros around the input add nothing, even to an infinite weight.
func (k *conv) tap(y, x []float64, w float64, r, s int) {
	for oy := range k.out[0] {
		iy := oy*k.strides[0] + r*k.dilations[0] - k.top[0]
		if iy < 0 || iy >= k.in[0] {
			continue
		}
		row, shift := y[oy*k.out[1]:(oy+1)*k.out[1]], s*k.dilations[1]-k.top[1]
		from := x[iy*k.in[1] : (iy+1)*k.in[1]]
		for ox := range row {
			if ix := ox*k.strides[1] + shift; ix >= 0 && ix < len(from) {
				row[ox] += w * from[ix]
			}
		}
	}
}
