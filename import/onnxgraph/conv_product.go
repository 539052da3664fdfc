package onnxgraph

import (
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/dense"
)

// A convolution whose groups have some outputs is a matrix product a group: weights (outputs, taps) times what every tap sees
// (taps, pixels), pixels taken so many at a time that neither takes much memory.
const (
	leastOutputs = 4 // of a group: fewer do not fill a tile of the product
	pixelsAtOnce = 128
)

// dense reports whether the convolution is computed as products. A weight that is not finite must meet no zero of the padding.
func (k *conv) dense() bool {
	return k.outGroup >= leastOutputs &&
		!slices.ContainsFunc(k.w, func(w float64) bool { return math.IsInf(w, 0) || math.IsNaN(w) })
}

// product computes all outputs. Pieces of work share no output, and the order of their sums is that of the taps.
func (k *conv) product(c *call, y []float64) {
	plane, taps := k.out[0]*k.out[1], k.perGroup*k.kernel[0]*k.kernel[1]
	blocks := (plane + pixelsAtOnce - 1) / pixelsAtOnce
	groups := k.outputs / k.outGroup
	parallel(k.batch*groups*blocks, pixelsAtOnce*taps*k.outGroup, func(lo, hi int) {
		seen, out := make([]float64, taps*pixelsAtOnce), make([]float64, k.outGroup*pixelsAtOnce)
		for i := lo; i < hi && c.ctx.Err() == nil; i++ {
			b, group, first := i/blocks/groups, i/blocks%groups, i%blocks*pixelsAtOnce
			n := min(pixelsAtOnce, plane-first)
			k.gather(seen[:taps*n], b, group, first, n)
			for o := range k.outGroup {
				start := 0.0
				if k.bias != nil {
					start = k.bias[group*k.outGroup+o]
				}
				for j := range n {
					out[o*n+j] = start
				}
			}
			dense.Multiply(out[:k.outGroup*n], k.w[group*k.outGroup*taps:][:k.outGroup*taps], seen[:taps*n], k.outGroup, taps, n)
			for o := range k.outGroup {
				copy(y[(b*k.outputs+group*k.outGroup+o)*plane+first:][:n], out[o*n:])
			}
		}
	})
}

// gather puts what every tap sees at n pixels into rows, a tap each: 0 outside the input.
func (k *conv) gather(seen []float64, b, group, first, n int) {
	for c := range k.perGroup {
		x := k.x[(b*k.inputs+group*k.perGroup+c)*k.in[0]*k.in[1]:]
		for r := range k.kernel[0] {
			for s := range k.kernel[1] {
				row := seen[((c*k.kernel[0]+r)*k.kernel[1]+s)*n:][:n]
				for j := range row {
					iy := (first+j)/k.out[1]*k.strides[0] + r*k.dilations[0] - k.top[0]
					ix := (first+j)%k.out[1]*k.strides[1] + s*k.dilations[1] - k.top[1]
					row[j] = 0
					if iy >= 0 && iy < k.in[0] && ix >= 0 && ix < k.in[1] {
						row[j] = x[iy*k.in[1]+ix]
					}
				}
			}
		}
	}
}
