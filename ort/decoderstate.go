package ort

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PositionError says that a sequence has no positions for more tokens: the model has learned something for each, and no more.
type PositionError struct {
	Sequence  int
	Position  int // the tokens it has had
	Tokens    int // those it was to be given
	Positions int // those it may have
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("sequence %d: %d tokens at position %d, and the model's positions end at %d", e.Sequence, e.Tokens, e.Position, e.Positions)
}

// State is what a Decoder keeps of one sequence, copied out: to go on from there later, or several times.
type State struct {
	position int64
	model    string // what it fits: names, types and sizes of the parts
	rows     [][]byte
}

// Position is how many tokens the sequence has had.
func (s *State) Position() int { return int(s.position) }

// Save copies the state of a sequence.
func (d *Decoder) Save(sequence int) (*State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.has(sequence); err != nil {
		return nil, err
	}
	return d.save(sequence), nil
}

func (d *Decoder) save(sequence int) *State {
	s := &State{position: d.position[sequence], model: d.signature()}
	for _, p := range d.pieces {
		row := p.row(p.past, sequence)
		if p.caches { // the tokens there are, not the room for more
			row = row[:len(row)/d.capacity*int(s.position)]
		}
		s.rows = append(s.rows, slices.Clone(row))
	}
	return s
}

// Restore makes a sequence what another was when its state was saved, in this decoder or another over a model of the same
// form; that it is the same model is the caller's to know. The state stays as it is.
func (d *Decoder) Restore(sequence int, s *State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.has(sequence); err != nil {
		return err
	}
	if s.model != d.signature() {
		return fmt.Errorf("state: is that of another model: %s, want %s", s.model, d.signature())
	}
	if err := d.grow(int(s.position)); err != nil {
		return err
	}
	d.restore(sequence, s)
	return nil
}

func (d *Decoder) restore(sequence int, s *State) {
	for i, p := range d.pieces {
		copy(p.row(p.past, sequence), s.rows[i])
	}
	d.position[sequence] = s.position
}

// Fork makes sequence `to` what sequence `from` is: beams of a search, texts with one prompt.
func (d *Decoder) Fork(from, to int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range []int{from, to} {
		if err := d.has(i); err != nil {
			return err
		}
	}
	for _, p := range d.pieces {
		copy(p.row(p.past, to), p.row(p.past, from))
	}
	d.position[to] = d.position[from]
	return nil
}

// Reset puts a sequence at its start.
func (d *Decoder) Reset(sequence int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.has(sequence); err != nil {
		return err
	}
	d.position[sequence] = 0 // where no state is read
	return nil
}

func (d *Decoder) has(sequence int) error {
	if d.session == nil {
		return fmt.Errorf("decoder: %w", ErrClosed)
	}
	if sequence < 0 || sequence >= len(d.position) {
		return fmt.Errorf("sequence %d: there is none, want 0..%d", sequence, len(d.position)-1)
	}
	return nil
}

// signature is the form of a state: capacity and batch left out.
func (d *Decoder) signature() string {
	var b strings.Builder
	for i, p := range d.pieces {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", p.name, p.past.DType)
		for axis, size := range p.past.Shape[1:] {
			if axis == 0 && p.caches {
				continue
			}
			fmt.Fprintf(&b, " %d", size)
		}
	}
	return b.String()
}

func putInt64(data []byte, i int, v int64) { binary.NativeEndian.PutUint64(data[8*i:], uint64(v)) }

// examine reads what the session says of its model.
func (d *Decoder) examine() error {
	inputs, outputs := d.session.Inputs(), d.session.Outputs()
	find := func(values []Value, name string) *Value {
		if i := slices.IndexFunc(values, func(v Value) bool { return v.Name == name }); i >= 0 {
			return &values[i]
		}
		return nil
	}
	ids, position, logits := find(inputs, tokenInput), find(inputs, positionInput), find(outputs, logitsOutput)
	const want = "want a model of \"aftonnx export --stateful\""
	switch {
	case ids == nil || ids.DType != Int64 || len(ids.Dims) != 2:
		return fmt.Errorf("the model takes no %s (batch,sequence) of int64: %s", tokenInput, want)
	case position == nil || position.DType != Int64 || len(position.Dims) != 1:
		return fmt.Errorf("the model takes no %s (batch) of int64: %s", positionInput, want)
	case logits == nil || !logits.DType.IsFloat() || len(logits.Dims) != 3 || logits.Dims[2].Size < 1:
		return fmt.Errorf("the model gives no %s (batch,sequence,tokens) of a known number of tokens: %s", logitsOutput, want)
	}
	d.vocab = logits.Dims[2].Size
	d.logits = &Tensor{DType: logits.DType}
	d.inputs[positionInput] = &Tensor{DType: Int64, Shape: []int{d.options.Sequences}, Data: make([]byte, 8*d.options.Sequences)}
	for _, v := range inputs {
		if v.Name == tokenInput || v.Name == positionInput {
			continue
		}
		name, ok := strings.CutPrefix(v.Name, pastPrefix)
		if !ok {
			return fmt.Errorf("the model takes %s beside its state: %s", v, want)
		}
		present := find(outputs, presentPrefix+name)
		if present == nil || present.DType != v.DType || len(present.Dims) != len(v.Dims) {
			return fmt.Errorf("the model takes %s and gives no %s%s like it: %s", v, presentPrefix, name, want)
		}
		p, err := d.piece(name, v)
		if err != nil {
			return err
		}
		d.pieces = append(d.pieces, p)
	}
	if len(d.pieces) == 0 {
		return fmt.Errorf("the model has no state: %s", want)
	}
	return d.readPositions()
}

// piece describes a part of the state; its buffers are yet to be made.
func (d *Decoder) piece(name string, v Value) (*piece, error) {
	p := &piece{name: name, sequences: d.options.Sequences}
	shape := make([]int, len(v.Dims))
	for axis, dim := range v.Dims {
		switch {
		case axis == 0:
			shape[axis] = d.options.Sequences
		case dim.Size >= 0:
			shape[axis] = dim.Size
		case axis == 1:
			p.caches = true
		default:
			return nil, fmt.Errorf("state %s: dimension %d is open, want its first, and the second of a cache", v, axis)
		}
	}
	if len(shape) == 0 {
		return nil, fmt.Errorf("state %s: has no dimension for the batch", v)
	}
	p.past, p.present = &Tensor{DType: v.DType, Shape: shape}, &Tensor{DType: v.DType, Shape: shape}
	return p, nil
}

// readPositions reads where the model's positions end.
func (d *Decoder) readPositions() error {
	text, ok, err := d.session.Metadata(positionsKey)
	if err != nil || !ok {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("metadata %q: is %q, want a number of positions", positionsKey, text)
	}
	d.positions = n
	return nil
}
