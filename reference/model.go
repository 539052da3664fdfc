package reference

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Model is what a file holds: blocks, one after the other, and what stands before and behind them.
//
//	language model  tokens (B,T)      -> Tokens  -> Blocks -> Norm -> Head -> logits (B,T,V)
//	image model     pixels (B,C,H,W)  -> Patches -> Blocks -> Norm -> pool -> Head -> logits (B,classes)
//	stack           x (B,T,dim)       -> Blocks -> y
//
// An image model pools to its class token, or without one to the mean over all positions. What is nil is left out.
type Model struct {
	Tokens  *TokenEmbedding
	Patches *PatchEmbedding
	Blocks  []Block
	Norm    *LayerNorm
	Head    *Linear
	Tied    bool     // the weight of Head is that of Tokens
	Labels  []string // of the logits, where they are known
}

// Stack is the model of bare layers, L_n(...L_1(x)), with nothing in between.
func Stack(layers ...Layer) *Model {
	m := &Model{}
	for _, l := range layers {
		m.Blocks = append(m.Blocks, Block{Layer: l})
	}
	return m
}

// IsStack reports whether the model is bare layers and nothing else.
func (m *Model) IsStack() bool {
	bare := func(b Block) bool { return b.Norm == nil && !b.Residual && b.MLP == nil }
	return m.Tokens == nil && m.Patches == nil && m.Norm == nil && m.Head == nil &&
		!slices.ContainsFunc(m.Blocks, func(b Block) bool { return !bare(b) })
}

// Check checks every part and that each takes what the one before it gives.
func (m *Model) Check() error {
	if len(m.Blocks) == 0 {
		return errors.New("has no layers")
	}
	for i := range m.Blocks {
		b := &m.Blocks[i]
		if err := b.Check(); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		if i > 0 && b.In() != m.Blocks[i-1].OutDim() {
			return fmt.Errorf("layer %d: takes %d channels, but layer %d gives %d", i, b.In(), i-1, m.Blocks[i-1].OutDim())
		}
	}
	if err := m.checkStem(); err != nil {
		return err
	}
	return m.checkHead()
}

// checkStem checks what stands before the blocks.
func (m *Model) checkStem() error {
	dim := m.Blocks[0].In()
	switch {
	case m.Tokens != nil && m.Patches != nil:
		return errors.New("takes tokens and pixels, want one of them")
	case m.Tokens != nil:
		if err := m.Tokens.Check(); err != nil {
			return err
		}
		if m.Tokens.Dim() != dim {
			return fmt.Errorf("embed.weight: has %d columns, but layer 0 takes %d channels", m.Tokens.Dim(), dim)
		}
	case m.Patches != nil:
		if err := m.Patches.Check(); err != nil {
			return err
		}
		if m.Patches.Dim() != dim {
			return fmt.Errorf("patch.weight: has %d rows, but layer 0 takes %d channels", m.Patches.Dim(), dim)
		}
		if m.Patches.ClassToken != nil && m.has(Conv2D) {
			return errors.New("class_token: does not lie on the grid of 2-D convolutions")
		}
	}
	return nil
}

// checkHead checks what stands behind the blocks.
func (m *Model) checkHead() error {
	dim := m.Blocks[len(m.Blocks)-1].OutDim()
	if m.Norm != nil {
		if err := m.Norm.Check(); err != nil {
			return fmt.Errorf("norm.%w", err)
		}
		if m.Norm.Dim() != dim {
			return fmt.Errorf("norm.weight: has %d values, but the last layer gives %d channels", m.Norm.Dim(), dim)
		}
	}
	if m.Head == nil {
		switch {
		case m.Patches != nil:
			return errors.New("head: is missing behind the pooled image")
		case m.Tied:
			return errors.New("head.weight: is to be the token embedding, but there is no head")
		case len(m.Labels) > 0:
			return fmt.Errorf("labels: are %d, but there is no head", len(m.Labels))
		}
		return nil
	}
	if err := m.Head.Check(); err != nil {
		return fmt.Errorf("head.%w", err)
	}
	if m.Head.In() != dim {
		return fmt.Errorf("head.weight: has %d columns, but the last layer gives %d channels", m.Head.In(), dim)
	}
	if m.Tied && (m.Tokens == nil || !tensor.SameShape(m.Head.Weight.Shape(), m.Tokens.Weight.Shape())) {
		return errors.New("head.weight: is to be the token embedding, which it does not fit")
	}
	if n := len(m.Labels); n > 0 && n != m.Head.Out() {
		return fmt.Errorf("labels: are %d, want %d, one a row of head.weight", n, m.Head.Out())
	}
	return nil
}

func (m *Model) has(v Variant) bool {
	return slices.ContainsFunc(m.Blocks, func(b Block) bool { return b.Variant == v })
}

// MaxLen is the longest sequence that all parts have biases or embeddings for, 0 when any length will do. An image model
// counts its class token.
func (m *Model) MaxLen() int {
	shortest := 0
	limit := func(n int) {
		if n > 0 && (shortest == 0 || n < shortest) {
			shortest = n
		}
	}
	for i := range m.Blocks {
		limit(m.Blocks[i].MaxLen())
	}
	if m.Tokens != nil && m.Tokens.Positions.Rank() == 2 {
		limit(m.Tokens.Positions.Shape()[0])
	}
	if m.Patches != nil && m.Patches.Positions.Rank() == 2 {
		limit(m.Patches.Positions.Shape()[0])
	}
	return shortest
}

// HasConv2D reports whether a layer works on a grid.
func (m *Model) HasConv2D() bool { return m.has(Conv2D) }

// NeedsGrid reports whether a layer takes its grid at run time and the model does not make it of an image.
func (m *Model) NeedsGrid() bool {
	if m.Patches != nil {
		return false
	}
	return slices.ContainsFunc(m.Blocks, func(b Block) bool { return b.Variant == Conv2D && b.Grid == [2]int{} })
}

// Inputs are what a model runs on.
type Inputs struct {
	X    Array  // x (B,T,dim), tokens (B,T) or pixels (B,C,H,W)
	Grid [2]int // for the layers of a stack that take theirs at run time; without such layers it may be zero
	Mask Array  // (B,T): 0 keeps a position from being a source; empty: all are sources
}

// Forward computes the model's output.
func (m *Model) Forward(in Inputs) (Array, error) {
	if err := m.Check(); err != nil {
		return Array{}, err
	}
	h, at, err := m.Embed(in)
	if err != nil {
		return Array{}, err
	}
	for i := range m.Blocks {
		if h, err = m.Blocks[i].Forward(h, at); err != nil {
			return Array{}, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return m.Finish(h)
}

// Embed computes what goes into the first block, and what all blocks have to know.
func (m *Model) Embed(in Inputs) (h Array, at Places, err error) {
	at = Places{Grid: in.Grid, Mask: in.Mask}
	switch {
	case m.Tokens != nil:
		h, err = m.Tokens.Forward(in.X)
	case m.Patches != nil:
		h, at.Grid, err = m.Patches.Forward(in.X)
	default:
		h = in.X
	}
	return h, at, err
}

// Finish computes the output from what the last block gives.
func (m *Model) Finish(h Array) (Array, error) {
	var err error
	if m.Norm != nil {
		if h, err = m.Norm.Forward(h); err != nil {
			return h, fmt.Errorf("norm: %w", err)
		}
	}
	if m.Patches != nil {
		h = m.Pool(h)
	}
	if m.Head != nil {
		if h, err = m.Head.Forward(h); err != nil {
			return h, fmt.Errorf("head: %w", err)
		}
	}
	if m.Patches != nil {
		h.Shape = []int{h.Shape[0], h.Shape[2]}
	}
	return h, nil
}

// Pool is how an image model gets one row an image, (B,1,D) from (B,T,D): the class token's, or the mean over positions.
func (m *Model) Pool(h Array) Array {
	batch, length, dim := h.Shape[0], h.Shape[1], h.Shape[2]
	out := Array{Shape: []int{batch, 1, dim}, Data: make([]float64, batch*dim)}
	for b := range batch {
		entry, row := h.Data[b*length*dim:(b+1)*length*dim], out.Data[b*dim:(b+1)*dim]
		if m.Patches.ClassToken != nil {
			copy(row, entry[:dim])
			continue
		}
		for i, v := range entry {
			row[i%dim] += v
		}
		for c := range row {
			row[c] /= float64(length)
		}
	}
	return out
}
