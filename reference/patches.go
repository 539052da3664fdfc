package reference

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// PatchEmbedding is how an image becomes channels: it is cut into patches of p x p pixels, row by row, and each is projected
// (Dosovitskiy et al. 2020, arXiv:2010.11929),
//
//	h[b,t,d] = sum_{c,i,j} Weight[d,c,i,j] pixels[b,c,p*row(t)+i,p*column(t)+j] + Bias[d]
//
// With a class token, that comes first. Positions are added last, one for every position, the class token included.
type PatchEmbedding struct {
	Weight     Weight    // (D,C,p,p)
	Bias       []float64 // D values; nil: none
	ClassToken []float64 // D values; nil: none
	Positions  Weight    // (T,D): images have exactly T positions; empty: none, and images of any size will do
	Pixels     Pixels
}

// Pixels say how a picture becomes what a model takes: (value/255 - Mean) / Std, by channel, at that size. Nothing here
// changes what PatchEmbedding computes.
type Pixels struct {
	Size      [2]int    // height and width; zero: any
	Mean, Std []float64 // one a channel; nil: 0 and 1
}

// Dim is D.
func (e *PatchEmbedding) Dim() int { return e.Weight.Shape()[0] }

// Channels is C.
func (e *PatchEmbedding) Channels() int { return e.Weight.Shape()[1] }

// Patch is p.
func (e *PatchEmbedding) Patch() int { return e.Weight.Shape()[2] }

// Check holds the parts against each other.
func (e *PatchEmbedding) Check() error {
	if err := checkWeight(e.Weight, 4); err != nil {
		return fmt.Errorf("patch.weight: %w", err)
	}
	shape := e.Weight.Shape()
	if shape[2] != shape[3] {
		return fmt.Errorf("patch.weight: has shape %s, want square patches", tensor.FormatShape(shape))
	}
	if e.Bias != nil && len(e.Bias) != e.Dim() {
		return fmt.Errorf("patch.bias: has %d values, want %d as patch.weight has rows", len(e.Bias), e.Dim())
	}
	if e.ClassToken != nil && len(e.ClassToken) != e.Dim() {
		return fmt.Errorf("class_token: has %d values, want %d as patch.weight has rows", len(e.ClassToken), e.Dim())
	}
	if err := e.Pixels.check(e); err != nil {
		return err
	}
	return checkPositions(e.Positions, e.Dim())
}

func (p *Pixels) check(e *PatchEmbedding) error {
	for _, v := range []struct {
		name   string
		values []float64
	}{{"mean", p.Mean}, {"std", p.Std}} {
		if v.values != nil && len(v.values) != e.Channels() {
			return fmt.Errorf("%s: has %d values, want %d, one a channel", v.name, len(v.values), e.Channels())
		}
	}
	for _, v := range p.Mean {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("mean: holds %v, want finite numbers", v)
		}
	}
	for _, v := range p.Std {
		if !(v > 0) || math.IsInf(v, 0) {
			return fmt.Errorf("std: holds %v, want finite numbers above 0", v)
		}
	}
	if p.Size == [2]int{} {
		return nil
	}
	grid, err := e.Grid(p.Size[0], p.Size[1])
	if err != nil {
		return fmt.Errorf("image_size: %w", err)
	}
	if _, err := tensor.ByteLen(tensor.Float64, []int{e.Channels(), p.Size[0], p.Size[1]}); err != nil {
		return fmt.Errorf("image_size: is %d x %d: %w", p.Size[0], p.Size[1], err)
	}
	if want := e.length(grid); !e.Positions.Empty() && e.Positions.Rank() == 2 && e.Positions.Shape()[0] != want {
		return fmt.Errorf("image_size: (%d,%d) has %d positions, but positions.weight has %d", p.Size[0], p.Size[1], want,
			e.Positions.Shape()[0])
	}
	return nil
}

// Grid is how many rows and columns of patches an image has; its sides must be multiples of p.
func (e *PatchEmbedding) Grid(height, width int) ([2]int, error) {
	p := e.Patch()
	if height < 1 || width < 1 || height%p != 0 || width%p != 0 {
		return [2]int{}, fmt.Errorf("is %d x %d, want multiples of the patch size %d", height, width, p)
	}
	return [2]int{height / p, width / p}, nil
}

// length is how many positions a grid gives.
func (e *PatchEmbedding) length(grid [2]int) int {
	n := grid[0] * grid[1]
	if e.ClassToken != nil {
		n++
	}
	return n
}

// Forward maps pixels (B,C,H,W) to h (B,T,D), and gives the grid of patches.
func (e *PatchEmbedding) Forward(pixels Array) (Array, [2]int, error) {
	if err := e.Check(); err != nil {
		return Array{}, [2]int{}, err
	}
	if err := checkArray(pixels, 4); err != nil {
		return Array{}, [2]int{}, fmt.Errorf("pixels: %w", err)
	}
	if pixels.Shape[1] != e.Channels() {
		return Array{}, [2]int{}, fmt.Errorf("pixels: has shape %s, want %d channels", tensor.FormatShape(pixels.Shape), e.Channels())
	}
	grid, err := e.Grid(pixels.Shape[2], pixels.Shape[3])
	if err != nil {
		return Array{}, grid, fmt.Errorf("pixels: %w", err)
	}
	positions, err := e.Positions.Array()
	if err != nil {
		return Array{}, grid, fmt.Errorf("positions.weight: %w", err)
	}
	if n := e.length(grid); !e.Positions.Empty() && positions.Shape[0] != n {
		return Array{}, grid, fmt.Errorf("pixels: gives %d positions, but there are embeddings for %d", n, positions.Shape[0])
	}
	linear, err := e.Linear()
	if err != nil {
		return Array{}, grid, err
	}
	patches, err := linear.Forward(e.cut(pixels, grid))
	if err != nil {
		return Array{}, grid, fmt.Errorf("patch: %w", err)
	}
	h, err := e.assemble(patches, positions)
	return h, grid, err
}

// Linear is the projection of a patch as a row of C*p*p numbers, in the order channel, row, column.
func (e *PatchEmbedding) Linear() (Linear, error) {
	shape := []int{e.Dim(), e.Channels() * e.Patch() * e.Patch()}
	w, err := e.Weight.Array()
	if err != nil {
		return Linear{}, fmt.Errorf("patch.weight: %w", err)
	}
	return Linear{Weight: tensor.Hold(Array{Shape: shape, Data: w.Data}), Bias: e.Bias}, nil
}

// cut gives (B, h*w, C*p*p).
func (e *PatchEmbedding) cut(pixels Array, grid [2]int) Array {
	channels, height, width, p := pixels.Shape[1], pixels.Shape[2], pixels.Shape[3], e.Patch()
	out := Array{Shape: []int{pixels.Shape[0], grid[0] * grid[1], channels * p * p}}
	out.Data = make([]float64, 0, len(pixels.Data))
	for b := range pixels.Shape[0] {
		for place := range grid[0] * grid[1] {
			top, left := place/grid[1]*p, place%grid[1]*p
			for row := range channels * p {
				start := ((b*channels+row/p)*height+top+row%p)*width + left
				out.Data = append(out.Data, pixels.Data[start:start+p]...)
			}
		}
	}
	return out
}

// assemble puts the class token first and adds the positions.
func (e *PatchEmbedding) assemble(patches, positions Array) (Array, error) {
	batch, places, dim := patches.Shape[0], patches.Shape[1], e.Dim()
	first := 0
	if e.ClassToken != nil {
		first = 1
	}
	h, err := tensor.NewArray(batch, first+places, dim)
	if err != nil {
		return h, err
	}
	for b := range batch {
		entry := h.Data[b*(first+places)*dim : (b+1)*(first+places)*dim]
		copy(entry, e.ClassToken)
		copy(entry[first*dim:], patches.Data[b*places*dim:(b+1)*places*dim])
		for i, p := range positions.Data {
			entry[i] += p
		}
	}
	return h, nil
}
