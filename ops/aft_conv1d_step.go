package ops

import "github.com/aftonnx/aftonnx/internal/onnxpb"

func aftConv1DStep() *Def {
	state := append(sumPorts("H"), tokenPorts("s-1", "H", "the last s-1 tokens, the oldest first")...)
	return &Def{
		Name:    "AFTConv1DStep",
		Stem:    "aft_conv1d_step",
		Whole:   "AFTConv1D",
		Summary: "causal AFTConv1D a chunk at a time, with a state of sD + (s+1)H numbers",
		Doc: `AFTConv1D with causal = 1 and pad_left = s-1: the last of the s taps of W weighs the token itself. m, n and d sum the
tokens that have left the window, with bias 0; keys and values are those of the last s-1 tokens. However a sequence is
cut into chunks, Y is that of AFTConv1D over the whole. D is a multiple of H.`,
		Inputs: append(append([]Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "T", "H"}, "keys, one a head; -inf removes the source position"},
			{"V", T1, []string{"B", "T", "D"}, "values"},
			{"W", T1, []string{"H", "s"}, "one kernel of s >= 1 biases a head"},
		}, state...), positionPort(), lengthPort()),
		Outputs: stepOutputs(state...),
		Attrs:   []Attr{gateAttr()},
		check: func(c *call) error {
			if err := c.checkHeads(); err != nil {
				return err
			}
			if err := c.checkRing(7); err != nil {
				return err
			}
			return c.checkChunk(noLimit, "")
		},
		body: aftConv1DStepBody,
	}
}

func aftConv1DStepBody(b *builder) string {
	x := newStep(b)
	heads, s := b.dim("K", 2), b.dim("W", 1)
	width := b.quotient(x.d, heads)
	k, v := b.expect("K", x.batch, x.t, heads), b.expect("V", x.batch, x.t, x.d)
	p := x.past(heads, s)
	r, keepTokens := x.ring(k, v, heads, s)
	n := b.plus(b.minus(s, fixed(1)), x.t)
	byHead := func(v string, steps size) string { return b.reshape(v, x.batch, steps, heads, width) }
	values := byHead(r.values, n)

	m := b.op("Max", []string{b.unsqueeze(p.m, 1), b.finiteMax(r.keys, 1)})
	a := b.exp(b.sub(r.keys, m))
	old := b.exp(b.sub(b.unsqueeze(p.m, 1), m)) // (B,1,H)
	av := b.mul(b.unsqueeze(a, 3), values)
	weight, top := x.taps(heads, s, n)
	inside := sums{
		num: x.byHead(weight, av, heads, n, width),
		den: b.op("Squeeze", []string{x.byHead(weight, b.unsqueeze(a, 3), heads, n, fixed(1)), b.ints(3)}),
	}
	gone := func(v string) string { return b.running(b.slice(v, 1, fixed(0), x.t), onnxpb.IntAttr("exclusive", 1)) }
	outside := sums{
		num: b.add(gone(av), b.mul(byHead(b.unsqueeze(p.n, 1), fixed(1)), b.unsqueeze(old, 3))),
		den: b.add(gone(a), b.mul(b.unsqueeze(p.d, 1), old)),
	}
	ratio := b.reshape(b.blend(inside, outside, b.reshape(top, heads), 3), x.batch, x.t, x.d)

	repeat := func(v string) string { // (B,H) to (B,D)
		wide := b.op("Expand", []string{b.unsqueeze(v, 2), b.vector(x.batch, heads, width)})
		return b.reshape(wide, x.batch, x.d)
	}
	x.keep(p, x.leaving(r.keys), heads, func(a string) string {
		return b.reshape(b.mul(b.unsqueeze(a, 3), b.slice(values, 1, fixed(0), x.t)), x.batch, x.t, x.d)
	}, repeat)
	keepTokens()
	return ratio
}

// taps is exp(w - top), (H,T,n), 0 outside the window, and top, the largest bias of a head, (H,1).
func (x *stepBody) taps(heads, s, n size) (weight, top string) {
	b := x.b
	w := b.compute(b.expect("W", heads, s))
	top = b.finiteMax(w, 1)
	e := b.reshape(b.exp(b.sub(w, top)), heads, fixed(1), s, fixed(1))
	e = b.op("Expand", []string{e, b.vector(heads, x.t, s, fixed(1))})
	return b.reshape(b.skew(e, heads, x.t, s, fixed(1)), heads, x.t, n), top
}

// byHead is weight (H,T,n) times v (B,n,H,C), head by head: (B,T,H,C).
func (x *stepBody) byHead(weight, v string, heads, n, width size) string {
	b := x.b
	v = b.reshape(b.transpose(v, 2, 1, 0, 3), heads, n, b.times(x.batch, width))
	y := b.reshape(b.matmul(weight, v), heads, x.t, x.batch, width)
	return b.transpose(y, 2, 1, 0, 3)
}
