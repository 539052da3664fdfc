package bench

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Input is what K holds.
type Input string

// Ordinary keys are normal random numbers. The others are those on which implementations of AFT overflow, or fall back to
// something slow.
const (
	Ordinary Input = ""
	Growing  Input = "growing" // 90 more at every position
	Large    Input = "large"   // 10^4 times as large
	Masked   Input = "masked"  // -Inf at the first five positions and about a third of the others
)

func inputs() []Input { return []Input{Ordinary, Growing, Large, Masked} }

// data are the operands of a case, in float32.
type data struct {
	c          Case
	q, k, v, w []float32
}

// newData is the same for the same case and input.
func newData(c Case, in Input) *data {
	rng := rand.New(rand.NewPCG(0xaf7, uint64(c.T)))
	normal := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * scale)
		}
		return x
	}
	d := &data{c: c, q: normal(c.B*c.T*c.D, 1), v: normal(c.B*c.T*c.D, 1), k: normal(c.B*c.T*c.keys(), 1)}
	if shape := c.bias(); shape != nil {
		n := 1
		for _, size := range shape {
			n *= size
		}
		d.w = normal(n, 0.1)
	}
	masked := make([]bool, c.T)
	for t := range masked {
		masked[t] = t < 5 || rng.IntN(3) == 0
	}
	for i := range d.k {
		t := i / c.keys() % c.T
		switch {
		case in == Growing:
			d.k[i] += 90 * float32(t)
		case in == Large:
			d.k[i] *= 1e4
		case in == Masked && masked[t]:
			d.k[i] = float32(math.Inf(-1))
		}
	}
	return d
}

// feed is q, k, v as tensors of a type, under the names given.
func (d *data) feed(dtype tensor.DType, names [3]string) (map[string]*tensor.Tensor, error) {
	feed := map[string]*tensor.Tensor{}
	for i, x := range [][]float32{d.q, d.k, d.v} {
		last := d.c.D
		if i == 1 {
			last = d.c.keys()
		}
		t, err := tensorOf(dtype, []int{d.c.B, d.c.T, last}, x)
		if err != nil {
			return nil, err
		}
		feed[names[i]] = t
	}
	return feed, nil
}

func tensorOf(dtype tensor.DType, shape []int, x []float32) (*tensor.Tensor, error) {
	t := &tensor.Tensor{DType: tensor.Float32, Shape: shape, Data: floatBytes(x)}
	if dtype == tensor.Float32 {
		return t, nil
	}
	return tensor.FromFloat64s(dtype, shape, t.Float64s())
}

func floatBytes(x []float32) []byte {
	out := make([]byte, 0, 4*len(x))
	for _, v := range x {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

func int64Bytes(x []int64) []byte {
	out := make([]byte, 0, 8*len(x))
	for _, v := range x {
		out = binary.LittleEndian.AppendUint64(out, uint64(v))
	}
	return out
}
