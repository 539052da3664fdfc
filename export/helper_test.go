package export_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/reference"
)

// maxLen is the number of rows of the biases of layers made here, channels the number of channels inside and heads that
// of heads; x and y have dim channels.
const (
	maxLen   = 9
	dim      = 5
	channels = 6
	heads    = 3
)

// random is an array of numbers that float16 holds, so that no type rounds a weight.
func random(t *testing.T, seed uint64, shape ...int) tensor.Array {
	t.Helper()
	a, err := tensor.NewArray(shape...)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 7))
	for i := range a.Data {
		a.Data[i] = math.Round(96*rng.NormFloat64()) / 256 // stacks of layers keep their keys well within 80
	}
	return a
}

func linear(t *testing.T, seed uint64, out, in int) reference.Linear {
	return reference.Linear{Weight: reference.Hold(random(t, seed, out, in)), Bias: random(t, seed+1, out).Data}
}

// newLayer is a layer of dim channels in and out with a window of three taps; causal windows end at the position.
func newLayer(t *testing.T, v reference.Variant, causal bool, seed uint64) reference.Layer {
	t.Helper()
	keys := channels
	if v == reference.Conv1D || v == reference.Conv2D {
		keys = heads
	}
	out := linear(t, seed+6, dim, channels)
	l := reference.Layer{
		Variant: v, Options: reference.Options{Causal: causal},
		Q: linear(t, seed, channels, dim), K: linear(t, seed+2, keys, dim), V: linear(t, seed+4, channels, dim), Out: &out,
	}
	switch v {
	case reference.Full:
		l.W = reference.Hold(random(t, seed+8, maxLen, maxLen))
	case reference.Local:
		l.Window, l.W = 3, reference.Hold(random(t, seed+8, maxLen, 5))
		if causal {
			l.W = reference.Hold(random(t, seed+8, maxLen, 3))
		}
	case reference.Conv1D:
		l.PadLeft, l.W = 1, reference.Hold(random(t, seed+8, heads, 3))
		if causal {
			l.PadLeft = 2
		}
	case reference.Conv2D:
		l.Pads, l.W = [2]int{1, 1}, reference.Hold(random(t, seed+8, heads, 3, 3))
	}
	return l
}

func variants() []reference.Variant {
	return []reference.Variant{reference.Full, reference.Simple, reference.Local, reference.Conv1D, reference.Conv2D}
}

func mustModel(t *testing.T, m *reference.Model, o export.Options) *onnxpb.ModelProto {
	t.Helper()
	p, err := export.Model(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustEncode(t *testing.T, m *onnxpb.ModelProto) []byte {
	t.Helper()
	data, err := onnxpb.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustOperator(t *testing.T, name string, attrs ops.Attrs, inputs []ops.Input, o export.Options) *onnxpb.ModelProto {
	t.Helper()
	d, ok := ops.Lookup(name)
	if !ok {
		t.Fatalf("no operator %q", name)
	}
	p, err := export.Operator(d, attrs, inputs, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
