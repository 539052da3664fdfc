package ops

func aftConv2D() *Def {
	return &Def{
		Name:    "AFTConv2D",
		Stem:    "aft_conv2d",
		Summary: "AFT-conv in two dimensions, over a grid in raster order (arXiv:2105.14103, eq. 6)",
		Doc: `AFTConv1D over a grid of h rows and w columns, T = h*w, position t at row t/w, column t%w: tap (a,b) of head i weighs the
source at row y+a-pads[0], column x+b-pads[1]; outside the kernel, and inside the grid, the bias is 0.

causal limits the sums to t' <= t in raster order and drops the taps after the position, whatever the pads. The grid is an
input so that one file serves every image size.`,
		Inputs: []Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "T", "H"}, "keys, one a head; -inf removes the source position"},
			{"V", T1, []string{"B", "T", "D"}, "values"},
			{"W", T1, []string{"H", "kh", "kw"}, "one kernel of kh x kw biases a head"},
			{"grid", Int64, []string{"2"}, "(h, w), h*w = T"},
		},
		Output: Port{"Y", T1, []string{"B", "T", "D"}, "the gated weighted mean"},
		Attrs: []Attr{
			causalAttr(), gateAttr(),
			{Name: "pads", Len: 2, Doc: "(top, left), the tap that weighs the position itself: 0..kh-1 and 0..kw-1, usually (kh/2, kw/2)"},
		},
		check: checkConv2D,
		body:  aftConv2DBody,
	}
}

func checkConv2D(c *call) error {
	if err := c.checkHeads(); err != nil {
		return err
	}
	for axis := range 2 {
		if err := c.atLeast(3, 1+axis, 1, "1 tap"); err != nil {
			return err
		}
		if err := c.within("pads", axis, 0, int64(c.inputs[3].Shape[1+axis])-1, "a tap of W"); err != nil {
			return err
		}
	}
	if err := c.exactly(4, 0, 2, "(h, w)"); err != nil {
		return err
	}
	grid, t := c.inputs[4].Values, c.dims["T"]
	if grid == nil {
		return nil // known only at run time, when the engine checks again
	}
	h, w := grid[0], grid[1]
	if h < 0 || w < 0 || (h == 0 || w == 0) != (t == 0) || (t > 0 && (h > int64(t) || w > int64(t) || h*w != int64(t))) {
		return c.errorf("input %q: is (%d,%d), want two numbers >= 0 whose product is T = %d", "grid", h, w, t)
	}
	return nil
}
