package onnxgraph

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// One node with operands and attributes drawn at random, most of them nonsense: it gives a result that fills its shape
// or an *Error, and never panics or takes long.
func FuzzNodes(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { runRandomNode(t, seed) })
}

func TestRandomNodes(t *testing.T) {
	results := 0
	for seed := range uint64(8000) {
		if runRandomNode(t, seed) {
			results++
		}
	}
	if results < 600 {
		t.Errorf("%d nodes gave a result, want at least 600 for the test to mean something", results)
	}
}

func runRandomNode(t *testing.T, seed uint64) bool {
	t.Helper()
	r := &draw{rand.New(rand.NewPCG(seed, 1))}
	proto, inputs := r.model(t)
	m, err := New(proto, Options{})
	if err != nil {
		var bad *Error
		if !errors.As(err, &bad) {
			t.Fatalf("seed %d: error %v is no *Error", seed, err)
		}
		return false
	}
	begin := time.Now()
	out, err := m.Run(context.Background(), inputs, RunOptions{MaxElements: 1 << 16, Wide: true, Outputs: []string{"y"}})
	if took := time.Since(begin); took > 5*time.Second {
		t.Fatalf("seed %d: took %v", seed, took)
	}
	for name, v := range out {
		if n, err := tensor.ByteLen(v.DType, v.Shape); err != nil || n != len(v.Data) {
			t.Fatalf("seed %d: %s of shape %v holds %d bytes", seed, name, v.Shape, len(v.Data))
		}
	}
	return err == nil
}

// draw makes random models.
type draw struct{ *rand.Rand }

func (r *draw) model(t *testing.T) (*onnxpb.ModelProto, map[string]*tensor.Tensor) {
	opset := []int64{7, 9, 10, 11, 13, 15, 17, 18, 20, 23}[r.IntN(10)]
	n, types, inputs := &onnxpb.NodeProto{}, map[string]tensor.DType{}, map[string]*tensor.Tensor{}
	count := span{1, 1}
	if r.IntN(12) == 0 {
		d := ops.All()[r.IntN(len(ops.All()))]
		n.OpType, n.Domain, count = d.Name, ops.Domain, span{len(d.Inputs), len(d.Inputs)}
		for _, a := range d.Attrs {
			if a.Len > 0 {
				n.Attribute = append(n.Attribute, onnxpb.IntsAttr(a.Name, r.ints(a.Len)...))
			} else {
				n.Attribute = append(n.Attribute, onnxpb.IntAttr(a.Name, int64(r.IntN(4))))
			}
		}
	} else {
		family := families()[r.IntN(len(families()))]
		op := family[r.IntN(len(family))]
		n.OpType, count = op.name, span{op.in.min, min(op.in.max, op.in.min+3)}
		r.attributes(t, n, op)
	}
	for i := range count.min + r.IntN(count.max-count.min+1) {
		name := string(rune('a' + i))
		if i >= count.min && r.IntN(3) == 0 {
			name = ""
		} else {
			inputs[name] = r.tensor(t, i)
			types[name] = inputs[name].DType
		}
		n.Input = append(n.Input, name)
	}
	n.Output = []string{"y", "z"}[:1+r.IntN(2)]
	// The graph's own output is a constant, for outputs are held against their declared types; "y" is asked for by name.
	m := graphModel(opset, types, infos{anyShape("w", tensor.Float32)}, n)
	m.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("w", floats(t, []int{}, 0))}
	m.OpsetImport = append(m.OpsetImport, onnxpb.Opset(ops.Domain, 1))
	return m, inputs
}

func (r *draw) attributes(t *testing.T, n *onnxpb.NodeProto, op operator) {
	for _, name := range sorted(op.attrs) {
		if r.IntN(2) == 0 {
			continue
		}
		a := &onnxpb.AttributeProto{Name: name, Type: op.attrs[name]}
		switch a.Type {
		case attrInt:
			a.I = &r.ints(1)[0]
		case attrInts:
			a.Ints = r.ints(r.IntN(5))
		case attrFloat:
			a = onnxpb.FloatAttr(name, float32(r.number()))
		case attrFloats:
			a.Floats = []float32{1, 2}
		case attrString:
			a.S = []byte([]string{"constant", "edge", "reflect", "wrap", "SAME_UPPER", "SAME_LOWER", "VALID", "tanh",
				"none", ""}[r.IntN(10)])
		case attrTensor:
			a.T = onnxpb.TensorToProto("", r.tensor(t, 1))
		}
		n.Attribute = append(n.Attribute, a)
	}
}

// dtype prefers float32 and int64, so that operands often agree.
func (r *draw) dtype() tensor.DType {
	if r.IntN(4) == 0 {
		return tensor.DType(1 + r.IntN(int(tensor.Bool)))
	}
	return []tensor.DType{tensor.Float32, tensor.Float32, tensor.Int64, tensor.Bool}[r.IntN(4)]
}

// ints are mostly small: axes, sizes, indices; sometimes the ends of the range.
func (r *draw) ints(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		if out[i] = int64(r.IntN(8)) - 3; r.IntN(20) == 0 {
			out[i] = []int64{math.MinInt64, math.MaxInt64, math.MaxInt32, 1 << 40, -1 << 33}[r.IntN(5)]
		}
	}
	return out
}

func (r *draw) number() float64 {
	if r.IntN(10) == 0 {
		return []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1e300}[r.IntN(5)]
	}
	return r.NormFloat64()
}

// tensor draws a shape of small sizes; operands after the first are often short lists, as axes and shapes are.
func (r *draw) tensor(t *testing.T, place int) *tensor.Tensor {
	d, shape := r.dtype(), make([]int, r.IntN(5))
	if place > 0 && r.IntN(2) == 0 {
		shape = shape[:min(len(shape), r.IntN(2))]
		if r.IntN(2) == 0 {
			d = tensor.Int64
		}
	}
	for i := range shape {
		if shape[i] = 1 + r.IntN(3); r.IntN(8) == 0 {
			shape[i] = []int{0, 5, 1 << 31}[r.IntN(3)]
		}
	}
	n, err := tensor.NumElements(shape)
	if err != nil || n > 1<<12 {
		shape, n = []int{2, 2}, 4
	}
	if d == tensor.Int64 {
		return ints(t, shape, r.ints(n)...)
	}
	values := make([]float64, n)
	for i := range values {
		if values[i] = r.number(); !d.IsFloat() {
			values[i] = float64(r.IntN(3))
		}
	}
	return typed(t, d, shape, values...)
}
