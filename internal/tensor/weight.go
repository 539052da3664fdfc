package tensor

import (
	"fmt"
)

// Weight is a floating-point array whose elements are read when they are asked for: a model of gigabytes can be described
// without holding it. The zero value is no array at all.
//
// Reading twice gives the same elements. A Weight may be read from several goroutines.
type Weight struct {
	shape  []int
	dtype  DType // of the elements where they are stored
	held   *Array
	parts  Parts
	origin *Origin
}

// Parts calls yield with consecutive pieces of an array, in row-major order, until all elements were given or yield fails,
// whose error it returns. A piece is a tensor of rank 1 that yield must not keep.
type Parts func(yield func(part *Tensor) error) error

// Origin is where the elements of a weight lie in a file as they are: dense, row-major, little-endian.
type Origin struct {
	Path   string
	Offset int64
}

// Hold makes a weight of an array in memory. The array is shared, not copied.
func Hold(a Array) Weight {
	if a.Empty() {
		return Weight{}
	}
	return Weight{shape: a.Shape, dtype: Float64, held: &a}
}

// WeightOptions describe a weight that is not in memory.
type WeightOptions struct {
	Shape  []int
	DType  DType   // of the elements that Parts gives
	Parts  Parts   // must give exactly the elements of Shape
	Origin *Origin // nil: they lie nowhere as they are
}

// NewWeight makes a weight that is read by o.Parts.
func NewWeight(o WeightOptions) Weight {
	return Weight{shape: append([]int{}, o.Shape...), dtype: o.DType, parts: o.Parts, origin: o.Origin}
}

// Typed makes a weight of a tensor in memory, which is shared, not copied.
func Typed(t *Tensor) Weight {
	return NewWeight(WeightOptions{Shape: t.Shape, DType: t.DType, Parts: func(yield func(*Tensor) error) error {
		if _, err := ByteLen(t.DType, t.Shape); err != nil {
			return err
		}
		step := partElements * t.DType.Size()
		for start := 0; start < len(t.Data); start += step {
			piece := t.Data[start:min(start+step, len(t.Data))]
			if err := yield(&Tensor{DType: t.DType, Shape: []int{len(piece) / t.DType.Size()}, Data: piece}); err != nil {
				return err
			}
		}
		return nil
	}})
}

// Computed makes a weight of that shape whose elements are computed, in float64, whenever they are asked for.
func Computed(shape []int, compute func() (Array, error)) Weight {
	return NewWeight(WeightOptions{Shape: shape, DType: Float64, Parts: func(yield func(*Tensor) error) error {
		a, err := compute()
		if err != nil {
			return err
		}
		return yieldArray(a, yield)
	}})
}

// Shape is the array's shape; nil for no array. It must not be changed.
func (w Weight) Shape() []int { return w.shape }

// Rank is the number of dimensions.
func (w Weight) Rank() int { return len(w.shape) }

// DType is the type in which the elements are stored: what Parts gives.
func (w Weight) DType() DType { return w.dtype }

// Origin is where the elements lie in a file as they are; nil where they do not.
func (w Weight) Origin() *Origin { return w.origin }

// Empty reports whether there is no array.
func (w Weight) Empty() bool { return w.held == nil && w.parts == nil }

// Len is the number of elements, 0 where the shape is none that an array can have.
func (w Weight) Len() int {
	if w.Empty() {
		return 0
	}
	n, err := NumElements(w.shape)
	if err != nil {
		return 0
	}
	return n
}

// SameAs reports whether two weights are one: the same array in memory, or the same elements of one file.
func (w Weight) SameAs(other Weight) bool {
	if w.Empty() || other.Empty() || w.dtype != other.dtype || !SameShape(w.shape, other.shape) {
		return false
	}
	if w.held != nil && other.held != nil {
		return len(w.held.Data) > 0 && len(other.held.Data) > 0 && &w.held.Data[0] == &other.held.Data[0]
	}
	return w.origin != nil && other.origin != nil && *w.origin == *other.origin
}

// Held is the array of a weight that Hold made; false for any other.
func (w Weight) Held() (Array, bool) {
	if w.held == nil {
		return Array{}, false
	}
	return *w.held, true
}

// Array reads all elements, widened to float64. What Hold was given comes back as it is, shared; anything else is new memory.
func (w Weight) Array() (Array, error) {
	if w.held != nil {
		return *w.held, nil
	}
	if w.Empty() {
		return Array{}, nil
	}
	a, err := NewArray(w.shape...)
	if err != nil {
		return Array{}, err
	}
	done := 0
	if err := w.Parts(func(part *Tensor) error {
		for i := range part.Len() {
			a.Data[done] = part.At(i)
			done++
		}
		return nil
	}); err != nil {
		return Array{}, err
	}
	return a, nil
}

// Parts gives the elements piece by piece, in their own type, and makes sure that there are as many as the shape says.
func (w Weight) Parts(yield func(part *Tensor) error) error {
	read := w.parts
	if w.held != nil {
		read = func(yield func(*Tensor) error) error { return yieldArray(*w.held, yield) }
	}
	if read == nil {
		return nil
	}
	left, err := NumElements(w.shape)
	if err != nil {
		return err
	}
	err = read(func(part *Tensor) error {
		if left -= part.Len(); left < 0 {
			return fmt.Errorf("more than the %d elements of shape %s", w.Len(), FormatShape(w.shape))
		}
		return yield(part)
	})
	if err == nil && left > 0 {
		err = fmt.Errorf("%d of the %d elements of shape %s are missing", left, w.Len(), FormatShape(w.shape))
	}
	return err
}

// partElements is how many elements of an array are given at once.
const partElements = 1 << 16

func yieldArray(a Array, yield func(*Tensor) error) error {
	for start := 0; start < len(a.Data); start += partElements {
		piece := a.Data[start:min(start+partElements, len(a.Data))]
		t, err := FromFloat64s(Float64, []int{len(piece)}, piece)
		if err != nil {
			return err
		}
		if err := yield(t); err != nil {
			return err
		}
	}
	return nil
}

// Reshaped is the same elements under another shape of as many elements; no array stays no array.
func (w Weight) Reshaped(shape []int) Weight {
	if w.Empty() {
		return w
	}
	w.shape = append([]int{}, shape...)
	if w.held != nil {
		w.held = &Array{Shape: w.shape, Data: w.held.Data}
	}
	return w
}
