package kernel

import (
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Key is what calls are counted by.
type Key struct {
	Op    string // ONNX name: "AFTFull"
	DType tensor.DType
}

// Run computes an operator on its inputs and writes its outputs, both in the order of the declaration: Y has the type and
// shape of Q, a part of a state those of the input that it renews. threads is how many run at once, at least 1; the bits do not depend on it. An error names the
// operator, the attribute or input, what was found and what is allowed.
func Run(op string, attrs ops.Attrs, inputs, outputs []*tensor.Tensor, threads int) error {
	if threads < 1 {
		return fmt.Errorf("%s.%s: %d threads, want at least 1", ops.Domain, op, threads)
	}
	return run(op, attrs, inputs, outputs, host{threads: threads})
}

// host is what Run lends the kernel.
type host struct {
	threads      int
	failAlloc    int  // the allocation that fails, counted from 1; 0: none
	instructions int  // 0: the best; i: number i-1 of Instructions
	pack         bool // W first, as a host does that knows it to be constant
}

// checkOutput requires an output to have the type and the shape of an input, and as many bytes.
func checkOutput(op, name string, out *tensor.Tensor, like string, in *tensor.Tensor) error {
	if out.DType != in.DType || !tensor.SameShape(out.Shape, in.Shape) {
		return fmt.Errorf("%s.%s: output %q: is %s, want the type and shape of %s: %s", ops.Domain, op, name, out, like, in)
	}
	return checkBytes(op, fmt.Sprintf("output %q", name), out)
}

// checkBytes requires a tensor to hold as many bytes as its shape says: the kernels trust the shape.
func checkBytes(op, port string, t *tensor.Tensor) error {
	n, err := tensor.ByteLen(t.DType, t.Shape)
	if err != nil {
		return fmt.Errorf("%s.%s: %s: %w", ops.Domain, op, port, err)
	}
	if n != len(t.Data) {
		return fmt.Errorf("%s.%s: %s: %s takes %d bytes, got %d", ops.Domain, op, port, t, n, len(t.Data))
	}
	return nil
}
