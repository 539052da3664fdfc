package reference

import (
	"math"
	"strings"
	"testing"
)

// TestRefused: every operator, by way of Call, names the input or attribute that does not fit, what it found and what it
// allows, and never panics.
func TestRefused(t *testing.T) {
	base := map[string]problem{}
	for _, p := range problems(41, GateSigmoid, 1, 1) {
		if p.attrs["causal"][0] == 1 {
			base[p.op+" causal"] = p
		} else {
			base[p.op] = p
		}
	}
	shaped := func(shape ...int) Array { return random(seeded(1), 1, shape...) }
	set := func(i int, a Array) func(problem) problem { return func(p problem) problem { return p.with(i, a) } }
	attr := func(name string, v ...int64) func(problem) problem {
		return func(p problem) problem {
			attrs := map[string][]int64{name: v}
			for other, value := range p.attrs {
				if other != name {
					attrs[other] = value
				}
			}
			if v == nil {
				delete(attrs, name)
			}
			return problem{p.op, attrs, p.inputs}
		}
	}
	for _, c := range []struct {
		base  string
		spoil func(problem) problem
		want  string
	}{
		{"AFTFull", set(0, shaped(12, 6)), `AFTFull: input "Q": has shape (12,6), want rank 3`},
		{"AFTFull", set(0, Array{}), `AFTFull: input "Q": has shape (), want rank 3`},
		{"AFTFull", set(0, Array{Shape: []int{2, 12, 6}}), `input "Q": has 0 values, but shape (2,12,6) holds 144`},
		{"AFTFull", set(0, Array{Shape: []int{-2, 12, 6}}), `input "Q": shape (-2,12,6): dimension 0 is -2`},
		{"AFTFull", set(0, Array{Shape: []int{math.MaxInt, 12, 6}}), `input "Q": shape`},
		{"AFTFull", set(1, shaped(1, 12, 6)), `input "K": has shape (1,12,6), want B = 2 at axis 0`},
		{"AFTFull", set(1, shaped(2, 12, 1)), `input "K": has shape (2,12,1), want D = 6 at axis 2`},
		{"AFTFull", set(2, shaped(2, 11, 6)), `input "V": has shape (2,11,6), want S = 12 at axis 1`},
		{"AFTFull", set(3, shaped(11, 12)), `input "W": has shape (11,12), want at least T = 12 at axis 0`},
		{"AFTFull", set(3, shaped(12, 1)), `input "W": has shape (12,1), want at least S = 12 at axis 1`},
		{"AFTFull", set(3, shaped(1, 12, 12)), `input "W": has shape (1,12,12), want rank 2`},
		{"AFTFull causal", set(0, shaped(2, 11, 6)), `input "K": has 12 positions, want S = T = 11 because causal is 1`},
		{"AFTSimple causal", set(0, shaped(2, 13, 6)), `AFTSimple: input "K": has 12 positions, want S = T = 13`},
		{"AFTSimple", set(2, shaped(2, 12, 5)), `input "V": has shape (2,12,5), want D = 6 at axis 2`},
		{"AFTLocal", set(1, shaped(2, 11, 6)), `AFTLocal: input "K": has shape (2,11,6), want T = 12 at axis 1`},
		{"AFTLocal", set(3, shaped(12, 3)), `input "W": has shape (12,3), want 2*window-1 = 5 at axis 1`},
		{"AFTLocal causal", set(3, shaped(12, 5)), `input "W": has shape (12,5), want window = 3 at axis 1`},
		{"AFTLocal", set(3, shaped(11, 5)), `input "W": has shape (11,5), want at least T = 12 at axis 0`},
		{"AFTLocal", attr("window", 0), `attribute "window": is 0, want 1..2147483647 (the paper's s)`},
		{"AFTLocal", attr("window", math.MinInt64), `attribute "window": is -2147483648`},
		{"AFTLocal", attr("window", math.MaxInt64), `want 2*window-1 = 4294967293`},
		{"AFTConv1D", set(1, shaped(2, 12, 4)), `AFTConv1D: input "W": has shape (2,5), want H = 4 at axis 0`},
		{"AFTConv1D", func(p problem) problem { return p.with(1, shaped(2, 12, 4)).with(3, shaped(4, 5)) },
			`input "K": has 4 heads, want a divisor of D = 6`},
		{"AFTConv1D", func(p problem) problem { return p.with(1, shaped(2, 12, 0)).with(3, shaped(0, 5)) },
			`input "K": has 0 heads, want at least 1`},
		{"AFTConv1D", set(3, shaped(2, 0)), `input "W": has shape (2,0), want at least 1 tap = 1 at axis 1`},
		{"AFTConv1D", attr("pad_left", 5), `attribute "pad_left": is 5, want 0..4 (a tap of W)`},
		{"AFTConv1D", attr("pad_left", -1), `attribute "pad_left": is -1, want 0..4`},
		{"AFTConv2D", set(3, shaped(2, 3)), `AFTConv2D: input "W": has shape (2,3), want rank 3`},
		{"AFTConv2D", attr("pads", 3, 2), `attribute "pads": is 3, want 0..2`},
		{"AFTConv2D", attr("pads", 1, 4), `attribute "pads": is 4, want 0..3`},
		{"AFTConv2D", attr("pads", 1), `attribute "pads": has 1 values, want 2`},
		{"AFTConv2D", set(4, of(t, []int{2}, 3, 5)), `input "grid": is (3,5), want two numbers >= 0 whose product is T = 12`},
		{"AFTConv2D", set(4, of(t, []int{2}, -3, -4)), `input "grid": is (-3,-4)`},
		{"AFTConv2D", set(4, of(t, []int{2}, 0, 12)), `input "grid": is (0,12)`},
		{"AFTConv2D", set(4, of(t, []int{2}, 24, 0.5)), `input "grid": holds 0.5, want whole numbers`},
		{"AFTConv2D", set(4, of(t, []int{2}, nan, 4)), `input "grid": holds NaN`},
		{"AFTConv2D", set(4, of(t, []int{2}, 1e300, 4)), `input "grid": holds 1e+300`},
		{"AFTConv2D", set(4, of(t, []int{3}, 1, 3, 4)), `input "grid": has shape (3), want (2)`},
		{"AFTConv2D", set(4, Array{Shape: []int{2}}), `input "grid"`},
		{"AFTFull", attr("causal", 2), `AFTFull: attribute "causal": is 2, want 0 or 1`},
		{"AFTFull", attr("causal"), `AFTFull: attribute "causal": missing`},
		{"AFTFull", attr("gate", 4), `AFTFull: attribute "gate": is 4, want 0 (sigmoid), 1 (tanh), 2 (identity) or 3 (absent)`},
		{"AFTFull", attr("gate", -1), `attribute "gate": is -1`},
		{"AFTFull", attr("gate", 1<<32), `attribute "gate": is`},
		{"AFTFull", attr("gate", 0, 0), `attribute "gate": has 2 values, want 1`},
		{"AFTFull", attr("window", 1), `AFTFull: attribute "window": unknown`},
		{"AFTFull", func(p problem) problem { return problem{p.op, p.attrs, p.inputs[:3]} }, `AFTFull: has 3 inputs, want 4`},
		{"AFTFull", func(p problem) problem { return problem{"AFT\nFull", p.attrs, p.inputs} }, `operator "AFT\nFull": unknown`},
	} {
		p := c.spoil(base[c.base])
		y, err := callY(p.op, p.attrs, p.inputs)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: gave shape %v, %v; want %q", c.base, y.Shape, err, c.want)
		}
		if !y.Empty() {
			t.Errorf("%s: gave values beside the error %v", c.base, err)
		}
	}
}
