package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// unlimitedLength is what Full runs at where no bias limits the sequence.
const unlimitedLength = 512

// fullLength runs the kernels against the bodies once at the longest sequence that the model takes, where the reference
// would take too long. Both may be off the truth by what a short run allows, relative to the largest output; with running
// sums in a body by T/8 * 2^-23 a layer more.
func (r *modelRun) fullLength(ctx context.Context, report *Report) error {
	s := r.truth
	if s.stored == nil || s.nodes() == 0 || r.engines.runtime == nil || len(r.engines.list) < 2 {
		report.Notes = append(report.Notes,
			"no run at full length: it compares the kernels with the function bodies of AFT nodes")
		return nil
	}
	if fits, err := r.options.fitsWhole(s); err != nil || !fits {
		report.Notes = append(report.Notes, "no run at full length: the weights are more than are loaded at once")
		return err
	}
	relative, ends, err := r.relativeTolerance()
	if err != nil {
		return err
	}
	if ends.steep {
		report.Notes = append(report.Notes,
			"no run at full length: the stack amplifies rounding so much that two engines need not agree at its end")
		return nil
	}
	size := InputSizes{Batch: 1, Sequence: unlimitedLength, Grid: r.options.Grid}
	if n := s.stored.MaxLen(); n > 0 {
		size.Sequence = n
	}
	if p := s.stored.Patches; p != nil {
		size.Grid = fullGrid(p, size.Grid)
	}
	if s.stored.NeedsGrid() && size.Grid == [2]int{} {
		size.Grid = divide(size.Sequence)
	}
	size.Padded = true
	in, made, err := SeededInputs(s.graph, nil, size, r.options.Seed)
	if err != nil {
		return err
	}
	id := "full length: " + describeInputs(s, in, made)
	r.options.progress("%s", id)
	relative += ends.cumSum * float64(positions(s.stored, in))
	row := Result{
		Name: wiring.OutputName(s.stored) + ", kernel against portable", Kind: KindOutput, Engine: Kernel, DType: s.dtype.String(), Pass: true,
		Derived: fmt.Sprintf("%.3g*max|output|: what a short run allows both engines", relative),
	}
	var outs [2]map[string]*tensor.Tensor
	var calls [2]uint64
	for i, e := range []Engine{Portable, Kernel} {
		if outs[i], calls[i], err = r.once(ctx, e, in); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			row.fail("engine %s: %s: %v", e, id, err)
		}
	}
	if row.Pass {
		row.addFull(id, outs, fullRule{wiring.OutputName(s.stored), relative, ends})
		row.countCalls(id, calls[1], s.nodes())
	}
	report.Results = append(report.Results, row)
	report.Covered = append(report.Covered, id)
	return nil
}

// unlimitedImage is the side of the images that Full runs where a model takes any: the paper's on ImageNet.
const unlimitedImage = 224

// fullGrid is the grid of patches of an image of full size.
func fullGrid(p *reference.PatchEmbedding, chosen [2]int) [2]int {
	if chosen != [2]int{} {
		return chosen
	}
	side := max(1, unlimitedImage/p.Patch())
	grid := [2]int{side, side}
	for axis, pixels := range p.Pixels.Size {
		if pixels > 0 {
			grid[axis] = pixels / p.Patch()
		}
	}
	return grid
}

// fullRule is what a run at full length allows.
type fullRule struct {
	output   string
	relative float64 // to the largest output
	ends     toleranceEnds
}

// addFull holds the kernels' output, the second, against the bodies'.
func (r *Result) addFull(id string, outs [2]map[string]*tensor.Tensor, f fullRule) {
	want := outs[0][f.output].Array()
	if i := slices.IndexFunc(want.Data, isUndefined); i >= 0 {
		r.fail("%s: element %v of the bodies' is %v: nothing to compare", id, tensor.Unravel(i, want.Shape), want.Data[i])
		return
	}
	l := newLimit(len(want.Data))
	l.finiteOnly = f.ends.finiteOnly
	largest := largestFinite(want.Data)
	for i := range l.tolerance {
		l.tolerance[i], l.scale[i] = f.relative*largest, largest
	}
	r.addTensor(id, outs[1][f.output], want, l)
}

// positions is how long the sequence is that a model makes of its inputs.
func positions(m *reference.Model, in map[string]*tensor.Tensor) int {
	shape := in[wiring.InputName(m)].Shape
	if m.Patches == nil {
		return shape[1]
	}
	n := shape[2] / m.Patches.Patch() * (shape[3] / m.Patches.Patch())
	if m.Patches.ClassToken != nil {
		n++
	}
	return n
}

// once loads, runs and unloads the model.
func (r *modelRun) once(ctx context.Context, e Engine, in map[string]*tensor.Tensor) (
	out map[string]*tensor.Tensor, calls uint64, err error) {
	p, err := r.engines.load(e, r.truth.loadable())
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	return p.run(ctx, in)
}

// toleranceEnds says where a relative tolerance ends, and how it grows.
type toleranceEnds struct {
	finiteOnly, steep bool
	cumSum            float64 // more a source position
}

// relativeTolerance is what the short runs allow both engines together, over the largest output.
func (r *modelRun) relativeTolerance() (relative float64, ends toleranceEnds, err error) {
	for _, e := range []Engine{Kernel, Portable} {
		most := 0.0
		for _, c := range r.cases {
			stages, n, err := r.noise(r.truth, e, c)
			if err != nil {
				return 0, ends, err
			}
			last := stages[len(stages)-1]
			ends.finiteOnly = ends.finiteOnly || last.finiteOnly && e == Portable
			ends.steep = ends.steep || last.steep
			ends.cumSum = max(ends.cumSum, n.cumSum*math.Sqrt(float64(len(r.truth.stored.Blocks))))
			if largest := largestFinite(last.value.Data); largest > 0 {
				most = max(most, largestFinite(last.limit().tolerance)/largest)
			}
		}
		relative += most
	}
	return relative, ends, nil
}
