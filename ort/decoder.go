package ort

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
)

// DecoderOptions say how many sequences a Decoder has and how it runs them. The zero value is one sequence.
type DecoderOptions struct {
	Sequences int // 0: 1
	Capacity  int // tokens that AFT-full's caches have room for at first; they grow by doubling. 0: 64
	Chunk     int // the most tokens of a sequence that Feed runs at once; 0: 256
}

// Decoder runs a stateful language model, as "aftonnx export --stateful" writes it: it keeps the states of some sequences
// between runs, so that every token is run once. docs/decoding.md has the names and shapes of such a model.
//
// States lie in two sets of buffers that are made once. A run reads one and writes the other; when it fails, or is
// cancelled, every sequence is where it was.
//
// All of it may be used from many goroutines, one of which runs at a time.
type Decoder struct {
	mu        sync.Mutex
	session   *Session // nil after Close
	options   DecoderOptions
	positions int // where they end; 0: they do not
	capacity  int
	pieces    []*piece
	form      string // of a state: names, types and sizes of its parts
	position  []int64

	ids, at, logits *Tensor // of the last run
	vocab           int
	next            request // they and the pieces, in the model's order
}

// NewDecoder makes a decoder over a session, whose sequences are all at their start. The session stays the caller's: it must
// be open as long as the decoder is used, and Close does not close it.
//
// Errors: the model is none that is stateful, and in what; it is made for another number of sequences; sizes below 0; ErrClosed.
func NewDecoder(s *Session, o DecoderOptions) (*Decoder, error) {
	for _, v := range []struct {
		name  string
		value *int
		usual int
	}{{"sequences", &o.Sequences, 1}, {"capacity", &o.Capacity, 64}, {"chunk", &o.Chunk, 256}} {
		if *v.value < 0 {
			return nil, fmt.Errorf("decoder: %s: is %d, want 0 (%d) or more", v.name, *v.value, v.usual)
		}
		if *v.value == 0 {
			*v.value = v.usual
		}
	}
	d := &Decoder{session: s, options: o}
	if err := d.examine(); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	capacity := o.Capacity
	if d.positions > 0 {
		capacity = min(capacity, d.positions)
	}
	if err := d.allocate(capacity); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	return d, nil
}

// Sequences is how many there are.
func (d *Decoder) Sequences() int { return d.options.Sequences }

// Positions is how many tokens a sequence may have, 0 if any number will do.
func (d *Decoder) Positions() int { return d.positions }

// Vocabulary is how many logits a token has.
func (d *Decoder) Vocabulary() int { return d.vocab }

// StateBytes is what the state of one sequence takes at present.
func (d *Decoder) StateBytes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, p := range d.pieces {
		n += len(p.past.Data) / d.options.Sequences
	}
	return n
}

// Position is how many tokens a sequence has had. Like an index, a sequence that there is none of panics.
func (d *Decoder) Position(sequence int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int(d.position[sequence])
}

// Step gives every sequence its next tokens, which may be none, in one run: tokens[i] are those of sequence i. It returns the
// logits (sequences, longest, vocabulary), longest the largest number of tokens given: row t is of the token that follows
// tokens[i][t], rows behind a sequence's own tokens mean nothing. The next run writes over them.
//
// Errors: a sequence too many or too few, a token below 0, *PositionError; those of Session.Run. The sequences are then where
// they were.
func (d *Decoder) Step(ctx context.Context, tokens [][]int64) (*Tensor, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(tokens); err != nil {
		return nil, err
	}
	if err := d.step(ctx, tokens, 0, longestOf(tokens)); err != nil {
		return nil, err
	}
	// A tensor of the caller's own: what is done to it cannot lead the next run out of the buffer.
	n := len(d.logits.Data)
	return &Tensor{DType: d.logits.DType, Shape: append([]int(nil), d.logits.Shape...), Data: d.logits.Data[:n:n]}, nil
}

// Feed gives every sequence its next tokens, however many, and returns for each the logits after its last token as float32, nil
// where it was given none: new memory. What is longer than DecoderOptions.Chunk is run in several chunks.
//
// Errors: those of Step. The sequences are then where they were before all chunks.
func (d *Decoder) Feed(ctx context.Context, tokens [][]int64) ([][]float32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(tokens); err != nil {
		return nil, err
	}
	last := make([][]float32, len(tokens))
	longest := longestOf(tokens)
	var saved []*State
	if longest > d.options.Chunk {
		for i := range tokens {
			saved = append(saved, d.save(i))
		}
	}
	for from := 0; from < longest; from += d.options.Chunk {
		to := min(longest, from+d.options.Chunk)
		if err := d.step(ctx, tokens, from, to); err != nil {
			for i, s := range saved {
				d.restore(i, s)
			}
			return nil, err
		}
		for i, row := range tokens {
			if from < len(row) && len(row) <= to {
				last[i] = float32s(d.logits, i*d.logits.Shape[1]+len(row)-1-from)
			}
		}
	}
	return last, nil
}

func longestOf(tokens [][]int64) int {
	longest := 0
	for _, row := range tokens {
		longest = max(longest, len(row))
	}
	return longest
}

// float32s is a row of logits.
func float32s(t *Tensor, row int) []float32 {
	values := make([]float32, t.Shape[2])
	first := row * len(values)
	if t.DType == Float32 {
		data := t.Data[4*first:]
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		return values
	}
	for i := range values {
		values[i] = float32(t.At(first + i))
	}
	return values
}

// check holds tokens against what the model takes.
func (d *Decoder) check(tokens [][]int64) error {
	if d.session == nil {
		return fmt.Errorf("decoder: %w", ErrClosed)
	}
	if len(tokens) != len(d.position) {
		return fmt.Errorf("tokens: are for %d sequences, want %d", len(tokens), len(d.position))
	}
	some := false
	for i, row := range tokens {
		some = some || len(row) > 0
		for at, token := range row {
			if token < 0 {
				return fmt.Errorf("tokens: sequence %d, token %d: is %d, want 0 or more", i, at, token)
			}
		}
		end := d.position[i] + int64(len(row))
		if d.positions > 0 && end > int64(d.positions) {
			return &PositionError{Sequence: i, Position: int(d.position[i]), Tokens: len(row), Positions: d.positions}
		}
		if end > math.MaxInt32 {
			return fmt.Errorf("tokens: sequence %d: %d tokens at position %d, want at most %d in all", i, len(row), d.position[i], math.MaxInt32)
		}
	}
	if !some {
		return errors.New("tokens: there are none for any sequence")
	}
	return nil
}

// step is one run, of every sequence's tokens from..to-1 as far as it has them.
func (d *Decoder) step(ctx context.Context, tokens [][]int64, from, to int) error {
	end := int64(0)
	for i, row := range tokens {
		end = max(end, d.position[i]+int64(share(row, from, to)))
	}
	if err := d.grow(int(end)); err != nil {
		return err
	}
	if err := d.bind(tokens, from, to); err != nil {
		return err
	}
	if _, err := d.session.runOrdered(ctx, d.next); err != nil {
		return err
	}
	for i, row := range tokens {
		d.position[i] += int64(share(row, from, to))
	}
	for _, p := range d.pieces {
		p.past, p.present = p.present, p.past
	}
	return nil
}

// share is how many of a sequence's tokens are among from..to-1.
func share(row []int64, from, to int) int { return max(0, min(len(row), to)-from) }

// bind puts tokens, positions, states and logits in place.
func (d *Decoder) bind(tokens [][]int64, from, to int) error {
	longest := to - from
	if err := errors.Join(resize(d.ids, len(tokens), longest), resize(d.logits, len(tokens), longest, d.vocab)); err != nil {
		return err
	}
	for i, row := range tokens {
		for t := range longest {
			token := int64(-1)
			if from+t < len(row) {
				token = row[from+t]
			}
			putInt64(d.ids.Data, i*longest+t, token)
		}
	}
	for i, p := range d.position {
		putInt64(d.at.Data, i, p)
	}
	for _, p := range d.pieces {
		d.next.inputs[p.input], d.next.outputs[p.output] = p.past, p.present
	}
	return nil
}

func putInt64(data []byte, i int, v int64) { binary.LittleEndian.PutUint64(data[8*i:], uint64(v)) }

// Close ends the decoder, and gives its states up, when the run in flight is done; later runs return ErrClosed. The session stays
// open. A second Close does nothing.
func (d *Decoder) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session, d.pieces, d.ids, d.at, d.logits, d.next = nil, nil, nil, nil, nil, request{}
	return nil
}
