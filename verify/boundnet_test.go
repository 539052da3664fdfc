package verify

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// float is arithmetic in float32 with its inputs off by less than their own rounding: one engine among those that may be.
type float struct{ rng *rand.Rand }

// off is x with an error of the deviation that a signal has, rounded.
func (f float) off(s signal, i int) float32 {
	return float32(s.value.Data[i] + math.Sqrt(s.variance[i])*f.rng.NormFloat64())
}

func (f float) norm(l *reference.LayerNorm, x []float32) []float32 {
	var sum, squares float32
	for _, v := range x {
		sum += v
		squares += v * v
	}
	mean := sum / float32(len(x))
	sigma := float32(math.Sqrt(float64(squares/float32(len(x)) - mean*mean + float32(l.Eps))))
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = (v-mean)/sigma*float32(l.Gain[i]) + float32(l.Bias[i])
	}
	return y
}

func (f float) gelu(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		erf := float32(math.Erf(float64(v / float32(math.Sqrt2))))
		y[i] = v * (1 + erf) * 0.5
	}
	return y
}

func (f float) project(l *reference.Linear, x []float32) []float32 {
	w, _ := l.Weight.Held()
	y := make([]float32, l.Out())
	for o := range y {
		for i, v := range x {
			y[o] += v * float32(w.Data[o*len(x)+i])
		}
		y[o] += float32(l.Bias[o])
	}
	return y
}

// The derived deviations are those of float32 arithmetic: the root mean square of error over deviation, of many inputs with
// errors of their own, is not above 1 (the bounds hold), and not below 0.1 (they are not so wide that they hide mistakes).
func TestNoise_networkParts(t *testing.T) {
	const dim, rows, trials = 24, 6, 40
	m := newMaker(t)
	f := float{rand.New(rand.NewPCG(3, 5))}
	round := func(values []float64) { // weights as a float32 file has them
		for i, v := range values {
			values[i] = float64(float32(v))
		}
	}
	linear, norm := m.linear(dim, dim), m.norm(dim)
	norm.Eps = float64(float32(norm.Eps))
	w, _ := linear.Weight.Held()
	for _, values := range [][]float64{w.Data, linear.Bias, norm.Gain, norm.Bias} {
		round(values)
	}
	n := noiseOf(rule{engine: Kernel, dtype: tensor.Float32})
	images := &reference.Model{Patches: &reference.PatchEmbedding{}}
	for _, test := range []struct {
		name   string
		shift  float64 // of the mean of the inputs
		derive func(x signal) (signal, error)
		run    func(x []float32) []float32 // a row of dim, or all rows
		whole  bool
	}{
		{"norm", 0, func(x signal) (signal, error) { return n.norm(&norm, x) },
			func(x []float32) []float32 { return f.norm(&norm, x) }, false},
		{"norm with a large mean", 5, func(x signal) (signal, error) { return n.norm(&norm, x) },
			func(x []float32) []float32 { return f.norm(&norm, x) }, false},
		{"gelu", 0, func(x signal) (signal, error) { return n.gelu(x), nil }, f.gelu, false},
		{"gelu of negative numbers", -3, func(x signal) (signal, error) { return n.gelu(x), nil }, f.gelu, false},
		{"projection", 0, func(x signal) (signal, error) { return n.project(&linear, x) },
			func(x []float32) []float32 { return f.project(&linear, x) }, false},
		{"residual", 0, func(x signal) (signal, error) {
			y, err := n.project(&linear, x)
			return n.add(x, y), err
		}, func(x []float32) []float32 {
			y := f.project(&linear, x)
			for i := range y {
				y[i] += x[i]
			}
			return y
		}, false},
		{"pooling", 1, func(x signal) (signal, error) { return n.pool(images, x), nil }, func(x []float32) []float32 {
			y := make([]float32, dim)
			for i, v := range x {
				y[i%dim] += v
			}
			for i := range y {
				y[i] /= rows
			}
			return y
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			sum, count := 0.0, 0.0
			for range trials {
				x := n.shown(m.array(1, 1, rows, dim))
				for i := range x.value.Data {
					x.value.Data[i] += test.shift
					x.variance[i] = 9 * n.round(x.value.Data[i]) // as after a few operations
				}
				y, err := test.derive(x)
				if err != nil {
					t.Fatal(err)
				}
				var got []float32
				step := dim
				if test.whole {
					step = dim * rows
				}
				for start := 0; start < rows*dim; start += step {
					row := make([]float32, step)
					for i := range row {
						row[i] = f.off(x, start+i)
					}
					got = append(got, test.run(row)...)
				}
				for i, v := range y.value.Data {
					z := (float64(got[i]) - v) / math.Sqrt(y.variance[i])
					sum += z * z
					count++
				}
			}
			rms := math.Sqrt(sum / count)
			t.Logf("error over deviation: %.3f", rms)
			if rms > 1 || rms < 0.1 {
				t.Errorf("error over deviation has root mean square %.3f, want 0.1 to 1", rms)
			}
		})
	}
}

// A signal's values are the reference's: of whole networks, mask and all.
func TestPropagate_networks(t *testing.T) {
	m := newMaker(t)
	tokens := tensor.Array{Shape: []int{2, 5}, Data: []float64{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}}
	mask := tensor.Array{Shape: []int{2, 5}, Data: []float64{1, 1, 1, 1, 1, 1, 1, 1, 0, 0}}
	pixels, fixed, x := m.array(1, 2, 3, 6, 8), m.array(1, 2, 3, 4, 6), m.array(1, 2, 6, testDim)
	for _, test := range []struct {
		name  string
		model *reference.Model
		in    reference.Inputs
	}{
		{"language", m.language(), reference.Inputs{X: tokens, Mask: mask}},
		{"bidirectional", m.bidirectional(), reference.Inputs{X: tokens, Mask: mask}},
		{"images", m.images(false), reference.Inputs{X: pixels}},
		{"class token", m.images(true), reference.Inputs{X: fixed}},
		{"bare", m.bare(), reference.Inputs{X: x}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want, err := test.model.Forward(test.in)
			if err != nil {
				t.Fatal(err)
			}
			stages, err := propagate(test.model, test.in, noiseOf(rule{engine: Kernel, dtype: tensor.Float32}))
			if err != nil {
				t.Fatal(err)
			}
			got := stages[len(stages)-1]
			if !tensor.SameShape(got.value.Shape, want.Shape) {
				t.Fatalf("shape %v, want %v", got.value.Shape, want.Shape)
			}
			for i, v := range want.Data {
				if excess(got.value.Data[i], v, 1e-12*largestFinite(want.Data)) > 1 {
					t.Fatalf("element %d is %v, the reference says %v", i, got.value.Data[i], v)
				}
				if d := math.Sqrt(got.variance[i]); !(d > 1e-9 && d < 1e-4) {
					t.Fatalf("element %d has deviation %v", i, d)
				}
			}
		})
	}
}
