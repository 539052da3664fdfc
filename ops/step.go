package ops

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The step forms. Their state is laid out in State of package reference, and this is what all of them have in common:
//
// "position" says how many tokens a sequence has had; what its state holds beyond them is not read. So position 0 starts a
// sequence, whatever the state is. "length" says how many tokens of the chunk are real, the first ones; a padded row is 0.

// EmptyMax is what a state's m holds where there is no token yet; keys hold the lowest finite number of their type, the
// rest 0.
const EmptyMax = -1e30

func positionPort() Port {
	return Port{"position", Int64, []string{"B"}, "how many tokens the sequence has had before this chunk, at least 0"}
}

func lengthPort() Port {
	return Port{"length", Int64, []string{"B"}, "how many tokens of this chunk are real, 0..T; the rest is padding at its end"}
}

// sumPorts are m, n and d; columns is the letter of K's columns.
func sumPorts(columns string) []Port {
	return []Port{
		{"m", T2, []string{"B", columns}, "the largest key of the tokens that have left the window; -1e30: there are none"},
		{"n", T2, []string{"B", "D"}, "the sum of exp(K - m) V over them"},
		{"d", T2, []string{"B", columns}, "the sum of exp(K - m) over them"},
	}
}

// tokenPorts are keys and values of as many slots.
func tokenPorts(slots, columns, which string) []Port {
	return []Port{
		{"keys", T1, []string{"B", slots, columns}, "the keys of " + which + "; empty slots hold the lowest finite number"},
		{"values", T1, []string{"B", slots, "D"}, "their values"},
	}
}

// stepOutputs are Y and the state after the chunk.
func stepOutputs(state ...Port) []Port {
	out := []Port{{"Y", T1, []string{"B", "T", "D"}, "the gated weighted mean"}}
	for _, p := range state {
		out = append(out, Port{present + p.Name, p.Type, p.Dims, p.Name + " after the chunk"})
	}
	return out
}

// checkChunk holds position and length, where their values are known, against T and the positions there are.
func (c *call) checkChunk(limit int, what string) error {
	n := len(c.inputs)
	positions, lengths := c.inputs[n-2].Values, c.inputs[n-1].Values
	for b := range min(len(positions), len(lengths)) {
		p, l := positions[b], lengths[b]
		switch {
		case l < 0 || l > int64(c.dims["T"]):
			return c.errorf("input %q: is %d for sequence %d, want 0..T = %d", "length", l, b, c.dims["T"])
		case p < 0:
			return c.errorf("input %q: is %d for sequence %d, want 0 or more", "position", p, b)
		case p > int64(limit)-l:
			return c.errorf("input %q: is %d for sequence %d, and %d more tokens want %s, which has %d", "position", p, b, l, what, limit)
		}
	}
	return nil
}

// noLimit is the limit of positions where nothing has a row for each.
const noLimit = math.MaxInt32

// checkRing requires keys and values, inputs i and i+1, to have s-1 slots, s the columns of W.
func (c *call) checkRing(i int) error {
	if err := c.atLeast(3, 1, 1, "1"); err != nil {
		return err
	}
	s := c.inputs[3].Shape[1]
	if err := c.exactly(i, 1, s-1, "s-1"); err != nil {
		return err
	}
	return c.exactly(i+1, 1, s-1, "s-1")
}

// stepBody is one body of a step form.
type stepBody struct {
	b             *builder
	batch, t, d   size
	position, len string // (B,1), int64
	real          string // (B,T,1), bool: the token is no padding
}

// newStep checks what all of them have. limit is how many positions there are.
func newStep(b *builder, limits ...size) *stepBody {
	_, batch, t, d := b.queries()
	x := &stepBody{b: b, t: t, d: d}
	position, length := b.expect("position", batch), b.expect("length", batch)
	bad := b.op("Or", []string{
		b.op("Less", []string{b.op("Min", []string{position, length}), b.ints(0)}),
		b.op("Greater", []string{length, b.vec(t)}),
	})
	for _, limit := range limits {
		end := b.add(position, length)
		bad = b.op("Or", []string{bad, b.op("Greater", []string{end, b.vec(limit)})})
	}
	none := b.equal(size{name: b.sum(b.cast(bad, tensor.Int64), 0)}, fixed(0))
	x.batch = b.require(none, batch)
	x.position = b.reshape(position, x.batch, fixed(1))
	x.len = b.reshape(length, x.batch, fixed(1))
	x.real = b.unsqueeze(b.op("Less", []string{b.unsqueeze(b.index(t), 0), x.len}), 2)
	b.rows = x.real
	return x
}

// held is the bool tensor (B,n) of x < bound, x counting 0, 1, ..., n-1 and bound (B,1).
func (x *stepBody) below(n size, bound string) string {
	return x.b.op("Less", []string{x.b.unsqueeze(x.b.index(n), 0), bound})
}

// keys is K of the chunk, in the type the body computes in, -inf where it is padding; values is V, 0 there.
func (x *stepBody) keys(k string) string {
	return x.b.where(x.real, x.b.compute(k), x.b.real(math.Inf(-1)))
}

func (x *stepBody) values(v string) string { return x.b.where(x.real, x.b.compute(v), x.b.real(0)) }

// rowOf is the row of W that every token takes, (B,T): its position; 0 for padding, which may lie beyond the last.
func (x *stepBody) rowOf() string {
	b := x.b
	at := b.add(x.position, b.unsqueeze(b.index(x.t), 0))
	return b.where(b.op("Squeeze", []string{x.real, b.ints(2)}), at, b.ints(0))
}

// past are the sums of a state in the type the body computes in, where tokens have left the window; elsewhere m is -inf and
// the others are 0.
type past struct{ m, n, d string }

// past reads m, n and d; columns is that of K and s the reach of the window.
func (x *stepBody) past(columns, s size) past {
	b := x.b
	wide := func(name string, columns size) string {
		v := b.expect(name, x.batch, columns)
		if b.stateType() != b.computeType() {
			v = b.cast(v, b.computeType())
		}
		return v
	}
	zero := b.real(0)
	some := b.op("GreaterOrEqual", []string{x.position, b.vec(s)})
	p := past{n: b.where(some, wide("n", x.d), zero), d: b.where(some, wide("d", columns), zero)}
	empty := b.op("Equal", []string{p.d, zero})
	p.m = b.where(empty, b.real(math.Inf(-1)), wide("m", columns))
	return p
}

// keep makes the sums after the chunk of tokens that leave the window: keys (B,T,C), -inf where they do not leave, and
// terms, which gives exp(key - m) times the values, (B,T,D), of such exponentials. repeat widens (B,C) to (B,D).
func (x *stepBody) keep(p past, leaving string, columns size, terms func(a string) string, repeat func(v string) string) {
	b := x.b
	m := b.op("Max", []string{p.m, b.op("Squeeze", []string{b.finiteMax(leaving, 1), b.ints(1)})})
	a := b.exp(b.sub(leaving, b.unsqueeze(m, 1)))
	old := b.exp(b.sub(p.m, m))
	sum := func(v string, n size) string { return b.reshape(b.total(v, x.batch, x.t, n), x.batch, n) }
	n := b.add(b.mul(p.n, repeat(old)), sum(terms(a), x.d))
	d := b.add(b.mul(p.d, old), sum(a, columns))
	empty := b.op("Equal", []string{d, b.real(0)})
	x.output(b.where(empty, b.real(EmptyMax), m), n, d)
}

// output adds values of the type the body computes in to the state.
func (x *stepBody) output(values ...string) {
	for _, v := range values {
		if x.b.stateType() != x.b.computeType() {
			v = x.b.cast(v, x.b.stateType())
		}
		x.b.state = append(x.b.state, v)
	}
}

// stateType is the type of the state's sums.
func (b *builder) stateType() tensor.DType { return T2.DType(b.spec.DType) }

// ring are the tokens a window can reach, (B,s-1+T,.): those of the ring that are there, then the chunk's.
type ring struct {
	keys, values string // in the type the body computes in: -inf and 0 where there is no token
}

// ring reads keys and values, and adds the youngest s-1 tokens after the chunk to the state.
func (x *stepBody) ring(k, v string, columns, s size) (ring, func()) {
	b := x.b
	slots := b.minus(s, fixed(1))
	// Slot i holds a token if position >= s-1-i.
	first := b.op("Sub", []string{b.vec(slots), x.position})
	there := b.unsqueeze(b.op("GreaterOrEqual", []string{b.unsqueeze(b.index(slots), 0), first}), 2)
	lowest, zero := b.stored(EmptyKey(b.spec.DType)), b.stored(0)
	keys := b.where(there, b.expect("keys", x.batch, slots, columns), lowest)
	values := b.where(there, b.expect("values", x.batch, slots, x.d), zero)
	r := ring{
		keys:   b.concat(1, b.where(there, b.compute(keys), b.real(math.Inf(-1))), x.keys(k)),
		values: b.concat(1, b.compute(values), x.values(v)),
	}
	return r, func() {
		from := b.unsqueeze(b.add(x.len, b.unsqueeze(b.index(slots), 0)), 2)
		x.b.state = append(x.b.state, b.pick(b.concat(1, keys, k), from), b.pick(b.concat(1, values, v), from))
	}
}

// leaving is what the first T of the ring's keys are, where they leave the window; -inf elsewhere.
func (x *stepBody) leaving(keys string) string {
	b := x.b
	leave := b.unsqueeze(x.below(x.t, x.len), 2)
	return b.where(leave, b.slice(keys, 1, fixed(0), x.t), b.real(math.Inf(-1)))
}

// pick is x[b, at[b,i,0]] for every sequence b.
func (b *builder) pick(x, at string) string {
	return b.op("GatherND", []string{x, at}, onnxpb.IntAttr("batch_dims", 1))
}

// stored is a constant of rank 0 in the operator's type.
func (b *builder) stored(v float64) string {
	t, err := tensor.FromFloat64s(b.spec.DType, []int{}, []float64{v})
	if err != nil {
		panic(err) // one number of a type with floats
	}
	return b.constant(t)
}

// EmptyKey is what a slot of keys holds where there is no token: the lowest finite number of the type.
func EmptyKey(t tensor.DType) float64 {
	switch t {
	case tensor.Float16:
		return -65504
	case tensor.Float32:
		return -math.MaxFloat32
	}
	return -math.MaxFloat64
}
