package task_test

import (
	"context"
	"hash/fnv"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/task"
)

// rule gives the logits of what follows a prefix: of a window, or of a whole row where it is not causal.
type rule func(prefix []byte) [task.Tokens]float64

// fake is a language model that follows a rule, and remembers what it was run on.
type fake struct {
	t        *testing.T
	rule     rule
	future   bool // the rule sees the whole row
	dtype    tensor.DType
	rows     [][]byte
	batches  []int
	lastMask *tensor.Tensor
}

func (f *fake) Run(_ context.Context, in map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	ids, err := in["input_ids"].Int64s()
	if err != nil {
		f.t.Fatal(err)
	}
	shape := in["input_ids"].Shape
	f.batches = append(f.batches, shape[0])
	f.lastMask = in["attention_mask"]
	var logits []float64
	for b := range shape[0] {
		row := make([]byte, shape[1])
		for i := range row {
			row[i] = byte(ids[b*shape[1]+i])
		}
		f.rows = append(f.rows, row)
		for i := range row {
			prefix := row[:i+1]
			if f.future {
				prefix = row
			}
			values := f.rule(prefix)
			logits = append(logits, values[:]...)
		}
	}
	if f.dtype == tensor.Invalid {
		f.dtype = tensor.Float64
	}
	y, err := tensor.FromFloat64s(f.dtype, []int{shape[0], shape[1], task.Tokens}, logits)
	return map[string]*tensor.Tensor{"logits": y}, err
}

// uniform knows nothing.
func uniform([]byte) (l [task.Tokens]float64) { return l }

// constant is uniform with another value.
func constant(v float64) rule {
	return func([]byte) (l [task.Tokens]float64) {
		for i := range l {
			l[i] = v
		}
		return l
	}
}

// hashed depends on every byte of the prefix.
func hashed(prefix []byte) (l [task.Tokens]float64) {
	h := fnv.New64a()
	h.Write(prefix)
	seed := h.Sum64()
	for i := range l {
		seed = seed*6364136223846793005 + 1442695040888963407
		l[i] = float64(seed>>24)/(1<<38) - 2
	}
	return l
}

// successor expects the next byte to be one more than the last: its logit is 4, all others are 0.
func successor(prefix []byte) (l [task.Tokens]float64) {
	l[prefix[len(prefix)-1]+1] = 4
	return l
}

// cost is -log2 softmax(l)[b], by the definition.
func cost(l [task.Tokens]float64, b byte) float64 {
	sum := 0.0
	for _, v := range l {
		sum += math.Exp(v)
	}
	return math.Log2(sum) - l[b]/math.Ln2
}

// textPorts are those that a language model of ours has.
func textPorts() task.Ports {
	b, t := onnxpb.Dynamic("batch"), onnxpb.Dynamic("sequence")
	return task.Ports{
		Inputs:  []task.Port{{Name: "input_ids", DType: tensor.Int64, Dims: []onnxpb.Dim{b, t}}},
		Outputs: []task.Port{{Name: "logits", DType: tensor.Float32, Dims: []onnxpb.Dim{b, t, onnxpb.Fixed(256)}}},
	}
}

func newByteModel(t *testing.T) *task.ByteModel {
	t.Helper()
	m, err := task.NewByteModel(textPorts())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fixed gives the same outputs whatever comes in.
type fixed map[string]*tensor.Tensor

func (f fixed) Run(context.Context, map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	return f, nil
}
