package verify

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// propagate runs a model in the reference and carries an engine's noise along. It holds the weights of one block at a time.
func propagate(m *reference.Model, in reference.Inputs, n noise) ([]stage, error) {
	x, at, err := n.embed(m, in)
	if err != nil {
		return nil, err
	}
	var stages []stage
	for i := range m.Blocks {
		of, y, err := n.block(m, i, x, at)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		if len(stages) > 0 {
			before := stages[len(stages)-1].ends
			for j := range of {
				of[j].ends = of[j].ends.or(before)
			}
		}
		stages, x = append(stages, of...), y
	}
	if !hasTail(m) {
		return stages, nil
	}
	y, err := n.finish(m, x)
	if err != nil {
		return nil, err
	}
	return append(stages, stage{wiring.OutputName(m), y, stages[len(stages)-1].ends}), nil
}

// hasTail reports whether anything stands behind the last block.
func hasTail(m *reference.Model) bool { return m.Norm != nil || m.Patches != nil || m.Head != nil }

// stageNames are what the values of a block are called; "" where there is none that is not another one.
type stageNames struct{ aft, attended, output string }

func blockNames(m *reference.Model, i int) stageNames {
	b := &m.Blocks[i]
	name := fmt.Sprintf("layers.%d", i)
	s := stageNames{output: wiring.BlockOutput(m, i)}
	s.attended = s.output
	if b.MLP != nil {
		s.attended = name + ".h"
	}
	if b.Out != nil {
		s.aft = name + ".aft"
	}
	return s
}

// attend carries noise through the first half of a block: the stages are the output of its AFT node, and what the half
// gives.
func (n noise) attend(b *reference.Block, names stageNames, x signal, at reference.Places, squares *tensor.Array) (
	[]stage, signal, error) {
	in, err := x, error(nil)
	if b.Norm != nil {
		if in, err = n.norm(b.Norm, x); err != nil {
			return nil, in, fmt.Errorf("norm1: %w", err)
		}
	}
	y, e, err := n.mix(&b.Layer, in, at, squares)
	if err != nil {
		return nil, y, err
	}
	var stages []stage
	if b.Out != nil {
		stages = append(stages, stage{names.aft, y, e})
		if y, err = n.project(b.Out, y); err != nil {
			return nil, y, fmt.Errorf("out: %w", err)
		}
	}
	if b.Residual {
		y = n.add(x, y)
	}
	return append(stages, stage{names.attended, y, e}), y, nil
}

// mlp carries noise through the second half of a block.
func (n noise) mlp(m *reference.MLP, h signal) (signal, error) {
	x, err := n.norm(&m.Norm, h)
	if err != nil {
		return x, fmt.Errorf("norm2: %w", err)
	}
	if x, err = n.project(&m.Up, x); err != nil {
		return x, fmt.Errorf("fc1: %w", err)
	}
	if x, err = n.project(&m.Down, n.gelu(x)); err != nil {
		return x, fmt.Errorf("fc2: %w", err)
	}
	return n.add(h, x), nil
}

// block carries noise through block i.
func (n noise) block(m *reference.Model, i int, x signal, at reference.Places) ([]stage, signal, error) {
	b, names := &m.Blocks[i], blockNames(m, i)
	stages, h, err := n.attend(b, names, x, at, nil)
	if err != nil || b.MLP == nil {
		return stages, h, err
	}
	y, err := n.mlp(b.MLP, h)
	return append(stages, stage{names.output, y, stages[len(stages)-1].ends}), y, err
}

// embed is what goes into the first block.
func (n noise) embed(m *reference.Model, in reference.Inputs) (signal, reference.Places, error) {
	value, at, err := m.Embed(in)
	switch {
	case err != nil:
		return signal{}, at, err
	case m.Tokens != nil:
		s, err := n.rows(m.Tokens, value, in.X)
		return s, at, err
	case m.Patches != nil:
		s, err := n.patches(m.Patches, value, in.X)
		return s, at, err
	}
	return n.given(value), at, nil
}

// rows are those of an embedding, and of the positions added to them: nothing but stored numbers and one sum.
func (n noise) rows(e *reference.TokenEmbedding, value, tokens tensor.Array) (signal, error) {
	bare := *e
	bare.Positions = reference.Weight{}
	rows, err := bare.Forward(tokens)
	if err != nil {
		return signal{}, err
	}
	h := signal{value, make([]float64, len(value.Data))}
	for i, v := range value.Data {
		row, position := rows.Data[i], v-rows.Data[i]
		h.variance[i] = n.weight*n.weight*(row*row+position*position) + n.round(v)
	}
	return h, nil
}

// patches are a projection of pixels. The reference computes its variance as well: the embedding of z with squared weights.
func (n noise) patches(e *reference.PatchEmbedding, value, pixels tensor.Array) (signal, error) {
	w, err := e.Weight.Array()
	if err != nil {
		return signal{}, fmt.Errorf("patch.weight: %w", err)
	}
	terms := len(w.Data) / e.Dim()
	growth, rounded := n.sum*n.sum*(float64(terms)/6+1), n.weight*n.weight
	squared := tensor.Array{Shape: w.Shape, Data: make([]float64, len(w.Data))}
	for i, v := range w.Data {
		squared.Data[i] = v * v
	}
	z := tensor.Array{Shape: pixels.Shape, Data: make([]float64, len(pixels.Data))}
	for i, v := range pixels.Data {
		z.Data[i] = (n.input*n.input + growth + rounded) * v * v
	}
	plain := reference.PatchEmbedding{Weight: tensor.Hold(w)}
	if e.ClassToken != nil {
		plain.ClassToken = make([]float64, e.Dim())
	}
	placeless, square := *e, plain
	placeless.Positions, placeless.Pixels = reference.Weight{}, reference.Pixels{}
	square.Weight = tensor.Hold(squared)
	var parts [3]tensor.Array // the sums, with bias and class token, and what is carried
	for i, p := range []struct {
		of *reference.PatchEmbedding
		x  tensor.Array
	}{{&plain, pixels}, {&placeless, pixels}, {&square, z}} {
		if parts[i], _, err = p.of.Forward(p.x); err != nil {
			return signal{}, err
		}
	}
	h := signal{value, make([]float64, len(value.Data))}
	for i, v := range value.Data {
		s, biased := parts[0].Data[i], parts[1].Data[i]
		bias, position := biased-s, v-biased
		h.variance[i] = parts[2].Data[i] + growth*s*s + rounded*(bias*bias+position*position) +
			n.round(s) + n.round(biased) + n.round(v)
	}
	return h, nil
}

// finish carries noise from the last block to the output.
func (n noise) finish(m *reference.Model, h signal) (signal, error) {
	var err error
	if m.Norm != nil {
		if h, err = n.norm(m.Norm, h); err != nil {
			return h, fmt.Errorf("norm: %w", err)
		}
	}
	if m.Patches != nil {
		h = n.pool(m, h)
	}
	if m.Head != nil {
		if h, err = n.project(m.Head, h); err != nil {
			return h, fmt.Errorf("head: %w", err)
		}
	}
	if m.Patches != nil {
		h.value.Shape = []int{h.value.Shape[0], h.value.Shape[2]}
	}
	return h, nil
}

// pool is the class token's row, or the mean over positions.
func (n noise) pool(m *reference.Model, h signal) signal {
	y := signal{value: m.Pool(h.value)}
	variance := m.Pool(tensor.Array{Shape: h.value.Shape, Data: h.variance})
	y.variance = variance.Data
	if m.Patches.ClassToken != nil {
		return y
	}
	squares := tensor.Array{Shape: h.value.Shape, Data: make([]float64, len(h.value.Data))}
	for i, v := range h.value.Data {
		squares.Data[i] = v * v
	}
	squares = m.Pool(squares)
	length := float64(h.value.Shape[1])
	growth := n.sum * n.sum * (length/6 + 1)
	for i, v := range y.value.Data {
		y.variance[i] = y.variance[i]/length + growth*(squares.Data[i]/length+v*v) + n.round(v)
	}
	return y
}
