package reference

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// call is one operator's inputs under check. The first error stays; once there is one, sizes mean nothing.
type call struct {
	op    string
	sizes map[string]int // of the letters bound so far
	err   error
}

func newCall(op string, o Options) *call {
	c := &call{op: op, sizes: map[string]int{}}
	if !o.Gate.valid() {
		c.fail("attribute %q: is %d, want 0 (sigmoid), 1 (tanh), 2 (identity) or 3 (absent)", "gate", int(o.Gate))
	}
	return c
}

func (c *call) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(c.op+": "+format, args...)
	}
}

// input requires a to have one dimension for each letter and as many values as its shape says. A letter stands for the
// same size wherever it occurs; "" leaves a dimension to the operator's own check.
func (c *call) input(name string, a Array, letters ...string) {
	if c.err != nil {
		return
	}
	if err := checkArray(a, len(letters)); err != nil {
		c.fail("input %q: %w", name, err)
		return
	}
	for axis, letter := range letters {
		size := a.Shape[axis]
		known, bound := c.sizes[letter]
		switch {
		case letter == "":
		case !bound:
			c.sizes[letter] = size
		case known != size:
			c.fail("input %q: has shape %s, want %s = %d at axis %d", name, tensor.FormatShape(a.Shape), letter, known, axis)
		}
	}
}

// checkArray holds an array's rank and number of values against its shape.
func checkArray(a Array, rank int) error {
	if len(a.Shape) != rank {
		return fmt.Errorf("has shape %s, want rank %d", tensor.FormatShape(a.Shape), rank)
	}
	n, err := tensor.NumElements(a.Shape)
	if err != nil {
		return err
	}
	if n != len(a.Data) {
		return fmt.Errorf("has %d values, but shape %s holds %d", len(a.Data), tensor.FormatShape(a.Shape), n)
	}
	return nil
}

// checkWeight requires a weight to be there, of that rank and with at least one element along each dimension.
func checkWeight(w Weight, rank int) error {
	if held, ok := w.Held(); ok {
		if err := checkArray(held, rank); err != nil {
			return err
		}
	}
	shape := tensor.FormatShape(w.Shape())
	if w.Rank() != rank {
		return fmt.Errorf("has shape %s, want rank %d", shape, rank)
	}
	if _, err := tensor.NumElements(w.Shape()); err != nil {
		return err
	}
	for axis, size := range w.Shape() {
		if size < 1 {
			return fmt.Errorf("has shape %s, want at least 1 at axis %d", shape, axis)
		}
	}
	return nil
}

// atLeast requires dimension axis of an input that has passed input to be n or more.
func (c *call) atLeast(name string, a Array, axis, n int, what string) {
	if c.err == nil && a.Shape[axis] < n {
		c.fail("input %q: has shape %s, want at least %s = %d at axis %d", name, tensor.FormatShape(a.Shape), what, n, axis)
	}
}

// exactly requires dimension axis to be n.
func (c *call) exactly(name string, a Array, axis, n int, what string) {
	if c.err == nil && a.Shape[axis] != n {
		c.fail("input %q: has shape %s, want %s = %d at axis %d", name, tensor.FormatShape(a.Shape), what, n, axis)
	}
}

// within requires an attribute's value to lie in lo..hi.
func (c *call) within(name string, v, lo, hi int, what string) {
	if v < lo || v > hi {
		c.fail("attribute %q: is %d, want %d..%d (%s)", name, v, lo, hi, what)
	}
}

// causal requires S = T.
func (c *call) causal(o Options) {
	if s, t := c.sizes["S"], c.sizes["T"]; c.err == nil && o.Causal && s != t {
		c.fail("input %q: has %d positions, want S = T = %d because causal is 1", "K", s, t)
	}
}

// heads requires H >= 1 and D to be a multiple of it.
func (c *call) heads() {
	if c.err != nil {
		return
	}
	d, h := c.sizes["D"], c.sizes["H"]
	if h < 1 {
		c.fail("input %q: has %d heads, want at least 1", "K", h)
	} else if d%h != 0 {
		c.fail("input %q: has %d heads, want a divisor of D = %d", "K", h, d)
	}
}
