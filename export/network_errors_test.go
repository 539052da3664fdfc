//go:build cgo

package export_test

import (
	"slices"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/reference"
)

// network is the one of that name.
func network(t *testing.T, name string) *reference.Model {
	t.Helper()
	all := wiringtest.Networks()
	i := slices.IndexFunc(all, func(n wiringtest.Network) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("no network %q", name)
	}
	return all[i].Model
}

// numbers is an array of that shape that repeats some values.
func numbers(values []float64, shape ...int) tensor.Array {
	a := tensor.Array{Shape: shape}
	n, err := tensor.NumElements(shape)
	if err != nil {
		panic(err)
	}
	for i := range n {
		a.Data = append(a.Data, values[i%len(values)])
	}
	return a
}

// TestNetwork_badInputs: what the reference refuses ONNX Runtime refuses too, rather than compute something.
func TestNetwork_badInputs(t *testing.T) {
	rt := openRuntime(t)
	const (
		tokens = "language, tied"
		patch  = wiringtest.Patch
	)
	one := []float64{1}
	cases := []struct {
		name, network string
		in            reference.Inputs
		fits          bool
	}{
		{"all positions", tokens, reference.Inputs{X: numbers(one, 1, wiringtest.Positions)}, true},
		{"more tokens than positions", tokens, reference.Inputs{X: numbers(one, 1, wiringtest.Positions+1)}, false},
		{"the last token", tokens, reference.Inputs{X: numbers([]float64{0, wiringtest.Vocabulary - 1}, 1, 4)}, true},
		{"a token after the last", tokens, reference.Inputs{X: numbers([]float64{0, wiringtest.Vocabulary}, 1, 4)}, false},
		{"a negative token", tokens, reference.Inputs{X: numbers([]float64{0, -1}, 1, 4)}, false},
		{"any length, a negative token", "language, any length", reference.Inputs{X: numbers([]float64{-100}, 1, 4)}, false},
		{"a mask", tokens, reference.Inputs{X: numbers(one, 2, 3), Mask: numbers([]float64{1, 0}, 2, 3)}, true},
		{"a mask that leaves nothing", tokens, reference.Inputs{X: numbers(one, 2, 3), Mask: numbers([]float64{0}, 2, 3)}, true},
		{"a longer mask", tokens, reference.Inputs{X: numbers(one, 2, 3), Mask: numbers(one, 2, 4)}, false},
		{"a mask for one position", tokens, reference.Inputs{X: numbers(one, 2, 3), Mask: numbers(one, 2, 1)}, false},
		{"a mask for one sequence", tokens, reference.Inputs{X: numbers(one, 2, 3), Mask: numbers(one, 1, 3)}, false},
		{"a mask turned over", tokens, reference.Inputs{X: numbers(one, 2, 3), Mask: numbers(one, 3, 2)}, false},
		{"a mask of more sequences", tokens, reference.Inputs{X: numbers(one, 1, 3), Mask: numbers(one, 2, 3)}, false},
		{"blocks, a mask for one sequence", "blocks on x", reference.Inputs{X: numbers(one, 2, 3, wiringtest.Dim), Mask: numbers(one, 1, 3)}, false},
		{"an image of another size", "image, class token, any size", reference.Inputs{X: numbers(one, 1, 3, 4*patch, patch)}, true},
		{"an image of more positions than biases", "image, class token, any size", reference.Inputs{X: numbers(one, 1, 3, 3*patch, 3*patch)}, false},
		{"no multiple of the patch", "image, conv", reference.Inputs{X: numbers(one, 1, 3, 2*patch+1, 2*patch)}, false},
		{"no multiple of the patch across", "image, conv", reference.Inputs{X: numbers(one, 1, 3, 2*patch, 3*patch-1)}, false},
		{"smaller than a patch", "image, conv", reference.Inputs{X: numbers(one, 1, 3, patch-1, patch)}, false},
		{"one channel", "image, conv", reference.Inputs{X: numbers(one, 1, 1, 2*patch, 2*patch)}, false},
		{"as many positions in another shape", "image, conv with positions, any shape",
			reference.Inputs{X: numbers(one, 1, 3, 3*patch, 2*patch)}, true},
		{"fewer positions", "image, conv with positions, any shape", reference.Inputs{X: numbers(one, 1, 3, 2*patch, 2*patch)}, false},
		{"more positions", "image, conv with positions, any shape", reference.Inputs{X: numbers(one, 1, 3, 3*patch, 3*patch)}, false},
		{"one position", "image, conv with positions, any shape", reference.Inputs{X: numbers(one, 6, 3, patch, patch)}, false},
		{"a size that is not the model's", "image, class token and positions", reference.Inputs{X: numbers(one, 1, 3, 3*patch, 2*patch)}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := network(t, c.network)
			want, err := m.Forward(c.in)
			sized := m.Patches != nil && m.Patches.Pixels.Size != [2]int{} // only what is exported holds an image to its size
			if (err == nil) != c.fits && !sized {
				t.Fatalf("the reference's error is %v", err)
			}
			inputs, err := wiringtest.Tensors(m, c.in, tensor.Float32)
			if err != nil {
				t.Fatal(err)
			}
			got, err := run(t, rt, mustModel(t, m, export.Options{AttentionMask: len(c.in.Mask.Shape) > 0}), inputs)
			if (err == nil) != c.fits {
				t.Fatalf("error is %v", err)
			}
			if c.fits {
				near(t, got[wiring.OutputName(m)], want, 1e-5)
			}
		})
	}
}

// TestNetwork_refused: what cannot be written is said before anything is.
func TestNetwork_refused(t *testing.T) {
	_, err := export.Model(network(t, "image, conv"), export.Options{AttentionMask: true})
	if err == nil {
		t.Error("an image model takes a mask")
	}
}
