package onnxgraph

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// A model keeps what it makes of its weights, and gives the same bits with it, from many goroutines too.
func TestKept(t *testing.T) {
	w, err := tensor.FromFloat64s(tensor.Float32, []int{3, 2}, []float64{1, 2, 3, 4, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	p := graphModel(17, map[string]tensor.DType{"x": tensor.Float32}, infos{anyShape("y", tensor.Float32)},
		onnxpb.Node("Transpose", []string{"w"}, []string{"wt"}, onnxpb.IntsAttr("perm", 1, 0)),
		onnxpb.Node("MatMul", []string{"x", "wt"}, []string{"y"}))
	p.Graph.Initializer = append(p.Graph.Initializer, onnxpb.TensorToProto("w", w))
	m := decode(t, p)
	x, err := tensor.FromFloat64s(tensor.Float32, []int{1, 2}, []float64{1, 10})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			out, err := m.Run(t.Context(), map[string]*tensor.Tensor{"x": x}, RunOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for i, want := range []float64{21, 43, 65} {
				if got := out["y"].At(i); got != want {
					t.Errorf("element %d is %v, want %v", i, got, want)
				}
			}
		})
	}
	done.Wait()
	if kept := m.kept.snapshot(); kept["w"] == nil || kept["wt"] == nil || kept["x"] != nil || kept["y"] != nil {
		t.Errorf("kept %v, want w and wt", sorted(kept))
	}
	// A watcher sees every node, kept or not.
	seen := 0
	_, err = m.Run(t.Context(), map[string]*tensor.Tensor{"x": x}, RunOptions{
		Watch: func(string, tensor.DType, []int, func() (*tensor.Tensor, error)) error { seen++; return nil }})
	if err != nil || seen != 2 {
		t.Errorf("%d values were seen, want 2 (%v)", seen, err)
	}
}

// There is room for so many elements, and no more.
func TestKept_room(t *testing.T) {
	k := &kept{room: 5}
	for _, n := range []int{3, 4, 2, 1} {
		k.add(string(rune('a'+n)), &value{dtype: tensor.Float32, shape: []int{n}, f: make([]float64, n)})
	}
	if got := len(k.snapshot()); got != 2 || k.room != 0 {
		t.Errorf("%d values are kept with room for %d elements more", got, k.room)
	}
}

// Convolutions computed as products are those computed tap by tap.
func TestConvProduct(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		return x
	}
	for _, k := range []conv{
		{batch: 2, inputs: 3, outputs: 5, perGroup: 3, outGroup: 5, in: [2]int{7, 9}, kernel: [2]int{3, 2}, strides: [2]int{1, 2},
			dilations: [2]int{2, 1}, top: [2]int{2, 1}, out: [2]int{6, 5}},
		{batch: 1, inputs: 4, outputs: 8, perGroup: 2, outGroup: 4, in: [2]int{1, 300}, kernel: [2]int{1, 5}, strides: [2]int{1, 1},
			dilations: [2]int{1, 1}, top: [2]int{0, 2}, out: [2]int{1, 300}},
	} {
		k.x, k.w = random(k.batch*k.inputs*k.in[0]*k.in[1]), random(k.outputs*k.perGroup*k.kernel[0]*k.kernel[1])
		k.bias = random(k.outputs)
		plane := k.out[0] * k.out[1]
		got, want := make([]float64, k.batch*k.outputs*plane), make([]float64, k.batch*k.outputs*plane)
		if !k.dense() {
			t.Fatal("is not computed as a product")
		}
		k.product(&call{ctx: t.Context()}, got)
		for i := range k.batch * k.outputs {
			k.plane(want[i*plane:(i+1)*plane], i/k.outputs, i%k.outputs)
		}
		for i := range want {
			if !(math.Abs(got[i]-want[i]) <= 1e-12) {
				t.Fatalf("element %d is %v, want %v", i, got[i], want[i])
			}
		}
		k.w[0] = math.Inf(1)
		if k.dense() {
			t.Error("an infinite weight would meet the zeros around the input")
		}
	}
}
