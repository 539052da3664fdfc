package onnxgraph

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// y = (x w) + (x w): a product that may be left out, a value that may be given, and what is made on the way.
func probed(t *testing.T) (*Model, map[string]*tensor.Tensor) {
	t.Helper()
	p := graphModel(17, map[string]tensor.DType{"x": tensor.Float32}, infos{anyShape("y", tensor.Float32)},
		onnxpb.Node("MatMul", []string{"x", "w"}, []string{"p"}), onnxpb.Node("Add", []string{"p", "p"}, []string{"y"}))
	p.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("w", floats(t, []int{2, 1}, 3, 4))}
	return decode(t, p), map[string]*tensor.Tensor{"x": floats(t, []int{1, 2}, 1, 1)}
}

func TestRunOptions(t *testing.T) {
	m, in := probed(t)
	seen := map[string][]float64{}
	watch := func(name string, _ tensor.DType, _ []int, read func() (*tensor.Tensor, error)) error {
		v, err := read()
		seen[name] = v.Float64s()
		return err
	}
	for _, test := range []struct {
		name    string
		options RunOptions
		want    float64
		seen    map[string][]float64
	}{
		{"watched", RunOptions{Watch: watch}, 14, map[string][]float64{"p": {7}, "y": {14}}},
		{"given", RunOptions{Watch: watch, Given: map[string]*tensor.Tensor{"p": floats(t, []int{1, 1}, 5)}}, 10,
			map[string][]float64{"y": {10}}},
		{"replaced", RunOptions{Watch: watch, Replace: func(name string) *tensor.Tensor {
			return map[string]*tensor.Tensor{"p": floats(t, []int{1, 1}, 6)}[name]
		}}, 12, map[string][]float64{"p": {7}, "y": {12}}},
		{"hollow", RunOptions{Watch: watch, Hollow: map[string]bool{"p": true}}, 0, map[string][]float64{"p": {0}, "y": {0}}},
	} {
		clear(seen)
		if got := run(t, m, in, test.options)["y"]; got.At(0) != test.want {
			t.Errorf("%s: y is %v, want %v", test.name, got.At(0), test.want)
		}
		if diff := cmp.Diff(test.seen, seen); diff != "" {
			t.Errorf("%s: saw (-want +got):\n%s", test.name, diff)
		}
	}
}

// A value goes where one of its shape was.
func TestRunOptions_replaceShape(t *testing.T) {
	m, in := probed(t)
	_, err := m.Run(context.Background(), in, RunOptions{Replace: func(string) *tensor.Tensor { return floats(t, []int{2}, 1, 2) }})
	if err == nil || !strings.Contains(err.Error(), `output "p": the value in its place has shape (2), want (1,1)`) {
		t.Error(err)
	}
}

// What depends on an operator that the engine lacks is not computable, and everything else is.
func TestComputable(t *testing.T) {
	p := graphModel(17, map[string]tensor.DType{"x": tensor.Float32}, infos{anyShape("y", tensor.Float32), anyShape("z", tensor.Float32)},
		onnxpb.Node("Det", []string{"x"}, []string{"d"}), onnxpb.Node("Neg", []string{"d"}, []string{"z"}),
		onnxpb.Node("Neg", []string{"x"}, []string{"y"}))
	m := decode(t, p)
	if diff := cmp.Diff(map[string]bool{"x": true, "y": true}, trueOnly(m.Computable())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := m.Run(context.Background(), map[string]*tensor.Tensor{"x": floats(t, []int{1, 1}, 2)},
		RunOptions{Outputs: []string{"y"}}); err != nil {
		t.Error(err)
	}
}

func trueOnly(set map[string]bool) map[string]bool {
	out := map[string]bool{}
	for name, in := range set {
		if in {
			out[name] = true
		}
	}
	return out
}
