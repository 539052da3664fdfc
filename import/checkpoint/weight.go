package checkpoint

import (
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Weight describes a tensor of a floating-point type without reading it. The file must stay open for as long as the weight
// is read: after Close, its Parts and Array give an *Error.
//
// Parts reads pieces of 1 MiB or less, straight from the file; a strided view (w.T, w[:, :n]) may take the bytes between
// its first and its last element besides. A checksum of the whole record that it has is compared on the way: an error after
// the last piece says that the pieces were damaged.
//
// Origin is set where the elements lie in a file dense, row-major, little-endian and not compressed, and is equal for two
// names of the same elements (tied weights). Its path is that of the shard, if there are several.
func (f *File) Weight(name string) (tensor.Weight, error) {
	t, err := f.find(name)
	if err != nil {
		return tensor.Weight{}, err
	}
	if !t.view.dtype.IsFloat() {
		return tensor.Weight{}, t.in.located(&Error{Found: "elements of " + t.view.dtype.String(),
			Allowed: "a floating-point type"}, name)
	}
	return tensor.NewWeight(tensor.WeightOptions{
		Shape: t.view.shape, DType: t.view.dtype, Parts: t.parts, Origin: t.origin(),
	}), nil
}

// parts is the tensor's tensor.Parts.
func (t *namedTensor) parts(yield func(*tensor.Tensor) error) error {
	var stopped error
	size := t.view.dtype.Size()
	err := t.view.pieces(t.in.src, func(p []byte) bool {
		stopped = yield(&tensor.Tensor{DType: t.view.dtype, Shape: []int{len(p) / size}, Data: p})
		return stopped == nil
	})
	if err != nil {
		return t.in.located(err, t.name)
	}
	return stopped
}

// origin is where the elements lie as they are; nil where they do not, or where there are none.
func (t *namedTensor) origin() *tensor.Origin {
	v := t.view
	swapped := v.block.bigEndian && v.dtype.Size() > 1
	if v.strides != nil || v.block.deflated || swapped || v.bytes == 0 {
		return nil
	}
	return &tensor.Origin{Path: t.in.path, Offset: v.block.off + v.start}
}
