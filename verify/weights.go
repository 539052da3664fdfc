package verify

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
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
	held := s.stored
	if held == nil { // what the checkpoint has; that the file has the same was just seen
		held = s.exact
	}
	if held != nil {
		if err := row.requireFinite(held); err != nil {
			return row, false, err
		}
	}
	return row, s.exact != nil || !row.Pass, nil
}

// modelWeights lists the weights of a model by the names that they have in an exported file.
func modelWeights(m *reference.Model) ([]wiring.Weight, error) {
	g, err := wiring.Build(m, wiring.Options{DType: tensor.Float32, Opset: export.DefaultOpset})
	if err != nil {
		return nil, err
	}
	return g.Weights, nil
}

// requireFinite fails a row about weights that are no finite numbers, but for the -Inf by which a position bias removes a
// pair: with them the truth is no number either, and any engine agrees with that.
func (r *Result) requireFinite(m *reference.Model) error {
	list, err := modelWeights(m)
	if err != nil {
		return err
	}
	for _, w := range list {
		broken := isUndefined
		if strings.HasSuffix(w.Name, biasSuffix) {
			broken = isUndefinedBesideMask
		}
		start := 0
		err := w.Weight.Parts(func(part *tensor.Tensor) error {
			for i := range part.Len() {
				if v := part.At(i); broken(v) {
					r.fail("%s: element %v is %v: not finite", w.Name, tensor.Unravel(start+i, w.Weight.Shape()), v)
					return errSeen
				}
			}
			start += part.Len()
			return nil
		})
		if err != nil && !errors.Is(err, errSeen) {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	return nil
}

// errSeen ends the reading of a weight of which enough is known.
var errSeen = errors.New("enough was read")

// biasSuffix is how the name of a position bias ends.
const biasSuffix = ".w"

// compareWeights holds every weight in the file against the checkpoint's, rounded once to the file's type, bit for bit. It
// holds a piece of one weight at a time.
func (s *subject) compareWeights(name string) (Result, error) {
	row := Result{
		Name: name, Kind: KindWeights, Engine: Reference, DType: s.dtype.String(), Pass: true,
		Derived: fmt.Sprintf("the checkpoint's value, rounded once to %s", s.dtype),
	}
	stored := map[string]*onnxpb.TensorProto{}
	for _, t := range s.graph.Proto().GetGraph().GetInitializer() {
		stored[t.GetName()] = t
	}
	list, err := modelWeights(s.exact)
	if err != nil {
		return row, err
	}
	for _, w := range list {
		if err := row.addWeight(w, stored[w.Name], s); err != nil {
			return row, fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	return row, nil
}

// addRounding adds the row about rounding where the checkpoint is known, and a pass over all its weights is not too much.
func (r *modelRun) addRounding(s *subject) error {
	if s.exact == nil {
		return nil
	}
	if fits, err := r.options.fitsWhole(s); err != nil || !fits {
		r.note("what rounding the weights does to the output was not measured: they are more than are loaded at once")
		return err
	}
	row, err := r.rounding(s)
	if err != nil {
		return err
	}
	r.report.Results = append(r.report.Results, row)
	return nil
}

// rounding measures what rounding the weights does to the output: the reference on the exact weights against the
// reference on the stored ones. It judges nothing.
func (r *modelRun) rounding(s *subject) (Result, error) {
	row := Result{
		Name: "rounding", Kind: KindRounding, Engine: Reference, DType: s.dtype.String(), Pass: true,
		Derived: "none: what rounding the weights does to the output",
	}
	for i, c := range r.cases {
		y, err := s.exact.Forward(c.reference(s.exact))
		if err != nil {
			return row, fmt.Errorf("%s: reference on the checkpoint's weights: %w", c.id, err)
		}
		want := r.want[i][wiring.OutputName(s.exact)]
		row.add(c.id, want.Data, want.Shape, y, unjudged(want))
	}
	return row, nil
}

// unjudged is a limit that allows everything.
func unjudged(want tensor.Array) limit {
	l := limit{scale: make([]float64, len(want.Data))}
	largest := largestFinite(want.Data)
	for i := range l.scale {
		l.scale[i] = largest
	}
	return l
}

// addWeight compares one weight. The error it records is that of rounding; a rounded weight has no tolerance.
func (r *Result) addWeight(exact wiring.Weight, stored *onnxpb.TensorProto, s *subject) error {
	r.Cases++
	if stored == nil {
		r.fail("%s: is missing in the file", exact.Name)
		return nil
	}
	held, err := onnxpb.InitializerWeight(stored, s.dir)
	if err != nil {
		return err
	}
	shape := exact.Weight.Shape()
	if held.DType() != s.dtype || !tensor.SameShape(held.Shape(), shape) {
		r.fail("%s: the file holds %s %s, want %s %s", exact.Name,
			held.DType(), tensor.FormatShape(held.Shape()), s.dtype, tensor.FormatShape(shape))
		return nil
	}
	got := read(held)
	defer got.stop()
	c := weightComparison{row: r, name: exact.Name, shape: shape, dtype: s.dtype}
	err = exact.Weight.Parts(func(part *tensor.Tensor) error {
		same, err := got.take(part.Len() * s.dtype.Size())
		if err != nil {
			return err
		}
		return c.add(part, &tensor.Tensor{DType: s.dtype, Shape: part.Shape, Data: same})
	})
	if c.off > 0 {
		r.MaxAbs = max(r.MaxAbs, Number(c.off))
		r.MaxRel = max(r.MaxRel, Number(c.off/c.largest))
	}
	return err
}

// weightComparison is one weight on its way.
type weightComparison struct {
	row          *Result
	name         string
	shape        []int
	dtype        tensor.DType
	done         int     // elements
	off, largest float64 // the largest rounding error, and the largest element
}

// add compares a piece.
func (c *weightComparison) add(exact, got *tensor.Tensor) error {
	defer func() { c.done += exact.Len() }()
	if exact.DType == c.dtype && bytes.Equal(exact.Data, got.Data) {
		return nil
	}
	want, err := exact.Cast(c.dtype)
	if err != nil {
		return err
	}
	for i := range exact.Len() {
		g, v := got.At(i), exact.At(i)
		if !isUndefined(v) {
			c.largest = max(c.largest, math.Abs(v))
		}
		if d := math.Abs(g - v); d > c.off && !math.IsInf(d, 0) {
			c.off = d
		}
		if w := want.At(i); excess(g, w, 0) > 0 {
			c.row.differ(c.name, tensor.Unravel(c.done+i, c.shape), Worst{Got: Number(g), Want: Number(w)})
		}
	}
	return nil
}

// differ records a weight that is not the checkpoint's.
func (r *Result) differ(name string, at []int, w Worst) {
	if r.Worst == nil {
		w.Case, w.Index = name, at
		r.Worst = &w
	}
	r.fail("%s: element %v is %v, the checkpoint's rounded to %s is %v", name, at, float64(w.Got), r.DType, float64(w.Want))
}

// reader gives the bytes of a weight in pieces of any size.
type reader struct {
	next func() (*tensor.Tensor, error, bool)
	stop func()
	left []byte // of the piece at hand
	out  []byte
}

func read(w tensor.Weight) *reader {
	r := &reader{}
	r.next, r.stop = iter.Pull2(func(yield func(*tensor.Tensor, error) bool) {
		err := w.Parts(func(part *tensor.Tensor) error {
			if !yield(part, nil) {
				return errSeen
			}
			return nil
		})
		if err != nil && !errors.Is(err, errSeen) {
			yield(nil, err)
		}
	})
	return r
}

// take gives the next n bytes, which are good until the next call.
func (r *reader) take(n int) ([]byte, error) {
	r.out = r.out[:0]
	for len(r.out) < n {
		if len(r.left) == 0 {
			part, err, ok := r.next()
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, errors.New("the file holds too few elements")
			}
			r.left = part.Data
		}
		some := min(n-len(r.out), len(r.left))
		r.out, r.left = append(r.out, r.left[:some]...), r.left[some:]
	}
	return r.out, nil
}
