package task_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/task"
)

func generate(t *testing.T, f *fake, prompt string, o task.GenerateOptions) string {
	t.Helper()
	var text []byte
	err := newByteModel(t).Generate(t.Context(), f, []byte(prompt), o, func(b byte) error {
		text = append(text, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// At temperature 0 the likeliest byte comes next, whatever the seed, and of equals the lowest.
func TestGenerate_greedy(t *testing.T) {
	for seed := range uint64(3) {
		o := task.GenerateOptions{Context: 4, Tokens: 5, Seed: seed}
		if got := generate(t, &fake{t: t, rule: successor}, "xa", o); got != "bcdef" {
			t.Errorf("got %q", got)
		}
		if got := generate(t, &fake{t: t, rule: constant(-3)}, "x", o); got != "\x00\x00\x00\x00\x00" {
			t.Errorf("got %q", got)
		}
	}
}

// The model sees the last Context bytes of prompt and text.
func TestGenerate_window(t *testing.T) {
	f := &fake{t: t, rule: successor}
	generate(t, f, "wxab", task.GenerateOptions{Context: 3, Tokens: 3})
	if got := string(bytes.Join(f.rows, []byte(" "))); got != "xab abc bcd" {
		t.Errorf("ran on %q", got)
	}
	f = &fake{t: t, rule: successor}
	generate(t, f, "a", task.GenerateOptions{Context: 3, Tokens: 4})
	if got := string(bytes.Join(f.rows, []byte(" "))); got != "a ab abc bcd" {
		t.Errorf("ran on %q", got)
	}
}

// One seed gives one text, another seed another.
func TestGenerate_seed(t *testing.T) {
	o := task.GenerateOptions{Context: 16, Tokens: 40, Temperature: 1, Seed: 7}
	first := generate(t, &fake{t: t, rule: hashed}, "p", o)
	if again := generate(t, &fake{t: t, rule: hashed}, "p", o); again != first {
		t.Errorf("%q and %q", first, again)
	}
	o.Seed = 8
	if other := generate(t, &fake{t: t, rule: hashed}, "p", o); other == first {
		t.Errorf("seeds 7 and 8 give %q", first)
	}
}

// Three bytes with the logits 0, -1 and -2 come as often as softmax(logits / T) says: within 5 standard deviations of a
// binomial count. With a TopK of 2 the third never comes.
func TestGenerate_distribution(t *testing.T) {
	three := func([]byte) (l [task.Tokens]float64) {
		for i := range l {
			l[i] = math.Inf(-1)
		}
		l['a'], l['b'], l['c'] = -1, 0, -2
		return l
	}
	const n = 4000
	for _, c := range []struct {
		temperature float64
		k           int
	}{{1, 0}, {0.5, 0}, {2, 3}, {1, 2}, {1, 1}, {1e-300, 0}, {1e6, 0}} {
		weights, sum := map[byte]float64{'b': 1, 'a': math.Exp(-1 / c.temperature), 'c': math.Exp(-2 / c.temperature)}, 0.0
		if c.k == 2 || c.k == 1 {
			weights['c'] = 0
		}
		if c.k == 1 {
			weights['a'] = 0
		}
		for _, w := range weights {
			sum += w
		}
		text := generate(t, &fake{t: t, rule: three}, "x", task.GenerateOptions{
			Context: 1, Tokens: n, Temperature: c.temperature, TopK: c.k, Seed: 3})
		for b, w := range weights {
			p := w / sum
			count := float64(strings.Count(text, string(rune(b))))
			if math.Abs(count-n*p) > 5*math.Sqrt(n*p*(1-p)) {
				t.Errorf("temperature %v, top %d: %q came %v times of %d, want about %v", c.temperature, c.k, b, count, n, n*p)
			}
		}
	}
}

func TestGenerate_errors(t *testing.T) {
	usual := task.GenerateOptions{Context: 4, Tokens: 3, Temperature: 1}
	nan := func([]byte) (l [task.Tokens]float64) {
		l[9] = math.NaN()
		return l
	}
	for _, c := range []struct {
		prompt, want string
		rule         rule
		o            task.GenerateOptions
	}{
		{"", "the prompt is empty", uniform, usual},
		{"a", "a context of 0", uniform, task.GenerateOptions{Tokens: 1}},
		{"a", "a temperature of -1", uniform, task.GenerateOptions{Context: 4, Temperature: -1}},
		{"a", "a temperature of NaN", uniform, task.GenerateOptions{Context: 4, Temperature: math.NaN()}},
		{"a", "a temperature of +Inf", uniform, task.GenerateOptions{Context: 4, Temperature: math.Inf(1)}},
		{"a", "the 257 most likely", uniform, task.GenerateOptions{Context: 4, TopK: 257}},
		{"a", "the -1 most likely", uniform, task.GenerateOptions{Context: 4, TopK: -1}},
		{"a", "the logit of byte 0x09 is NaN", nan, usual},
		{"a", "no byte has a probability", constant(math.Inf(-1)), usual},
	} {
		err := newByteModel(t).Generate(t.Context(), &fake{t: t, rule: c.rule}, []byte(c.prompt), c.o, func(byte) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %+v: %v, want %q", c.prompt, c.o, err, c.want)
		}
	}
	stop, calls := errors.New("enough"), 0
	err := newByteModel(t).Generate(t.Context(), &fake{t: t, rule: uniform}, []byte("a"), usual, func(byte) error {
		calls++
		return stop
	})
	if err != stop || calls != 1 {
		t.Errorf("%v after %d bytes", err, calls)
	}
}
