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

// Run computes an operator on its inputs, in the order of the declaration, and writes out, which has the type and shape
// of the first input. threads is how many run at once, at least 1; the bits do not depend on it. An error names the
// operator, the attribute or input, what was found and what is allowed.
func Run(op string, attrs ops.Attrs, inputs []*tensor.Tensor, out *tensor.Tensor, threads int) error {
	if threads < 1 {
		return fmt.Errorf("%s: %d threads, want at least 1", op, threads)
	}
	return run(op, attrs, inputs, out, host{threads: threads})
}

// host is what Run lends the kernel.
type host struct {
	threads   int
	failAlloc int // the allocation that fails, counted from 1; 0: none
}

// checkOutput requires out to have the type, the shape and the bytes of q.
func checkOutput(op string, q, out *tensor.Tensor) error {
	if out.DType != q.DType || !tensor.SameShape(out.Shape, q.Shape) {
		return fmt.Errorf("%s: output is %s %s, want the type and shape of Q: %s %s", op,
			out.DType, tensor.FormatShape(out.Shape), q.DType, tensor.FormatShape(q.Shape))
	}
	return checkBytes(op, "output", out)
}

// checkBytes requires a tensor to hold as many bytes as its shape says: the kernels trust the shape.
func checkBytes(op, name string, t *tensor.Tensor) error {
	n, err := tensor.ByteLen(t.DType, t.Shape)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", op, name, err)
	}
	if n != len(t.Data) {
		return fmt.Errorf("%s: %s: %s %s takes %d bytes, got %d", op, name,
			t.DType, tensor.FormatShape(t.Shape), n, len(t.Data))
	}
	return nil
}
