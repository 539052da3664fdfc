package reference

import (
	"fmt"
)

// Block is a layer with what a network puts around it:
//
//	h = x + AFT(Norm(x))
//	y = h + Down(gelu(Up(MLP.Norm(h))))
//
// the pre-norm block of the paper's models (section 4). A bare layer is a block with nothing else in it.
type Block struct {
	Layer
	Norm     *LayerNorm // before the layer; nil: none
	Residual bool       // whether x is added to what the layer gives
	MLP      *MLP       // after the layer; nil: none
}

// Check holds the parts against each other; the error names the part as checkpoints do.
func (b *Block) Check() error {
	if err := b.Layer.Check(); err != nil {
		return err
	}
	if b.Norm != nil {
		if err := b.Norm.Check(); err != nil {
			return fmt.Errorf("norm1.%w", err)
		}
		if b.Norm.Dim() != b.In() {
			return fmt.Errorf("norm1.weight: has %d values, want %d as q.weight has columns", b.Norm.Dim(), b.In())
		}
	}
	if b.Residual && b.In() != b.OutDim() {
		return fmt.Errorf("gives %d channels, want %d, which it takes and adds", b.OutDim(), b.In())
	}
	if b.MLP == nil {
		return nil
	}
	if err := b.MLP.Check(); err != nil {
		return err
	}
	if b.MLP.Norm.Dim() != b.OutDim() {
		return fmt.Errorf("norm2.weight: has %d values, want %d as the layer gives channels", b.MLP.Norm.Dim(), b.OutDim())
	}
	return nil
}

// Forward computes y (B,T,OutDim) from x (B,T,In).
func (b *Block) Forward(x Array, at Places) (Array, error) {
	if err := b.Check(); err != nil {
		return Array{}, err
	}
	h, err := b.Attend(x, at)
	if err != nil || b.MLP == nil {
		return h, err
	}
	return b.MLP.Forward(h)
}

// Attend is the first half of Forward, up to the MLP.
func (b *Block) Attend(x Array, at Places) (Array, error) {
	in := x
	if b.Norm != nil {
		var err error
		if in, err = b.Norm.Forward(x); err != nil {
			return Array{}, fmt.Errorf("norm1: %w", err)
		}
	}
	y, err := b.Layer.Forward(in, at)
	if err != nil || !b.Residual {
		return y, err
	}
	return addTo(x, y), nil
}
