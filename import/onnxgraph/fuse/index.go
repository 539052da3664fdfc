package fuse

import (
	"fmt"
	"slices"
)

// size is how long an axis is in each of the runs that probe the model.
type size [probes]int

// probes is how many sizes of inputs a model is looked at.
const probes = 2

func (s size) fixed() bool { return s[0] == s[1] }

func (s size) times(t size) size { return size{s[0] * t[0], s[1] * t[1]} }

// one is the size of an axis that broadcasts.
var one = size{1, 1}

// digit is a variable that counts along an axis, or along a part of one.
type digit int

// index is a position along an axis as a number of several digits, the most significant first: the position along an axis
// that a Reshape merged from (heads, channels) has one for each. An axis of size 1 has no digits.
type index []digit

// indices are the positions along all axes of a value.
type indices []index

// digits lists all digits in row-major order.
func (x indices) digits() []digit { return slices.Concat(x...) }

// splitError asks for an axis to be counted by two digits from the start: some Reshape divides it.
type splitError struct {
	name  string // of the digit
	major size   // of the first of the two digits
}

func (e *splitError) Error() string { return fmt.Sprintf("digit %s has to be split", e.name) }

// space holds the digits that one analysis uses.
type space struct {
	sizes  []size          // by digit
	names  []string        // by digit; the same in every analysis of the same value
	splits map[string]size // by name: the size of the major part
	made   int             // axes so far
}

// axis makes the index of a new axis of that size.
func (s *space) axis(n size) index {
	name := fmt.Sprint(s.made)
	s.made++
	return s.part(name, n)
}

func (s *space) part(name string, n size) index {
	if n == one {
		return nil
	}
	if major, ok := s.splits[name]; ok {
		minor := size{n[0] / major[0], n[1] / major[1]}
		return append(s.part(name+"/0", major), s.part(name+"/1", minor)...)
	}
	s.sizes = append(s.sizes, n)
	s.names = append(s.names, name)
	return index{digit(len(s.sizes) - 1)}
}

// extent is how long an axis of that index is.
func (s *space) extent(x index) size {
	n := one
	for _, d := range x {
		n = n.times(s.sizes[d])
	}
	return n
}

// regroup distributes row-major digits over axes of other sizes, as Reshape does. An error that is a *splitError asks for
// finer digits.
func (s *space) regroup(digits []digit, shape []size) (indices, error) {
	out := make(indices, len(shape))
	for i, n := range shape {
		have := one
		for have != n {
			if len(digits) == 0 {
				return nil, errShape
			}
			d := digits[0]
			next := have.times(s.sizes[d])
			if next[0] > n[0] || next[1] > n[1] {
				return nil, s.split(d, have, n)
			}
			have, digits = next, digits[1:]
			out[i] = append(out[i], d)
		}
	}
	if len(digits) > 0 {
		return nil, errShape
	}
	return out, nil
}

// split says how d must be divided for an axis of n of which `have` is covered.
func (s *space) split(d digit, have, n size) error {
	var major size
	for p := range major {
		if n[p]%have[p] != 0 {
			return errShape
		}
		if major[p] = n[p] / have[p]; s.sizes[d][p]%major[p] != 0 {
			return errShape
		}
	}
	if major == one || major == s.sizes[d] {
		return errShape
	}
	return &splitError{name: s.names[d], major: major}
}
