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
		return fmt.Errorf("%s.%s: %d threads, want at least 1", ops.Domain, op, threads)
	}
	return run(op, attrs, inputs, out, host{threads: threads})
}

// host is what Run lends the kernel.
type host struct {
	threads      int
	failAlloc    int  // the allocation that fails, counted from 1; 0: none
	instructions int  // 0: the best; i: number i-1 of Instructions
	pack         bool // W first, as a host does that knows it to be constant
}

// checkOutput requires out to have the type, the shape and the bytes of q.
func checkOutput(op string, q, out *tensor.Tensor) error {
	if out.DType != q.DType || !tensor.SameShape(out.Shape, q.Shape) {
		return fmt.Errorf("%s.%s: output \"Y\": is %s, want the type and shape of Q: %s", ops.Domain, op, out, q)
	}
	return checkBytes(op, `output "Y"`, out)
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
