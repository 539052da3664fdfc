package task

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
)

// GenerateOptions say how a text is continued.
type GenerateOptions struct {
	Context     int // the bytes the model is given at most: the last ones of the text
	Tokens      int // how many bytes to add
	Temperature float64
	TopK        int // the most likely bytes that are drawn from; 0: all
	Seed        uint64
}

// Generate continues prompt and hands over every byte as it comes; yield's error ends it.
//
// A byte is drawn from softmax(logits / Temperature) over the TopK largest logits, in float64, with a PCG generator seeded
// by Seed; with Temperature 0 it is that of the largest logit. Among equal logits the lower byte comes first. The same
// logits, options and prompt give the same text.
//
// The model is run anew for every byte, on the last Context bytes of the text: a longer one slides out of the window, which
// changes what the model takes for its first position.
func (m *ByteModel) Generate(
	ctx context.Context, run Runner, prompt []byte, o GenerateOptions, yield func(byte) error,
) error {
	if err := o.check(prompt); err != nil {
		return err
	}
	s := &sampler{options: o, rng: rand.New(rand.NewPCG(o.Seed, 0))}
	text := slices.Clone(prompt)
	for range o.Tokens {
		text = text[max(0, len(text)-o.Context):]
		logits, err := m.logits(ctx, run, [][]byte{text})
		if err != nil {
			return err
		}
		var values [Tokens]float64
		row(logits, 0, len(text)-1, &values)
		b, err := s.next(&values)
		if err != nil {
			return err
		}
		if err := yield(b); err != nil {
			return err
		}
		text = append(text, b)
	}
	return nil
}

// Continue is Generate with a stateful model: every byte is run once, and the model sees the whole text. Context is left out;
// where the model's positions end, the run's error is.
func (m *ByteModel) Continue(ctx context.Context, run Decoder, prompt []byte, o GenerateOptions, yield func(byte) error) error {
	o.Context = 1
	if err := o.check(prompt); err != nil {
		return err
	}
	s := &sampler{options: o, rng: rand.New(rand.NewPCG(o.Seed, 0))}
	if err := run.Start(1); err != nil {
		return err
	}
	text := prompt
	for range o.Tokens {
		var values [Tokens]float64
		if err := m.feed(ctx, run, text, &values); err != nil {
			return err
		}
		b, err := s.next(&values)
		if err != nil {
			return err
		}
		if err := yield(b); err != nil {
			return err
		}
		text = []byte{b}
	}
	return nil
}

// ChunkLength is how many bytes of a text a stateful model is given at once: long enough for its products, short enough to
// keep what function bodies make of it small.
const ChunkLength = 256

// feed gives a sequence its next bytes; values are the logits behind the last.
func (m *ByteModel) feed(ctx context.Context, run Decoder, text []byte, values *[Tokens]float64) error {
	for len(text) > 0 {
		chunk := text[:min(ChunkLength, len(text))]
		text = text[len(chunk):]
		logits, err := m.step(ctx, run, [][]byte{chunk})
		if err != nil {
			return err
		}
		row(logits, 0, len(chunk)-1, values)
	}
	return nil
}

// step gives each sequence a chunk of the same length.
func (m *ByteModel) step(ctx context.Context, run Decoder, chunks [][]byte) (*tensor.Tensor, error) {
	tokens := make([][]int64, len(chunks))
	for i, chunk := range chunks {
		tokens[i] = make([]int64, len(chunk))
		for j, b := range chunk {
			tokens[i][j] = int64(b)
		}
	}
	logits, err := run.Step(ctx, tokens)
	if err != nil {
		return nil, err
	}
	return result(map[string]*tensor.Tensor{wiring.HeadOutput: logits}, wiring.HeadOutput, len(chunks), len(chunks[0]), Tokens)
}

func (o *GenerateOptions) check(prompt []byte) error {
	switch {
	case len(prompt) == 0:
		return errors.New("the prompt is empty, want a byte or more: the model has nothing to continue")
	case o.Context < 1:
		return fmt.Errorf("a context of %d bytes, want 1 or more", o.Context)
	case !(o.Temperature >= 0) || math.IsInf(o.Temperature, 1):
		return fmt.Errorf("a temperature of %v, want a number, 0 or more", o.Temperature)
	case o.TopK < 0 || o.TopK > Tokens:
		return fmt.Errorf("the %d most likely bytes, want 0..%d", o.TopK, Tokens)
	}
	return nil
}

// sampler draws bytes.
type sampler struct {
	options GenerateOptions
	rng     *rand.Rand
}

func (s *sampler) next(logits *[Tokens]float64) (byte, error) {
	order := make([]int, Tokens)
	for i, v := range logits {
		if math.IsNaN(v) || math.IsInf(v, 1) {
			return 0, fmt.Errorf("the logit of byte %#02x is %v", i, v)
		}
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	if math.IsInf(logits[order[0]], -1) {
		return 0, errors.New("no byte has a probability above 0")
	}
	if s.options.Temperature == 0 {
		return byte(order[0]), nil
	}
	if s.options.TopK > 0 {
		order = order[:s.options.TopK]
	}
	return s.draw(logits, order), nil
}

// draw takes the first byte at which the sum of probabilities passes a random share of them all.
func (s *sampler) draw(logits *[Tokens]float64, order []int) byte {
	weights, sum := make([]float64, len(order)), 0.0
	for i, b := range order {
		weights[i] = math.Exp((logits[b] - logits[order[0]]) / s.options.Temperature)
		sum += weights[i]
	}
	left := s.rng.Float64() * sum
	for i, b := range order {
		if left -= weights[i]; left < 0 {
			return byte(b)
		}
	}
	return byte(order[0]) // rounding left nothing of the last ones
}
