package ops

import "math"

func aftFullStep() *Def {
	state := tokenPorts("C", "D", "all tokens, token i in slot i")
	return &Def{
		Name:    "AFTFullStep",
		Stem:    "aft_full_step",
		Whole:   "AFTFull",
		Summary: "causal AFTFull a chunk at a time, with a cache of keys and values",
		Doc: `AFTFull with causal = 1: the token at position p takes row p of W. keys and values hold every token in its own slot: C, their
capacity, and the rows of W end the positions. AFT-full has no smaller state, since a row may weigh every token anew.
However a sequence is cut into chunks, Y is that of AFTFull over the whole.`,
		Inputs: append(append([]Port{
			{"Q", T1, []string{"B", "T", "D"}, "queries"},
			{"K", T1, []string{"B", "T", "D"}, "keys; -inf removes the source position"},
			{"V", T1, []string{"B", "T", "D"}, "values"},
			{"W", T1, []string{">=position+length", ">=C"}, "pairwise position biases; -inf removes the pair"},
		}, state...), positionPort(), lengthPort()),
		Outputs: stepOutputs(state...),
		Attrs:   []Attr{gateAttr()},
		check: func(c *call) error {
			if err := c.atLeast(3, 1, c.dims["C"], "C"); err != nil {
				return err
			}
			if err := c.checkChunk(c.inputs[3].Shape[0], "rows of W"); err != nil {
				return err
			}
			return c.checkChunk(c.dims["C"], "slots of keys")
		},
		body: aftFullStepBody,
	}
}

func aftFullStepBody(b *builder) string {
	slots := b.dim("keys", 1)
	x := newStep(b, b.dim("W", 0), slots)
	k, v := b.expect("K", x.batch, x.t, x.d), b.expect("V", x.batch, x.t, x.d)
	cached := func(name, chunk string, empty float64) string {
		old := b.where(b.unsqueeze(x.below(slots, x.position), 2), b.expect(name, x.batch, slots, x.d), b.stored(empty))
		return x.place(old, chunk, slots)
	}
	keys, values := cached("keys", k, EmptyKey(b.spec.DType)), cached("values", v, 0)

	w := b.slice(b.op("Gather", []string{"W", x.rowOf()}), 2, fixed(0), slots)
	w = b.compute(b.expect(w, x.batch, x.t, slots))
	future := b.op("Greater", []string{b.index(slots), b.unsqueeze(x.rowOf(), 2)})
	w = b.where(future, b.real(math.Inf(-1)), w)
	e := b.exp(b.sub(w, b.finiteMax(w, 2)))
	a := b.keys(b.compute(keys))
	num, den := b.product(e, b.mul(a, b.compute(values)), slots, x.d), b.product(e, a, slots, x.d)
	b.state = append(b.state, keys, values)
	return b.ratio(num, den)
}

// place is a cache (B,C,D) with the chunk's tokens (B,T,D) in their slots.
func (x *stepBody) place(cache, chunk string, slots size) string {
	b := x.b
	token := b.op("Sub", []string{b.unsqueeze(b.index(slots), 0), x.position}) // (B,C): which token of the chunk a slot takes
	zero := b.ints(0)
	mine := b.op("And", []string{b.op("GreaterOrEqual", []string{token, zero}), b.op("Less", []string{token, x.len})})
	at := b.unsqueeze(b.where(mine, token, zero), 2)
	return b.where(b.unsqueeze(mine, 2), b.pick(chunk, at), cache)
}
