package ort

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// summing is an engine session in Go: its state is the sum of a sequence's tokens, in a double and a cache of them, and its logit is the
// sum. It checks what it is given, so these tests need no ONNX Runtime.
type summing struct {
	t      *testing.T
	before func(run int) error // of each run; nil: nothing
	runs   int

	read, written []byte // of the last run: its sums
}

func (s *summing) ports() (inputs, outputs []Value, err error) { return nil, nil, nil }
func (s *summing) metadata(string) (string, bool, error)       { return "", false, nil }
func (s *summing) close() error                                { return nil }

func (s *summing) run(_ context.Context, r request) ([]*Tensor, error) {
	ids, at, sum, cache := r.inputs[0], r.inputs[1], r.inputs[2], r.inputs[3]
	logits, sumAfter, cacheAfter := r.outputs[0], r.outputs[1], r.outputs[2]
	for i, out := range r.outputs { // written before anything can fail, as an engine may
		for j := range out.Data {
			out.Data[j] = 0x55
		}
		for _, other := range append(slices.Clone(r.inputs), r.outputs[:i]...) {
			if overlap(out.Data, other.Data) {
				s.t.Errorf("run %d: output %d shares memory", s.runs, i)
			}
		}
	}
	s.runs++
	if s.before != nil {
		if err := s.before(s.runs); err != nil {
			return nil, err
		}
	}
	s.read, s.written = sum.Data, sumAfter.Data
	capacity, length := cache.Shape[1], ids.Shape[1]
	for b := range ids.Shape[0] {
		total, position := sum.At(b), int(at.At(b))
		had := 0
		slots := make([]float64, capacity)
		for i := range slots {
			slots[i] = cache.At(b*capacity + i)
			if empty := slots[i] == -math.MaxFloat32; empty != (i >= position) {
				s.t.Errorf("run %d, sequence %d at %d: slot %d holds %v", s.runs, b, position, i, slots[i])
			}
		}
		for t := range length {
			if token := ids.At(b*length + t); token >= 0 {
				if position+had >= capacity {
					s.t.Errorf("run %d, sequence %d: capacity %d at position %d", s.runs, b, capacity, position+had)
					return nil, errors.New("capacity")
				}
				slots[position+had] = token
				had++
				total += token
			}
			put(logits, b*length+t, total)
		}
		put(sumAfter, b, total)
		for i, v := range slots {
			put(cacheAfter, b*capacity+i, v)
		}
	}
	return nil, nil
}

func put(t *Tensor, i int, v float64) {
	one, _ := tensor.FromFloat64s(t.DType, []int{1}, []float64{v})
	copy(t.Data[i*t.DType.Size():], one.Data)
}

// summingDecoder is a decoder over a summing session.
func summingDecoder(t *testing.T, fake *summing, o DecoderOptions) *Decoder {
	t.Helper()
	batch, capacity := Dim{Size: -1, Name: "batch"}, Dim{Size: -1, Name: "capacity"}
	one := Dim{Size: 1}
	fake.t = t
	s := &Session{
		inputs: []Value{
			{Name: "input_ids", DType: Int64, Dims: []Dim{batch, {Size: -1}}},
			{Name: "position", DType: Int64, Dims: []Dim{batch}},
			{Name: "past_sum", DType: Float64, Dims: []Dim{batch}},
			{Name: "past_keys", DType: Float32, Dims: []Dim{batch, capacity, one}},
		},
		outputs: []Value{
			{Name: "logits", DType: Float64, Dims: []Dim{batch, {Size: -1}, one}},
			{Name: "present_sum", DType: Float64, Dims: []Dim{batch}},
			{Name: "present_keys", DType: Float32, Dims: []Dim{batch, capacity, one}},
		},
		held: &held{native: fake},
	}
	d, err := NewDecoder(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sums are the logits that Feed gives; -1: nil.
func sums(t *testing.T, d *Decoder, tokens ...[]int64) []float32 {
	t.Helper()
	rows, err := d.Feed(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	var list []float32
	for _, row := range rows {
		if row == nil {
			row = []float32{-1}
		}
		list = append(list, row...)
	}
	return list
}

// TestDecoder_failedRuns: whichever run of a long Feed fails, with outputs written and caches grown, every sequence is where it was.
func TestDecoder_failedRuns(t *testing.T) {
	broken := errors.New("broken")
	for failing := 1; failing <= 4; failing++ {
		fake := &summing{}
		d := summingDecoder(t, fake, DecoderOptions{Sequences: 3, Capacity: 1, Chunk: 2})
		if got := sums(t, d, []int64{5}, []int64{1, 2}, nil); !slices.Equal(got, []float32{5, 3, -1}) {
			t.Fatalf("sums %v", got)
		}
		first := fake.runs
		fake.before = func(run int) error {
			if run == first+failing {
				return broken
			}
			return nil
		}
		if _, err := d.Feed(t.Context(), [][]int64{{1, 1, 1, 1, 1, 1, 1}, {9}, nil}); !errors.Is(err, broken) {
			t.Fatalf("error is %v", err)
		}
		if got := [3]int{d.Position(0), d.Position(1), d.Position(2)}; got != [3]int{1, 2, 0} {
			t.Fatalf("run %d failed: positions are %v, want those before", failing, got)
		}
		if got := sums(t, d, []int64{10}, []int64{10, 10, 10}, []int64{4}); !slices.Equal(got, []float32{15, 33, 4}) {
			t.Errorf("run %d failed: sums are then %v", failing, got)
		}
	}
}

// TestDecoder_reuse: what a sequence had is gone after Reset, Restore and Fork; the summing engine looks at every slot.
func TestDecoder_reuse(t *testing.T) {
	d := summingDecoder(t, &summing{}, DecoderOptions{Sequences: 2, Capacity: 8})
	empty, err := d.Save(0)
	if err != nil {
		t.Fatal(err)
	}
	sums(t, d, []int64{1, 2, 3, 4, 5}, []int64{1})
	short, err := d.Save(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func() error
		want float32
	}{
		{"reset", func() error { return d.Reset(0) }, 7},
		{"empty state", func() error { return d.Restore(0, empty) }, 7},
		{"shorter state", func() error { return d.Restore(0, short) }, 8},
		{"shorter fork", func() error { return errors.Join(d.Restore(1, short), d.Fork(1, 0)) }, 8},
	} {
		sums(t, d, []int64{1, 1, 1, 1}, nil)
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if got := sums(t, d, []int64{7}, nil); got[0] != c.want {
			t.Errorf("%s: sum is %v, want %v", c.name, got[0], c.want)
		}
	}
	if err := d.Restore(0, nil); err == nil || !strings.Contains(err.Error(), "is nil") {
		t.Errorf("no state: %v", err)
	}
}

// TestDecoder_takesTurns: a run reads what the last one wrote, where it lies, and writes what that one read.
func TestDecoder_takesTurns(t *testing.T) {
	fake := &summing{}
	d := summingDecoder(t, fake, DecoderOptions{})
	sums(t, d, []int64{1})
	for range 3 {
		read, written := fake.read, fake.written
		sums(t, d, []int64{1, 2})
		if &fake.read[0] != &written[0] || &fake.written[0] != &read[0] {
			t.Fatal("a state was moved between two runs")
		}
	}
}

// TestDecoder_closeWaits for the run in flight.
func TestDecoder_closeWaits(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	fake := &summing{before: func(int) error {
		close(entered)
		<-release
		finished.Store(true)
		return nil
	}}
	d := summingDecoder(t, fake, DecoderOptions{})
	ran, closed := make(chan error, 1), make(chan bool, 1)
	go func() {
		_, err := d.Step(context.Background(), [][]int64{{1}})
		ran <- err
	}()
	<-entered
	closing := make(chan struct{})
	go func() {
		close(closing)
		d.Close()
		closed <- finished.Load()
	}()
	<-closing
	close(release)
	if err := <-ran; err != nil {
		t.Errorf("the run in flight: %v", err)
	}
	if !<-closed {
		t.Error("Close returned before the run had ended")
	}
	if _, err := d.Feed(t.Context(), [][]int64{{1}}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestDecoder_noRoom: a cache that cannot grow leaves what it has.
func TestDecoder_noRoom(t *testing.T) {
	d := summingDecoder(t, &summing{}, DecoderOptions{Capacity: 4})
	sums(t, d, []int64{1, 2, 3})
	if err := d.grow(math.MaxInt); err == nil || !strings.Contains(err.Error(), `state "keys"`) {
		t.Fatalf("error is %v", err)
	}
	if got := sums(t, d, []int64{4, 5}); got[0] != 15 || d.capacity != 8 {
		t.Errorf("sum is %v and capacity %d, want 15 and 8", got[0], d.capacity)
	}
}
