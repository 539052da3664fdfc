package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// ProbeInputs makes seeded inputs of two sizes for a model that may be anybody's: dynamic dimensions of one name have one
// size, others different ones, and the sizes of both are tried on the native engine. A model without dynamic dimensions gets
// two sets of one size. The error is the last size's.
func ProbeInputs(ctx context.Context, m *onnxgraph.Model, seed uint64) (in [2]map[string]*tensor.Tensor, err error) {
	for _, steps := range [][2]int{{5, 7}, {4, 6}, {3, 4}, {2, 3}, {8, 12}, {16, 24}, {32, 48}, {64, 96}, {224, 256}} {
		for i, step := range steps {
			if in[i], err = tryInputs(ctx, m, 2+i, step, seed+uint64(i)); err != nil {
				break
			}
		}
		if err == nil || ctx.Err() != nil {
			return in, err
		}
	}
	return in, fmt.Errorf("no size of the dynamic dimensions was found that the model runs with: %w", err)
}

// longInputs are inputs of one sequence as long as the model takes, up to 64; nil where nothing is longer than the probes.
func longInputs(ctx context.Context, m *onnxgraph.Model, seed uint64) map[string]*tensor.Tensor {
	for n := 64; n > 8; n = n * 3 / 4 {
		if in, err := tryInputs(ctx, m, 1, n, seed); err == nil {
			return in
		}
	}
	return nil
}

// SizedInputs makes seeded inputs for a model that may be anybody's: the first dynamic dimension of an input is the batch, the
// next is the sequence, others are multiples of it. Whether the model takes them is not tried.
func SizedInputs(m *onnxgraph.Model, batch, sequence int, seed uint64) (map[string]*tensor.Tensor, error) {
	s := &inputShapes{model: m, sizes: InputSizes{Batch: batch, Sequence: sequence}, bound: map[string]int{}}
	s.grid = divide(sequence)
	next := sequence
	for _, v := range m.Inputs() {
		for axis, d := range v.Dims {
			if d.Size >= 0 || d.Name == "" {
				continue
			}
			if _, ok := s.bound[d.Name]; ok {
				continue
			}
			if axis == 0 && len(v.Dims) > 1 {
				s.bound[d.Name] = batch
				continue
			}
			s.bound[d.Name] = next
			next += sequence // of a multiple, as patches and strides want it
		}
	}
	in := map[string]*tensor.Tensor{}
	for i, v := range m.Inputs() {
		shape, err := s.shape(v)
		if err != nil {
			return nil, err
		}
		for axis, d := range v.Dims {
			if d.Size < 0 && d.Name == "" && axis > 1 {
				shape[axis] = sequence
			}
		}
		if err := s.spend(v.Name, shape); err != nil {
			return nil, err
		}
		if in[v.Name], err = s.value(v, shape, rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// tryInputs makes inputs and runs the model on them without its products.
func tryInputs(ctx context.Context, m *onnxgraph.Model, batch, sequence int, seed uint64) (map[string]*tensor.Tensor, error) {
	in, err := SizedInputs(m, batch, sequence, seed)
	if err != nil {
		return nil, err
	}
	hollow := map[string]bool{}
	for _, n := range m.Nodes() {
		for _, name := range n.Outputs {
			hollow[name] = true
		}
	}
	computable := m.Computable()
	outputs := []string{}
	for _, v := range m.Outputs() {
		if computable[v.Name] {
			outputs = append(outputs, v.Name)
		}
	}
	if slices.Equal(outputs, []string{}) {
		return in, nil // whoever runs the model will say what it lacks
	}
	_, err = m.Run(ctx, in, onnxgraph.RunOptions{Outputs: outputs, Hollow: hollow})
	return in, err
}
