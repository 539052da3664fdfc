package reference

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// operator is how Call reaches one operator: the attributes it must be given (with how many values), its inputs and outputs.
type operator struct {
	attrs  map[string]int
	inputs int
	run    func(o Options, attrs map[string][]int64, in []Array) ([]Array, error)
}

// whole makes an operator over whole sequences: it has the attribute "causal", and Y alone.
func whole(inputs int, attrs map[string]int, run func(o Options, attrs map[string][]int64, in []Array) (Array, error)) operator {
	all := map[string]int{"causal": 1, "gate": 1}
	maps.Copy(all, attrs)
	return operator{all, inputs, func(o Options, attrs map[string][]int64, in []Array) ([]Array, error) {
		y, err := run(o, attrs, in)
		return []Array{y}, err
	}}
}

func operators() map[string]operator {
	return map[string]operator{
		"AFTFull": whole(4, nil, func(o Options, _ map[string][]int64, in []Array) (Array, error) {
			return AFTFull(in[0], in[1], in[2], in[3], o)
		}),
		"AFTSimple": whole(3, nil, func(o Options, _ map[string][]int64, in []Array) (Array, error) {
			return AFTSimple(in[0], in[1], in[2], o)
		}),
		"AFTLocal": whole(4, map[string]int{"window": 1}, func(o Options, attrs map[string][]int64, in []Array) (Array, error) {
			return AFTLocal(in[0], in[1], in[2], in[3], LocalOptions{o, clamp(attrs["window"][0])})
		}),
		"AFTConv1D": whole(4, map[string]int{"pad_left": 1}, func(o Options, attrs map[string][]int64, in []Array) (Array, error) {
			return AFTConv1D(in[0], in[1], in[2], in[3], Conv1DOptions{o, clamp(attrs["pad_left"][0])})
		}),
		"AFTConv2D":     whole(5, map[string]int{"pads": 2}, callConv2D),
		"AFTFullStep":   step("AFTFullStep", false, true),
		"AFTSimpleStep": step("AFTSimpleStep", true, false),
		"AFTLocalStep":  step("AFTLocalStep", true, true),
		"AFTConv1DStep": step("AFTConv1DStep", true, true),
	}
}

// step makes a step form: Q, K, V, W where there is one, the parts of the state that it has, position and length; Y and the
// same parts of the state come out.
func step(op string, sums, tokens bool) operator {
	bias := tokens // the tokens are kept for their biases
	inputs := 5
	for _, has := range []struct {
		part bool
		n    int
	}{{bias, 1}, {sums, 3}, {tokens, 2}} {
		if has.part {
			inputs += has.n
		}
	}
	return operator{map[string]int{"gate": 1}, inputs, func(o Options, _ map[string][]int64, in []Array) ([]Array, error) {
		q, k, v, rest := in[0], in[1], in[2], in[3:]
		next := func() Array {
			a := rest[0]
			rest = rest[1:]
			return a
		}
		var w Array
		var past State
		if bias {
			w = next()
		}
		if sums {
			past.M, past.N, past.D = next(), next(), next()
		}
		if tokens {
			past.Keys, past.Values = next(), next()
		}
		at, err := chunkOf(op, next(), next())
		if err != nil {
			return nil, err
		}
		y, past, err := runStep(op, q, k, v, w, past, at, o.Gate)
		out := []Array{y}
		if sums {
			out = append(out, past.M, past.N, past.D)
		}
		if tokens {
			out = append(out, past.Keys, past.Values)
		}
		return out, err
	}}
}

func runStep(op string, q, k, v, w Array, past State, at Chunk, g Gate) (Array, State, error) {
	switch op {
	case "AFTSimpleStep":
		return AFTSimpleStep(q, k, v, past, at, g)
	case "AFTLocalStep":
		return AFTLocalStep(q, k, v, w, past, at, g)
	case "AFTConv1DStep":
		return AFTConv1DStep(q, k, v, w, past, at, g)
	default:
		return AFTFullStep(q, k, v, w, past, at, g)
	}
}

func chunkOf(op string, position, length Array) (Chunk, error) {
	p, err := integers(op, "position", position)
	if err != nil {
		return Chunk{}, err
	}
	n, err := integers(op, "length", length)
	return Chunk{Position: p, Length: n}, err
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

// Call runs an operator by its ONNX name, attributes and inputs in the order of its ONNX declaration, and returns its outputs
// in that order, Y first; int64 inputs come as Arrays. Every attribute must be there, and no other.
func Call(op string, attrs map[string][]int64, inputs []Array) ([]Array, error) {
	operator, ok := operators()[op]
	if !ok {
		known := slices.Sorted(maps.Keys(operators()))
		return nil, fmt.Errorf("operator %q: unknown, want %s", op, strings.Join(known, ", "))
	}
	if err := operator.checkAttrs(attrs); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if len(inputs) != operator.inputs {
		return nil, fmt.Errorf("%s: has %d inputs, want %d", op, len(inputs), operator.inputs)
	}
	causal := int64(0)
	if v, ok := attrs["causal"]; ok {
		causal = v[0]
	}
	if causal != 0 && causal != 1 {
		return nil, fmt.Errorf("%s: attribute \"causal\": is %d, want 0 or 1", op, causal)
	}
	return operator.run(Options{Causal: causal == 1, Gate: Gate(clamp(attrs["gate"][0]))}, attrs, inputs)
}

func (o operator) checkAttrs(attrs map[string][]int64) error {
	for name := range attrs {
		if _, ok := o.attrs[name]; !ok {
			return fmt.Errorf("attribute %q: unknown", name)
		}
	}
	for name, n := range o.attrs {
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
