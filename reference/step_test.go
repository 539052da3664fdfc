package reference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// stepped is a step form with a batch of whole sequences that it is to take in chunks.
type stepped struct {
	name    string
	whole   func(t *testing.T) Array
	step    func(q, k, v Array, past State, at Chunk) (Array, State, error)
	q, k, v Array
	empty   State
}

// steppedForms makes one of each over sequences of that length, whose keys have that standard deviation.
func steppedForms(seed uint64, steps int, keys float64) []stepped {
	const b, d, h, s = 2, 4, 2, 5
	r := seeded(seed)
	q, v := random(r, 1, b, steps, d), random(r, 1, b, steps, d)
	wide, narrow := random(r, keys, b, steps, d), random(r, keys, b, steps, h)
	full, band, taps := random(r, 1, steps, steps), random(r, 1, steps, s), random(r, 1, h, s)
	state := func(columns, slots int) State {
		past := State{}
		garbage := func(shape ...int) Array {
			a := random(r, 0, shape...)
			for i := range a.Data {
				a.Data[i] = math.NaN() // before the first token nothing of a state is read
			}
			return a
		}
		if slots != steps {
			past.M, past.D, past.N = garbage(b, columns), garbage(b, columns), garbage(b, d)
		}
		if slots > 0 {
			past.Keys, past.Values = garbage(b, slots, columns), garbage(b, slots, d)
		}
		return past
	}
	causal := Options{Causal: true}
	return []stepped{
		{"AFTSimpleStep", func(t *testing.T) Array { return must(t)(AFTSimple(q, wide, v, causal)) },
			func(q, k, v Array, past State, at Chunk) (Array, State, error) {
				return AFTSimpleStep(q, k, v, past, at, GateSigmoid)
			}, q, wide, v, state(d, 0)},
		{"AFTLocalStep", func(t *testing.T) Array { return must(t)(AFTLocal(q, wide, v, band, LocalOptions{causal, s})) },
			func(q, k, v Array, past State, at Chunk) (Array, State, error) {
				return AFTLocalStep(q, k, v, band, past, at, GateSigmoid)
			}, q, wide, v, state(d, s-1)},
		{"AFTConv1DStep", func(t *testing.T) Array { return must(t)(AFTConv1D(q, narrow, v, taps, Conv1DOptions{causal, s - 1})) },
			func(q, k, v Array, past State, at Chunk) (Array, State, error) {
				return AFTConv1DStep(q, k, v, taps, past, at, GateSigmoid)
			}, q, narrow, v, state(h, s-1)},
		{"AFTFullStep", func(t *testing.T) Array { return must(t)(AFTFull(q, wide, v, full, causal)) },
			func(q, k, v Array, past State, at Chunk) (Array, State, error) {
				return AFTFullStep(q, k, v, full, past, at, GateSigmoid)
			}, q, wide, v, state(d, steps)},
	}
}

// run takes the sequences in chunks of the lengths that next gives, each padded by a token of NaN, and joins Y.
func (x *stepped) run(t *testing.T, next func() int) Array {
	t.Helper()
	y, err := newLike(x.q)
	if err != nil {
		t.Fatal(err)
	}
	batch, steps := x.q.Shape[0], x.q.Shape[1]
	past := x.empty
	for at := 0; at < steps; {
		n := min(next(), steps-at)
		cut := func(a Array) Array {
			width := a.Shape[2]
			out := Array{Shape: []int{batch, n + 1, width}, Data: make([]float64, batch*(n+1)*width)}
			for b := range batch {
				copy(out.Data[b*(n+1)*width:], a.Data[(b*steps+at)*width:][:n*width])
				for i := range width {
					out.Data[(b*(n+1)+n)*width+i] = math.NaN()
				}
			}
			return out
		}
		chunk := Chunk{Position: []int64{int64(at), int64(at)}, Length: []int64{int64(n), int64(n)}}
		part, present, err := x.step(cut(x.q), cut(x.k), cut(x.v), past, chunk)
		if err != nil {
			t.Fatal(err)
		}
		width := y.Shape[2]
		for b := range batch {
			copy(y.Data[(b*steps+at)*width:], part.Data[b*(n+1)*width:][:n*width])
		}
		past, at = present, at+n
	}
	return y
}

// TestStep_anySplit: however a sequence is cut, the outputs are those of the whole, to 1e-12.
func TestStep_anySplit(t *testing.T) {
	for _, keys := range []float64{1, 1e3} {
		for i := range uint64(4) {
			for _, x := range steppedForms(i, 60, keys) {
				r := rand.New(rand.NewPCG(i, 3))
				longest := []int{1, 3, 20, 60}[i]
				got := x.run(t, func() int { return 1 + r.IntN(longest) })
				near(t, fmt.Sprintf("%s, keys of %g, chunks of up to %d", x.name, keys, longest), got, x.whole(t), 1e-12)
			}
		}
	}
}

// TestStep_long: a state that is rounded a hundred thousand times still gives the outputs of the whole, to 1e-12. AFT-full keeps
// all tokens and rounds nothing: there a thousand are enough.
//
// Rule N10 of docs/hostile.md.
func TestStep_long(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, keys := range []float64{1, 1e3} {
		for i, x := range steppedForms(5, 3, keys) {
			steps := 100_000
			if x.name == "AFTFullStep" {
				steps = 1000
			}
			x = longForm(i, steps, keys)
			got := x.run(t, func() int { return 1 })
			if x.whole != nil {
				near(t, fmt.Sprintf("%s, keys of %g", x.name, keys), got, x.whole(t), 1e-12)
			}
			// All in one chunk: sums with a correction for every rounding, over the same tokens.
			near(t, fmt.Sprintf("%s, keys of %g, against one chunk", x.name, keys), got, x.run(t, func() int { return steps }), 1e-12)
		}
	}
}

// longForm is form i over so many steps; of the forms with a window, whose operator over the whole takes the square of that in
// time, it is compared with the form itself in one chunk.
func longForm(i, steps int, keys float64) stepped {
	const b, d, h, s = 2, 1, 1, 3
	r := seeded(uint64(i))
	q, k, v := random(r, 1, b, steps, d), random(r, keys, b, steps, d), random(r, 1, b, steps, d)
	zeros := func(shape ...int) Array { return random(r, 0, shape...) }
	sums := State{M: zeros(b, d), N: zeros(b, d), D: zeros(b, d)}
	ring := sums
	ring.Keys, ring.Values = zeros(b, s-1, d), zeros(b, s-1, d)
	causal := Options{Causal: true}
	switch i {
	case 0:
		return stepped{"AFTSimpleStep", func(t *testing.T) Array { return must(t)(AFTSimple(q, k, v, causal)) },
			func(q, k, v Array, past State, at Chunk) (Array, State, error) {
				return AFTSimpleStep(q, k, v, past, at, GateSigmoid)
			}, q, k, v, sums}
	case 1:
		band := random(r, 1, steps, s)
		return stepped{"AFTLocalStep", nil, func(q, k, v Array, past State, at Chunk) (Array, State, error) {
			return AFTLocalStep(q, k, v, band, past, at, GateSigmoid)
		}, q, k, v, ring}
	case 2:
		taps := random(r, 1, h, s)
		return stepped{"AFTConv1DStep", nil, func(q, k, v Array, past State, at Chunk) (Array, State, error) {
			return AFTConv1DStep(q, k, v, taps, past, at, GateSigmoid)
		}, q, k, v, ring}
	}
	w := random(r, 1, steps, steps)
	cache := State{Keys: zeros(b, steps, d), Values: zeros(b, steps, d)}
	return stepped{"AFTFullStep", func(t *testing.T) Array { return must(t)(AFTFull(q, k, v, w, causal)) },
		func(q, k, v Array, past State, at Chunk) (Array, State, error) {
			return AFTFullStep(q, k, v, w, past, at, GateSigmoid)
		}, q, k, v, cache}
}

// TestStep_sequencesApart: each sequence of a batch is at its own position, takes its own share of a chunk, and does not feel
// the others.
func TestStep_sequencesApart(t *testing.T) {
	for _, x := range steppedForms(9, 12, 1) {
		whole := x.whole(t)
		past := x.empty
		position := []int64{0, 0}
		for _, lengths := range [][]int64{{4, 0}, {1, 3}, {0, 5}, {4, 1}, {3, 3}} {
			cut := func(a Array) Array {
				out := Array{Shape: []int{2, 5, a.Shape[2]}, Data: make([]float64, 2*5*a.Shape[2])}
				for b := range 2 {
					copy(out.Data[b*5*a.Shape[2]:], a.Data[(b*12+int(position[b]))*a.Shape[2]:][:int(lengths[b])*a.Shape[2]])
				}
				return out
			}
			y, present, err := x.step(cut(x.q), cut(x.k), cut(x.v), past, Chunk{position, lengths})
			if err != nil {
				t.Fatal(err)
			}
			for b := range 2 {
				for i := range 5 * 4 {
					want := 0.0 // padding
					if i < int(lengths[b])*4 {
						want = whole.Data[(b*12+int(position[b]))*4+i]
					}
					if got := y.Data[b*20+i]; !(math.Abs(got-want) <= 1e-13) {
						t.Fatalf("%s: sequence %d at %d, element %d: %v, want %v", x.name, b, position[b], i, got, want)
					}
				}
			}
			past, position = present, []int64{position[0] + lengths[0], position[1] + lengths[1]}
		}
	}
}

// TestStep_state: what the state is, by hand: s = 2, the keys 1, 3, 2 of values 10, 20, 30; the first two have left the window.
func TestStep_state(t *testing.T) {
	q := of(t, []int{1, 3, 1}, 0, 0, 0)
	k, v := of(t, []int{1, 3, 1}, 1, 3, 2), of(t, []int{1, 3, 1}, 10, 20, 30)
	zero := func() Array { return of(t, []int{1, 1}, 0) }
	past := State{M: zero(), N: zero(), D: zero(), Keys: of(t, []int{1, 1, 1}, 0), Values: of(t, []int{1, 1, 1}, 0)}
	_, got, err := AFTLocalStep(q, k, v, of(t, []int{3, 2}, 0, 0, 0, 0, 0, 0), past, Chunk{[]int64{0}, []int64{3}}, GateAbsent)
	if err != nil {
		t.Fatal(err)
	}
	e := math.Exp(-2)
	near(t, "m", got.M, of(t, []int{1, 1}, 3), 0)
	near(t, "d", got.D, of(t, []int{1, 1}, 1+e), 1e-15)
	near(t, "n", got.N, of(t, []int{1, 1}, 20+10*e), 1e-14)
	near(t, "keys", got.Keys, of(t, []int{1, 1, 1}, 2), 0)
	near(t, "values", got.Values, of(t, []int{1, 1, 1}, 30), 0)

	_, got, err = AFTLocalStep(q, k, v, of(t, []int{3, 2}, 0, 0, 0, 0, 0, 0), past, Chunk{[]int64{0}, []int64{0}}, GateAbsent)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "m of no tokens", got.M, of(t, []int{1, 1}, EmptyMax), 0)
	near(t, "keys of no tokens", got.Keys, of(t, []int{1, 1, 1}, EmptyKey), 0)
}
