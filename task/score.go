package task

import (
	"context"
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// ScoreOptions say how a text is cut into windows.
type ScoreOptions struct {
	Context  int // N, the bytes a window holds: 1 or more
	Stride   int // how much later each window starts, 1..N
	Batch    int // windows that are run at once, 1 or more
	Progress func(done, all int)
	// Decoder is a stateful model to run instead, chunk by chunk: a window then takes no more memory than a chunk.
	Decoder Decoder
}

// Score is what a text costs.
type Score struct {
	Bits        float64 // the sum of -log2 p over the predictions
	Predictions int     // the bytes of the text but the first, which nothing predicts
	Windows     int
}

// PerByte is Bits / Predictions, the bits per byte of the paper's tables.
func (s Score) PerByte() float64 { return s.Bits / float64(s.Predictions) }

// window is a run of the model over text[start:start+length]; it scores its predictions from first on. Prediction i is byte
// i+1 of the text, given the window's bytes up to i.
type window struct{ start, length, first int }

// windows cuts n predictions: the first window scores all of its own, each further one starts stride later and scores those
// that no window before it has, and the last one ends with the text.
func windows(n int, o ScoreOptions) []window {
	var list []window
	for scored, start := 0, 0; scored < n; start += o.Stride {
		end := min(start+o.Context, n)
		list = append(list, window{start, end - start, scored})
		scored = end
	}
	return list
}

// Score computes what the model makes of a text of 2 bytes or more:
//
//	bits per byte = -sum_i log2 p(byte i | the bytes before it in its window) / (bytes - 1)
//
// Window 0 covers bytes 0..N; each further window starts Stride bytes later and scores the predictions not scored yet. The
// model is run on every window anew. log p is computed in float64 from the logits.
//
// Errors: those of the options and the run, logits that are NaN or +Inf, and a byte whose probability is 0.
func (m *ByteModel) Score(ctx context.Context, run Runner, text []byte, o ScoreOptions) (Score, error) {
	switch {
	case len(text) < 2:
		return Score{}, fmt.Errorf("the text has %d bytes, want 2 or more: the first one is not predicted", len(text))
	case o.Context < 1 || o.Stride < 1 || o.Stride > o.Context || o.Batch < 1:
		return Score{}, fmt.Errorf("windows of %d bytes every %d, %d at once: want a stride of 1 to the window's length",
			o.Context, o.Stride, o.Batch)
	}
	if m.single {
		o.Batch = 1
	}
	list := windows(len(text)-1, o)
	s := Score{Predictions: len(text) - 1, Windows: len(list)}
	for len(list) > 0 {
		batch := alike(list, o.Batch)
		bits, err := m.score(ctx, run, text, batch, o.Decoder)
		if err != nil {
			return s, err
		}
		s.Bits += bits
		list = list[len(batch):]
		if last := batch[len(batch)-1]; o.Progress != nil {
			o.Progress(last.start+last.length, s.Predictions)
		}
	}
	return s, nil
}

// alike is the longest beginning of a list that one run takes: windows of one length.
func alike(list []window, most int) []window {
	n := 1
	for n < min(most, len(list)) && list[n].length == list[0].length {
		n++
	}
	return list[:n]
}

// score is what a batch of windows scores: run whole, or with a decoder in chunks.
func (m *ByteModel) score(ctx context.Context, run Runner, text []byte, batch []window, d Decoder) (float64, error) {
	length := batch[0].length
	step := length
	if d != nil {
		step = ChunkLength
		if err := d.Start(len(batch)); err != nil {
			return 0, err
		}
	}
	sum := 0.0
	for from := 0; from < length; from += step {
		to := min(from+step, length)
		rows := make([][]byte, len(batch))
		for i, w := range batch {
			rows[i] = text[w.start+from : w.start+to]
		}
		var logits *tensor.Tensor
		var err error
		if d != nil {
			logits, err = m.step(ctx, d, rows)
		} else {
			logits, err = m.logits(ctx, run, rows)
		}
		if err != nil {
			return 0, err
		}
		bits, err := bits(logits, text, batch, from)
		if err != nil {
			return 0, err
		}
		sum += bits
	}
	return sum, nil
}

// bits is what a batch of windows scores with the logits of their bytes from..: those that no window before has scored.
func bits(logits *tensor.Tensor, text []byte, batch []window, from int) (float64, error) {
	sum := 0.0
	var values [Tokens]float64
	for i, w := range batch {
		for at := max(w.first, w.start+from); at < w.start+from+logits.Shape[1]; at++ {
			row(logits, i, at-w.start-from, &values)
			cost := -logProbability(&values, text[at+1]) / math.Ln2
			if math.IsNaN(cost) {
				return 0, fmt.Errorf("the logits of byte %d hold NaN or +Inf", at+1)
			}
			if math.IsInf(cost, 1) {
				return 0, fmt.Errorf("byte %d (%#02x) has probability 0", at+1, text[at+1])
			}
			sum += cost
		}
	}
	return sum, nil
}

// logProbability is l[b] - log sum_i exp(l[i]), NaN if a logit is NaN or +Inf.
func logProbability(l *[Tokens]float64, b byte) float64 {
	largest := l[0]
	for _, v := range l {
		largest = max(largest, v) // NaN if one is
	}
	sum := 0.0
	for _, v := range l {
		sum += math.Exp(v - largest)
	}
	return l[b] - largest - math.Log(sum)
}
