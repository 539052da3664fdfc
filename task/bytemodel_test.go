package task_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/task"
)

// What is no byte-level language model is refused by what its ports say.
func TestNewByteModel(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(p *task.Ports)
	}{
		{"ours", "", func(*task.Ports) {}},
		{"mask", "", func(p *task.Ports) {
			p.Inputs = append(p.Inputs, task.Port{Name: "attention_mask", DType: tensor.Int64})
		}},
		{"int32", "", func(p *task.Ports) { p.Inputs[0].DType = tensor.Int32 }},
		{"nothing stated", "", func(p *task.Ports) { p.Inputs[0].Dims, p.Outputs[0].Dims = nil, nil }},
		{"batch of 1", "", func(p *task.Ports) { p.Inputs[0].Dims[0] = onnxpb.Fixed(1) }},
		{"a stack", `takes "x", want "input_ids"`, func(p *task.Ports) { p.Inputs[0].Name = "x" }},
		{"more inputs", `takes an input "position_ids" beside "input_ids"`, func(p *task.Ports) {
			p.Inputs = append(p.Inputs, task.Port{Name: "position_ids"})
		}},
		{"float ids", "want int64 of rank 2", func(p *task.Ports) { p.Inputs[0].DType = tensor.Float32 }},
		{"ids of rank 1", "want int64 of rank 2", func(p *task.Ports) { p.Inputs[0].Dims = p.Inputs[0].Dims[:1] }},
		{"fixed length", "a fixed length of 16", func(p *task.Ports) { p.Inputs[0].Dims[1] = onnxpb.Fixed(16) }},
		{"fixed batch", "a fixed batch of 4", func(p *task.Ports) { p.Inputs[0].Dims[0] = onnxpb.Fixed(4) }},
		{"no logits", `gives "y", want "logits"`, func(p *task.Ports) { p.Outputs[0].Name = "y" }},
		{"pooled", "want numbers of rank 3", func(p *task.Ports) { p.Outputs[0].Dims = p.Outputs[0].Dims[1:] }},
		{"words", "has 50257 tokens, want 256", func(p *task.Ports) { p.Outputs[0].Dims[2] = onnxpb.Fixed(50257) }},
	} {
		p := textPorts()
		c.change(&p)
		m, err := task.NewByteModel(p)
		if c.want == "" && (err != nil || m == nil) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// The logits of a byte must not depend on it; a context too short to tell is let through.
func TestCheckCausal(t *testing.T) {
	m := newByteModel(t)
	if err := m.CheckCausal(t.Context(), &fake{t: t, rule: hashed}, 16); err != nil {
		t.Error(err)
	}
	for _, length := range []int{2, 3, 1000} {
		if err := m.CheckCausal(t.Context(), &fake{t: t, rule: hashed, future: true}, length); !errors.Is(err, task.ErrNotCausal) {
			t.Errorf("context %d: %v", length, err)
		}
	}
	if err := m.CheckCausal(t.Context(), &fake{t: t, rule: hashed, future: true}, 1); err != nil {
		t.Error(err)
	}
}

// A model that takes a mask is told that every byte is real, in the type it wants.
func TestByteModel_mask(t *testing.T) {
	p := textPorts()
	p.Inputs[0].DType = tensor.Int32
	p.Inputs = append(p.Inputs, task.Port{Name: "attention_mask", DType: tensor.Float32})
	m, err := task.NewByteModel(p)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, rule: uniform}
	if _, err := m.Score(t.Context(), f, []byte("abcd"), task.ScoreOptions{Context: 3, Stride: 1, Batch: 2}); err != nil {
		t.Fatal(err)
	}
	if f.lastMask == nil || f.lastMask.String() != "float32 (1,3)" || f.lastMask.At(2) != 1 {
		t.Errorf("mask %v", f.lastMask)
	}
}

// A run that gives other logits than it should is an error, not an index out of range.
func TestByteModel_wrongShape(t *testing.T) {
	p := textPorts()
	p.Outputs[0].Dims = nil
	m, err := task.NewByteModel(p)
	if err != nil {
		t.Fatal(err)
	}
	short, err := tensor.New(tensor.Float32, []int{1, 3, 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []map[string]*tensor.Tensor{{}, {"logits": short}} {
		_, err = m.Score(t.Context(), fixed(out), []byte("abcd"), task.ScoreOptions{Context: 3, Stride: 1, Batch: 1})
		if err == nil || !strings.Contains(err.Error(), `gave`) {
			t.Errorf("%v: %v", out, err)
		}
	}
}
