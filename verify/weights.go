package verify

import (
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// weights is the row about the weights: held against the checkpoint's where that is known, and finite in any case. Without
// a checkpoint there is a row only where there is something to tell.
func (s *subject) weights(name string) (row Result, told bool, err error) {
	row = Result{Name: name, Kind: KindWeights, Engine: Reference, DType: s.dtype.String(), Pass: true, Derived: "finite"}
	if s.exact != nil {
		if row, err = s.compareWeights(name); err != nil {
			return row, false, err
		}
	}
	for _, m := range []*reference.Model{s.exact, s.stored} {
		if m != nil {
			row.requireFinite(m)
		}
	}
	return row, s.exact != nil || !row.Pass, nil
}

// requireFinite fails a row about weights that are no finite numbers, but for the -Inf by which a position bias removes a
// pair: with them the truth is no number either, and any engine agrees with that.
func (r *Result) requireFinite(m *reference.Model) {
	for i := range m.Layers {
		for _, w := range layerWeights(&m.Layers[i]) {
			broken := isUndefined
			if w.name == biasName {
				broken = isUndefinedBesideMask
			}
			if j := slices.IndexFunc(w.array.Data, broken); j >= 0 {
				r.fail("layers.%d.%s: element %v is %v: not finite", i, w.name, tensor.Unravel(j, w.array.Shape), w.array.Data[j])
			}
		}
	}
}

// biasName is the position bias among a layer's weights.
const biasName = "w"

// compareWeights holds every weight in the file against the checkpoint's, rounded once to the file's type, bit for bit.
func (s *subject) compareWeights(name string) (Result, error) {
	row := Result{
		Name: name, Kind: KindWeights, Engine: Reference, DType: s.dtype.String(), Pass: true,
		Derived: fmt.Sprintf("the checkpoint's value, rounded once to %s", s.dtype),
	}
	stored := map[string]*onnxpb.TensorProto{}
	for _, t := range s.graph.Proto().GetGraph().GetInitializer() {
		stored[t.GetName()] = t
	}
	for i := range s.exact.Layers {
		for _, w := range layerWeights(&s.exact.Layers[i]) {
			if err := row.addWeight(fmt.Sprintf("layers.%d.%s", i, w.name), stored, s.dir, w.array, s.dtype); err != nil {
				return row, err
			}
		}
	}
	return row, nil
}

// rounding measures what rounding the weights does to the output: the reference on the exact weights against the
// reference on the stored ones. It judges nothing.
func (r *modelRun) rounding(s *subject) (Result, error) {
	row := Result{
		Name: "rounding", Kind: KindRounding, Engine: Reference, DType: s.dtype.String(), Pass: true,
		Derived: "none: what rounding the weights does to the output",
	}
	for i, c := range r.cases {
		y, err := s.exact.Forward(c.x(), c.grid)
		if err != nil {
			return row, fmt.Errorf("%s: reference on the checkpoint's weights: %w", c.id, err)
		}
		want := r.want[i]["y"]
		l := limit{scale: make([]float64, len(want.Data))}
		largest := largestFinite(want.Data)
		for j := range l.scale {
			l.scale[j] = largest
		}
		row.add(c.id, want.Data, want.Shape, y, l)
	}
	return row, nil
}

// namedWeight is one array of a layer, by the name it has in an exported file.
type namedWeight struct {
	name  string
	array tensor.Array
}

// layerWeights lists the arrays that a layer has.
func layerWeights(l *reference.Layer) []namedWeight {
	var list []namedWeight
	for _, p := range []struct {
		name   string
		linear *reference.Linear
	}{{"q", &l.Q}, {"k", &l.K}, {"v", &l.V}, {"out", l.Out}} {
		if p.linear == nil {
			continue
		}
		list = append(list, namedWeight{p.name + ".weight", p.linear.Weight})
		if p.linear.Bias != nil {
			bias := tensor.Array{Shape: []int{len(p.linear.Bias)}, Data: p.linear.Bias}
			list = append(list, namedWeight{p.name + ".bias", bias})
		}
	}
	if !l.W.Empty() {
		list = append(list, namedWeight{biasName, l.W})
	}
	return list
}

// roundModel is the model that an exporter should have written: every weight rounded once.
func roundModel(exact *reference.Model, dtype tensor.DType) (*reference.Model, error) {
	m := &reference.Model{Layers: append([]reference.Layer{}, exact.Layers...)}
	for i := range m.Layers {
		l := &m.Layers[i]
		if l.Out != nil {
			out := *l.Out
			l.Out = &out
		}
		for _, p := range []*reference.Linear{&l.Q, &l.K, &l.V, l.Out} {
			if p == nil {
				continue
			}
			if err := roundInto(&p.Weight.Data, p.Weight.Shape, dtype); err != nil {
				return nil, err
			}
			if err := roundInto(&p.Bias, []int{len(p.Bias)}, dtype); err != nil {
				return nil, err
			}
		}
		if err := roundInto(&l.W.Data, l.W.Shape, dtype); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// roundInto replaces values by new memory; none stay none.
func roundInto(values *[]float64, shape []int, dtype tensor.DType) error {
	if *values == nil {
		return nil
	}
	t, err := tensor.FromFloat64s(dtype, shape, *values)
	if err != nil {
		return err
	}
	*values = t.Float64s()
	return nil
}

// addWeight compares one weight. The error it records is that of rounding; a rounded weight has no tolerance.
func (r *Result) addWeight(name string, stored map[string]*onnxpb.TensorProto, dir string, exact tensor.Array,
	dtype tensor.DType) error {
	r.Cases++
	p, ok := stored[name]
	if !ok {
		r.fail("%s: is missing in the file", name)
		return nil
	}
	got, err := onnxpb.ReadTensor(p, dir)
	if err != nil {
		return err
	}
	if got.DType != dtype || !tensor.SameShape(got.Shape, exact.Shape) {
		r.fail("%s: the file holds %s %s, want %s %s", name,
			got.DType, tensor.FormatShape(got.Shape), dtype, tensor.FormatShape(exact.Shape))
		return nil
	}
	want, err := exact.Tensor(dtype)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	largest := largestFinite(exact.Data)
	for i, v := range exact.Data {
		g, w := got.At(i), want.At(i)
		if d := math.Abs(g - v); d > 0 && !math.IsInf(d, 0) {
			r.MaxAbs = max(r.MaxAbs, Number(d))
			r.MaxRel = max(r.MaxRel, Number(d/largest))
		}
		if excess(g, w, 0) > 0 {
			at := tensor.Unravel(i, exact.Shape)
			if r.Worst == nil {
				r.Worst = &Worst{Case: name, Index: at, Got: Number(g), Want: Number(w)}
			}
			r.fail("%s: element %v is %v, the checkpoint's rounded to %s is %v", name, at, g, dtype, w)
		}
	}
	return nil
}
