package onnxgraph

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// FuzzDecode feeds any bytes to Decode and runs what comes out, with inputs of the declared shapes (dynamic
// dimensions 2) and little memory. Nothing may panic, hang or give an error of another kind.
func FuzzDecode(f *testing.F) {
	for _, m := range seeds(f) {
		data, err := onnxpb.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data, Options{})
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("error %v is no *Error", err)
			}
			return
		}
		inputs, size := map[string]*tensor.Tensor{}, 0
		for _, v := range m.Inputs() {
			shape := make([]int, len(v.Dims))
			for i, d := range v.Dims {
				if shape[i] = d.Size; d.Size < 0 {
					shape[i] = 2
				}
			}
			n, err := tensor.ByteLen(v.DType, shape)
			if size += n; err != nil || size > 1<<16 || size < 0 {
				return
			}
			if inputs[v.Name], err = tensor.New(v.DType, shape); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err = m.Run(ctx, inputs, RunOptions{MaxElements: 1 << 12})
		if took := time.Since(begin); took > 5*time.Second {
			t.Fatalf("ran for %v: %v", took, err)
		}
	})
}

// seeds are small models that between them hold every operator.
func seeds(t testing.TB) []*onnxpb.ModelProto {
	m := []*onnxpb.ModelProto{base(t)}
	f, i := floats(t, []int{1, 2, 2}, 1, 2, 3, 4), ints(t, []int{1}, 1)
	for _, family := range families() {
		for _, op := range family {
			n := onnxpb.Node(op.name, nil, []string{"y"})
			for k := range max(op.in.min, min(op.in.max, 2)) {
				n.Input = append(n.Input, []string{"x", "i", "f"}[k%3])
			}
			for _, attr := range sorted(op.attrs) {
				switch kind := op.attrs[attr]; kind {
				case attrInt:
					n.Attribute = append(n.Attribute, onnxpb.IntAttr(attr, 1))
				case attrInts:
					n.Attribute = append(n.Attribute, onnxpb.IntsAttr(attr, 0, 1))
				}
			}
			proto := graphModel(18, nil, infos{anyShape("y", tensor.Float32)}, n)
			proto.Graph.Input = infos{onnxpb.ValueInfo("x", tensor.Float32, onnxpb.Dynamic("n"), onnxpb.Fixed(2),
				onnxpb.Fixed(2))}
			proto.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("f", f), onnxpb.TensorToProto("i", i)}
			m = append(m, proto)
		}
	}
	return m
}
