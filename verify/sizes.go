package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// modelCase is one set of inputs.
type modelCase struct {
	id     string
	inputs map[string]*tensor.Tensor
	grid   [2]int
}

// x is the input of a stack of layers: where there is one, there is an input x (checkEdges).
func (c *modelCase) x() tensor.Array { return c.inputs["x"].Array() }

// finite reports whether every number of the inputs is finite.
func (c *modelCase) finite() bool {
	for _, t := range c.inputs {
		if slices.ContainsFunc(t.Float64s(), isUndefined) {
			return false
		}
	}
	return true
}

// The cost of a comparison: the reference takes about 22 ns a pair of positions and channel, the noise some runs more.
const (
	nanosecondsPerPair = 22
	referenceRuns      = 10
	secondsAllowed     = 2
	longestChecked     = 64
)

// cases are the inputs that a model is compared on: the given ones, or seeded ones of the chosen size and, when the size
// was left open, of a single position.
func (o *Options) cases(ctx context.Context, s *subject) ([]*modelCase, error) {
	open := o.Batch == 0 && o.Sequence == 0 && o.Grid == [2]int{} && len(o.Inputs) == 0
	first := InputSizes{Batch: o.Batch, Sequence: o.Sequence, Grid: o.Grid}
	if o.Sequence == 0 && s.stored != nil && o.Grid == [2]int{} {
		var err error
		if first.Sequence, err = affordable(s.stored); err != nil {
			return nil, err
		}
		if s.stored.NeedsGrid() {
			first.Grid = divide(first.Sequence)
		}
	}
	single := InputSizes{Batch: 1, Sequence: 1, Grid: [2]int{1, 1}}
	if open && s.stored == nil {
		first = o.probe(ctx, s)
		open = o.runs(ctx, s, single)
	}
	sizes := []InputSizes{first}
	if open {
		sizes = append(sizes, single)
	}
	var cases []*modelCase
	for i, size := range sizes {
		c, err := o.newCase(s, size, uint64(i))
		if err != nil {
			return nil, err
		}
		if i == 0 || c.id != cases[0].id {
			cases = append(cases, c)
		}
	}
	return cases, nil
}

// newCase makes the inputs of one size.
func (o *Options) newCase(s *subject, size InputSizes, number uint64) (*modelCase, error) {
	in, made, err := SeededInputs(s.graph, o.Inputs, size, o.Seed+number)
	if err != nil {
		return nil, err
	}
	c := &modelCase{id: describeInputs(s, in, made), inputs: in}
	if g := in["grid"]; g != nil && g.DType == tensor.Int64 && g.Len() == 2 {
		hw, err := g.Int64s()
		if err != nil {
			return nil, err
		}
		c.grid = [2]int{int(hw[0]), int(hw[1])}
	}
	return c, nil
}

// probe finds a size that somebody else's graph takes: dynamic axes may hide limits that only a run shows.
func (o *Options) probe(ctx context.Context, s *subject) InputSizes {
	for t := defaultSequence; t > 0; t-- {
		if size := (InputSizes{Sequence: t}); o.runs(ctx, s, size) {
			return size
		}
	}
	return InputSizes{} // whose failure says why
}

func (o *Options) runs(ctx context.Context, s *subject, size InputSizes) bool {
	c, err := o.newCase(s, size, 0)
	if err != nil {
		return false
	}
	_, err = s.graph.Run(ctx, c.inputs, onnxgraph.RunOptions{})
	return err == nil
}

func describeInputs(s *subject, in map[string]*tensor.Tensor, made []string) string {
	text := ""
	for _, v := range s.graph.Inputs() {
		if text != "" {
			text += ", "
		}
		text += v.Name + " " + tensor.FormatShape(in[v.Name].Shape)
		if v.Name == "grid" {
			hw, _ := in[v.Name].Int64s()
			text = fmt.Sprintf("%s = %v", text, hw)
		}
	}
	if len(made) < len(in) {
		text += " (given)"
	}
	return text
}

// affordable is the longest sequence, at most 64 and what the biases reach, that can be compared in about two seconds.
func affordable(m *reference.Model) (int, error) {
	longest := longestChecked
	if n := m.MaxLen(); n > 0 {
		longest = min(longest, n)
	}
	if l, err := fixedGrid(m); err != nil || l > 0 {
		return l, err
	}
	channels := 0
	for i := range m.Layers {
		channels += m.Layers[i].Hidden()
	}
	for t := longest; t > 4; t-- {
		if seconds := float64(t*t*channels*defaultBatch*referenceRuns*nanosecondsPerPair) * 1e-9; seconds <= secondsAllowed {
			return t, nil
		}
	}
	return min(longest, 4), nil
}

// fixedGrid is the number of positions that a layer's own grid leaves no choice about, 0 when there is none.
func fixedGrid(m *reference.Model) (int, error) {
	for i := range m.Layers {
		if g := m.Layers[i].Grid; g != [2]int{} {
			return places(g)
		}
	}
	return 0, nil
}
