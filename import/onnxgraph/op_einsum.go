package onnxgraph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// einsum is an equation with the operands it is applied to: every letter is an index; one that the result lacks is summed
// over.
type einsum struct {
	operands [][]rune
	result   []rune
	sizes    map[rune]int
}

// runEinsum multiplies and sums in the order of the equation's letters. An ellipsis stands for leading axes that broadcast.
func runEinsum(c *call) ([]*value, error) {
	e, err := parseEinsum(c.string("equation", ""), c.in)
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(e.result))
	for i, letter := range e.result {
		shape[i] = e.sizes[letter]
	}
	out, err := c.alloc(c.in[0].dtype, shape)
	if err != nil || out.len() == 0 || c.hollow && out.isFloat() {
		return []*value{out}, err
	}
	var over []rune
	for letter := range e.sizes {
		if !slices.Contains(e.result, letter) {
			over = append(over, letter)
		}
	}
	slices.Sort(over)
	summed := make([]int, len(over))
	for i, letter := range over {
		summed[i] = e.sizes[letter]
	}
	n, err := tensor.NumElements(summed)
	if err != nil {
		return nil, err
	}
	if _, err := c.charge(append(slices.Clone(summed), len(c.in))); err != nil { // the offsets of the terms
		return nil, err
	}
	s := &contraction{shape: shape, summed: summed, n: n}
	for i, v := range c.in {
		s.outer = append(s.outer, e.strides(i, v.shape, e.result))
		s.inner = append(s.inner, offsets(summed, e.strides(i, v.shape, over), n))
	}
	if out.isFloat() {
		return []*value{out}, contract(c, s, out.f, func(v *value) []float64 { return v.f })
	}
	err = contract(c, s, out.i, func(v *value) []int64 { return v.i })
	for i, x := range out.i {
		out.i[i] = wrap(out.dtype, x)
	}
	return []*value{out}, err
}

// contraction says where the factors of every element of a result lie.
type contraction struct {
	shape, summed []int
	n             int     // terms of an element
	outer         [][]int // strides of the result's axes, by operand
	inner         [][]int // offsets of the terms, by operand
}

func contract[T elem](c *call, s *contraction, out []T, elements func(*value) []T) error {
	parallel(len(out), s.n*len(c.in), func(lo, hi int) {
		at := make([]int, len(c.in))
		for i := lo; i < hi && c.ctx.Err() == nil; i++ {
			clear(at)
			for axis, k := range tensor.Unravel(i, s.shape) {
				for j := range at {
					at[j] += k * s.outer[j][axis]
				}
			}
			var sum T
			for k := range s.n {
				term := T(1)
				for j, v := range c.in {
					term *= elements(v)[at[j]+s.inner[j][k]]
				}
				sum += term
			}
			out[i] = sum
		}
	})
	return c.ctx.Err()
}

func offsets(shape, by []int, n int) []int {
	list := make([]int, n)
	for i := range list {
		for axis, k := range tensor.Unravel(i, shape) {
			list[i] += k * by[axis]
		}
	}
	return list
}

// strides is how far operand i moves along each of the letters. A letter that it has twice walks along its diagonal.
func (e *einsum) strides(i int, shape []int, letters []rune) []int {
	own, by := strides(shape), make([]int, len(letters))
	for axis, letter := range e.operands[i] {
		if j := slices.Index(letters, letter); j >= 0 && shape[axis] != 1 {
			by[j] += own[axis]
		}
	}
	return by
}

func parseEinsum(equation string, in []*value) (*einsum, error) {
	left, right, explicit := strings.Cut(strings.ReplaceAll(equation, " ", ""), "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(in) {
		return nil, fmt.Errorf("attribute \"equation\" is %s, want %d operands", quote(equation), len(in))
	}
	e := &einsum{sizes: map[rune]int{}}
	broad := 0 // axes that the longest ellipsis stands for
	for i, term := range terms {
		v := in[i]
		if v == nil || v.dtype != in[0].dtype || v.dtype == tensor.Bool {
			return nil, fmt.Errorf("operand %d differs in type from the first, or is left out", i)
		}
		letters, n, err := einsumLetters(term, len(v.shape))
		if err != nil {
			return nil, fmt.Errorf("attribute \"equation\" is %s: operand %d, %s: %w", quote(equation), i,
				tensor.FormatShape(v.shape), err)
		}
		broad = max(broad, n)
		e.operands = append(e.operands, letters)
		for axis, letter := range letters {
			switch size, known := e.sizes[letter]; {
			case !known || size == 1:
				e.sizes[letter] = v.shape[axis]
			case v.shape[axis] != size && v.shape[axis] != 1:
				return nil, fmt.Errorf("attribute \"equation\" is %s: index %d of operand %d has %d values, want %d",
					quote(equation), axis, i, v.shape[axis], size)
			}
		}
	}
	var err error
	if e.result, _, err = e.resultLetters(right, explicit, broad); err != nil {
		return nil, fmt.Errorf("attribute \"equation\" is %s: %w", quote(equation), err)
	}
	return e, nil
}

// einsumLetters reads a term for an operand of that rank. An ellipsis becomes letters of its own, counted from the last.
func einsumLetters(term string, rank int) (letters []rune, broad int, err error) {
	before, after, dots := strings.Cut(term, "...")
	for _, r := range before + after {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return nil, 0, fmt.Errorf("holds %q, want letters", r)
		}
	}
	if broad = rank - len(before) - len(after); broad < 0 || broad > 0 && !dots {
		return nil, 0, fmt.Errorf("has rank %d, want %d", rank, len(before)+len(after))
	}
	letters = []rune(before)
	for i := range broad {
		letters = append(letters, broadcastLetter+rune(broad-i))
	}
	return append(letters, []rune(after)...), broad, nil
}

const broadcastLetter = 0xE000

// resultLetters reads the result. Without an arrow it is the ellipsis, then the letters that occur once, in order.
func (e *einsum) resultLetters(right string, explicit bool, broad int) ([]rune, int, error) {
	if explicit {
		rank := len(strings.Replace(right, "...", "", 1))
		if strings.Contains(right, "...") {
			rank += broad
		}
		letters, n, err := einsumLetters(right, rank)
		for i, letter := range letters {
			if _, known := e.sizes[letter]; !known || slices.Contains(letters[:i], letter) {
				return nil, 0, fmt.Errorf("the result has an index twice, or one that no operand has")
			}
		}
		return letters, n, err
	}
	count := map[rune]int{}
	for _, letters := range e.operands {
		for _, letter := range letters {
			count[letter]++
		}
	}
	var letters, once []rune
	for i := range broad {
		letters = append(letters, broadcastLetter+rune(broad-i))
	}
	for letter, n := range count {
		if n == 1 && letter < broadcastLetter {
			once = append(once, letter)
		}
	}
	slices.Sort(once)
	return append(letters, once...), broad, nil
}
