//go:build cgo

package ort_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/reference"
)

// decoded is a language model of wiringtest, stateful, with what the reference makes of sequences taken whole.
type decoded struct {
	name    string
	model   *reference.Model
	session *ort.Session
}

func decodable(t *testing.T, rt *ort.Runtime, o export.Options) []decoded {
	t.Helper()
	var list []decoded
	o.Stateful = true
	for _, n := range wiringtest.Stateful() {
		if n.Model.Head == nil {
			continue // no logits
		}
		data, err := export.Encode(n.Model, o)
		if err != nil {
			t.Fatal(err)
		}
		s, err := rt.LoadBytes(data, ort.SessionOptions{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		list = append(list, decoded{n.Name, n.Model, s})
	}
	return list
}

func (d *decoded) decoder(t *testing.T, o ort.DecoderOptions) *ort.Decoder {
	t.Helper()
	decoder, err := ort.NewDecoder(d.session, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { decoder.Close() })
	return decoder
}

// logits are the reference's for every token of a sequence taken whole.
func (d *decoded) logits(t *testing.T, tokens []int64) [][]float64 {
	t.Helper()
	x := tensor.Array{Shape: []int{1, len(tokens)}}
	for _, token := range tokens {
		x.Data = append(x.Data, float64(token))
	}
	y, err := d.model.Forward(reference.Inputs{X: x})
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]float64
	for row := range slices.Chunk(y.Data, y.Shape[2]) {
		rows = append(rows, row)
	}
	return rows
}

// text is a sequence of tokens.
func text(seed, n int) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = int64((seed + 5*i + i*i) % wiringtest.Vocabulary)
	}
	return list
}

func nearRow(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d logits, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		if off := math.Abs(float64(got[i]) - w); !(off <= 1e-5) { // as the exports of these networks are held to
			t.Fatalf("%s: logit %d is %v, want %v", what, i, got[i], w)
		}
	}
}

func feed(t *testing.T, d *ort.Decoder, tokens ...[]int64) [][]float32 {
	t.Helper()
	logits, err := d.Feed(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

// TestDecoder_ragged: sequences at positions of their own, given shares of their own, some resting, have the logits of their
// whole text; so they have token by token, and in chunks.
func TestDecoder_ragged(t *testing.T) {
	rt := open(t)
	for _, m := range decodable(t, rt, export.Options{}) {
		for _, chunk := range []int{1, 2, 100} {
			d := m.decoder(t, ort.DecoderOptions{Sequences: 3, Capacity: 1, Chunk: chunk})
			texts := [][]int64{text(1, 9), text(4, 9), text(7, 9)}
			had := []int{0, 0, 0}
			for _, shares := range [][]int{{3, 0, 1}, {0, 2, 0}, {1, 1, 1}, {5, 6, 0}, {0, 0, 7}} {
				tokens := make([][]int64, 3)
				for i, n := range shares {
					tokens[i] = texts[i][had[i] : had[i]+n]
				}
				logits := feed(t, d, tokens...)
				for i, n := range shares {
					had[i] += n
					if d.Position(i) != had[i] {
						t.Fatalf("%s: sequence %d is at %d, want %d", m.name, i, d.Position(i), had[i])
					}
					if n == 0 {
						if logits[i] != nil {
							t.Fatalf("%s: sequence %d rested and has logits", m.name, i)
						}
						continue
					}
					nearRow(t, m.name, logits[i], m.logits(t, texts[i][:had[i]])[had[i]-1])
				}
			}
		}
	}
}

// TestDecoder_step gives the logits of every token.
func TestDecoder_step(t *testing.T) {
	rt := open(t)
	for _, o := range []export.Options{{}, {DType: export.Float16}, {DType: export.Float64}} {
		for _, m := range decodable(t, rt, o) {
			d := m.decoder(t, ort.DecoderOptions{Sequences: 2})
			logits, err := d.Step(t.Context(), [][]int64{text(1, 5), text(2, 3)})
			if err != nil {
				t.Fatal(err)
			}
			if shape := tensor.FormatShape(logits.Shape); shape != "(2,5,11)" || d.Vocabulary() != wiringtest.Vocabulary {
				t.Fatalf("%s: logits of shape %s", m.name, shape)
			}
			for i, tokens := range [][]int64{text(1, 5), text(2, 3)} {
				for at, want := range m.logits(t, tokens) {
					for j, w := range want {
						got := logits.At((i*5+at)*wiringtest.Vocabulary + j)
						if off := math.Abs(got - w); !(off <= 1e-5) && !(o.DType == export.Float16 && off <= 2e-2) {
							t.Fatalf("%s %s: sequence %d, token %d, logit %d is %v, want %v", m.name, o.DType, i, at, j, got, w)
						}
					}
				}
			}
		}
	}
}

// TestDecoder_fork: what is forked, saved and restored, or reset goes on as if the sequence had got there by itself.
func TestDecoder_fork(t *testing.T) {
	rt := open(t)
	for _, m := range decodable(t, rt, export.Options{}) {
		d := m.decoder(t, ort.DecoderOptions{Sequences: 2, Capacity: 2})
		prompt, a, b := text(1, 4), text(3, 3), text(5, 3)
		feed(t, d, prompt, nil)
		saved, err := d.Save(0)
		if err != nil || saved.Position() != 4 {
			t.Fatalf("%s: saved at %d, %v", m.name, saved.Position(), err)
		}
		if err := d.Fork(0, 1); err != nil {
			t.Fatal(err)
		}
		logits := feed(t, d, a, b)
		whole := func(rest []int64) []float64 { return m.logits(t, slices.Concat(prompt, rest))[len(prompt)+len(rest)-1] }
		nearRow(t, m.name+", forked from", logits[0], whole(a))
		nearRow(t, m.name+", forked", logits[1], whole(b))

		other := m.decoder(t, ort.DecoderOptions{Sequences: 3, Capacity: 1})
		if err := other.Restore(2, saved); err != nil {
			t.Fatal(err)
		}
		logits = feed(t, other, nil, nil, b)
		nearRow(t, m.name+", restored elsewhere", logits[2], whole(b))
		if err := d.Restore(0, saved); err != nil {
			t.Fatal(err)
		}
		if err := d.Reset(1); err != nil {
			t.Fatal(err)
		}
		logits = feed(t, d, b, a)
		nearRow(t, m.name+", restored", logits[0], whole(b))
		nearRow(t, m.name+", reset", logits[1], m.logits(t, a)[len(a)-1])
	}
	models := decodable(t, rt, export.Options{})
	saved, err := models[0].decoder(t, ort.DecoderOptions{}).Save(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := models[1].decoder(t, ort.DecoderOptions{}).Restore(0, saved); err == nil || !strings.Contains(err.Error(), "is that of another model") {
		t.Errorf("another model's state: %v", err)
	}
}

// stopAfter is a context that ends while a run of several chunks is under way.
type stopAfter struct {
	context.Context
	checks int
	mu     sync.Mutex
	done   chan struct{}
}

func (c *stopAfter) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checks--; c.checks == 0 {
		close(c.done)
	}
	if c.checks <= 0 {
		return context.Canceled
	}
	return nil
}

func (c *stopAfter) Done() <-chan struct{} { return c.done }

// TestDecoder_rollback: a run that fails or is cancelled, after some chunks too, leaves every sequence where it was.
func TestDecoder_rollback(t *testing.T) {
	rt := open(t)
	for _, m := range decodable(t, rt, export.Options{}) {
		d := m.decoder(t, ort.DecoderOptions{Sequences: 2, Chunk: 2, Capacity: 1})
		feed(t, d, text(1, 2), text(2, 1))
		ctx := &stopAfter{Context: t.Context(), checks: 3, done: make(chan struct{})}
		if _, err := d.Feed(ctx, [][]int64{text(3, 6), text(4, 6)}); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: cancelled: %v", m.name, err)
		}
		if _, err := d.Feed(t.Context(), [][]int64{{1, 2, 3, wiringtest.Vocabulary}, {1}}); err == nil {
			t.Fatalf("%s: a token that is not there was accepted", m.name)
		}
		if d.Position(0) != 2 || d.Position(1) != 1 {
			t.Fatalf("%s: at %d and %d, want 2 and 1", m.name, d.Position(0), d.Position(1))
		}
		logits := feed(t, d, text(5, 3), text(6, 3))
		nearRow(t, m.name, logits[0], m.logits(t, slices.Concat(text(1, 2), text(5, 3)))[4])
		nearRow(t, m.name, logits[1], m.logits(t, slices.Concat(text(2, 1), text(6, 3)))[3])
	}
}

func TestDecoder_errors(t *testing.T) {
	rt := open(t)
	models := decodable(t, rt, export.Options{})
	i := slices.IndexFunc(models, func(m decoded) bool { return m.name == "language, tied" })
	d := models[i].decoder(t, ort.DecoderOptions{Sequences: 2, Capacity: 100})
	if d.Positions() != wiringtest.Positions || d.Sequences() != 2 {
		t.Errorf("%d positions, %d sequences", d.Positions(), d.Sequences())
	}
	for _, c := range []struct {
		tokens [][]int64
		want   string
	}{
		{[][]int64{{1}}, "tokens: are for 1 sequences, want 2"},
		{[][]int64{{1}, {1, -1}}, "tokens: sequence 1, token 1: is -1, want 0 or more"},
		{[][]int64{{}, nil}, "tokens: there are none"},
		{[][]int64{text(1, 10), nil}, "sequence 0: 10 tokens at position 0, and the model's positions end at 9"},
	} {
		if _, err := d.Feed(t.Context(), c.tokens); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want one that says %q", err, c.want)
		}
	}
	feed(t, d, nil, text(1, 8))
	var end *ort.PositionError
	if _, err := d.Step(t.Context(), [][]int64{{1}, {1, 2}}); !errors.As(err, &end) || *end != (ort.PositionError{Sequence: 1, Position: 8, Tokens: 2, Positions: 9}) {
		t.Errorf("error is %v", err)
	}
	for _, err := range []error{d.Reset(2), d.Reset(-1), d.Fork(0, 2), d.Fork(5, 0)} {
		if err == nil || !strings.Contains(err.Error(), "there is none, want 0..1") {
			t.Errorf("error is %v", err)
		}
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if _, err := d.Step(t.Context(), [][]int64{{1}, {1}}); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := d.Save(0); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if n := d.StateBytes(); n != 0 {
		t.Errorf("after Close: a state of %d bytes", n)
	}
	if _, err := ort.NewDecoder(models[i].session, ort.DecoderOptions{Chunk: -1}); err == nil || !strings.Contains(err.Error(), "chunk: is -1") {
		t.Errorf("error is %v", err)
	}
}

// TestNewDecoder_refuses models that are none.
func TestNewDecoder_refuses(t *testing.T) {
	rt := open(t)
	ids, position := port{"input_ids", tensor.Int64, []any{"batch", "sequence"}}, port{"position", tensor.Int64, []any{"batch"}}
	x := port{"x", tensor.Float32, []any{"batch", "sequence", 2}}
	for _, c := range []struct {
		name, want  string
		in          []port
		out         []port
		from, makes string
	}{
		{"no tokens", "takes no input_ids", []port{x}, []port{{"y", tensor.Float32, x.dims}}, "x", "y"},
		{"no position", "takes no position", []port{ids}, []port{{"y", tensor.Int64, ids.dims}}, "input_ids", "y"},
		{"no logits", "gives no logits", []port{ids, position}, []port{{"y", tensor.Int64, ids.dims}}, "input_ids", "y"},
		{"another input", "beside its state", []port{ids, position, x}, []port{{"logits", tensor.Float32, []any{"batch", "sequence", 2}}}, "x", "logits"},
		{"no present", "gives no present_s:", []port{ids, position, {"past_s", tensor.Float32, []any{"batch", "sequence", 2}}},
			[]port{{"logits", tensor.Float32, []any{"batch", "sequence", 2}}}, "past_s", "logits"},
	} {
		s := load(t, rt, model(c.in, c.out, node("Identity", []string{c.from}, c.makes)), ort.SessionOptions{})
		if _, err := ort.NewDecoder(s, ort.DecoderOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one that says %q", c.name, err, c.want)
		}
	}
}

// TestDecoder_concurrent: runs take turns, and Close waits for the one in flight.
func TestDecoder_concurrent(t *testing.T) {
	rt := open(t)
	m := decodable(t, rt, export.Options{})[0]
	d := m.decoder(t, ort.DecoderOptions{Sequences: 4})
	var done sync.WaitGroup
	for i := range 4 {
		done.Go(func() {
			tokens := make([][]int64, 4)
			for range 5 {
				tokens[i] = []int64{int64(i)}
				if _, err := d.Feed(t.Context(), tokens); err != nil && !errors.Is(err, ort.ErrClosed) {
					t.Error(err)
				}
				d.Position(i)
				d.StateBytes()
			}
		})
	}
	done.Go(func() { d.Close() })
	done.Wait()
}
