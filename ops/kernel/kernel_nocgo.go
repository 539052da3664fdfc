//go:build !cgo

package kernel

import (
	"errors"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Available says why the kernels cannot run in this build.
func Available() error {
	return errors.New("this program was built without its C kernels (CGO_ENABLED=0): " +
		"build it with CGO_ENABLED=1 and a C compiler such as gcc")
}

// Calls is empty: there are no kernels in this build.
func Calls() map[Key]uint64 { return nil }

// Instructions is empty: there are no kernels in this build.
func Instructions() []string { return nil }

func run(string, ops.Attrs, []*tensor.Tensor, []*tensor.Tensor, host) error { return Available() }
