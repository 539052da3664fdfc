package reference

import (
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// operator is how Call reaches one operator: the attributes it must be given (with how many values) and its inputs.
type operator struct {
	attrs  map[string]int
	inputs int
	run    func(o Options, attrs map[string][]int64, in []Array) (Array, error)
}

func operators() map[string]operator {
	return map[string]operator{
		"AFTFull": {nil, 4, func(o Options, _ map[string][]int64, in []Array) (Array, error) {
			return AFTFull(in[0], in[1], in[2], in[3], o)
		}},
		"AFTSimple": {nil, 3, func(o Options, _ map[string][]int64, in []Array) (Array, error) {
			return AFTSimple(in[0], in[1], in[2], o)
		}},
		"AFTLocal": {map[string]int{"window": 1}, 4, func(o Options, attrs map[string][]int64, in []Array) (Array, error) {
			return AFTLocal(in[0], in[1], in[2], in[3], LocalOptions{o, clamp(attrs["window"][0])})
		}},
		"AFTConv1D": {map[string]int{"pad_left": 1}, 4, func(o Options, attrs map[string][]int64, in []Array) (Array, error) {
			return AFTConv1D(in[0], in[1], in[2], in[3], Conv1DOptions{o, clamp(attrs["pad_left"][0])})
		}},
		"AFTConv2D": {map[string]int{"pads": 2}, 5, callConv2D},
	}
}

func callConv2D(o Options, attrs map[string][]int64, in []Array) (Array, error) {
	grid := in[4]
	if !slices.Equal(grid.Shape, []int{2}) || len(grid.Data) != 2 {
		return Array{}, fmt.Errorf("AFTConv2D: input \"grid\": has shape %s, want (2)", tensor.FormatShape(grid.Shape))
	}
	two := Conv2DOptions{Options: o}
	for i, v := range grid.Data {
		if v != math.Trunc(v) || math.Abs(v) > math.MaxInt32 {
			return Array{}, fmt.Errorf("AFTConv2D: input \"grid\": holds %v, want whole numbers (h, w)", v)
		}
		two.Grid[i], two.Pads[i] = int(v), clamp(attrs["pads"][i])
	}
	return AFTConv2D(in[0], in[1], in[2], in[3], two)
}

// clamp makes an int of an attribute; what it cuts off is far outside every allowed range.
func clamp(v int64) int { return int(max(math.MinInt32, min(v, math.MaxInt32))) }

// Call runs an operator by its ONNX name, attributes and inputs in the order of its ONNX declaration; the input "grid" of
// AFTConv2D comes as an Array of shape (2). Every attribute must be there, and no other.
func Call(op string, attrs map[string][]int64, inputs []Array) (Array, error) {
	operator, ok := operators()[op]
	if !ok {
		return Array{}, fmt.Errorf("operator %q: unknown, want AFTFull, AFTSimple, AFTLocal, AFTConv1D or AFTConv2D", op)
	}
	if err := operator.checkAttrs(attrs); err != nil {
		return Array{}, fmt.Errorf("%s: %w", op, err)
	}
	if len(inputs) != operator.inputs {
		return Array{}, fmt.Errorf("%s: has %d inputs, want %d", op, len(inputs), operator.inputs)
	}
	causal := attrs["causal"][0]
	if causal != 0 && causal != 1 {
		return Array{}, fmt.Errorf("%s: attribute \"causal\": is %d, want 0 or 1", op, causal)
	}
	return operator.run(Options{Causal: causal == 1, Gate: Gate(clamp(attrs["gate"][0]))}, attrs, inputs)
}

func (o operator) checkAttrs(attrs map[string][]int64) error {
	want := map[string]int{"causal": 1, "gate": 1}
	for name, n := range o.attrs {
		want[name] = n
	}
	for name := range attrs {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("attribute %q: unknown", name)
		}
	}
	for name, n := range want {
		v, ok := attrs[name]
		if !ok {
			return fmt.Errorf("attribute %q: missing", name)
		}
		if len(v) != n {
			return fmt.Errorf("attribute %q: has %d values, want %d", name, len(v), n)
		}
	}
	return nil
}
