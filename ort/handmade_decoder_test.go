//go:build cgo

package ort_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

func newDecoder(t *testing.T, rt *ort.Runtime, m *onnxpb.ModelProto, o ort.DecoderOptions) *ort.Decoder {
	t.Helper()
	d, err := ort.NewDecoder(load(t, rt, m, ort.SessionOptions{Threads: 1}), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func step(t *testing.T, d *ort.Decoder, tokens ...[]int64) *ort.Tensor {
	t.Helper()
	logits, err := d.Step(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

// rowOf is the logits of a sequence's token.
func rowOf(x *ort.Tensor, sequence, token int) []float64 {
	first := (sequence*x.Shape[1] + token) * x.Shape[2]
	return x.Float64s()[first : first+x.Shape[2]]
}

// TestDecoder_counts: logits of every token, by hand, in every type.
func TestDecoder_counts(t *testing.T) {
	rt := open(t)
	for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float64} {
		d := newDecoder(t, rt, counts(dtype, 1), ort.DecoderOptions{Sequences: 3})
		check := func(x *ort.Tensor, sequence, token int, want ...float64) {
			t.Helper()
			if got := rowOf(x, sequence, token); !slices.Equal(got, want) {
				t.Errorf("%s: sequence %d, token %d: %v, want %v", dtype, sequence, token, got, want)
			}
		}
		x := step(t, d, []int64{0, 0, 1}, []int64{2}, nil)
		if !slices.Equal(x.Shape, []int{3, 3, 3}) || x.DType != dtype {
			t.Fatalf("logits are %s", x)
		}
		check(x, 0, 0, 1, 0, 0)
		check(x, 0, 1, 2, 0, 0)
		check(x, 0, 2, 2, 1, 0)
		check(x, 1, 0, 0, 0, 1)
		x = step(t, d, nil, []int64{2, 0}, []int64{1})
		check(x, 1, 0, 0, 0, 2)
		check(x, 1, 1, 1, 0, 2)
		check(x, 2, 0, 0, 1, 0)
		x.DType, x.Shape[0], x.Data = tensor.Bool, 99, nil // the caller's own: a run of the same size does not care
		x = step(t, d, []int64{2, 1}, nil, nil)
		check(x, 0, 0, 2, 1, 1)
		if got := [3]int{d.Position(0), d.Position(1), d.Position(2)}; got != [3]int{5, 3, 1} {
			t.Errorf("%s: positions are %v", dtype, got)
		}
	}
}

// TestDecoder_empty: a sequence at its start is given the empty state of every part, and so is the room that a cache gains.
func TestDecoder_empty(t *testing.T) {
	rt := open(t)
	for dtype, lowest := range map[tensor.DType]float64{tensor.Float16: -65504, tensor.Float32: -math.MaxFloat32, tensor.Float64: -math.MaxFloat64} {
		d := newDecoder(t, rt, sevens(dtype), ort.DecoderOptions{Sequences: 2, Capacity: 2})
		check := func(when string, x *ort.Tensor, sequence int, want ...float64) {
			t.Helper()
			if got := rowOf(x, sequence, 0); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %v, want %v", dtype, when, got, want)
			}
		}
		// m; the largest and smallest of keys, of values, of the cache; the capacity
		start := []float64{float64(float32(-1e30)), lowest, lowest, 0, 0, lowest, lowest}
		x := step(t, d, []int64{1}, nil)
		check("at the start", x, 0, append(slices.Clone(start), 2)...)
		x = step(t, d, []int64{1}, []int64{1})
		check("later", x, 0, 7, 7, 7, 7, 7, 7, 7, 2)
		check("after a rest", x, 1, append(slices.Clone(start), 2)...)
		x = step(t, d, []int64{1}, nil)
		check("with a longer cache", x, 0, 7, 7, 7, 7, 7, 7, lowest, 4)
		if err := d.Reset(0); err != nil {
			t.Fatal(err)
		}
		x = step(t, d, []int64{1}, []int64{1})
		check("reset", x, 0, append(slices.Clone(start), 4)...)
		check("beside one reset", x, 1, 7, 7, 7, 7, 7, 7, lowest, 4)
	}
}

// TestDecoder_capacity doubles, makes room for a chunk, and ends where positions end.
func TestDecoder_capacity(t *testing.T) {
	d := newDecoder(t, open(t), withPositions(sevens(tensor.Float32), "13"), ort.DecoderOptions{Capacity: 2})
	for _, c := range []struct{ tokens, want int }{{2, 2}, {1, 4}, {6, 9}, {1, 13}, {3, 13}} {
		x := step(t, d, make([]int64, c.tokens))
		if got := rowOf(x, 0, 0); got[7] != float64(c.want) {
			t.Errorf("at %d: capacity %v, want %d", d.Position(0), got[7], c.want)
		}
	}
	var end *ort.PositionError
	if _, err := d.Step(t.Context(), [][]int64{{0}}); !errors.As(err, &end) || end.Position != 13 {
		t.Errorf("error is %v", err)
	}
}

// TestDecoder_constantCost: a step makes as many allocations for a state of many parts as for one, none of them for chunks of
// lengths that there were before.
func TestDecoder_constantCost(t *testing.T) {
	if sanitized {
		t.Skip("the sanitizer has allocations of its own")
	}
	rt := open(t)
	chunks := [][][]int64{{{1}, {2}}, {make([]int64, 500), nil}, {{0}, {1, 1}}}
	for _, parts := range []int{1, 60} {
		d := newDecoder(t, rt, counts(tensor.Float32, parts), ort.DecoderOptions{Sequences: 2})
		run := func() {
			for _, tokens := range chunks {
				step(t, d, tokens...)
			}
		}
		run()
		// Some 20: those of a run, of a context that may end it, and of the logits' tensor. A race detector adds a few.
		if n := testing.AllocsPerRun(100, run) / float64(len(chunks)); n > 30 {
			t.Errorf("%d parts: %v allocations a step", parts, n)
		}
		if parts > 1 {
			continue // a description of 40 bytes and 2 dimensions of each
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			run()
		}
		runtime.ReadMemStats(&after)
		// 500 tokens are 8000 bytes of input and 12000 of logits.
		if n := (after.TotalAlloc - before.TotalAlloc) / 300; n > 2000 {
			t.Errorf("%d bytes a step", n)
		}
	}
}

// TestDecoder_memory: 20000 steps leave it as it was, and the size of a state too; with our kernels as well.
func TestDecoder_memory(t *testing.T) {
	if sanitized {
		t.Skip("the sanitizer keeps freed memory for a while")
	}
	rt := open(t)
	decoders := map[string]*ort.Decoder{"counts": newDecoder(t, rt, counts(tensor.Float32, 3), ort.DecoderOptions{})}
	for _, m := range decodable(t, rt, export.Options{}) {
		if m.name == "language, any length" {
			decoders[m.name] = m.decoder(t, ort.DecoderOptions{})
		}
	}
	if len(decoders) != 2 {
		t.Fatal("there is no model of any length")
	}
	for name, d := range decoders {
		many := func() {
			for i := range 20_000 {
				step(t, d, make([]int64, 1+i%2))
			}
		}
		many()
		before, grown, state := heap(), int64(0), d.StateBytes()
		// A leak grows in every round; a heap or an arena that takes its next block does so in one. 64 bytes a step are 1.2 MB.
		for range 3 {
			start := resident(t)
			many()
			if grown = resident(t) - start; grown <= 1<<20 {
				break
			}
		}
		if grown > 1<<20 {
			t.Errorf("%s: the process grew by %d bytes in 20000 steps, three times in a row", name, grown)
		}
		if after := heap(); after > before+1<<19 || d.StateBytes() != state {
			t.Errorf("%s: the heap grew from %d to %d bytes, a state from %d to %d", name, before, after, state, d.StateBytes())
		}
	}
}

func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestNewDecoder_sizes refuses models whose sizes are not those of a stateful one, and sessions that are closed.
func TestNewDecoder_sizes(t *testing.T) {
	rt := open(t)
	part := func(dims ...any) port { return port{"past_s", tensor.Float32, dims} }
	chunks := func(ids, position, past, present port) *onnxpb.ModelProto {
		present.name = "present_s"
		m := model([]port{ids, position, past}, []port{{"logits", tensor.Float32, []any{"batch", "sequence", 2}}, present},
			node("Identity", []string{"some"}, "logits"), node("Identity", []string{"past_s"}, "present_s"))
		m.Graph.Initializer = []*onnxpb.TensorProto{constant("some", tensor.Float32, []int{1, 1, 2}, 1, 2)}
		return m
	}
	good := part("batch", 2)
	for _, c := range []struct {
		name, want string
		model      *onnxpb.ModelProto
	}{
		{"chunks of one length", "takes no input_ids", chunks(port{"input_ids", tensor.Int64, []any{"batch", 4}}, positionPort, good, good)},
		{"a batch of 3", "made for 3 sequences, want 1", chunks(idsPort, positionPort, part(3, 2), part(3, 2))},
		{"a cache that grows by itself", "dimension 1 is open", chunks(idsPort, positionPort, part("batch", "past", 2), part("batch", "total", 2))},
		{"an open width", "dimension 2 is open", chunks(idsPort, positionPort, part("batch", "capacity", "width"), part("batch", "capacity", "width"))},
		{"a state of no sequence", "no dimension for the batch", chunks(idsPort, positionPort, part(), part())},
		{"another present", "which is not like it", chunks(idsPort, positionPort, part("batch", "capacity"), part("batch", 2))},
		{"no number", "is \"many\", want a number of positions", withPositions(chunks(idsPort, positionPort, good, good), "many")},
		{"no positions", "is \"0\", want a number of positions", withPositions(chunks(idsPort, positionPort, good, good), "0")},
	} {
		s := load(t, rt, c.model, ort.SessionOptions{})
		if _, err := ort.NewDecoder(s, ort.DecoderOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one that says %q", c.name, err, c.want)
		}
	}
	s := load(t, rt, counts(tensor.Float32, 1), ort.SessionOptions{})
	d, err := ort.NewDecoder(s, ort.DecoderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := d.Step(context.Background(), [][]int64{{1}}); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("over a closed session: %v", err)
	}
	if _, err := ort.NewDecoder(s, ort.DecoderOptions{}); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("over a closed session: %v", err)
	}
}
