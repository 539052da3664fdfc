//go:build cgo

package ort_test

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Stateful models whose logits follow by hand, of standard operators alone.

var (
	idsPort      = port{"input_ids", tensor.Int64, []any{"batch", "sequence"}}
	positionPort = port{"position", tensor.Int64, []any{"batch"}}
)

// constant is an initializer.
func constant(name string, dtype tensor.DType, shape []int, values ...float64) *onnxpb.TensorProto {
	x, err := tensor.FromFloat64s(dtype, shape, values)
	if err != nil {
		panic(err)
	}
	p := &onnxpb.TensorProto{Name: name, DataType: onnxpb.DataType(dtype), RawData: x.Data}
	for _, n := range shape {
		p.Dims = append(p.Dims, int64(n))
	}
	return p
}

// counts is a model of three tokens: the logit of a token is how often the sequence has had it, and its state is the same.
// pieces says in how many parts, all equal, it keeps that state.
func counts(dtype tensor.DType, pieces int) *onnxpb.ModelProto {
	const tokens = 3
	in, out := []port{idsPort, positionPort}, []port{{"logits", dtype, []any{"batch", "sequence", tokens}}}
	nodes := []*onnxpb.NodeProto{
		node("Unsqueeze", []string{"input_ids", "last"}, "id"),
		node("Equal", []string{"id", "tokens"}, "is"), // never true of -1
		node("Cast", []string{"is"}, "one", intAttr("to", int64(onnxpb.DataType(dtype)))),
		node("CumSum", []string{"one", "first"}, "here"),
		node("Unsqueeze", []string{"past_part.0.counts", "first"}, "before"),
		node("Add", []string{"here", "before"}, "logits"),
		node("ReduceSum", []string{"one", "first"}, "all", intAttr("keepdims", 0)),
	}
	for i := range pieces {
		name := fmt.Sprintf("part.%d.counts", i)
		in = append(in, port{"past_" + name, dtype, []any{"batch", tokens}})
		out = append(out, port{"present_" + name, dtype, []any{"batch", tokens}})
		nodes = append(nodes, node("Add", []string{"past_" + name, "all"}, "present_"+name))
	}
	m := model(in, out, nodes...)
	m.Graph.Initializer = []*onnxpb.TensorProto{
		constant("last", tensor.Int64, []int{1}, 2), constant("first", tensor.Int64, []int{1}, 1), constant("tokens", tensor.Int64, []int{3}, 0, 1, 2),
	}
	return m
}

// withPositions says in a model's metadata where its positions end.
func withPositions(m *onnxpb.ModelProto, text string) *onnxpb.ModelProto {
	m.MetadataProps = append(m.MetadataProps, &onnxpb.StringStringEntryProto{Key: "io.aftonnx.positions", Value: text})
	return m
}

// sevens is a model whose state is empty at first and, once a sequence has had a token, 7 throughout, the unused room of its cache
// too. Its logits are what it found: m, the largest and smallest of keys, of values and of the cache, and the capacity.
func sevens(dtype tensor.DType) *onnxpb.ModelProto {
	in, out := []port{idsPort, positionPort}, []port{{"logits", tensor.Float64, []any{"batch", "sequence", 8}}}
	nodes := []*onnxpb.NodeProto{
		node("ReduceMax", []string{"input_ids"}, "best", intsAttr("axes", 1)),
		node("Unsqueeze", []string{"best", "last"}, "best3"),
		node("GreaterOrEqual", []string{"best3", "zero"}, "given"), // (batch,1,1)
	}
	var found []string
	for _, p := range []struct {
		name   string
		dtype  tensor.DType
		middle any
	}{{"layers.0.m", tensor.Float32, 1}, {"layers.0.keys", dtype, 2}, {"layers.0.values", dtype, 2}, {"layers.1.keys", dtype, "capacity"}} {
		dims := []any{"batch", p.middle, 1}
		in, out = append(in, port{"past_" + p.name, p.dtype, dims}), append(out, port{"present_" + p.name, p.dtype, dims})
		nodes = append(nodes,
			node("Cast", []string{"past_" + p.name}, p.name, intAttr("to", int64(onnxpb.DataType(tensor.Float64)))),
			node("Where", []string{"given", "seven", p.name}, "new."+p.name),
			node("Cast", []string{"new." + p.name}, "present_"+p.name, intAttr("to", int64(onnxpb.DataType(p.dtype)))),
			node("ReduceMax", []string{p.name}, "max."+p.name, intsAttr("axes", 1, 2)),
			node("ReduceMin", []string{p.name}, "min."+p.name, intsAttr("axes", 1, 2)))
		found = append(found, "max."+p.name)
		if p.middle != 1 {
			found = append(found, "min."+p.name)
		}
	}
	nodes = append(nodes,
		node("Shape", []string{"past_layers.1.keys"}, "shape"),
		node("Gather", []string{"shape", "axis"}, "slots"),
		node("Cast", []string{"slots"}, "slots64", intAttr("to", int64(onnxpb.DataType(tensor.Float64)))),
		node("Mul", []string{"max.layers.0.m", "nothing"}, "zeros"),
		node("Add", []string{"zeros", "slots64"}, "capacity"),
		node("Concat", append(found, "capacity"), "row", intAttr("axis", 2)),
		node("Shape", []string{"input_ids"}, "chunk"),
		node("Concat", []string{"chunk", "one"}, "logits_shape", intAttr("axis", 0)),
		node("Expand", []string{"row", "logits_shape"}, "logits"))
	m := model(in, out, nodes...)
	m.Graph.Initializer = []*onnxpb.TensorProto{
		constant("last", tensor.Int64, []int{1}, 2), constant("zero", tensor.Int64, nil, 0), constant("seven", tensor.Float64, nil, 7),
		constant("axis", tensor.Int64, []int{1}, 1), constant("nothing", tensor.Float64, nil, 0), constant("one", tensor.Int64, []int{1}, 1),
	}
	return m
}
