package verify

import (
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// defaultPartBytes is how many bytes of stored weights are loaded at once unless Options say otherwise.
const defaultPartBytes = 1 << 28

func (o *Options) partBytes() int64 {
	if o.PartBytes > 0 {
		return o.PartBytes
	}
	return defaultPartBytes
}

// parts divides a model between blocks, so that the stored weights of a part take no more than partBytes, unless a single
// block does. Embeddings belong to the first part, the head to the last.
func (o *Options) parts(s *subject) []part {
	m := s.stored
	stem, head := int64(0), int64(0)
	if m.Tokens != nil {
		stem = weightBytes(s.dtype, m.Tokens.Weight, m.Tokens.Positions)
	}
	if m.Patches != nil {
		stem = weightBytes(s.dtype, m.Patches.Weight, m.Patches.Positions)
	}
	if m.Head != nil {
		head = weightBytes(s.dtype, m.Head.Weight)
	}
	last := len(m.Blocks) - 1
	var parts []part
	at := part{}
	used := stem
	for i := range m.Blocks {
		size := blockBytes(s.dtype, &m.Blocks[i])
		if i == last {
			size += head
		}
		if used > 0 && used+size > o.partBytes() && i > at.first {
			at.end = i
			parts, at, used = append(parts, at), part{first: i}, 0
		}
		used += size
	}
	at.end = len(m.Blocks)
	return append(parts, at)
}

// wholeParts is how many parts a model may have to be loaded whole where that was asked for: Full and, since it says what the
// checkpoint's rounding does, the row about that.
const wholeParts = 4

// fitsWhole reports whether a model may be loaded as one.
func (o *Options) fitsWhole(s *subject) (bool, error) {
	list, err := modelWeights(s.stored)
	total := int64(0)
	for _, w := range list {
		total += weightBytes(s.dtype, w.Weight)
	}
	return total <= wholeParts*o.partBytes(), err
}

func blockBytes(dtype tensor.DType, b *reference.Block) int64 {
	n := weightBytes(dtype, b.Q.Weight, b.K.Weight, b.V.Weight, b.W)
	if b.Out != nil {
		n += weightBytes(dtype, b.Out.Weight)
	}
	if b.MLP != nil {
		n += weightBytes(dtype, b.MLP.Up.Weight, b.MLP.Down.Weight)
	}
	return n
}

func weightBytes(dtype tensor.DType, list ...tensor.Weight) int64 {
	n := int64(0)
	for _, w := range list {
		n += int64(w.Len()) * int64(dtype.Size())
	}
	return n
}
