package task

import (
	"context"
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Runner is a model on an engine: inputs by name to outputs by name.
type Runner interface {
	Run(ctx context.Context, inputs map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error)
}

// Decoder is a stateful model on an engine. Start begins sequences; Step gives each its next tokens, and returns the logits
// (sequences, longest chunk, tokens) of them all, in which the rows behind a sequence's own tokens mean nothing.
type Decoder interface {
	Start(sequences int) error
	Step(ctx context.Context, tokens [][]int64) (*tensor.Tensor, error)
}

// Port is an input or output of a model, as its file declares it.
type Port struct {
	Name  string
	DType tensor.DType
	Dims  []onnxpb.Dim // nil: not stated
}

// Ports are what a model takes and gives.
type Ports struct {
	Inputs, Outputs []Port
}

func find(ports []Port, name string) (Port, bool) {
	for _, p := range ports {
		if p.Name == name {
			return p, true
		}
	}
	return Port{}, false
}

func names(ports []Port) string {
	quoted := make([]string, len(ports))
	for i, p := range ports {
		quoted[i] = fmt.Sprintf("%q", p.Name)
	}
	return strings.Join(quoted, ", ")
}

// takes finds an input, and refuses a model that needs others beside it and those that may be there.
func (p Ports) takes(name, what string, optional ...string) (Port, error) {
	in, ok := find(p.Inputs, name)
	if !ok {
		return in, fmt.Errorf("takes %s, want %q as %s does", names(p.Inputs), name, what)
	}
	allowed := append([]string{name}, optional...)
	for _, other := range p.Inputs {
		known := false
		for _, a := range allowed {
			known = known || a == other.Name
		}
		if !known {
			return in, fmt.Errorf("takes an input %q beside %q, want %q alone", other.Name, name, name)
		}
	}
	return in, nil
}

// gives finds an output of that rank.
func (p Ports) gives(name, what string, rank int) (Port, error) {
	out, ok := find(p.Outputs, name)
	if !ok {
		return out, fmt.Errorf("gives %s, want %q as %s does", names(p.Outputs), name, what)
	}
	if !out.DType.IsFloat() || out.Dims != nil && len(out.Dims) != rank {
		return out, fmt.Errorf("output %q is %s of rank %d, want numbers of rank %d", name, out.DType, len(out.Dims), rank)
	}
	return out, nil
}

// size is a stated dimension, -1 where it is left open.
func (p Port) size(axis int) int {
	if axis >= len(p.Dims) {
		return -1
	}
	return p.Dims[axis].Size
}

// result finds an output of a run and holds it against its shape.
func result(out map[string]*tensor.Tensor, name string, shape ...int) (*tensor.Tensor, error) {
	t := out[name]
	if t == nil {
		return nil, fmt.Errorf("the run gave no %q", name)
	}
	if !tensor.SameShape(t.Shape, shape) {
		return nil, fmt.Errorf("the run gave %q of shape %s, want %s", name, tensor.FormatShape(t.Shape), tensor.FormatShape(shape))
	}
	return t, nil
}
