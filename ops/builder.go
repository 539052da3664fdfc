package ops

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// builder collects the nodes of one body. Values are known by name. Equal nodes are built once (every operator used in
// a body is pure), and what the result does not need is dropped at the end, so that a body may be written down plainly.
type builder struct {
	def   *Def
	spec  BodySpec
	nodes []*onnxpb.NodeProto
	seen  map[string]string // a node without its output -> its output
	rows  string            // the rows of Y that are not 0 whatever they come to, a bool tensor (B,T,1); "": all
	state []string          // the outputs after Y, in the operator's type
	count map[string]int    // outputs named so far, by operator
}

func newBuilder(d *Def, s BodySpec) *builder {
	return &builder{def: d, spec: s, seen: map[string]string{}, count: map[string]int{}}
}

// op appends a node with one output and returns the output's name: the operator's name and a number.
func (b *builder) op(opType string, inputs []string, attrs ...*onnxpb.AttributeProto) string {
	key := nodeKey(opType, inputs, attrs)
	if out, ok := b.seen[key]; ok {
		return out
	}
	stem := strings.ToLower(opType)
	b.count[stem]++
	out := fmt.Sprintf("%s_%d", stem, b.count[stem])
	b.seen[key] = out
	b.nodes = append(b.nodes, onnxpb.Node(opType, inputs, []string{out}, attrs...))
	return out
}

// nodeKey is equal for nodes that compute the same.
func nodeKey(opType string, inputs []string, attrs []*onnxpb.AttributeProto) string {
	var key strings.Builder
	fmt.Fprintf(&key, "%s %q", opType, inputs)
	for _, a := range attrs {
		t := a.GetT()
		fmt.Fprintf(&key, " %s=%d,%d,%q,%q", a.Name, a.GetI(), a.Ints, a.S, a.RefAttrName)
		fmt.Fprintf(&key, ",%d%d%x", t.GetDataType(), t.GetDims(), t.GetRawData())
	}
	return key.String()
}

// finish names the results as the operator's outputs, in their order, and returns, in order, the nodes they need.
func (b *builder) finish(results ...string) []*onnxpb.NodeProto {
	named, needed := map[string]string{}, map[string]bool{}
	for i, r := range results {
		named[r], needed[r] = b.def.Outputs[i].Name, true
	}
	var kept []*onnxpb.NodeProto
	for _, n := range slices.Backward(b.nodes) {
		if !needed[n.Output[0]] {
			continue
		}
		for _, in := range n.Input {
			needed[in] = true
		}
		kept = append(kept, n)
	}
	slices.Reverse(kept)
	for _, n := range kept {
		for _, names := range [][]string{n.Input, n.Output} {
			for i, name := range names {
				if output, ok := named[name]; ok {
					names[i] = output
				}
			}
		}
	}
	return kept
}

// ints is a constant int64 vector. It is written as a tensor: in a function body, runtimes lose the rank of "value_ints".
func (b *builder) ints(v ...int64) string {
	t := &tensor.Tensor{DType: tensor.Int64, Shape: []int{len(v)}}
	for _, x := range v {
		t.Data = binary.LittleEndian.AppendUint64(t.Data, uint64(x))
	}
	return b.constant(t)
}

// integer is a constant int64 of rank 0.
func (b *builder) integer(v int64) string {
	return b.constant(&tensor.Tensor{DType: tensor.Int64, Data: binary.LittleEndian.AppendUint64(nil, uint64(v))})
}

// real is a constant of rank 0 in the type the body computes in.
func (b *builder) real(v float64) string {
	t := &tensor.Tensor{DType: b.computeType()}
	if t.DType == tensor.Float64 {
		t.Data = binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))
	} else {
		t.Data = binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)))
	}
	return b.constant(t)
}

func (b *builder) constant(t *tensor.Tensor) string {
	return b.op("Constant", nil, onnxpb.TensorAttr("value", t))
}

// computeType is the type the body computes in: float for float16, double where the spec asks for it.
func (b *builder) computeType() tensor.DType {
	if b.spec.Double || b.spec.DType == tensor.Float64 {
		return tensor.Float64
	}
	return tensor.Float32
}

// lowest is the lowest finite number of the type the body computes in. With a maximum clamped to it exp(-inf - maximum)
// is 0, where it would be NaN if everything is -inf.
func (b *builder) lowest() string {
	if b.computeType() == tensor.Float64 {
		return b.real(-math.MaxFloat64)
	}
	return b.real(-math.MaxFloat32)
}

// tiny is the smallest normal number of the type the body computes in. Denominators are clamped to it: a row with
// nothing left is 0/tiny = 0.
func (b *builder) tiny() string {
	if b.computeType() == tensor.Float64 {
		return b.real(0x1p-1022)
	}
	return b.real(0x1p-126)
}

// compute converts x, of the operator's type, to the type the body computes in.
func (b *builder) compute(x string) string {
	if b.spec.DType == b.computeType() {
		return x
	}
	return b.cast(x, b.computeType())
}

func (b *builder) cast(x string, to tensor.DType) string {
	return b.op("Cast", []string{x}, onnxpb.IntAttr("to", int64(onnxpb.DataType(to))))
}
