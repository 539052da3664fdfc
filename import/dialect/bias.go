package dialect

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// biases are the tensors of one layer's position biases, as the file holds them.
type biases struct {
	r      *reader
	set    biasSet
	arrays []reference.Weight // by role; a mask has 1 where the file has true
}

func (r *reader) biases() (*biases, error) {
	set, _ := r.found.dialect.biasesIn(r.found.names)
	b := &biases{r: r, set: set}
	for i, name := range set.tensors {
		read := r.weight
		if set.form == maskedTable && i == 1 {
			read = r.mask
		}
		w, err := read(name)
		if err != nil {
			return nil, err
		}
		b.arrays = append(b.arrays, w)
	}
	return b, nil
}

// mask reads a tensor of any type as 0 and 1: a checkpoint that was cast holds the mask as numbers.
func (r *reader) mask(name string) (reference.Weight, error) {
	t, err := r.in.Source.Tensor(r.found.prefix + name)
	if err != nil {
		return reference.Weight{}, err
	}
	a := t.Array()
	for i, v := range a.Data {
		if v != 0 {
			a.Data[i] = 1
		}
	}
	return tensor.Hold(a), nil
}

func (b *biases) rank() int { return len(b.kernelShape()) }

// kernelShape is the shape of the first tensor, (h,1,kh,kw) taken as (h,kh,kw).
func (b *biases) kernelShape() []int {
	if len(b.arrays) == 0 {
		return nil
	}
	shape := b.arrays[0].Shape()
	if len(shape) == 4 && shape[1] == 1 {
		return []int{shape[0], shape[2], shape[3]}
	}
	return shape
}

// variants are those that tensors of this form and shape can belong to; keys is the number of rows of the key projection.
func (b *biases) variants(keys int) []string {
	switch b.set.form {
	case noBias:
		return []string{"simple"}
	case pairTable, factors:
		return []string{"full", "local"}
	case maskedTable:
		return []string{"local"}
	case kernel:
		return []string{"conv"}
	}
	shape := b.arrays[0].Shape()
	if len(shape) != 2 || shape[0] != shape[1] {
		return []string{"conv"}
	}
	if shape[0] == keys {
		return []string{"full", "local", "conv"}
	}
	return []string{"full", "local"}
}

// describe says what the tensors are, for an error about what they are not.
func (b *biases) describe(allowed []string) string {
	if b.set.form == noBias {
		return "the layer has no position biases, which makes it simple"
	}
	return quoteList(b.set.tensors) + " can only be that of a layer that is " + strings.Join(allowed, " or ")
}

// maskWindow is the s for which the mask is true exactly where |t-t'| < s.
func (b *biases) maskWindow() (int, error) {
	where := b.r.tensorPlace(b.set.tensors[1])
	n, err := b.square(0)
	if err != nil {
		return 0, err
	}
	mask, _ := b.arrays[1].Held() // as mask made it
	if !tensor.SameShape(mask.Shape, b.arrays[0].Shape()) {
		return 0, b.r.fail(where, "has shape "+tensor.FormatShape(mask.Shape), tensor.FormatShape(b.arrays[0].Shape()))
	}
	s := 0
	for s < n && mask.Data[s] != 0 {
		s++
	}
	for t := range n {
		for u := range n {
			inside := max(t-u, u-t) < s
			if (mask.Data[t*n+u] != 0) != inside {
				return 0, b.r.fail(where, fmt.Sprintf("is %t at (%d,%d)", !inside, t, u),
					fmt.Sprintf("a band around the diagonal: true exactly where |t-t'| < s, and row 0 says s = %d", s))
			}
		}
	}
	return s, nil
}

// square requires a table to be (N,N) and returns N.
func (b *biases) square(i int) (int, error) {
	shape := b.arrays[i].Shape()
	if len(shape) != 2 || shape[0] != shape[1] {
		return 0, b.r.fail(b.r.tensorPlace(b.set.tensors[i]), "has shape "+tensor.FormatShape(shape), "a square table, (N,N)")
	}
	return shape[0], nil
}

// fold computes the layer's W, and for AFT-conv what aligns its kernel, from the tensors and the settled facts.
func (r *reader) fold(l *reference.Layer, b *biases) (err error) {
	switch l.Variant {
	case reference.Full:
		l.W, err = b.table()
	case reference.Local:
		err = b.band(l)
	case reference.Conv1D, reference.Conv2D:
		err = b.kernel(l)
	}
	return err
}

// factors requires u and v to be (N,R) each and returns N.
func (b *biases) factors() (int, error) {
	u, v := b.arrays[0].Shape(), b.arrays[1].Shape()
	if len(u) != 2 {
		return 0, b.r.fail(b.r.tensorPlace(b.set.tensors[0]), "has shape "+tensor.FormatShape(u), "two dimensions, (N,R)")
	}
	if !tensor.SameShape(u, v) {
		return 0, b.r.fail(b.r.tensorPlace(b.set.tensors[1]), "has shape "+tensor.FormatShape(v), tensor.FormatShape(u))
	}
	return u[0], nil
}

// table is the whole table of biases: as stored, or u v^T, multiplied out when it is needed.
func (b *biases) table() (reference.Weight, error) {
	if b.set.form != factors {
		_, err := b.square(0)
		return b.arrays[0], err
	}
	n, err := b.factors()
	if err != nil {
		return reference.Weight{}, err
	}
	if n > maxBand/max(n, 1) {
		return reference.Weight{}, b.r.fail(b.r.place, fmt.Sprintf("has position biases of shape (%d,%d)", n, n),
			fmt.Sprintf("at most %d of them", maxBand))
	}
	return tensor.Computed([]int{n, n}, b.fromFactors(reference.FoldFactors)), nil
}

// fromFactors reads u and v and gives what fold makes of them.
func (b *biases) fromFactors(fold func(u, v reference.Array) (reference.Array, error)) func() (reference.Array, error) {
	return func() (reference.Array, error) {
		u, err := b.arrays[0].Array()
		if err != nil {
			return u, err
		}
		v, err := b.arrays[1].Array()
		if err != nil {
			return v, err
		}
		return fold(u, v)
	}
}

// band cuts the biases to the window. A window beyond the table's length is the table's length: |t-t'| never reaches it. A
// window of 0 (a mask that is false everywhere) leaves no bias at all, which is AFT-simple.
func (b *biases) band(l *reference.Layer) error {
	if l.Window == 0 {
		l.Variant = reference.Simple
		b.r.result.note("%s is false everywhere: read as AFT-simple", quote(b.set.tensors[1]))
		return nil
	}
	n, err := b.length()
	if err != nil {
		return err
	}
	l.Window = min(l.Window, max(n, 1))
	window, causal, columns := l.Window, l.Causal, 2*l.Window-1
	if causal {
		columns = window
	}
	if n > maxBand/columns {
		return b.r.fail(b.r.place, fmt.Sprintf("has position biases of shape (%d,%d)", n, columns),
			fmt.Sprintf("at most %d of them", maxBand))
	}
	fold := b.fromFactors(func(u, v reference.Array) (reference.Array, error) {
		return factorBand(u, v, window, columns), nil
	})
	if b.set.form != factors {
		fold = func() (reference.Array, error) {
			table, err := b.arrays[0].Array()
			if err != nil {
				return table, err
			}
			return reference.FoldBand(table, window, causal)
		}
	}
	l.W = tensor.Computed([]int{n, columns}, fold)
	return nil
}

func (b *biases) length() (int, error) {
	if b.set.form == factors {
		return b.factors()
	}
	return b.square(0)
}

// maxBand is how many biases a band made from factors may have: a file of megabytes can ask for terabytes.
const maxBand = 1 << 28

// factorBand is FoldBand(FoldFactors(u, v)) without the table in between, which need not fit into memory.
func factorBand(u, v reference.Array, window, columns int) reference.Array {
	n, rank := u.Shape[0], u.Shape[1]
	w := reference.Array{Shape: []int{n, columns}, Data: make([]float64, n*columns)}
	for t := range n {
		for j := range columns {
			source := t + j - (window - 1)
			if source < 0 || source >= n {
				continue
			}
			sum := 0.0
			for i := range rank {
				sum += u.Data[t*rank+i] * v.Data[source*rank+i]
			}
			w.Data[t*columns+j] = sum
		}
	}
	return w
}

// kernel folds a convolution kernel and aligns it: causal kernels end at the position, others are centred on it.
func (b *biases) kernel(l *reference.Layer) error {
	stored := tensor.FormatShape(b.arrays[0].Shape())
	shape := b.kernelShape()
	name := b.r.tensorPlace(b.set.tensors[0])
	heads := l.K.Out()
	if n := len(shape); n != 2 && n != 3 {
		return b.r.fail(name, "has shape "+stored, "(h,s), (h,kh,kw) or (h,1,kh,kw)")
	}
	if shape[0] != heads || slices.Contains(shape, 0) {
		return b.r.fail(name, "has shape "+stored,
			fmt.Sprintf("%d kernels of at least one tap, a kernel for each row of the key projection", heads))
	}
	w, err := b.arrays[0].Array()
	if err != nil {
		return err
	}
	w.Shape = shape
	if len(b.arrays) == 3 {
		if w, err = b.reparameterise(w, heads); err != nil {
			return err
		}
	}
	l.W = tensor.Hold(w)
	if l.Variant == reference.Conv1D {
		return b.align1D(l)
	}
	return b.align2D(l)
}

// reparameterise applies the kernels' gamma and beta.
func (b *biases) reparameterise(w reference.Array, heads int) (reference.Array, error) {
	var scale [2]reference.Array
	for i := range scale {
		a, err := b.arrays[1+i].Array()
		if err != nil {
			return w, err
		}
		if len(a.Data) != heads {
			return w, b.r.fail(b.r.tensorPlace(b.set.tensors[1+i]), "has shape "+tensor.FormatShape(a.Shape),
				fmt.Sprintf("%d elements, one a head", heads))
		}
		scale[i] = reference.Array{Shape: []int{heads}, Data: a.Data}
	}
	folded, err := reference.FoldKernel(w, scale[0], scale[1], b.set.reparam)
	if err != nil {
		return w, b.r.fail(b.r.place, err.Error(), "")
	}
	return folded, nil
}

func (b *biases) align1D(l *reference.Layer) error {
	taps := l.W.Shape()[1]
	l.PadLeft = (taps - 1) / 2
	if l.Causal {
		l.PadLeft = taps - 1
	}
	given, origin, ok := lookup(b.r.settings, b.r.index, "", func(f Facts) *int { return f.PadLeft })
	if !ok {
		return nil
	}
	if given < 0 || given >= taps {
		return b.r.conflict(origin, "", "pad_left is %d, want 0..%d", given, taps-1)
	}
	l.PadLeft = given
	return nil
}

func (b *biases) align2D(l *reference.Layer) error {
	l.Pads = [2]int{l.W.Shape()[1] / 2, l.W.Shape()[2] / 2}
	if given, origin, ok := lookup(b.r.settings, b.r.index, "", func(f Facts) *[2]int { return f.Pads }); ok {
		for axis, pad := range given {
			if pad < 0 || pad >= l.W.Shape()[1+axis] {
				return b.r.conflict(origin, "", "pads is [%d, %d], want 0..%d and 0..%d", given[0], given[1],
					l.W.Shape()[1]-1, l.W.Shape()[2]-1)
			}
		}
		l.Pads = given
	}
	grid, origin, ok := lookup(b.r.settings, b.r.index, "--grid", func(f Facts) *[2]int { return f.Grid })
	if !ok {
		return nil
	}
	if grid[0] < 1 || grid[1] < 1 || grid[0] > math.MaxInt32/grid[1] {
		return b.r.conflict(origin, "--grid", "grid is %d,%d, want a height and a width of at least 1", grid[0], grid[1])
	}
	l.Grid = grid
	return nil
}
