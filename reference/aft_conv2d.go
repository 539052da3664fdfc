package reference

// AFTConv2D is AFTConv1D over a grid of h rows and w columns, T = h*w, where position t stands at row t/w and column t%w:
// tap (a,b) of head i weighs the source at row y+a-Pads[0], column x+b-Pads[1]. Outside the kernel, and inside the grid, the
// bias is 0.
//
// Q and V are (B,T,D), K is (B,T,H), W is (H,kh,kw); H divides D. Causal limits the sums to t' <= t in raster order, and so
// drops the taps after the position, whatever the pads.
func AFTConv2D(q, k, v, w Array, o Conv2DOptions) (Array, error) {
	c := newCall("AFTConv2D", o.Options)
	c.input("Q", q, "B", "T", "D")
	c.input("K", k, "B", "T", "H")
	c.input("V", v, "B", "T", "D")
	c.input("W", w, "H", "kh", "kw")
	c.heads()
	c.atLeast("W", w, 1, 1, "1 tap")
	c.atLeast("W", w, 2, 1, "1 tap")
	c.within("pads", o.Pads[0], 0, c.sizes["kh"]-1, "a row of taps of W")
	c.within("pads", o.Pads[1], 0, c.sizes["kw"]-1, "a column of taps of W")
	c.grid(o.Grid)
	if c.err != nil {
		return Array{}, c.err
	}
	kh, kw, columns := w.Shape[1], w.Shape[2], o.Grid[1]
	a := &attention{q: q, k: k, v: v, heads: c.sizes["H"], o: o.Options, bias: func(row []float64, h, t int) {
		y, x := t/columns, t%columns
		for source := range row {
			row[source] = 0
			i, j := source/columns-y+o.Pads[0], source%columns-x+o.Pads[1]
			if i >= 0 && i < kh && j >= 0 && j < kw {
				row[source] = w.Data[(h*kh+i)*kw+j]
			}
		}
	}}
	return a.run()
}

// grid requires two sizes >= 0 whose product is T.
func (c *call) grid(g [2]int) {
	if c.err != nil {
		return
	}
	t := c.sizes["T"]
	fits := g[0] >= 0 && g[1] >= 0
	if t == 0 {
		fits = fits && (g[0] == 0 || g[1] == 0)
	} else {
		fits = fits && g[0] > 0 && g[0] <= t && t%g[0] == 0 && t/g[0] == g[1]
	}
	if !fits {
		c.fail("input %q: is (%d,%d), want two numbers >= 0 whose product is T = %d", "grid", g[0], g[1], t)
	}
}
