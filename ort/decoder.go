package ort

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/aftonnx/aftonnx/internal/tensor"
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
	vocab     int
	positions int // where they end; 0: they do not
	capacity  int
	pieces    []*piece
	position  []int64
	logits    *Tensor // of the last run
	inputs    map[string]*Tensor
	outputs   map[string]*Tensor
}

// piece is a part of the states: of all sequences, one after the other.
type piece struct {
	name      string // behind past_ and present_
	past      *Tensor
	present   *Tensor
	caches    bool // its second dimension is the capacity
	sequences int
}

// row is the bytes of sequence i.
func (p *piece) row(t *Tensor, i int) []byte {
	n := len(t.Data) / p.sequences
	return t.Data[i*n : (i+1)*n]
}

const (
	tokenInput    = "input_ids"
	positionInput = "position"
	logitsOutput  = "logits"
	pastPrefix    = "past_"
	presentPrefix = "present_"
	positionsKey  = "io.aftonnx.positions"
)

// NewDecoder makes a decoder over a session, whose sequences are all at their start. The session stays the caller's: it must
// be open as long as the decoder is used, and Close does not close it.
//
// Errors: the model is none that is stateful, and in what; sizes below 0.
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
	d := &Decoder{session: s, options: o, position: make([]int64, o.Sequences), inputs: map[string]*Tensor{}, outputs: map[string]*Tensor{}}
	if err := d.examine(); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	d.capacity = o.Capacity
	if d.positions > 0 {
		d.capacity = min(d.capacity, d.positions)
	}
	return d, d.allocate()
}

// allocate makes the buffers of the present capacity.
func (d *Decoder) allocate() error {
	for _, p := range d.pieces {
		for _, t := range []**Tensor{&p.past, &p.present} {
			shape := append([]int{}, (*t).Shape...)
			if p.caches {
				shape[1] = d.capacity
			}
			fresh, err := tensor.New((*t).DType, shape)
			if err != nil {
				return fmt.Errorf("decoder: state %q: %w", p.name, err)
			}
			*t = fresh
		}
	}
	return nil
}

// grow makes room in the caches for so many tokens, and keeps what they hold.
func (d *Decoder) grow(tokens int) error {
	if tokens <= d.capacity || !d.cached() {
		return nil
	}
	old, before := d.capacity, make([]*Tensor, len(d.pieces))
	d.capacity = max(tokens, 2*d.capacity)
	if d.positions > 0 {
		d.capacity = min(d.capacity, max(d.positions, tokens))
	}
	for i, p := range d.pieces {
		before[i] = p.past
	}
	if err := d.allocate(); err != nil {
		d.capacity = old
		return errors.Join(err, d.allocate())
	}
	for i, p := range d.pieces {
		for b := range d.position {
			copy(p.row(p.past, b), p.row(before[i], b))
		}
	}
	return nil
}

func (d *Decoder) cached() bool {
	for _, p := range d.pieces {
		if p.caches {
			return true
		}
	}
	return false
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

// Position is how many tokens a sequence has had.
func (d *Decoder) Position(sequence int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int(d.position[sequence])
}

// Step gives every sequence its next tokens, which may be none, in one run: tokens[i] are those of sequence i. It returns the
// logits (sequences, longest, vocabulary), longest the largest number of tokens given: row t is of the token that follows
// tokens[i][t], rows behind a sequence's own tokens mean nothing. They are good until the next run.
//
// Errors: a sequence too many or too few, a token below 0, *PositionError; those of Session.Run. The sequences are then where
// they were.
func (d *Decoder) Step(ctx context.Context, tokens [][]int64) (*Tensor, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(tokens); err != nil {
		return nil, err
	}
	return d.step(ctx, tokens)
}

// Feed gives every sequence its next tokens, however many, and returns for each the logits after its last token, nil where it
// was given none: new memory. What is longer than DecoderOptions.Chunk is run in several chunks.
//
// Errors: those of Step. The sequences are then where they were before all chunks.
func (d *Decoder) Feed(ctx context.Context, tokens [][]int64) ([][]float32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(tokens); err != nil {
		return nil, err
	}
	last := make([][]float32, len(tokens))
	longest := 0
	for _, row := range tokens {
		longest = max(longest, len(row))
	}
	var saved []*State
	if longest > d.options.Chunk {
		for i := range tokens {
			saved = append(saved, d.save(i))
		}
	}
	for from := 0; from < longest; from += d.options.Chunk {
		chunk := make([][]int64, len(tokens))
		for i, row := range tokens {
			chunk[i] = row[min(from, len(row)):min(from+d.options.Chunk, len(row))]
		}
		logits, err := d.step(ctx, chunk)
		if err != nil {
			for i, s := range saved {
				d.restore(i, s)
			}
			return nil, err
		}
		for i, row := range chunk {
			if len(row) > 0 && from+len(row) == len(tokens[i]) {
				last[i] = floats(logits, i*logits.Shape[1]+len(row)-1)
			}
		}
	}
	return last, nil
}

// floats is a row of logits as float32.
func floats(t *Tensor, row int) []float32 {
	width := t.Shape[2]
	values := make([]float32, width)
	for i := range values {
		values[i] = float32(t.At(row*width + i))
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
		if d.positions > 0 && d.position[i]+int64(len(row)) > int64(d.positions) {
			return &PositionError{Sequence: i, Position: int(d.position[i]), Tokens: len(row), Positions: d.positions}
		}
	}
	if !some {
		return errors.New("tokens: there are none for any sequence")
	}
	return nil
}

// step is one run.
func (d *Decoder) step(ctx context.Context, tokens [][]int64) (*Tensor, error) {
	longest, furthest := 0, int64(0)
	for i, row := range tokens {
		longest = max(longest, len(row))
		furthest = max(furthest, d.position[i]+int64(len(row)))
	}
	if furthest > math.MaxInt32 {
		return nil, fmt.Errorf("tokens: the %d-th of a sequence, want at most %d", furthest, math.MaxInt32)
	}
	if err := d.grow(int(furthest)); err != nil {
		return nil, err
	}
	if err := d.bind(tokens, longest); err != nil {
		return nil, err
	}
	if err := d.session.RunInto(ctx, d.inputs, d.outputs); err != nil {
		return nil, err
	}
	for i, row := range tokens {
		d.position[i] += int64(len(row))
	}
	for _, p := range d.pieces {
		p.past, p.present = p.present, p.past
	}
	return d.logits, nil
}

// bind puts tokens, positions, states and logits in place.
func (d *Decoder) bind(tokens [][]int64, longest int) error {
	shape := []int{len(tokens), longest}
	ids := d.inputs[tokenInput]
	if ids == nil || !tensor.SameShape(ids.Shape, shape) {
		var err1, err2 error
		ids, err1 = tensor.New(Int64, shape)
		d.logits, err2 = tensor.New(d.logits.DType, []int{len(tokens), longest, d.vocab})
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		d.inputs[tokenInput], d.outputs[logitsOutput] = ids, d.logits
	}
	for i, row := range tokens {
		for t := range longest {
			token := int64(-1)
			if t < len(row) {
				token = row[t]
			}
			putInt64(ids.Data, i*longest+t, token)
		}
	}
	for i, p := range d.position {
		putInt64(d.inputs[positionInput].Data, i, p)
	}
	for _, p := range d.pieces {
		d.inputs[pastPrefix+p.name], d.outputs[presentPrefix+p.name] = p.past, p.present
	}
	return nil
}

// Close ends the decoder when the run in flight is done; later runs return ErrClosed. The session stays open. A second Close
// does nothing.
func (d *Decoder) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session, d.pieces, d.logits, d.inputs, d.outputs = nil, nil, nil, nil, nil
	return nil
}
