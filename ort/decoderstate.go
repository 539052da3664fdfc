package ort

import (
	"errors"
	"fmt"
	"slices"
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

// State is what a Decoder keeps of one sequence, copied out: to go on from there later, or several times. It never changes, and
// may be used by many goroutines.
type State struct {
	position int64
	form     string // what it fits: names, types and sizes of the parts
	rows     [][]byte
}

// Position is how many tokens the sequence has had.
func (s *State) Position() int { return int(s.position) }

// Save copies the state of a sequence, of a cache only what holds tokens.
//
// Errors: there is no such sequence; ErrClosed.
func (d *Decoder) Save(sequence int) (*State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.has(sequence); err != nil {
		return nil, err
	}
	return d.save(sequence), nil
}

func (d *Decoder) save(sequence int) *State {
	s := &State{position: d.position[sequence], form: d.form}
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
//
// Errors: there is no such sequence; the state is of another form; ErrClosed.
func (d *Decoder) Restore(sequence int, s *State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.has(sequence); err != nil {
		return err
	}
	if s == nil {
		return errors.New("state: is nil, want one that Save gave")
	}
	if s.form != d.form {
		return fmt.Errorf("state: is that of another model: %s, want %s", s.form, d.form)
	}
	if err := d.grow(int(s.position)); err != nil {
		return err
	}
	d.restore(sequence, s)
	return nil
}

func (d *Decoder) restore(sequence int, s *State) {
	for i, p := range d.pieces {
		row := p.row(p.past, sequence)
		n := copy(row, s.rows[i])
		p.clear(row[n:])
	}
	d.position[sequence] = s.position
}

// Fork makes sequence `to` what sequence `from` is: beams of a search, texts with one prompt.
//
// Errors: there is no such sequence; ErrClosed.
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

// Reset puts a sequence at its start; nothing is left of the tokens it has had.
//
// Errors: there is no such sequence; ErrClosed.
func (d *Decoder) Reset(sequence int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.has(sequence); err != nil {
		return err
	}
	for _, p := range d.pieces {
		p.clear(p.row(p.past, sequence))
	}
	d.position[sequence] = 0
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
