package verify

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// weights holds every stored weight against the checkpoint's, rounded once to the file's type, bit for bit, and measures
// what that rounding does to the output: the reference on the exact weights against the reference on the stored ones.
func (r *modelRun) weights(s *subject) ([]Result, error) {
	row := Result{
		Name: "weights", Kind: KindWeights, Engine: Reference, DType: s.dtype.String(), Pass: true,
		Derived: fmt.Sprintf("the checkpoint's value, rounded once to %s", s.dtype),
	}
	if got, want := len(s.stored.Layers), len(s.exact.Layers); got != want {
		row.fail("the file holds %d layers, the checkpoint %d", got, want)
		return []Result{row}, nil
	}
	for i := range s.exact.Layers {
		stored, exact := layerWeights(&s.stored.Layers[i]), layerWeights(&s.exact.Layers[i])
		for j, w := range exact {
			if err := row.addWeight(fmt.Sprintf("layers.%d.%s", i, w.name), stored[j].Array, w.Array, s.dtype); err != nil {
				return nil, err
			}
		}
	}
	rounding := Result{
		Name: "rounding", Kind: KindRounding, Engine: Reference, DType: s.dtype.String(), Pass: true,
		Derived: "none: what rounding the weights does to the output",
	}
	for i, c := range r.cases {
		y, err := s.exact.Forward(c.x(), c.grid)
		if err != nil {
			return nil, fmt.Errorf("%s: reference on the checkpoint's weights: %w", c.id, err)
		}
		want := r.want[i]["y"]
		l := limit{tolerance: make([]float64, len(want.Data)), scale: make([]float64, len(want.Data))}
		largest := largestFinite(want.Data)
		for j := range l.tolerance {
			l.tolerance[j], l.scale[j] = math.Inf(1), largest
		}
		rounding.add(c.id, want.Data, want.Shape, y, l)
	}
	return []Result{row, rounding}, nil
}

// namedWeight is one array of a layer; absent ones are empty.
type namedWeight struct {
	name string
	tensor.Array
}

func layerWeights(l *reference.Layer) []namedWeight {
	var list []namedWeight
	linear := func(name string, p *reference.Linear) {
		if p == nil {
			p = &reference.Linear{}
		}
		list = append(list, namedWeight{name + ".weight", p.Weight},
			namedWeight{name + ".bias", tensor.Array{Shape: []int{len(p.Bias)}, Data: p.Bias}})
	}
	linear("q", &l.Q)
	linear("k", &l.K)
	linear("v", &l.V)
	linear("out", l.Out)
	return append(list, namedWeight{"w", l.W})
}

// addWeight compares one weight. The error it records is that of rounding; the tolerance of a rounded weight is zero.
func (r *Result) addWeight(name string, stored, exact tensor.Array, dtype tensor.DType) error {
	r.Cases++
	if len(stored.Data) == 0 && len(exact.Data) == 0 {
		return nil
	}
	if !tensor.SameShape(stored.Shape, exact.Shape) {
		r.fail("%s: the file holds shape %s, the checkpoint %s", name, tensor.FormatShape(stored.Shape), tensor.FormatShape(exact.Shape))
		return nil
	}
	rounded, err := exact.Tensor(dtype)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	largest := largestFinite(exact.Data)
	for i, want := range exact.Data {
		d := math.Abs(stored.Data[i] - want)
		if d > 0 {
			r.MaxAbs = max(r.MaxAbs, Number(d))
			r.MaxRel = max(r.MaxRel, Number(d/largest))
		}
		if got := stored.Data[i]; excess(got, rounded.At(i), 0) > 0 {
			at := tensor.Unravel(i, exact.Shape)
			if r.Worst == nil {
				r.Worst = &Worst{Case: name, Index: at, Got: Number(got), Want: Number(rounded.At(i))}
			}
			r.fail("%s: element %v is %v, the checkpoint's rounded to %s is %v", name, at, got, dtype, rounded.At(i))
		}
	}
	return nil
}
