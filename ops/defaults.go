package ops

import "slices"

// DefaultAttrs completes given for inputs of these shapes, as a command line wants it: the window of AFTLocal and the
// padding of AFTConv follow from W's shape (the centred window, or the one that ends at the position when causal), the
// rest is the attribute's default. Shapes it cannot use leave the defaults; Check judges the result.
func (d *Def) DefaultAttrs(shapes [][]int, given Attrs) Attrs {
	attrs := Attrs{}
	for _, a := range d.Attrs {
		if v, ok := given[a.Name]; ok {
			attrs[a.Name] = slices.Clone(v)
			continue
		}
		attrs[a.Name] = make([]int64, max(a.Len, 1))
		for i := range attrs[a.Name] {
			attrs[a.Name][i] = a.Default
		}
	}
	for name, v := range given {
		attrs[name] = slices.Clone(v) // Check reports the ones that the operator does not have
	}
	d.fillFromWindow(attrs, shapes, given)
	return attrs
}

// fillFromWindow sets the attributes that W's shape implies.
func (d *Def) fillFromWindow(attrs Attrs, shapes [][]int, given Attrs) {
	if len(shapes) < 4 || len(shapes[3]) < 2 {
		return
	}
	causal, w := given.Int("causal") == 1, shapes[3]
	implied := Attrs{"window": {int64(w[1]+1) / 2}, "pad_left": {int64(w[1]-1) / 2}}
	if causal {
		implied = Attrs{"window": {int64(w[1])}, "pad_left": {int64(w[1] - 1)}}
	}
	if len(w) == 3 {
		implied["pads"] = []int64{int64(w[1]) / 2, int64(w[2]) / 2}
	}
	for name, v := range implied {
		_, has := attrs[name]
		if _, fixed := given[name]; has && !fixed {
			attrs[name] = v
		}
	}
}
