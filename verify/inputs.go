package verify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// InputSizes say how large seeded inputs are: what a model's dynamic dimensions become. Zero leaves the choice.
type InputSizes struct {
	Batch, Sequence int
	Grid            [2]int
	Padded          bool // attention_mask is that of a batch whose last sequence is a quarter padding, not ones
	Ranges          []Range
}

// The sizes of dynamic dimensions that nothing else decides.
const (
	defaultBatch    = 2
	defaultSequence = 16
	defaultSize     = 8
)

// SeededInputs completes given to all inputs of a model: floating-point ones from the normal distribution, "grid" from
// the sizes, tokens from the rows of the table that they choose from, masks of ones unless the sizes say Padded, other
// integers from 0 to 9. Dynamic dimensions of one name agree, with those of given inputs first. The same seed gives the same
// values. It returns the names of the inputs that it made.
//
// Errors: an input that is not given has no declared shape; the sizes, which come from the model and the command line, ask
// for more than 2^28 elements (*InputError).
func SeededInputs(m *onnxgraph.Model, given map[string]*tensor.Tensor, sizes InputSizes, seed uint64) (
	all map[string]*tensor.Tensor, made []string, err error) {
	s := &inputShapes{model: m, sizes: sizes, bound: map[string]int{}}
	all = map[string]*tensor.Tensor{}
	for _, v := range m.Inputs() {
		if t, ok := given[v.Name]; ok {
			all[v.Name] = t
			if err := s.bind(v, t); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := s.settle(); err != nil {
		return nil, nil, err
	}
	for i, v := range m.Inputs() {
		if all[v.Name] != nil {
			continue
		}
		shape, err := s.shape(v)
		if err != nil {
			return nil, nil, err
		}
		if err := s.spend(v.Name, shape); err != nil {
			return nil, nil, err
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		if all[v.Name], err = s.value(v, shape, rng); err != nil {
			return nil, nil, fmt.Errorf("input %q: %w", v.Name, err)
		}
		made = append(made, v.Name)
	}
	return all, made, nil
}

// inputShapes decides the sizes of dynamic dimensions.
type inputShapes struct {
	model *onnxgraph.Model
	sizes InputSizes
	bound map[string]int // by the dimension's name
	grid  [2]int
	spent int // elements of the inputs made so far
}

// maxElements is how many elements all inputs that are made may have together.
const maxElements = 1 << 28

// spend takes the elements of an input from what all may have.
func (s *inputShapes) spend(name string, shape []int) error {
	n, err := elements(name, shape, maxElements-s.spent)
	s.spent += n
	return err
}

// elements is the product of a shape that is at most allowed.
func elements(name string, shape []int, allowed int) (int, error) {
	n, err := tensor.NumElements(shape)
	if err == nil && n > allowed {
		err = fmt.Errorf("shape %s: %d elements, want at most %d", tensor.FormatShape(shape), n, allowed)
	}
	if err != nil {
		return 0, &InputError{fmt.Errorf("input %q: %w", name, err)}
	}
	return n, nil
}

// places is the number of places of a grid.
func places(grid [2]int) (int, error) { return elements("grid", grid[:], maxElements) }

func (s *inputShapes) bind(v onnxgraph.Value, t *tensor.Tensor) (err error) {
	if v.Name == "grid" && t.DType == tensor.Int64 && t.Len() == 2 {
		hw, _ := t.Int64s()
		s.grid = [2]int{int(hw[0]), int(hw[1])}
		if s.sizes.Sequence, err = places(s.grid); err != nil {
			return err
		}
	}
	if len(t.Shape) != len(v.Dims) {
		return nil // the engine will say so
	}
	for axis, d := range v.Dims {
		if d.Size < 0 && d.Name != "" {
			s.bound[d.Name] = t.Shape[axis]
		}
	}
	return nil
}

// settle chooses what the sizes leave open. A model with a grid has as many positions as the grid has places, and a
// model with position biases at most as many as those reach.
func (s *inputShapes) settle() (err error) {
	m := s.model
	if n, ok := s.bound["sequence"]; ok {
		s.sizes.Sequence = n
	}
	if s.sizes.Batch == 0 {
		s.sizes.Batch = defaultBatch
	}
	if patch := patchSize(m); patch > 0 {
		s.settleImage(patch)
		return nil
	}
	takesGrid := slices.ContainsFunc(m.Inputs(), func(v onnxgraph.Value) bool { return v.Name == "grid" })
	if !takesGrid {
		if s.sizes.Sequence == 0 {
			s.sizes.Sequence = defaultSequence
			if longest := LongestSequence(m); longest > 0 {
				s.sizes.Sequence = min(defaultSequence, longest)
			}
		}
		return nil
	}
	if s.grid == [2]int{} {
		s.grid = s.sizes.Grid
	}
	if s.grid == [2]int{} && s.sizes.Sequence == 0 {
		s.grid = defaultGrid()
	}
	if s.grid == [2]int{} {
		s.grid = divide(s.sizes.Sequence)
	}
	s.sizes.Sequence, err = places(s.grid)
	return err
}

// settleImage makes images of the patches that the grid asks for.
func (s *inputShapes) settleImage(patch int) {
	grid := s.sizes.Grid
	if grid == [2]int{} {
		grid = defaultGrid()
	}
	for axis, name := range []string{"height", "width"} {
		if _, ok := s.bound[name]; !ok {
			s.bound[name] = grid[axis] * patch
		}
	}
}

// defaultGrid has places on every border, some that are on none, and another width than height.
func defaultGrid() [2]int { return [2]int{3, 5} }

// divide is the most square grid of n places; of more than any input may have it does not look for one.
func divide(n int) [2]int {
	if n > maxElements {
		return [2]int{1, n}
	}
	for h := int(math.Sqrt(float64(n))); h > 1; h-- {
		if n%h == 0 {
			return [2]int{h, n / h}
		}
	}
	return [2]int{1, n}
}

func (s *inputShapes) shape(v onnxgraph.Value) ([]int, error) {
	if v.Dims == nil {
		return nil, fmt.Errorf("input %q: the model states no shape, give the input", v.Name)
	}
	shape := make([]int, len(v.Dims))
	for axis, d := range v.Dims {
		shape[axis] = s.size(axis, d)
	}
	return shape, nil
}

func (s *inputShapes) size(axis int, d onnxgraph.Dim) int {
	if d.Size >= 0 {
		return d.Size
	}
	if n, ok := s.bound[d.Name]; ok && d.Name != "" {
		return n
	}
	n := defaultSize
	switch {
	case d.Name == "batch", d.Name == "" && axis == 0, d.Name == "B", d.Name == "N":
		n = s.sizes.Batch
	case d.Name == "sequence", d.Name == "capacity", d.Name == "" && axis == 1, d.Name == "T", d.Name == "S":
		n = s.sizes.Sequence
	}
	if d.Name != "" {
		s.bound[d.Name] = n
	}
	return n
}

func (s *inputShapes) value(v onnxgraph.Value, shape []int, rng *rand.Rand) (*tensor.Tensor, error) {
	if v.Name == "grid" && v.DType == tensor.Int64 && tensor.SameShape(shape, []int{2}) {
		return tensor.FromInt64s(shape, []int64{int64(s.grid[0]), int64(s.grid[1])})
	}
	n, err := tensor.NumElements(shape)
	if err != nil {
		return nil, err
	}
	values := make([]float64, n)
	below := vocabulary(s.model, v.Name)
	_, isState := wiring.IsState(v.Name)
	stateful := Stateful(s.model.Proto())
	from, ranged := s.sizes.drawn(v.Name)
	for i := range values {
		switch {
		case stateful && (v.Name == wiring.PositionInput || isState):
			// position 0 starts a sequence, whatever the state holds
		case v.Name == wiring.MaskInput || v.DType == tensor.Bool:
			values[i] = 1
		case ranged:
			values[i] = from.draw(rng, v.DType)
		case v.DType.IsFloat():
			values[i] = rng.NormFloat64()
		default:
			values[i] = float64(rng.IntN(below))
		}
	}
	if s.sizes.Padded && v.Name == wiring.MaskInput && len(shape) == 2 && shape[1] > 1 && n > 0 {
		clear(values[n-(shape[1]+3)/4:])
	}
	return tensor.FromFloat64s(v.DType, shape, values)
}

// vocabulary is how many values an input of integers may have: the rows of the tables that it chooses from, else 10. Our own
// models choose with what a Where lets through of it.
func vocabulary(m *onnxgraph.Model, input string) int {
	weights := initializers(m)
	rows := 0
	choosers := []string{input}
	for _, n := range m.Proto().GetGraph().GetNode() {
		if n.GetOpType() == "Where" && len(n.GetInput()) == 3 && slices.Contains(n.GetInput()[1:], input) {
			choosers = append(choosers, n.GetOutput()...)
		}
		if n.GetOpType() != "Gather" || len(n.GetInput()) != 2 || !slices.Contains(choosers, n.GetInput()[1]) {
			continue
		}
		dims := weights[n.GetInput()[0]]
		if len(dims) == 2 && dims[0] > 0 && dims[0] < maxElements && (rows == 0 || int(dims[0]) < rows) {
			rows = int(dims[0])
		}
	}
	if rows == 0 {
		return 10
	}
	return rows
}

// initializers gives the dimensions of a model's initialisers by name.
func initializers(m *onnxgraph.Model) map[string][]int64 {
	weights := map[string][]int64{}
	for _, t := range m.Proto().GetGraph().GetInitializer() {
		weights[t.GetName()] = t.GetDims()
	}
	return weights
}

// patchSize is the side of the patches that an image model of ours cuts images of any size into, else 0.
func patchSize(m *onnxgraph.Model) int {
	takesImages := slices.ContainsFunc(m.Inputs(), func(v onnxgraph.Value) bool { return v.Name == wiring.ImageInput })
	dims := initializers(m)["patch.weight"]
	if !takesImages || len(dims) != 4 || dims[3] < 1 || dims[3] > math.MaxInt16 {
		return 0
	}
	return int(dims[3])
}

// LongestSequence is how many positions the biases of a model's AFT layers reach, 0 when nothing limits them.
func LongestSequence(m *onnxgraph.Model) int {
	weights := initializers(m)
	longest := 0
	if dims := weights["positions.weight"]; len(dims) == 2 && dims[0] < maxElements {
		longest = int(dims[0])
	}
	for name, op := range biasNames(m.Proto()) {
		dims := weights[name]
		if len(dims) != 2 || op != "AFTFull" && op != "AFTLocal" {
			continue
		}
		reach := int(dims[0])
		if op == "AFTFull" {
			reach = int(min(dims[0], dims[1]))
		}
		if longest == 0 || reach < longest {
			longest = reach
		}
	}
	return longest
}

// biasNames lists the position biases of a model by operator. A flattened export has no AFT nodes, but its metadata lists
// the layers' variants.
func biasNames(m *onnxpb.ModelProto) map[string]string {
	names := map[string]string{}
	for _, n := range m.GetGraph().GetNode() {
		if n.GetDomain() == ops.Domain && len(n.GetInput()) > 3 {
			names[n.GetInput()[3]] = strings.TrimSuffix(n.GetOpType(), "Step")
		}
	}
	for _, p := range m.GetMetadataProps() {
		if p.GetKey() != "io.aftonnx.variant" || len(names) > 0 {
			continue
		}
		for i, v := range strings.Split(p.GetValue(), ",") {
			names[fmt.Sprintf("layers.%d.w", i)] = reference.Variant(v).Op()
		}
	}
	return names
}
