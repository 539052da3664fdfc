package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// EquivalentOptions say how a rewritten model is held against its original.
type EquivalentOptions struct {
	Open     Opener
	Threads  int
	Seed     uint64
	Dir      string // the folder of the original's external data
	Progress func(text string)
}

// EquivalentRow is one engine's outputs of the rewritten model over all inputs, held against the original's values.
type EquivalentRow struct {
	Engine   Engine `json:"engine"`
	Cases    int    `json:"cases"`
	MaxError Number `json:"max_error"` // of an element, over the largest value of its output
	Original Number `json:"original"`  // the same of the original on ONNX Runtime
	Allowed  Number `json:"allowed"`
	Calls    uint64 `json:"kernel_calls"`
	Nodes    uint64 `json:"aft_nodes"` // that had to be called
	Pass     bool   `json:"pass"`
	Problem  string `json:"problem,omitempty"`
}

// Equivalence is the outcome of Equivalent.
type Equivalence struct {
	Rows  []EquivalentRow `json:"rows"`
	Cases []string        `json:"cases"`
	Notes []string        `json:"notes"`
}

// Pass reports whether every engine agreed.
func (e *Equivalence) Pass() bool {
	for _, r := range e.Rows {
		if !r.Pass {
			return false
		}
	}
	return len(e.Rows) > 0
}

// The error that is allowed, of an element over the largest value of its output. On ONNX Runtime it is several times the
// error that the original makes there, and never less than what a few roundings of its type make. In float64 the two models
// differ by the rounding of the biases that were computed anew, and by what kept denominators from 0.
const (
	timesOriginal = 8
	nativeAllowed = 2e-5
)

func leastAllowed(d tensor.DType) float64 {
	switch d {
	case tensor.Float16:
		return 4e-3
	case tensor.Float64:
		return 1e-9
	}
	return 2e-5
}

// Equivalent runs a model and what it was rewritten to on inputs of several sizes and seeds: the original in float64 for the
// truth and on ONNX Runtime for the error that is its own; the other in float64, on ONNX Runtime with the kernels and without
// them. Every AFT node has to be a kernel call. Without ONNX Runtime it is an error.
func Equivalent(ctx context.Context, original []byte, rewritten *onnxpb.ModelProto, o EquivalentOptions) (e *Equivalence, err error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	engines, err := openEngines(ctx, []Engine{Kernel, Portable, Native}, o.Threads, o.Open)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engines.close()) }()
	for _, s := range engines.status {
		if s.err != nil {
			return nil, s.err
		}
	}
	p, err := onnxpb.Decode(original)
	if err != nil {
		return nil, err
	}
	q := &equivalence{options: &o, engines: engines, programs: map[Engine]*program{}}
	defer func() { err = closeAll(err, q.programs) }()
	first := &loadable{original, p, o.Dir}
	if q.truth, err = engines.load(Native, first); err != nil {
		return nil, err
	}
	if q.original, err = engines.load(Portable, first); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.original.close()) }()
	second, err := newLoadable(rewritten, "")
	if err != nil {
		return nil, err
	}
	for _, engine := range []Engine{Native, Portable, Kernel} {
		if q.programs[engine], err = engines.load(engine, second); err != nil {
			return nil, err
		}
	}
	return q.run(ctx)
}

type equivalence struct {
	options         *EquivalentOptions
	engines         *engineSet
	truth, original *program
	programs        map[Engine]*program // the rewritten model
	result          Equivalence
}

func (q *equivalence) run(ctx context.Context) (*Equivalence, error) {
	probes, err := ProbeInputs(ctx, q.truth.graph, q.options.Seed)
	if err != nil {
		return nil, err
	}
	more, err := ProbeInputs(ctx, q.truth.graph, q.options.Seed+1)
	if err != nil {
		return nil, err
	}
	cases := append(probes[:], more[0])
	if describeShapes(q.truth.graph, probes[0]) != describeShapes(q.truth.graph, probes[1]) {
		cases = append(cases, more[1])
	}
	if long := longInputs(ctx, q.truth.graph, q.options.Seed+2); long != nil {
		cases = append(cases, long)
	}
	rows := map[Engine]*EquivalentRow{}
	for _, engine := range []Engine{Native, Portable, Kernel} {
		rows[engine] = &EquivalentRow{Engine: engine, Pass: true}
	}
	for _, in := range cases {
		id := describeShapes(q.truth.graph, in)
		q.options.Progress("comparing " + id)
		q.result.Cases = append(q.result.Cases, id)
		if err := q.compare(ctx, id, in, rows); err != nil {
			return nil, err
		}
	}
	if err := q.overflow(ctx, cases[0]); err != nil {
		return nil, err
	}
	for _, engine := range []Engine{Native, Portable, Kernel} {
		q.result.Rows = append(q.result.Rows, *rows[engine])
	}
	return &q.result, nil
}

// compare runs one case.
func (q *equivalence) compare(ctx context.Context, id string, in map[string]*tensor.Tensor, rows map[Engine]*EquivalentRow) error {
	want, _, err := q.truth.run(ctx, in)
	if err != nil {
		return fmt.Errorf("the original, in float64: %w", err)
	}
	own, _, err := q.original.run(ctx, in)
	if err != nil {
		return fmt.Errorf("the original, on ONNX Runtime: %w", err)
	}
	undefined := 0
	for engine, row := range rows {
		got, calls, err := q.programs[engine].run(ctx, in)
		if err != nil {
			return fmt.Errorf("the rewritten model, engine %s: %w", engine, err)
		}
		row.Cases++
		for _, v := range q.truth.graph.Outputs() {
			allowed := nativeAllowed
			error0, n := relativeError(own[v.Name], want[v.Name])
			undefined = max(undefined, n)
			if engine != Native {
				allowed = max(leastAllowed(v.DType), timesOriginal*error0)
				row.Original = max(row.Original, Number(error0))
			}
			row.Allowed = max(row.Allowed, Number(allowed))
			found, n := relativeError(got[v.Name], want[v.Name])
			row.MaxError = max(row.MaxError, Number(found))
			switch {
			case n > 0:
				row.fail("%s: output %q: %d elements are NaN or infinite, where the truth is finite", id, v.Name, n)
			case !(found <= allowed):
				row.fail("%s: output %q: off by %.3g of its largest value, allowed %.3g", id, v.Name, found, allowed)
			}
		}
		if engine == Kernel {
			nodes := q.programs[engine].nodes
			row.Calls, row.Nodes = row.Calls+calls, row.Nodes+nodes
			if calls != nodes {
				row.fail("%s: %d kernel calls counted, want %d", id, calls, nodes)
			}
		}
	}
	if undefined > 0 {
		q.result.Notes = append(q.result.Notes, fmt.Sprintf("%s: the original overflows on ONNX Runtime (%d elements are NaN or "+
			"infinite), the fused model does not", id, undefined))
	}
	return nil
}

func (r *EquivalentRow) fail(format string, args ...any) {
	r.Pass = false
	if r.Problem == "" {
		r.Problem = fmt.Sprintf(format, args...)
	}
}

// overflow runs larger and larger inputs, and says from where on they are too large for the original alone. It judges nothing:
// values that large mean something only where the model keeps them in range.
func (q *equivalence) overflow(ctx context.Context, in map[string]*tensor.Tensor) error {
	for _, by := range []float64{10, 30, 100, 300, 1000} {
		large, any := map[string]*tensor.Tensor{}, false
		for name, t := range in {
			large[name] = t
			if !t.DType.IsFloat() {
				continue
			}
			x := t.Float64s()
			for i := range x {
				x[i] *= by
			}
			var err error
			if large[name], err = tensor.FromFloat64s(t.DType, t.Shape, x); err != nil {
				return err
			}
			any = true
		}
		if !any {
			return nil
		}
		lost, kept, err := q.undefined(ctx, large)
		if err != nil {
			return err
		}
		if lost > 0 {
			if kept == 0 {
				q.result.Notes = append(q.result.Notes, fmt.Sprintf("inputs %g times larger: the original overflows on ONNX Runtime "+
					"(%d elements are NaN or infinite), the fused model does not", by, lost))
			}
			return nil
		}
	}
	return nil
}

// undefined counts the elements that the original and the rewritten model with kernels lose on ONNX Runtime.
func (q *equivalence) undefined(ctx context.Context, in map[string]*tensor.Tensor) (original, kernel int, err error) {
	own, _, err := q.original.run(ctx, in)
	if err != nil {
		return 0, 0, err
	}
	any := false
	for _, t := range own {
		any = any || slices.ContainsFunc(t.Float64s(), isUndefined)
	}
	if !any { // the truth takes far longer
		return 0, 0, nil
	}
	want, _, err := q.truth.run(ctx, in)
	if err != nil {
		return 0, 0, err
	}
	got, _, err := q.programs[Kernel].run(ctx, in)
	if err != nil {
		return 0, 0, err
	}
	for _, v := range q.truth.graph.Outputs() {
		_, n := relativeError(own[v.Name], want[v.Name])
		_, m := relativeError(got[v.Name], want[v.Name])
		original, kernel = original+n, kernel+m
	}
	return original, kernel, nil
}

// relativeError is the largest error of an element over the largest value of the tensor, and how many elements are NaN or
// infinite where they should not be.
func relativeError(got, want *tensor.Tensor) (worst float64, undefined int) {
	if got == nil || want == nil || !tensor.SameShape(got.Shape, want.Shape) {
		return math.Inf(1), 0
	}
	x, y, scale := got.Float64s(), want.Float64s(), 0.0
	for _, v := range y {
		if !isUndefined(v) {
			scale = max(scale, math.Abs(v))
		}
	}
	for i, v := range y {
		switch {
		case isUndefined(v): // the truth itself overflows
		case isUndefined(x[i]):
			undefined++
		default:
			worst = max(worst, math.Abs(x[i]-v))
		}
	}
	if worst > 0 {
		worst /= max(scale, math.SmallestNonzeroFloat32)
	}
	return worst, undefined
}

func describeShapes(m *onnxgraph.Model, in map[string]*tensor.Tensor) string {
	text := ""
	for i, v := range m.Inputs() {
		if i > 0 {
			text += ", "
		}
		text += v.Name + " " + tensor.FormatShape(in[v.Name].Shape)
	}
	return text
}
