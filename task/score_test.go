package task_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/task"
)

// A model that knows nothing takes log2 256 = 8 bits a byte, exactly, however the text is cut.
func TestScore_uniform(t *testing.T) {
	text := []byte("any text will do, and the longer the better")
	for _, o := range []task.ScoreOptions{
		{Context: 1, Stride: 1, Batch: 1}, {Context: 16, Stride: 8, Batch: 3}, {Context: 1000, Stride: 500, Batch: 8},
	} {
		for _, rule := range []rule{uniform, constant(-1e30), constant(700)} {
			s, err := newByteModel(t).Score(t.Context(), &fake{t: t, rule: rule}, text, o)
			if err != nil {
				t.Fatal(err)
			}
			if s.PerByte() != 8 || s.Predictions != len(text)-1 {
				t.Errorf("%+v: %v bits per byte over %d", o, s.PerByte(), s.Predictions)
			}
		}
	}
}

// "abce" under a model that gives the successor the logit 4 and all others 0: two successors and one other byte, with
// p = e^4 / (e^4 + 255) and 1 / (e^4 + 255).
func TestScore_byHand(t *testing.T) {
	s, err := newByteModel(t).Score(t.Context(), &fake{t: t, rule: successor}, []byte("abce"),
		task.ScoreOptions{Context: 4, Stride: 2, Batch: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := 3*math.Log2(math.Exp(4)+255) - 2*4*math.Log2E
	if math.Abs(s.Bits-want) > 1e-12*want || s.Predictions != 3 || s.Windows != 1 {
		t.Errorf("%+v, want %v bits", s, want)
	}
}

// Every byte is scored once, by the first window that predicts it, from that window's bytes before it: held against scoring
// each byte alone, with its own prefix, under a model in which every byte of the prefix counts.
func TestScore_windows(t *testing.T) {
	m, rng := newByteModel(t), rand.New(rand.NewPCG(1, 2))
	for range 300 {
		text := make([]byte, 2+rng.IntN(40))
		for i := range text {
			text[i] = byte(rng.Uint32())
		}
		o := task.ScoreOptions{Context: 1 + rng.IntN(12), Batch: 1 + rng.IntN(4)}
		o.Stride = 1 + rng.IntN(o.Context)
		want, windows := 0.0, 0
		for i := 1; i < len(text); i++ { // byte i is prediction i-1
			w := 0
			for i-1 >= w*o.Stride+o.Context {
				w++
			}
			windows = w + 1
			want += cost(hashed(text[w*o.Stride:i]), text[i])
		}
		f := &fake{t: t, rule: hashed}
		got, err := m.Score(t.Context(), f, text, o)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got.Bits-want) > 1e-12*want || got.Windows != windows || len(f.rows) != windows {
			t.Fatalf("%d bytes, %+v: %v bits in %d windows, %d run; want %v in %d", len(text), o, got.Bits, got.Windows,
				len(f.rows), want, windows)
		}
		for _, b := range f.batches {
			if b > o.Batch {
				t.Fatalf("a batch of %d, want at most %d", b, o.Batch)
			}
		}
	}
}

// The type of the logits costs no more than its digits: half precision holds 11 bits of them.
func TestScore_types(t *testing.T) {
	text := []byte("the quick brown fox")
	o := task.ScoreOptions{Context: 8, Stride: 4, Batch: 2}
	m := newByteModel(t)
	want, err := m.Score(t.Context(), &fake{t: t, rule: hashed}, text, o)
	if err != nil {
		t.Fatal(err)
	}
	for d, tolerance := range map[tensor.DType]float64{tensor.Float32: 0x1p-24, tensor.Float16: 0x1p-11} {
		got, err := m.Score(t.Context(), &fake{t: t, rule: hashed, dtype: d}, text, o)
		if err != nil {
			t.Fatal(err)
		}
		// |logit| <= 2, and each of two enters the cost with its rounding.
		if diff := math.Abs(got.PerByte() - want.PerByte()); diff > 2*2*tolerance*math.Log2E || diff == 0 {
			t.Errorf("%s: %v, want %v", d, got.PerByte(), want.PerByte())
		}
	}
}

func TestScore_errors(t *testing.T) {
	usual := task.ScoreOptions{Context: 4, Stride: 2, Batch: 1}
	spoilt := func(v float64) rule {
		return func([]byte) (l [task.Tokens]float64) {
			l['b'] = v
			return l
		}
	}
	for _, c := range []struct {
		text, want string
		rule       rule
		o          task.ScoreOptions
	}{
		{"", "has 0 bytes, want 2 or more", uniform, usual},
		{"a", "has 1 bytes, want 2 or more", uniform, usual},
		{"ab", "want a stride", uniform, task.ScoreOptions{Context: 4, Stride: 5, Batch: 1}},
		{"ab", "want a stride", uniform, task.ScoreOptions{Context: 4, Batch: 1}},
		{"ab", "want a stride", uniform, task.ScoreOptions{Stride: 1, Batch: 1}},
		{"ab", "want a stride", uniform, task.ScoreOptions{Context: 4, Stride: 1}},
		{"ac", "the logits of byte 1 hold NaN", spoilt(math.NaN()), usual},
		{"ac", "the logits of byte 1 hold NaN or +Inf", spoilt(math.Inf(1)), usual},
		{"aaaab", "byte 4 (0x62) has probability 0", spoilt(math.Inf(-1)), usual},
		{"ab", "hold NaN", constant(math.Inf(-1)), usual},
	} {
		_, err := newByteModel(t).Score(t.Context(), &fake{t: t, rule: c.rule}, []byte(c.text), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %+v: %v, want %q", c.text, c.o, err, c.want)
		}
	}
	// A byte that cannot come next is no error where it does not.
	if _, err := newByteModel(t).Score(t.Context(), &fake{t: t, rule: spoilt(math.Inf(-1))}, []byte("aaa"), usual); err != nil {
		t.Error(err)
	}
}

// Progress goes up to the number of predictions; a run's error is the caller's.
func TestScore_progress(t *testing.T) {
	var told []string
	o := task.ScoreOptions{Context: 4, Stride: 2, Batch: 2, Progress: func(done, all int) {
		told = append(told, fmt.Sprintf("%d/%d", done, all))
	}}
	if _, err := newByteModel(t).Score(t.Context(), &fake{t: t, rule: uniform}, []byte("0123456789"), o); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, " "); got != "6/9 8/9 9/9" { // windows 0..4 and 2..6, 4..8, the short one 6..9
		t.Errorf("progress %s", got)
	}
	want := errors.New("broken")
	if _, err := newByteModel(t).Score(t.Context(), failing{want}, []byte("ab"), o); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Run(context.Context, map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	return nil, f.err
}
