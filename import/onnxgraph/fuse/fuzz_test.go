package fuse

import (
	"context"
	"testing"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Whatever model it is given, the fuser panics nowhere, and what it writes is a model again.
func FuzzFuse(f *testing.F) {
	for _, x := range formulations() {
		data, err := onnxpb.Encode(x.model(f, 17, tensor.Float32))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := onnxgraph.Decode(data, onnxgraph.Options{})
		if err != nil {
			return
		}
		var in [probes]Inputs
		for p := range in {
			in[p] = Inputs{}
			for _, v := range m.Inputs() {
				shape, total := []int{}, 1
				for axis, d := range v.Dims {
					n := d.Size
					if n < 0 {
						n = [][]int{{2, 3}, {5, 7}}[min(axis, 1)][p]
					}
					if total *= max(n, 1); n > 1<<10 || total > 1<<12 {
						return
					}
					shape = append(shape, n)
				}
				x, err := tensor.New(v.DType, shape)
				if err != nil {
					return
				}
				in[p][v.Name] = x
			}
		}
		r, err := Fuse(context.Background(), m, Options{Probes: in})
		if err != nil || r.Model == nil {
			return
		}
		out, err := onnxpb.Encode(r.Model)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := onnxgraph.Decode(out, onnxgraph.Options{}); err != nil {
			t.Errorf("the fused model does not read back: %v", err)
		}
	})
}
