package tensor

// Array is a dense row-major array of float64.
type Array struct {
	Shape []int
	Data  []float64
}

// NewArray makes an array of zeros.
func NewArray(shape ...int) (Array, error) {
	n, err := NumElements(shape)
	if err != nil {
		return Array{}, err
	}
	return Array{Shape: append([]int{}, shape...), Data: make([]float64, n)}, nil
}

// Tensor rounds a to dtype.
func (a Array) Tensor(dtype DType) (*Tensor, error) {
	return FromFloat64s(dtype, a.Shape, a.Data)
}

// Empty reports whether a has not been set: no shape and no data. A scalar has no shape but one element.
func (a Array) Empty() bool { return a.Shape == nil && a.Data == nil }
