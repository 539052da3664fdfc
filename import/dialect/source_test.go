package dialect_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// source is a file in memory.
type source struct {
	names   []string
	tensors map[string]*tensor.Tensor
}

func (s *source) Names() []string { return s.names }

func (s *source) Tensor(name string) (*tensor.Tensor, error) {
	if t, ok := s.tensors[name]; ok {
		return t, nil
	}
	return nil, fmt.Errorf("no tensor %q", name)
}

func (s *source) Weight(name string) (tensor.Weight, error) {
	t, err := s.Tensor(name)
	if err != nil {
		return tensor.Weight{}, err
	}
	return tensor.Typed(t), nil
}

func (s *source) put(name string, t *tensor.Tensor) {
	s.names = append(s.names, name)
	s.tensors[name] = t
}

// file makes a source of lines "name dim dim ... [dtype]"; the values are small and all different.
func file(t *testing.T, lines ...string) *source {
	t.Helper()
	s := &source{tensors: map[string]*tensor.Tensor{}}
	for _, line := range lines {
		fields := strings.Fields(line)
		dtype, shape := tensor.Float32, []int{}
		for _, f := range fields[1:] {
			if d, ok := tensor.ParseDType(f); ok {
				dtype = d
				continue
			}
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			shape = append(shape, n)
		}
		n, err := tensor.NumElements(shape)
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(len(s.names)) + float64(i)/64
		}
		x, err := tensor.FromFloat64s(dtype, shape, values)
		if err != nil {
			t.Fatal(err)
		}
		s.put(strings.ReplaceAll(fields[0], "_empty_", ""), x)
	}
	return s
}

// prefixed puts the same text before every line.
func prefixed(prefix string, lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = prefix + l
	}
	return out
}

func concat(parts ...[]string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// linears are four or three projections without biases; each argument is "name out in".
func linears(each ...string) []string {
	out := make([]string, len(each))
	for i, l := range each {
		name, shape, _ := strings.Cut(l, " ")
		out[i] = name + ".weight " + shape
	}
	return out
}

// The layers the tests are about, with dim 6 and, where the implementation allows it, a hidden width of 8.
func rish(extra ...string) []string {
	return concat(extra, linears("to_q 8 6", "to_k 8 6", "to_v 8 6", "project 6 8"))
}

func labml(extra ...string) []string {
	return concat(extra, linears("query 6 6", "key 6 6", "value 6 6", "output 6 6"))
}

func xmu(extra ...string) []string {
	return concat(extra, linears("fc_q 6 6", "fc_k 6 6", "fc_v 6 6"))
}

func comvex(extra ...string) []string {
	return concat(extra, linears("Q 8 6", "K 8 6", "V 8 6", "out_linear 6 8"))
}

func su(keys int, extra ...string) []string {
	return concat(extra, linears("to_q 6 6", fmt.Sprintf("to_k %d 6", keys), "to_v 6 6", "out_proj 6 6"))
}

func nid(keys int, extra ...string) []string {
	return concat(extra, linears("W_q 6 6", fmt.Sprintf("W_k %d 6", keys), "W_v 6 6", "out_proj 6 6"))
}

func own(keys int, extra ...string) []string {
	return concat(extra, linears("q 6 6", fmt.Sprintf("k %d 6", keys), "v 6 6", "out 6 6"))
}
