package reference

import (
	"fmt"
	"math"
	"slices"
)

// State is what the step form of an operator keeps of the tokens so far, for each sequence of a batch. With s the reach of
// the window and C = D, or H where K has one column a head:
//
//	M (B,C)          the largest key of the tokens that have left the window
//	D (B,C)          sum exp(K - M) over them
//	N (B,D)          sum exp(K - M) V over them
//	Keys (B,s-1,C)   the keys of the last s-1 tokens, the oldest first; AFTFullStep: of all tokens, token i in slot i
//	Values (B,s-1,D) their values
//
// AFTSimpleStep has no Keys and Values, its window is the token itself; AFTFullStep has nothing else. How many tokens a state
// holds is said by Chunk.Position: what lies beyond them is not read, whatever it is. Written are EmptyMax to M, EmptyKey to
// Keys and 0 elsewhere.
type State struct {
	M, N, D      Array
	Keys, Values Array
}

// What a state holds where there is no token yet.
const (
	EmptyMax = -1e30
	EmptyKey = -math.MaxFloat64
)

// Chunk says which tokens of a batch are new: sequence b has had Position[b] tokens before this chunk, and the first Length[b]
// of the chunk are its next ones. The rest is padding: it is not read, its rows of Y are 0.
type Chunk struct {
	Position, Length []int64
}

// stepping is what the step forms have in common: a row sees the past sums, with bias 0, and the tokens inside its window.
type stepping struct {
	q, k, v Array
	heads   int
	past    State
	at      Chunk
	gate    Gate
	window  int  // s, the row's own token included
	cache   bool // Keys hold every token, in its own slot: the window has no end
	// bias fills row with the biases of the tokens inside the window, the row's own the last.
	bias func(row []float64, h, position int)
}

// everything is the window of a cache.
const everything = math.MaxInt32

func (x *stepping) run() (Array, State, error) {
	y, err := newLike(x.q)
	if err != nil {
		return y, State{}, err
	}
	next := State{M: clone(x.past.M), N: clone(x.past.N), D: clone(x.past.D), Keys: x.past.Keys, Values: x.past.Values}
	channels := x.q.Shape[2]
	parallel(x.q.Shape[0]*channels, func(i int) { x.channel(y, next, i/channels, i%channels) })
	if x.past.Keys.Shape != nil {
		next.Keys = x.keep(x.past.Keys, x.k, EmptyKey)
		next.Values = x.keep(x.past.Values, x.v, 0)
	}
	return y, next, nil
}

func clone(a Array) Array { return Array{Shape: slices.Clone(a.Shape), Data: slices.Clone(a.Data)} }

// tokens is column c of sequence b, past (B,n,C) and chunk (B,T,C): the tokens the state still holds, then the new ones.
func (x *stepping) tokens(past, chunk Array, b, c int) []float64 {
	var out []float64
	if past.Shape != nil {
		slots := past.Shape[1]
		held := min(int(x.at.Position[b]), slots)
		first := slots - held // a ring's youngest token is in its last slot
		if x.cache {
			first = 0
		}
		out = column(past, b, c)[first : first+held]
	}
	return append(out, column(chunk, b, c)[:x.at.Length[b]]...)
}

// channel computes the rows of channel d of sequence b, and what the state holds of it beside the tokens.
func (x *stepping) channel(y Array, next State, b, d int) {
	channels := x.q.Shape[2]
	h := d / (channels / x.heads)
	keys, values := x.tokens(x.past.Keys, x.k, b, h), x.tokens(x.past.Values, x.v, b, d)
	position, length := int(x.at.Position[b]), int(x.at.Length[b])
	held := len(keys) - length

	left := x.left(b, h, d)
	begin := 0 // the first token that is inside the window
	leave := func(upto int) {
		for ; begin < upto; begin++ {
			left.add(keys[begin], values[begin])
		}
	}
	bias := make([]float64, len(keys))
	for t := range length {
		end := held + t + 1
		leave(max(0, end-x.window))
		row := bias[:end-begin]
		x.bias(row, h, position+t)
		ratio := left.meanWith(keys[begin:end], row, values[begin:end])
		i := (b*x.q.Shape[1]+t)*channels + d
		y.Data[i] = x.gate.times(x.q.Data[i], ratio)
	}
	if x.cache {
		return
	}
	leave(max(0, len(keys)-(x.window-1)))
	m, n, den := left.state()
	next.N.Data[b*channels+d] = n
	if d%(channels/x.heads) == 0 { // the head's first channel: the others would write the same
		next.M.Data[b*x.heads+h], next.D.Data[b*x.heads+h] = m, den
	}
}

// left is the past's sums, empty before a token has left the window.
func (x *stepping) left(b, h, d int) *departed {
	p := &departed{top: math.Inf(-1)}
	if x.cache || int(x.at.Position[b]) < x.window {
		return p
	}
	den := x.past.D.Data[b*x.heads+h]
	if den == 0 {
		return p // every key was -inf
	}
	p.top = x.past.M.Data[b*x.heads+h]
	p.sums = prefix{begun: true, ref: p.top, den: sum{total: den}, num: sum{total: x.past.N.Data[b*x.q.Shape[2]+d]}}
	return p
}

// departed are the tokens that have left the window.
type departed struct {
	sums prefix
	top  float64 // the largest key
}

func (p *departed) add(k, v float64) {
	p.sums.add(k, v)
	p.top = math.Max(p.top, k) // NaN stays
}

// meanWith is the ratio of sums over the departed tokens, with bias 0, and others with their biases.
func (p *departed) meanWith(k, w, v []float64) float64 {
	past := math.Inf(-1)
	if p.sums.begun {
		past = p.sums.ref
	}
	weight := make([]float64, len(k)+1)
	weigh(weight, append([]float64{past}, k...), append([]float64{0}, w...))
	var num, den sum
	for i, x := range weight {
		switch {
		case x == removed:
		case i == 0:
			num.add(x * p.sums.num.value())
			den.add(x * p.sums.den.value())
		default:
			num.add(float64(x * v[i-1]))
			den.add(x)
		}
	}
	if den.value() == 0 {
		return 0
	}
	return num.value() / den.value()
}

// state is M, N and D.
func (p *departed) state() (m, n, d float64) {
	if !p.sums.begun {
		return EmptyMax, 0, 0
	}
	if p.top != p.sums.ref {
		f := math.Exp(p.sums.ref - p.top)
		p.sums.num.scale(f)
		p.sums.den.scale(f)
	}
	return p.top, p.sums.num.value(), p.sums.den.value()
}

// keep is the next Keys or Values: the youngest tokens at the end of a ring, every token in its slot of a cache.
func (x *stepping) keep(past, chunk Array, empty float64) Array {
	next := Array{Shape: slices.Clone(past.Shape), Data: make([]float64, len(past.Data))}
	slots, width := past.Shape[1], past.Shape[2]
	for i := range next.Data {
		next.Data[i] = empty
	}
	for b := range past.Shape[0] {
		for c := range width {
			tokens := x.tokens(past, chunk, b, c)
			first := 0
			if !x.cache {
				tokens = tokens[max(0, len(tokens)-slots):]
				first = slots - len(tokens)
			}
			for i, v := range tokens {
				next.Data[(b*slots+first+i)*width+c] = v
			}
		}
	}
	return next
}

// chunk requires one position and length a sequence: lengths of 0..T, and positions that stay below limit, which what
// names. It binds no letter.
func (c *call) chunk(at Chunk, limit int, what string) {
	if c.err != nil {
		return
	}
	batch, steps := c.sizes["B"], c.sizes["T"]
	if len(at.Position) != batch || len(at.Length) != batch {
		c.fail("inputs \"position\" and \"length\": have %d and %d elements, want B = %d", len(at.Position), len(at.Length), batch)
		return
	}
	for b := range batch {
		p, n := at.Position[b], at.Length[b]
		if n < 0 || n > int64(steps) {
			c.fail("input \"length\": is %d for sequence %d, want 0..T = %d", n, b, steps)
		}
		if p < 0 {
			c.fail("input \"position\": is %d for sequence %d, want 0 or more", p, b)
		}
		if p > int64(limit)-n {
			c.fail("input \"position\": is %d for sequence %d, and %d more tokens want %s, which has %d", p, b, n, what, limit)
		}
	}
}

// noLimit is the limit of positions where nothing has a row for each.
const noLimit = math.MaxInt32

// integers reads an int64 input that came as an Array of shape (B).
func integers(op, name string, a Array) ([]int64, error) {
	if len(a.Shape) != 1 || a.Shape[0] != len(a.Data) {
		return nil, fmt.Errorf("%s: input %q: has shape %v with %d values, want (B)", op, name, a.Shape, len(a.Data))
	}
	out := make([]int64, len(a.Data))
	for i, v := range a.Data {
		if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			return nil, fmt.Errorf("%s: input %q: holds %v, want whole numbers", op, name, v)
		}
		out[i] = int64(v)
	}
	return out, nil
}
