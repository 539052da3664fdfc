package onnxpb

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// stored is a weight of one piece, as it is.
func stored(v *tensor.Tensor) tensor.Weight {
	return tensor.NewWeight(tensor.WeightOptions{Shape: v.Shape, DType: v.DType,
		Parts: func(yield func(*tensor.Tensor) error) error { return yield(v) }})
}

// Whatever is stored, each element is rounded once, as tensor.Tensor.Cast does it; and each type refuses the finite numbers
// that it has no place for, and no others.
func TestWeight_write(t *testing.T) {
	types := []tensor.DType{tensor.Float64, tensor.Float32, tensor.Float16, tensor.BFloat16}
	largest := map[tensor.DType]float64{tensor.Float64: math.MaxFloat64, tensor.Float32: math.MaxFloat32, tensor.Float16: 65504,
		tensor.BFloat16: 0x1.fep127}
	random := rand.New(rand.NewPCG(1, 2))
	values := []float64{0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Inf(-1), math.NaN(), 0x1p-149, 0x1p-24, 1 + 0x1p-11,
		1 + 0x1p-8, 65280, -65280}
	for range 2000 {
		values = append(values, math.Ldexp(random.Float64()-0.5, random.IntN(30)-15))
	}
	for _, from := range types {
		v, err := tensor.FromFloat64s(from, []int{len(values)}, values)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range types {
			want, err := v.Cast(to)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			w := Weight{"w", to, stored(v)}
			if err := w.write(&got); err != nil || !bytes.Equal(got.Bytes(), want.Data) {
				t.Errorf("%s to %s: other bytes than Cast gives, error %v", from, to, err)
			}
			edge, err := tensor.FromFloat64s(from, []int{2}, []float64{1, -largest[from]})
			if err != nil {
				t.Fatal(err)
			}
			w.Value = stored(edge)
			err = w.write(&got)
			if fits := largest[from] <= largest[to]; fits != (err == nil) || !fits && !strings.Contains(err.Error(), `"w": element [1] is -`) {
				t.Errorf("%s to %s: the largest number: error %v", from, to, err)
			}
		}
	}
}
