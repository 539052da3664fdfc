package task

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
)

// Tokens is the number of tokens of a byte-level model: a token is a byte.
const Tokens = 256

// ByteModel is a causal language model over bytes, input_ids (batch, sequence) -> logits (batch, sequence, 256): row t holds
// the logits of byte t+1, given bytes 0..t.
type ByteModel struct {
	ids    tensor.DType // of input_ids
	mask   tensor.DType // of attention_mask; Invalid: the model takes none
	single bool         // the model takes a batch of 1 alone
}

// NewByteModel checks that a model is one, as far as its ports say.
func NewByteModel(p Ports) (*ByteModel, error) {
	const what = "a language model"
	p.Inputs = withoutState(p.Inputs)
	in, err := p.takes(wiring.TokenInput, what, wiring.MaskInput)
	if err != nil {
		return nil, err
	}
	out, err := p.gives(wiring.HeadOutput, what, 3)
	if err != nil {
		return nil, err
	}
	if n := out.size(2); n >= 0 && n != Tokens {
		return nil, fmt.Errorf("has %d tokens, want %d: a model whose tokens are bytes", n, Tokens)
	}
	m := &ByteModel{ids: in.DType}
	if mask, ok := find(p.Inputs, wiring.MaskInput); ok {
		m.mask = mask.DType
	}
	if in.DType != tensor.Int64 && in.DType != tensor.Int32 || in.Dims != nil && len(in.Dims) != 2 {
		return nil, fmt.Errorf("input %q is %s of rank %d, want int64 of rank 2", in.Name, in.DType, len(in.Dims))
	}
	if n := in.size(1); n >= 0 {
		return nil, fmt.Errorf("input %q has a fixed length of %d, want one that is left open", in.Name, n)
	}
	switch n := in.size(0); {
	case n == 1:
		m.single = true
	case n >= 0:
		return nil, fmt.Errorf("input %q has a fixed batch of %d, want 1 or one that is left open", in.Name, n)
	}
	return m, nil
}

// withoutState leaves out the inputs that a stateful model has beside its tokens.
func withoutState(ports []Port) []Port {
	_, positions := find(ports, wiring.PositionInput)
	stateful := positions && slices.ContainsFunc(ports, isState)
	return slices.DeleteFunc(slices.Clone(ports), func(p Port) bool { return stateful && (isState(p) || p.Name == wiring.PositionInput) })
}

func isState(p Port) bool {
	_, ok := wiring.IsState(p.Name)
	return ok
}

// logits runs rows of one length.
func (m *ByteModel) logits(ctx context.Context, run Runner, rows [][]byte) (*tensor.Tensor, error) {
	shape := []int{len(rows), len(rows[0])}
	ids := make([]float64, 0, len(rows)*len(rows[0]))
	for _, row := range rows {
		for _, b := range row {
			ids = append(ids, float64(b))
		}
	}
	in := map[string]*tensor.Tensor{}
	var err error
	if in[wiring.TokenInput], err = tensor.FromFloat64s(m.ids, shape, ids); err != nil {
		return nil, err
	}
	if m.mask != tensor.Invalid {
		for i := range ids {
			ids[i] = 1
		}
		if in[wiring.MaskInput], err = tensor.FromFloat64s(m.mask, shape, ids); err != nil {
			return nil, err
		}
	}
	out, err := run.Run(ctx, in)
	if err != nil {
		return nil, err
	}
	return result(out, wiring.HeadOutput, append(shape, Tokens)...)
}

// row reads the logits of one position into values.
func row(logits *tensor.Tensor, batch, position int, values *[Tokens]float64) {
	start := (batch*logits.Shape[1] + position) * Tokens
	for i := range values {
		values[i] = logits.At(start + i)
	}
}

// ErrNotCausal says that a model looks at the byte it is to guess.
var ErrNotCausal = errors.New("is not causal: the logits of a byte change with that byte")

// CheckCausal runs two short texts that differ in their last byte alone: the logits of all bytes up to that one must be the
// same, but for rounding. context is how many bytes a run may have.
func (m *ByteModel) CheckCausal(ctx context.Context, run Runner, context int) error {
	const length = 8
	text := []byte("abcdefgh")[:min(length, context)]
	if len(text) < 2 {
		return nil
	}
	other := append([]byte{}, text...)
	other[len(other)-1] = 0xff
	var values [2][]float64
	for i, t := range [][]byte{text, other} {
		logits, err := m.logits(ctx, run, [][]byte{t})
		if err != nil {
			return err
		}
		values[i] = logits.Float64s()[:(len(t)-1)*Tokens]
	}
	largest, worst := 0.0, 0.0
	for i, v := range values[0] {
		largest = max(largest, math.Abs(v))
		worst = max(worst, math.Abs(v-values[1][i]))
	}
	const rounding = 1e-2 // of the largest logit: float16 models lose three digits on their way
	if worst > rounding*largest {
		return fmt.Errorf("%w (by %.3g)", ErrNotCausal, worst)
	}
	return nil
}
