package reference

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// parallel calls f(0) .. f(n-1) on all cores and returns when all are done. Every call writes outputs of its own.
func parallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	done.Wait()
}

// newLike makes an array of zeros of the shape of a.
func newLike(a Array) (Array, error) {
	return tensor.NewArray(a.Shape...)
}
