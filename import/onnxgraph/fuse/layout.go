package fuse

import (
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
)

// layout looks through operators that move elements. It gives nil where n is none.
func (a *analysis) layout(n *onnxgraph.Node, idx indices, exponent bool) (poly, error) {
	from := n.Inputs[0]
	shape := a.shapeOf(from)
	if shape == nil {
		return nil, nil
	}
	switch n.Op {
	case "Identity", "Dropout":
		return a.value(from, idx, exponent)
	case "Cast":
		if a.isFloat(from) && a.isFloat(n.Outputs[0]) {
			return a.value(from, idx, exponent)
		}
		return nil, nil
	case "Transpose":
		in := make(indices, len(idx))
		for i := range idx {
			j := len(idx) - 1 - i
			if perm := n.Attrs["perm"].GetInts(); len(perm) == len(idx) {
				j = int((perm[i] + int64(len(idx))) % int64(len(idx)))
			}
			in[j] = idx[i]
		}
		return a.value(from, in, exponent)
	case "Reshape", "Flatten", "Unsqueeze", "Squeeze":
		in, err := a.regroup(idx.digits(), shape)
		if err != nil {
			return nil, err
		}
		return a.value(from, in, exponent)
	case "Expand":
		if len(shape) > len(idx) {
			return nil, errShape
		}
		return a.value(from, idx[len(idx)-len(shape):], exponent)
	case "Slice":
		return a.slice(n, idx, exponent)
	case "Pad":
		return a.unpad(n, idx, exponent)
	}
	return nil, nil
}

// unpad looks through a Pad behind the end of axes, where an index does not reach that far.
func (a *analysis) unpad(n *onnxgraph.Node, idx indices, exponent bool) (poly, error) {
	shape := a.shapeOf(n.Inputs[0])
	for i, x := range idx {
		if a.extent(x) != shape[i] {
			return nil, nil
		}
	}
	if n.Version < 11 || len(n.Inputs) < 2 {
		return nil, nil
	}
	for p := range probes {
		t := a.elements(n.Inputs[1], p)
		if t == nil || t.Len() != 2*len(shape) {
			return nil, nil
		}
		for _, before := range t.Float64s()[:len(shape)] {
			if before != 0 {
				return nil, nil
			}
		}
	}
	return a.value(n.Inputs[0], idx, exponent)
}

// isFloat reports whether a value is of a floating-point type.
func (a *analysis) isFloat(name string) bool { return a.dtypes[name].IsFloat() }

// slice looks through a Slice that keeps everything or the beginning, and through one that cuts what a convolution padded.
func (a *analysis) slice(n *onnxgraph.Node, idx indices, exponent bool) (poly, error) {
	in, out := a.shapeOf(n.Inputs[0]), a.shapeOf(n.Outputs[0])
	if slices.Equal(in, out) {
		return a.value(n.Inputs[0], idx, exponent)
	}
	i, made := a.makers[a.rep(n.Inputs[0])]
	if !made || a.generationOf[a.rep(n.Inputs[0])] != a.generation {
		return nil, nil
	}
	starts, err := a.starts(n, len(in))
	if err != nil {
		return nil, nil
	}
	if !slices.ContainsFunc(starts, func(s int) bool { return s != 0 }) {
		return a.value(n.Inputs[0], idx, exponent)
	}
	if a.nodes[i].Op != "Conv" {
		return nil, nil
	}
	return a.conv(&a.nodes[i], idx, starts)
}

// starts is where a Slice with steps of 1 begins on every axis.
func (a *analysis) starts(n *onnxgraph.Node, rank int) ([]int, error) {
	first := make([]int, rank)
	if n.Version < 10 || len(n.Inputs) < 3 {
		return nil, errShape
	}
	starts, ok := a.ints(n.Inputs[1])
	if !ok {
		return nil, errShape
	}
	axes := []int64{}
	for i := range starts {
		axes = append(axes, int64(i))
	}
	if len(n.Inputs) > 3 && n.Inputs[3] != "" {
		if axes, ok = a.ints(n.Inputs[3]); !ok {
			return nil, errShape
		}
	}
	if len(n.Inputs) > 4 && n.Inputs[4] != "" {
		if steps, ok := a.ints(n.Inputs[4]); !ok || slices.ContainsFunc(steps, func(s int64) bool { return s != 1 }) {
			return nil, errShape
		}
	}
	for i, axis := range axes {
		if axis < 0 {
			axis += int64(rank)
		}
		if i >= len(starts) || axis < 0 || axis >= int64(rank) || starts[i] < 0 {
			return nil, errShape
		}
		first[axis] = int(starts[i])
	}
	return first, nil
}
