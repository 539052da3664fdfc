package ops

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

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
		Outputs: []Port{{"Y", T1, []string{"B", "T", "D"}, "the gated weighted mean"}},
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
	grid, t := c.inputs[4].Values, int64(c.dims["T"])
	if grid == nil {
		return nil // known only at run time, when the engine checks again
	}
	if h, w := grid[0], grid[1]; h < 0 || w < 0 || !isProduct(t, h, w) {
		return c.errorf("input %q: is (%d,%d), want two numbers >= 0 whose product is T = %d", "grid", h, w, t)
	}
	return nil
}

// isProduct reports whether t = h*w for numbers >= 0, without forming a product that may overflow.
func isProduct(t, h, w int64) bool {
	if h == 0 || w == 0 {
		return t == 0
	}
	return t%h == 0 && t/h == w
}

func aftConv2DBody(b *builder) string {
	_, batch, t, d := b.queries()
	c := &conv2D{b: b, batch: batch, t: t, heads: b.dim("K", 2)}
	if b.spec.Heads > 0 {
		c.heads, d = fixed(int64(b.spec.Heads)), fixed(int64(b.spec.Channels))
	}
	k := b.compute(b.expect("K", batch, t, c.heads))
	v := b.compute(b.expect("V", batch, t, d))
	c.readGrid()
	c.readWindow()

	c.width = b.quotient(d, c.heads)
	a := b.keys(k)
	av := b.mul(b.unsqueeze(a, 3), b.reshape(v, batch, t, c.heads, c.width))
	if b.spec.Heads == 0 || b.computeType() == tensor.Float64 {
		return b.reshape(c.dense(sums{av, a}), batch, t, d)
	}
	grid := sums{
		num: b.reshape(b.transpose(b.reshape(av, batch, t, d), 0, 2, 1), batch, d, c.h, c.w),
		den: b.reshape(b.transpose(a, 0, 2, 1), batch, c.heads, c.h, c.w),
	}
	outside := sums{c.outside(grid.num), c.outside(grid.den)}
	ratio := b.blend(c.perHead(c.inside(grid)), c.perHead(outside), b.reshape(c.top(), c.heads, fixed(1)), 2)
	return b.transpose(b.reshape(ratio, batch, d, t), 0, 2, 1)
}

// conv2D is one AFTConv2D.
type conv2D struct {
	b        *builder
	batch, t size
	heads    size
	width    size // channels of a head
	h, w     size // the grid

	rows, columns reach  // of the window
	biases        string // the window, (H, taps of rows, taps of columns)
}

// reach is how far the window reaches before and after the position along one axis of the grid.
type reach struct{ before, after size }

func (b *builder) taps(r reach) size { return b.plus(r.before, b.plus(fixed(1), r.after)) }

// readGrid checks the grid against T, each side alone as well: a product may overflow.
func (c *conv2D) readGrid() {
	b := c.b
	grid := b.expect("grid", fixed(2))
	h := size{name: b.op("Gather", []string{grid, b.ints(0)})}
	w := size{name: b.op("Gather", []string{grid, b.ints(1)})}
	end := b.plus(c.t, fixed(1))
	valid := b.and(b.less(fixed(-1), h), b.less(h, end), b.less(fixed(-1), w), b.less(w, end), b.equal(b.times(h, w), c.t))
	c.h, c.w = b.require(valid, h), b.require(valid, w)
}

// readWindow checks W. A causal window has no rows below the position's. Nothing here depends on the grid: with W a
// constant a runtime computes the weights of the convolution when it loads the model.
func (c *conv2D) readWindow() {
	b := c.b
	kh, kw := b.dim("W", 1), b.dim("W", 2)
	top, left := b.attr("pads", 0), b.attr("pads", 1)
	valid := b.and(b.less(fixed(-1), top), b.less(top, kh), b.less(fixed(-1), left), b.less(left, kw))
	w := b.compute(b.expect("W", c.heads, b.require(valid, kh), kw))

	c.rows = reach{top, b.choose(b.causal(), fixed(0), b.minus(b.minus(kh, fixed(1)), top))}
	c.columns = reach{left, b.minus(b.minus(kw, fixed(1)), left)}
	c.biases = b.slice(w, 1, fixed(0), b.taps(c.rows))
}

// past is biases with -inf for the taps after the position, if the operator is causal: the row of the position is the
// last one of a causal window.
func (c *conv2D) past() string {
	b := c.b
	causal := b.causal()
	if causal.known && !causal.value {
		return c.biases
	}
	y := b.unsqueeze(b.index(b.dim(c.biases, 1)), 1)
	x := b.unsqueeze(b.index(b.dim(c.biases, 2)), 0)
	after := b.op("And", []string{
		b.op("Equal", []string{y, b.vec(c.rows.before)}),
		b.op("Greater", []string{x, b.vec(c.columns.before)}),
	})
	if !causal.known {
		after = b.op("And", []string{after, causal.name})
	}
	return b.where(after, b.real(math.Inf(-1)), c.biases)
}

// top is the largest bias of a head, (H,1,1).
func (c *conv2D) top() string { return c.b.finiteMax(c.past(), 1, 2) }

// inside sums over the window by depth-wise convolutions. Zeros make the window symmetric, so that Conv can pad by
// itself: a padded copy of the grid might be many times its size.
func (c *conv2D) inside(x sums) sums {
	b := c.b
	weights := b.exp(b.sub(c.past(), c.top()))
	rows, columns := b.most(c.rows.before, c.rows.after), b.most(c.columns.before, c.columns.after)
	weights = b.pad(weights, 3, 1, b.minus(rows, c.rows.before), b.minus(rows, c.rows.after))
	weights = b.unsqueeze(b.pad(weights, 3, 2, b.minus(columns, c.columns.before), b.minus(columns, c.columns.after)), 1)

	kh, kw := b.plus(b.plus(rows, rows), fixed(1)), b.plus(b.plus(columns, columns), fixed(1))
	repeated := b.op("Expand", []string{weights, b.vector(c.heads, c.width, kh, kw)})
	repeated = b.reshape(repeated, b.times(c.heads, c.width), fixed(1), kh, kw)
	conv := func(x, weights string, group int) string {
		return b.op("Conv", []string{x, weights},
			onnxpb.StringAttr("auto_pad", "SAME_UPPER"), onnxpb.IntAttr("group", int64(group)))
	}
	return sums{conv(x.num, repeated, b.spec.Channels), conv(x.den, weights, b.spec.Heads)}
}

// outside sums x (B,C,h,w) over the sources outside the window: all of the rows that the window does not reach, and in
// those it reaches the columns that it does not. Causal, the rows end above the position, and its own row before the
// window.
func (c *conv2D) outside(x string) string {
	b := c.b
	causal := b.causal()
	lastNear := b.choose(causal, fixed(-1), c.rows.after)
	near := b.number(b.within(b.distance(c.h, c.h), b.negative(c.rows.before), lastNear))
	sum := b.matmul(near, b.matmul(x, b.beyond(c.w, c.columns)))

	far := reach{c.rows.before, b.choose(causal, c.h, c.rows.after)}
	all := b.reshape(b.sum(x, 3), c.batch, b.dim(x, 1), c.h)
	sum = b.add(sum, b.unsqueeze(b.matmul(all, b.beyond(c.h, far)), 3))
	if causal.known && !causal.value {
		return sum
	}
	own := b.matmul(x, b.beyond(c.w, reach{c.columns.before, c.w}))
	if !causal.known {
		own = b.where(causal.name, own, b.real(0))
	}
	return b.add(sum, own)
}

// beyond is the matrix (source, position) of 1 where the source lies outside the reach, 0 elsewhere.
func (b *builder) beyond(n size, r reach) string {
	inside := b.within(b.distance(n, n), b.negative(r.after), r.before)
	return b.number(b.op("Not", []string{inside}))
}

// number converts bool to 0 and 1.
func (b *builder) number(mask string) string { return b.cast(mask, b.computeType()) }

// perHead gives the sums (B,D,h,w) and (B,H,h,w) the shapes (B,H,C,T) and (B,H,T).
func (c *conv2D) perHead(s sums) sums {
	b := c.b
	return sums{
		b.reshape(s.num, c.batch, c.heads, c.width, c.t),
		b.reshape(s.den, c.batch, c.heads, c.t),
	}
}

// dense is the ratio (B,T,H,C) by one matrix of biases (T,T) a head: the form for runtimes without a Conv of that type,
// and for a number of channels that is not known. It takes H*T*T values.
func (c *conv2D) dense(x sums) string {
	b := c.b
	bias := b.hideFuture(c.matrix(), c.t, c.t)
	e := b.exp(b.sub(bias, b.finiteMax(bias, 2)))
	product := func(x string, width size) string { // (B,T,H,width) to (H,T,B,width)
		columns := b.times(c.batch, width)
		x = b.reshape(b.transpose(x, 2, 1, 0, 3), c.heads, c.t, columns)
		return b.reshape(b.product(e, x, c.t, columns), c.heads, c.t, c.batch, width)
	}
	ratio := b.ratio(product(x.num, c.width), product(b.unsqueeze(x.den, 3), fixed(1)))
	return b.transpose(ratio, 2, 1, 0, 3)
}

// matrix is the window as a matrix of biases (H,T,T): cut to the taps that can meet the grid, then skewed along the
// columns of the grid and along its rows.
func (c *conv2D) matrix() string {
	b := c.b
	cut := func(w string, axis int64, r reach, n size) (string, reach) {
		end := b.most(b.minus(n, fixed(1)), fixed(0))
		near := reach{b.least(r.before, end), b.least(r.after, end)}
		from := b.minus(r.before, near.before)
		return b.slice(w, axis, from, b.plus(from, b.taps(near))), near
	}
	w, rows := cut(c.biases, 1, c.rows, c.h)
	w, columns := cut(w, 2, c.columns, c.w)
	kh, kw := b.taps(rows), b.taps(columns)

	outer := b.times(c.heads, kh)
	w = b.op("Expand", []string{b.reshape(w, outer, fixed(1), kw, fixed(1)), b.vector(outer, c.w, kw, fixed(1))})
	w = b.slice(b.skew(w, outer, c.w, kw, fixed(1)), 2, columns.before, b.plus(columns.before, c.w))

	square := b.times(c.w, c.w)
	w = b.reshape(w, c.heads, fixed(1), kh, square)
	w = b.op("Expand", []string{w, b.vector(c.heads, c.h, kh, square)})
	w = b.slice(b.skew(w, c.heads, c.h, kh, square), 2, rows.before, b.plus(rows.before, c.h))
	w = b.transpose(b.reshape(w, c.heads, c.h, c.h, c.w, c.w), 0, 1, 3, 2, 4)
	return b.reshape(w, c.heads, c.t, c.t)
}
