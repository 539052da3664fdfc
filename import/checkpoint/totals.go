package checkpoint

// Totals are the sums over a checkpoint's tensors. Elements that several names share
// as a whole (tied weights) count once.
type Totals struct {
	Parameters int64 // elements of floating-point tensors
	Bytes      int64 // of all tensors
}

// Totals counts without reading any tensor.
func (f *File) Totals() Totals {
	type elements struct {
		block *block
		start int64
		bytes int64
	}
	var sum Totals
	seen := map[elements]bool{}
	for i := range f.tensors {
		v := f.tensors[i].view
		if f.kind != Safetensors { // whose tensors never overlap
			e := elements{v.block, v.start, v.bytes}
			if seen[e] {
				continue
			}
			seen[e] = true
		}
		sum.Bytes += v.bytes
		if v.dtype.IsFloat() {
			sum.Parameters += v.bytes / int64(v.dtype.Size())
		}
	}
	return sum
}
