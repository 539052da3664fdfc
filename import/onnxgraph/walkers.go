package onnxgraph

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// elem is what the elements of a value are computed as.
type elem interface{ float64 | int64 }

// strides are the row-major strides of a shape.
func strides(shape []int) []int {
	s := make([]int, len(shape))
	for i, n := len(shape)-1, 1; i >= 0; i-- {
		s[i] = n
		n *= shape[i]
	}
	return s
}

// traversal visits the elements of a shape in row-major order, following any number of operands by their strides.
// Neighbouring dimensions that every operand walks through alike are merged, so that rows are as long as can be.
type traversal struct {
	dims    []int
	strides [][]int // one list an operand
}

func newTraversal(shape []int, operands ...[]int) *traversal {
	t := &traversal{strides: make([][]int, len(operands))}
	for axis, d := range shape {
		if d == 1 {
			continue
		}
		if last := len(t.dims) - 1; last >= 0 && t.mergeable(last, axis, d, operands) {
			t.dims[last] *= d
			for i, s := range operands {
				t.strides[i][last] = s[axis]
			}
			continue
		}
		t.dims = append(t.dims, d)
		for i, s := range operands {
			t.strides[i] = append(t.strides[i], s[axis])
		}
	}
	if len(t.dims) == 0 {
		t.dims = []int{1}
		for i := range t.strides {
			t.strides[i] = []int{0}
		}
	}
	return t
}

func (t *traversal) mergeable(last, axis, d int, operands [][]int) bool {
	for i, s := range operands {
		if t.strides[i][last] != s[axis]*d {
			return false
		}
	}
	return true
}

// run calls f for every row: the place of its first element in the visiting order, the operands' places, and how many
// elements there are; step is how far each operand moves an element. Rows, or parts of the only one, are shared among the cores when split
// is set: then f must touch nothing for an element that it touches for another.
func (t *traversal) run(split bool, f func(first, n int, at, step []int)) {
	last := len(t.dims) - 1
	rows, n, step := 1, t.dims[last], make([]int, len(t.strides))
	for _, d := range t.dims[:last] {
		rows *= d
	}
	if rows == 0 || n == 0 {
		return
	}
	for i := range step {
		step[i] = t.strides[i][last]
	}
	visit := func(lo, hi, from, to int) {
		index, at := tensor.Unravel(lo, t.dims[:last]), make([]int, len(t.strides))
		for row := lo; row < hi; row++ {
			for i, s := range t.strides {
				at[i] = from * step[i]
				for axis, k := range index {
					at[i] += k * s[axis]
				}
			}
			f(row*n+from, to-from, at, step)
			for axis := last - 1; axis >= 0; axis-- {
				if index[axis]++; index[axis] < t.dims[axis] {
					break
				}
				index[axis] = 0
			}
		}
	}
	switch {
	case !split:
		visit(0, rows, 0, n)
	case rows == 1: // all operands were walked through alike: the one row is shared
		parallel(n, 1, func(from, to int) { visit(0, 1, from, to) })
	default:
		parallel(rows, n, func(lo, hi int) { visit(lo, hi, 0, n) })
	}
}

// broadcastShape is the shape that numpy's rule gives several operands: right-aligned, 1 stretches.
func broadcastShape(shapes ...[]int) ([]int, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := make([]int, rank)
	for i := range out {
		out[i] = 1
	}
	for _, s := range shapes {
		for i, d := range s {
			o := &out[rank-len(s)+i]
			switch {
			case d == *o || d == 1:
			case *o == 1:
				*o = d
			default:
				return nil, fmt.Errorf("shapes %s do not broadcast", formatShapes(shapes))
			}
		}
	}
	return out, nil
}

func formatShapes(shapes [][]int) string {
	text := ""
	for i, s := range shapes {
		if i > 0 {
			text += " and "
		}
		text += tensor.FormatShape(s)
	}
	return text
}

// broadcastStrides are the strides by which an operand of a shape follows the broadcast result.
func broadcastStrides(shape, out []int) []int {
	own, s := strides(shape), make([]int, len(out))
	for i, d := range shape {
		if d != 1 {
			s[len(out)-len(shape)+i] = own[i]
		}
	}
	return s
}

// strided copies the elements of v at offset + index x strides.
func (c *call) strided(v *value, shape []int, offset int, strides []int) (*value, error) {
	out, err := c.alloc(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	t := newTraversal(shape, strides)
	if v.isFloat() {
		copyStrided(t, out.f, v.f, offset)
	} else {
		copyStrided(t, out.i, v.i, offset)
	}
	return out, nil
}

func copyStrided[T elem](t *traversal, out, in []T, offset int) {
	t.run(true, func(first, n int, at, step []int) {
		from, by := offset+at[0], step[0]
		if by == 1 {
			copy(out[first:first+n], in[from:from+n])
			return
		}
		for k := range n {
			out[first+k] = in[from+k*by]
		}
	})
}

// place copies v into out, at offset + index x out's strides.
func place(out, v *value, offset int) {
	t := newTraversal(v.shape, strides(out.shape))
	t.run(true, func(first, n int, at, step []int) {
		to, by := offset+at[0], step[0]
		for k := range n {
			if v.isFloat() {
				out.f[to+k*by] = v.f[first+k]
			} else {
				out.i[to+k*by] = v.i[first+k]
			}
		}
	})
}
