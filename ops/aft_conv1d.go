package ops

import "github.com/aftonnx/aftonnx/internal/onnxpb"

func aftConv1D() *Def {
	return &Def{
		Name:    "AFTConv1D",
		Stem:    "aft_conv1d",
		Summary: "AFT-conv in one dimension: biases by relative position, one kernel a head (arXiv:2105.14103, eq. 6)",
		Doc: `With h = d / (D/H) the head of channel d, and w[h,t,t'] = W[h, t'-t+pad_left] where 0 <= t'-t+pad_left < s, 0 elsewhere:

Y[b,t,d] = gate(Q[b,t,d]) * sum_t' exp(K[b,t',h] + w[h,t,t']) V[b,t',d] / sum_t' exp(K[b,t',h] + w[h,t,t'])

K is one scalar a head and position. Tap j weighs source t+j-pad_left (a correlation, as ONNX Conv). causal limits the sums
to t' <= t. D is a multiple of H.`,
		Inputs: []Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "T", "H"}, "keys, one a head; -inf removes the source position"},
			{"V", T1, []string{"B", "T", "D"}, "values"},
			{"W", T1, []string{"H", "s"}, "one kernel of s >= 1 biases a head"},
		},
		Outputs: []Port{{"Y", T1, []string{"B", "T", "D"}, "the gated weighted mean"}},
		Attrs: []Attr{
			causalAttr(), gateAttr(),
			{Name: "pad_left", Doc: "the tap that weighs the position itself, 0..s-1: usually (s-1)/2, s-1 when causal"},
		},
		check: func(c *call) error {
			if err := c.checkHeads(); err != nil {
				return err
			}
			if err := c.atLeast(3, 1, 1, "1 tap"); err != nil {
				return err
			}
			return c.within("pad_left", 0, 0, int64(c.inputs[3].Shape[1])-1, "a tap of W")
		},
		body: aftConv1DBody,
	}
}

// checkHeads requires H >= 1 and D to be a multiple of it.
func (c *call) checkHeads() error {
	d, h := c.dims["D"], c.dims["H"]
	if h < 1 {
		return c.errorf("input %q: has %d heads, want at least 1", "K", h)
	}
	if d%h != 0 {
		return c.errorf("input %q: has %d heads, want a divisor of D = %d", "K", h, d)
	}
	return nil
}

func aftConv1DBody(b *builder) string {
	_, batch, t, d := b.queries()
	c := &conv1D{b: b, batch: batch, t: t, heads: b.dim("K", 2)}
	k := b.compute(b.expect("K", batch, t, c.heads))
	v := b.compute(b.expect("V", batch, t, d))
	c.readWindow()

	c.width = b.quotient(d, c.heads)
	a := b.keys(k)
	av := b.mul(b.unsqueeze(a, 3), b.reshape(v, batch, t, c.heads, c.width))
	inside := sums{
		num: b.reshape(c.inside(av, c.width), batch, t, c.heads, c.width),
		den: b.reshape(c.inside(a, fixed(1)), batch, t, c.heads),
	}
	ratio := b.blend(inside, sums{c.outside(av, 4), c.outside(a, 3)}, b.reshape(c.top, c.heads), 3)
	return b.reshape(ratio, batch, t, d)
}

// conv1D is one AFTConv1D.
type conv1D struct {
	b        *builder
	batch, t size
	heads    size
	width    size // channels of a head

	left, right   size   // taps before and after the position itself, of those that can meet the sequence
	before, after size   // sources before t-before and after t+after are outside the window
	weights       string // (H, left+1+right), exp(w - top)
	top           string // (H, 1), the largest bias of a head
}

// readWindow checks W and cuts it to the taps that can meet the sequence; a causal window has none after the position.
func (c *conv1D) readWindow() {
	b := c.b
	taps, pad := b.dim("W", 1), b.attr("pad_left", 0)
	valid := b.and(b.less(fixed(-1), pad), b.less(pad, taps))
	w := b.compute(b.expect("W", c.heads, b.require(valid, taps)))

	rest := b.minus(b.minus(taps, fixed(1)), pad)
	end := b.most(b.minus(c.t, fixed(1)), fixed(0))
	c.left = b.least(pad, end)
	c.right = b.choose(b.causal(), fixed(0), b.least(rest, end))
	c.before, c.after = b.least(pad, c.t), b.least(rest, c.t)

	w = b.slice(w, 1, b.minus(pad, c.left), b.plus(pad, b.plus(c.right, fixed(1))))
	c.top = b.finiteMax(w, 1)
	c.weights = b.exp(b.sub(w, c.top))
}

// goodBlock is a length of blocks that makes a good matrix product.
const goodBlock = 32

// blocks cuts T into n blocks of equal length, no shorter than the window reaches. Short windows get longer blocks, up
// to goodBlock, as long as a matrix (L,3L) a head is not larger than the values are: L*L <= T*D/H.
func (c *conv1D) blocks() (n, length size) {
	b := c.b
	good := b.least(fixed(goodBlock), b.root(b.times(c.t, c.width)))
	least := b.most(b.most(c.left, c.right), b.least(c.t, good))
	n = b.most(b.quotient(c.t, least), fixed(1))
	return n, b.most(b.blocks(c.t, n), fixed(1))
}

// inside sums x (B,T,H*C) over the window. A block needs itself and its neighbours, and the weights of all blocks of a
// head are the same matrix: one product of (L,3L) by (3L,B*blocks*C) a head. It needs neither a static number of groups
// nor a type that Conv has.
func (c *conv1D) inside(x string, width size) string {
	b := c.b
	n, length := c.blocks()
	around := b.plus(n, fixed(2))

	x = b.reshape(x, c.batch, c.t, b.times(c.heads, width))
	x = b.pad(x, 3, 1, length, b.minus(b.times(b.plus(n, fixed(1)), length), c.t))
	x = b.transpose(b.reshape(x, c.batch, around, length, c.heads, width), 3, 2, 0, 1, 4)
	block := func(i int64) string { return b.slice(x, 3, fixed(i), b.plus(n, fixed(i))) }
	spans, parts := int64(3), []string{block(0), block(1), block(2)}
	if causal := b.causal(); causal.known && causal.value {
		spans, parts = 2, parts[:2]
	}
	x = b.reshape(b.concat(1, parts...), c.heads, b.times(fixed(spans), length), b.times(c.batch, b.times(n, width)))

	y := b.matmul(c.toeplitz(length, spans), x)
	y = b.transpose(b.reshape(y, c.heads, length, c.batch, n, width), 2, 3, 1, 0, 4)
	y = b.reshape(y, c.batch, b.times(n, length), b.times(c.heads, width))
	return b.slice(y, 1, fixed(0), c.t)
}

// toeplitz is the matrix (H,L,spans*L) of the weights of a block's positions for the sources of the block before it,
// itself and, with 3 spans, the block after it.
func (c *conv1D) toeplitz(length size, spans int64) string {
	b := c.b
	n := b.plus(c.left, b.plus(fixed(1), c.right))
	w := b.reshape(c.weights, c.heads, fixed(1), n, fixed(1))
	w = b.op("Expand", []string{w, b.vector(c.heads, length, n, fixed(1))})
	w = b.skew(w, c.heads, length, n, fixed(1))
	w = b.reshape(w, c.heads, length, b.plus(length, b.plus(c.left, c.right)))
	end := b.minus(b.times(fixed(spans-2), length), c.right)
	return b.pad(w, 3, 2, b.minus(length, c.left), end)
}

// outside sums x, of that rank, over the sources before and after the window; causal: only before.
func (c *conv1D) outside(x string, rank int) string {
	b := c.b
	exclusive, reverse := onnxpb.IntAttr("exclusive", 1), onnxpb.IntAttr("reverse", 1)
	zero := fixed(0)
	earlier := b.pad(b.running(x, exclusive), rank, 1, c.before, zero)
	earlier = b.slice(earlier, 1, zero, c.t)
	causal := b.causal()
	if causal.known && causal.value {
		return earlier
	}
	later := b.pad(b.running(x, exclusive, reverse), rank, 1, zero, c.after)
	later = b.slice(later, 1, c.after, b.plus(c.after, c.t))
	if !causal.known {
		later = b.where(causal.name, b.real(0), later)
	}
	return b.add(earlier, later)
}
