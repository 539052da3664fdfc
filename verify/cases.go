package verify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// opSize is what a generated call is made of. S counts only where an operator takes one, heads and grid only for the
// convolutions (T is the grid's area in two dimensions).
type opSize struct {
	b, t, s, d, heads, window int
	kernel, grid              [2]int
}

// opSizes are 1, 2, primes, the edges of blocks of 16, 64 and 128, and some hundreds; windows and kernels smaller than
// the sequence, as large and larger.
func opSizes() []opSize {
	return []opSize{
		{b: 1, t: 1, s: 1, d: 1, heads: 1, window: 1, kernel: [2]int{1, 1}, grid: [2]int{1, 1}},
		{b: 2, t: 2, s: 3, d: 2, heads: 1, window: 2, kernel: [2]int{2, 2}, grid: [2]int{1, 2}},
		{b: 3, t: 7, s: 5, d: 6, heads: 3, window: 3, kernel: [2]int{3, 3}, grid: [2]int{3, 2}},
		{b: 1, t: 16, s: 17, d: 15, heads: 5, window: 16, kernel: [2]int{5, 4}, grid: [2]int{4, 4}},
		{b: 2, t: 31, s: 33, d: 17, heads: 17, window: 40, kernel: [2]int{7, 5}, grid: [2]int{5, 7}},
		{b: 1, t: 64, s: 63, d: 32, heads: 4, window: 9, kernel: [2]int{11, 3}, grid: [2]int{8, 8}},
		{b: 1, t: 129, s: 127, d: 8, heads: 2, window: 65, kernel: [2]int{65, 9}, grid: [2]int{3, 43}},
		{b: 1, t: 257, s: 300, d: 5, heads: 1, window: 32, kernel: [2]int{31, 11}, grid: [2]int{17, 16}},
		{b: 0, t: 3, s: 2, d: 4, heads: 2, window: 2, kernel: [2]int{3, 3}, grid: [2]int{1, 3}},
		{b: 2, t: 0, s: 3, d: 4, heads: 2, window: 2, kernel: [2]int{3, 3}, grid: [2]int{0, 3}},
	}
}

// magnitude is a way to fill the operands. It edits normal random numbers in place.
type magnitude struct {
	name   string
	sizes  []int // indices into opSizes; nil: all
	edit   func(c *opCase, rng *rand.Rand)
	biases bool // it is about W: operators without one do not need it
}

// magnitudes go from what a trained model holds to what breaks careless sums.
func magnitudes(o *Options) []magnitude {
	few := []int{0, 2, 4}
	if o.Quick {
		return []magnitude{{"normal", few[1:2], func(*opCase, *rand.Rand) {}, false}}
	}
	return []magnitude{
		{"normal", nil, func(*opCase, *rand.Rand) {}, false},
		{"key std 40", []int{2, 4, 6}, func(c *opCase, _ *rand.Rand) { scale(c.k, 40) }, false},
		{"|K| to 1e4", few, func(c *opCase, rng *rand.Rand) { uniform(c.k, rng, 1e4) }, false},
		{"bias near -55", []int{2, 4, 6}, func(c *opCase, _ *rand.Rand) { shift(c.w, -55) }, true},
		{"bias near -300", few, func(c *opCase, _ *rand.Rand) { shift(c.w, -300) }, true},
		{"removed positions", few, removePositions, false},
		{"nothing left", few, func(c *opCase, _ *rand.Rand) { fill(c.k, math.Inf(-1)) }, false},
		{"huge last key", few, hugeLastKey, false},
	}
}

// opCase is a generated call before its inputs are rounded.
type opCase struct {
	id         string
	def        *ops.Def
	attrs      ops.Attrs
	q, k, v, w tensor.Array // no w for AFTSimple
	grid       []int64      // AFTConv2D
	step       *ops.Def     // the step form that takes the case in chunks; nil: def takes it whole
	chunk      int          // the tokens of a chunk
}

// opCases lists an operator's calls: every size and magnitude, causal or not; the gates take turns.
func opCases(def *ops.Def, o *Options) ([]*opCase, error) {
	if def.Whole != "" {
		return stepCases(def, o)
	}
	var cases []*opCase
	for _, m := range magnitudes(o) {
		for i, sz := range opSizes() {
			if m.sizes != nil && !slices.Contains(m.sizes, i) {
				continue
			}
			for causal := range int64(2) {
				rng := rand.New(rand.NewPCG(o.Seed, uint64(len(cases))))
				c, err := newOpCase(def, sz, causal, int64(i)%(ops.GateAbsent+1), rng)
				if err != nil {
					return nil, err
				}
				if m.biases && c.w.Empty() {
					continue
				}
				m.edit(c, rng)
				c.id = fmt.Sprintf("%s, %s", c.describe(), m.name)
				cases = append(cases, c)
			}
		}
	}
	return cases, nil
}

// newOpCase makes a call of normal random numbers.
func newOpCase(def *ops.Def, sz opSize, causal, gate int64, rng *rand.Rand) (*opCase, error) {
	c := &opCase{def: def, attrs: ops.Attrs{"causal": {causal}, "gate": {gate}}}
	keys, sources := sz.d, sz.t
	var bias []int
	switch def.Name {
	case "AFTFull", "AFTSimple":
		if causal == 0 {
			sources = sz.s
		}
		if def.Name == "AFTFull" {
			bias = []int{sz.t + 1, sources} // W may be larger than the pairs
		}
	case "AFTLocal":
		c.attrs["window"] = []int64{int64(sz.window)}
		bias = []int{sz.t, 2*sz.window - 1}
		if causal == 1 {
			bias[1] = sz.window
		}
	case "AFTConv1D":
		pad := int64(sz.kernel[0]-1) / 2
		if causal == 1 {
			pad = int64(sz.kernel[0] - 1)
		}
		c.attrs["pad_left"] = []int64{pad}
		bias, keys = []int{sz.heads, sz.kernel[0]}, sz.heads
	case "AFTConv2D":
		c.attrs["pads"] = []int64{int64(sz.kernel[0] / 2), int64(sz.kernel[1] / 2)}
		bias, keys = []int{sz.heads, sz.kernel[0], sz.kernel[1]}, sz.heads
		c.grid = []int64{int64(sz.grid[0]), int64(sz.grid[1])}
		sz.t = sz.grid[0] * sz.grid[1]
		sources = sz.t
	default:
		return nil, fmt.Errorf("operator %q: no way to make calls of it is known", def.Name)
	}
	return c, c.fill(rng, [][]int{{sz.b, sz.t, sz.d}, {sz.b, sources, keys}, {sz.b, sources, sz.d}, bias})
}

func (c *opCase) fill(rng *rand.Rand, shapes [][]int) error {
	for i, operand := range []*tensor.Array{&c.q, &c.k, &c.v, &c.w} {
		if shapes[i] == nil {
			continue
		}
		a, err := tensor.NewArray(shapes[i]...)
		if err != nil {
			return err
		}
		for j := range a.Data {
			a.Data[j] = rng.NormFloat64()
		}
		*operand = a
	}
	return nil
}

// describe names the sizes and attributes of a call.
func (c *opCase) describe() string {
	s := fmt.Sprintf("B=%d T=%d", c.q.Shape[0], c.q.Shape[1])
	if c.k.Shape[1] != c.q.Shape[1] {
		s += fmt.Sprintf(" S=%d", c.k.Shape[1])
	}
	s += fmt.Sprintf(" D=%d", c.q.Shape[2])
	if c.k.Shape[2] != c.q.Shape[2] {
		s += fmt.Sprintf(" H=%d", c.k.Shape[2])
	}
	if c.grid != nil {
		s += fmt.Sprintf(" grid=%dx%d", c.grid[0], c.grid[1])
	}
	if !c.w.Empty() {
		s += " W=" + tensor.FormatShape(c.w.Shape)
	}
	for _, a := range c.def.Attrs {
		if v := c.attrs[a.Name]; a.Len > 0 {
			s += fmt.Sprintf(" %s=%v", a.Name, v)
		} else {
			s += fmt.Sprintf(" %s=%d", a.Name, v[0])
		}
	}
	return s
}

// tensors rounds the inputs to dtype, in the order of the declaration.
func (c *opCase) tensors(dtype tensor.DType) ([]*tensor.Tensor, error) {
	var list []*tensor.Tensor
	for _, a := range []tensor.Array{c.q, c.k, c.v, c.w} {
		if a.Empty() {
			continue
		}
		t, err := a.Tensor(dtype)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	if c.grid != nil {
		grid, err := tensor.FromInt64s([]int{2}, c.grid)
		if err != nil {
			return nil, err
		}
		list = append(list, grid)
	}
	return list, nil
}

// removePositions sets K to -inf at every third position and V there to something large, and W to -inf at some pairs
// where every pair has a bias of its own.
func removePositions(c *opCase, _ *rand.Rand) {
	keys, channels := c.k.Shape[2], c.v.Shape[2]
	for row := range c.k.Shape[0] * c.k.Shape[1] {
		if row%3 == 1 {
			fill(row1(c.k, row, keys), math.Inf(-1))
			fill(row1(c.v, row, channels), 6e4)
		}
	}
	if c.def.Name == "AFTFull" {
		for i := range c.w.Data {
			if i%5 == 2 {
				c.w.Data[i] = math.Inf(-1)
			}
		}
	}
}

// hugeLastKey makes the last source outweigh all others by far: the sums of causal rows before it must not see it.
func hugeLastKey(c *opCase, _ *rand.Rand) {
	keys := c.k.Shape[2]
	for b := range c.k.Shape[0] {
		fill(row1(c.k, (b+1)*c.k.Shape[1]-1, keys), 1e4)
	}
}

func row1(a tensor.Array, row, width int) tensor.Array {
	return tensor.Array{Shape: []int{width}, Data: a.Data[row*width : (row+1)*width]}
}

func fill(a tensor.Array, v float64) {
	for i := range a.Data {
		a.Data[i] = v
	}
}

func scale(a tensor.Array, by float64) {
	for i := range a.Data {
		a.Data[i] *= by
	}
}

func shift(a tensor.Array, by float64) {
	for i := range a.Data {
		a.Data[i] += by
	}
}

func uniform(a tensor.Array, rng *rand.Rand, limit float64) {
	for i := range a.Data {
		a.Data[i] = limit * (2*rng.Float64() - 1)
	}
}
