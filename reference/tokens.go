package reference

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// TokenEmbedding is how tokens become channels: h[b,t] = Weight[tokens[b,t]] + Positions[t].
type TokenEmbedding struct {
	Weight    Weight // (V,D)
	Positions Weight // (N,D), sequences are no longer than N; empty: none, and any length will do
}

// Vocabulary is V, the number of tokens.
func (e *TokenEmbedding) Vocabulary() int { return e.Weight.Shape()[0] }

// Dim is D.
func (e *TokenEmbedding) Dim() int { return e.Weight.Shape()[1] }

// Check holds the parts against each other.
func (e *TokenEmbedding) Check() error {
	if err := checkWeight(e.Weight, 2); err != nil {
		return fmt.Errorf("embed.weight: %w", err)
	}
	return checkPositions(e.Positions, e.Dim())
}

func checkPositions(p Weight, dim int) error {
	if p.Empty() {
		return nil
	}
	if err := checkWeight(p, 2); err != nil {
		return fmt.Errorf("positions.weight: %w", err)
	}
	if p.Shape()[1] != dim {
		return fmt.Errorf("positions.weight: has shape %s, want %d channels as the embedding has", tensor.FormatShape(p.Shape()), dim)
	}
	return nil
}

// Forward maps tokens (B,T), whole numbers in 0..V-1, to h (B,T,D).
func (e *TokenEmbedding) Forward(tokens Array) (Array, error) {
	if err := e.Check(); err != nil {
		return Array{}, err
	}
	if err := checkArray(tokens, 2); err != nil {
		return Array{}, fmt.Errorf("tokens: %w", err)
	}
	table, err := e.Weight.Array()
	if err != nil {
		return Array{}, fmt.Errorf("embed.weight: %w", err)
	}
	positions, err := e.Positions.Array()
	if err != nil {
		return Array{}, fmt.Errorf("positions.weight: %w", err)
	}
	length, dim, vocabulary := tokens.Shape[1], e.Dim(), e.Vocabulary()
	if !e.Positions.Empty() && length > positions.Shape[0] {
		return Array{}, fmt.Errorf("tokens: has %d positions, but there are embeddings for %d", length, positions.Shape[0])
	}
	h, err := tensor.NewArray(tokens.Shape[0], length, dim)
	if err != nil {
		return Array{}, err
	}
	for i, token := range tokens.Data {
		if token != math.Trunc(token) || token < 0 || token >= float64(vocabulary) {
			return Array{}, fmt.Errorf("tokens: element %v is %v, want a whole number in 0..%d",
				tensor.Unravel(i, tokens.Shape), token, vocabulary-1)
		}
		row := h.Data[i*dim : (i+1)*dim]
		copy(row, table.Data[int(token)*dim:])
		if !e.Positions.Empty() {
			for c, p := range positions.Data[i%length*dim : (i%length+1)*dim] {
				row[c] += p
			}
		}
	}
	return h, nil
}
