package ops

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultAttrs(t *testing.T) {
	x := []int{2, 6, 4}
	for _, c := range []struct {
		name, op string
		w        []int
		given    Attrs
		want     Attrs
	}{
		{"nothing given", "AFTFull", []int{6, 6}, nil, Attrs{"causal": {0}, "gate": {0}}},
		{"given", "AFTSimple", nil, Attrs{"causal": {1}, "gate": {2}}, Attrs{"causal": {1}, "gate": {2}}},
		{"band", "AFTLocal", []int{6, 5}, nil, Attrs{"causal": {0}, "gate": {0}, "window": {3}}},
		{"causal band", "AFTLocal", []int{6, 5}, Attrs{"causal": {1}}, Attrs{"causal": {1}, "gate": {0}, "window": {5}}},
		{"band with a window", "AFTLocal", []int{6, 5}, Attrs{"window": {4}}, Attrs{"causal": {0}, "gate": {0}, "window": {4}}},
		{"band of no shape", "AFTLocal", nil, nil, Attrs{"causal": {0}, "gate": {0}, "window": {1}}},
		{"odd taps", "AFTConv1D", []int{2, 5}, nil, Attrs{"causal": {0}, "gate": {0}, "pad_left": {2}}},
		{"even taps", "AFTConv1D", []int{2, 4}, nil, Attrs{"causal": {0}, "gate": {0}, "pad_left": {1}}},
		{"causal taps", "AFTConv1D", []int{2, 4}, Attrs{"causal": {1}}, Attrs{"causal": {1}, "gate": {0}, "pad_left": {3}}},
		{"kernel", "AFTConv2D", []int{2, 3, 4}, nil, Attrs{"causal": {0}, "gate": {0}, "pads": {1, 2}}},
		{"causal kernel", "AFTConv2D", []int{2, 5, 3}, Attrs{"causal": {1}}, Attrs{"causal": {1}, "gate": {0}, "pads": {2, 1}}},
		{"unknown is kept for Check", "AFTFull", []int{6, 6}, Attrs{"window": {3}},
			Attrs{"causal": {0}, "gate": {0}, "window": {3}}},
	} {
		t.Run(c.op+" "+c.name, func(t *testing.T) {
			d, _ := Lookup(c.op)
			shapes := [][]int{x, x, x}
			if c.w != nil {
				shapes = append(shapes, c.w)
			}
			if diff := cmp.Diff(c.want, d.DefaultAttrs(shapes, c.given)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDefaultAttrs_copies: a caller may change what it gets.
func TestDefaultAttrs_copies(t *testing.T) {
	given := Attrs{"gate": {1}}
	got := aftSimple().DefaultAttrs(nil, given)
	got["gate"][0] = 2
	if given["gate"][0] != 1 {
		t.Error("the given attributes changed with the result")
	}
}
