package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// modelCase is one set of inputs.
type modelCase struct {
	id     string
	inputs map[string]*tensor.Tensor
	grid   [2]int
	chunk  int // of a stateful model: the tokens of a chunk; 0: all
}

// reference is what a reference model runs on: where there is one, its input is there (checkEdges).
func (c *modelCase) reference(m *reference.Model) reference.Inputs {
	in := reference.Inputs{X: c.inputs[wiring.InputName(m)].Array(), Grid: c.grid}
	if mask := c.inputs[wiring.MaskInput]; mask != nil {
		in.Mask = mask.Array()
	}
	return in
}

// finite reports whether every number of the inputs is finite.
func (c *modelCase) finite() bool {
	for _, t := range c.inputs {
		if slices.ContainsFunc(t.Float64s(), isUndefined) {
			return false
		}
	}
	return true
}

// The cost of a comparison on one core: the reference takes about 22 ns a pair of positions and channel, and about 1 ns a
// weight and position; the tolerance of every engine takes as much again and more.
const (
	nanosecondsPerPair   = 22
	nanosecondsPerWeight = 1
	referenceRuns        = 10
	secondsAllowed       = 4
	longestChecked       = 64
	shortestChecked      = 8
)

// cases are the inputs that a model is compared on: the given ones, or seeded ones of the chosen size and, when the size
// was left open, of a single position.
func (o *Options) cases(ctx context.Context, s *subject) ([]*modelCase, error) {
	open := o.Batch == 0 && o.Sequence == 0 && o.Grid == [2]int{} && len(o.Inputs) == 0
	first := InputSizes{Batch: o.Batch, Sequence: o.Sequence, Grid: o.Grid}
	if o.Sequence == 0 && s.stored != nil && o.Grid == [2]int{} {
		var err error
		if first, err = o.affordable(s.stored); err != nil {
			return nil, err
		}
	}
	single := InputSizes{Batch: 1, Sequence: 1, Grid: [2]int{1, 1}}
	if open && s.stored == nil {
		first = o.probe(ctx, s)
		open = o.runs(ctx, s, single)
	}
	sizes := []InputSizes{first}
	if m := s.stored; m != nil && m.Patches != nil && !m.Patches.Positions.Empty() {
		open = false // a single position is not to be had
	}
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
	if Stateful(s.graph.Proto()) {
		for name := range o.Inputs {
			if name != wiring.TokenInput {
				return nil, &InputError{fmt.Errorf("input %q: a stateful model is verified from its sequences' start, want %q alone",
					name, wiring.TokenInput)}
			}
		}
		cases = chunked(cases)
	}
	return cases, nil
}

// newCase makes the inputs of one size.
func (o *Options) newCase(s *subject, size InputSizes, number uint64) (*modelCase, error) {
	size.Padded, size.Ranges = true, o.Ranges
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
		if _, isState := wiring.IsState(v.Name); isState || Stateful(s.graph.Proto()) && v.Name == wiring.PositionInput {
			continue
		}
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

// affordable is the largest batch and the longest sequence, at most 2 and 64 and what the biases reach, that can be compared
// in a few seconds. A batch of 2 shows more than a sequence longer than 16 does.
func (o *Options) affordable(m *reference.Model) (InputSizes, error) {
	size := InputSizes{Batch: o.Batch}
	longest := longestChecked
	if n := m.MaxLen(); n > 0 {
		longest = min(longest, n)
	}
	if l, err := fixedGrid(m); err != nil || l > 0 {
		size.Sequence = l
		return size, err
	}
	if m.Patches != nil && m.Patches.Positions.Empty() {
		size.Grid = affordableGrid(m)
		return size, nil
	}
	if m.Patches != nil { // of one size
		if n := m.Patches.Positions.Shape()[0]; size.Batch == 0 && seconds(m, defaultBatch, n) > secondsAllowed {
			size.Batch = 1
		}
		return size, nil
	}
	least := min(2*shortestChecked, longest)
	for _, size.Batch = range []int{max(o.Batch, defaultBatch), max(o.Batch, 1)} {
		for size.Sequence = longest; size.Sequence > least; size.Sequence-- {
			if seconds(m, size.Batch, size.Sequence) <= secondsAllowed {
				break
			}
		}
		if seconds(m, size.Batch, size.Sequence) <= secondsAllowed {
			break
		}
		least = min(shortestChecked, longest)
	}
	if m.NeedsGrid() {
		size.Grid = divide(size.Sequence)
	}
	return size, nil
}

// seconds is what comparing a model on a batch of sequences takes.
func seconds(m *reference.Model, batch, sequence int) float64 {
	channels, weights := 0, 0
	for i := range m.Blocks {
		b := &m.Blocks[i]
		channels += b.Hidden()
		weights += b.Q.Weight.Len() + b.K.Weight.Len() + b.V.Weight.Len()
		if b.Out != nil {
			weights += b.Out.Weight.Len()
		}
		if b.MLP != nil {
			weights += b.MLP.Up.Weight.Len() + b.MLP.Down.Weight.Len()
		}
	}
	if m.Head != nil {
		weights += m.Head.Weight.Len()
	}
	perPosition := float64(sequence*channels*nanosecondsPerPair + weights*nanosecondsPerWeight)
	return float64(batch*sequence) * referenceRuns * perPosition * 1e-9
}

// affordableGrid is how many rows and columns of patches an image should have: borders all around and something between.
func affordableGrid(m *reference.Model) [2]int {
	grid := defaultGrid()
	for grid[1] > 2 && seconds(m, defaultBatch, grid[0]*grid[1]) > secondsAllowed {
		grid = [2]int{2, grid[1] - 1}
	}
	return grid
}

// fixedGrid is the number of positions that a layer's own grid leaves no choice about, 0 when there is none.
func fixedGrid(m *reference.Model) (int, error) {
	for i := range m.Blocks {
		if g := m.Blocks[i].Grid; g != [2]int{} && m.Patches == nil {
			return places(g)
		}
	}
	return 0, nil
}
