package verify

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// float16 has 11 significant bits and 2^-24 as its smallest number (IEEE 754-2008, table 3.5).
func TestHalfUnit16(t *testing.T) {
	for _, test := range []struct{ y, want float64 }{
		{0, 0x1p-25}, {0x1p-24, 0x1p-25}, {0x1p-14, 0x1p-25}, {0x1p-13, 0x1p-24},
		{1, 0x1p-11}, {1.999, 0x1p-11}, {2, 0x1p-10}, {65504, 16},
	} {
		if got := halfUnit16(test.y); got != test.want {
			t.Errorf("halfUnit16(%v) = %v, want %v", test.y, got, test.want)
		}
	}
}

func TestExcess(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct{ got, want, tolerance, excess float64 }{
		{1, 1, 0, 0}, {nan, nan, 0, 0}, {inf, inf, 0, 0}, {0, math.Copysign(0, -1), 0, 0},
		{1.5, 1, 1, 0.5}, {1, 1.5, 0.25, 2}, {1, 2, 0, inf},
		{nan, 1, 1e9, inf}, {1, nan, 1e9, inf}, {inf, 1, 1e9, inf}, {inf, -inf, 1e9, inf},
	} {
		if got := excess(test.got, test.want, test.tolerance); got != test.excess {
			t.Errorf("excess(%v, %v, %v) = %v, want %v", test.got, test.want, test.tolerance, got, test.excess)
		}
	}
}

// usedBias must list what a walk over all pairs by the definitions of the operators finds.
func TestUsedBias(t *testing.T) {
	sequence := func(shape ...int) tensor.Array {
		a, err := tensor.NewArray(shape...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.Data {
			a.Data[i] = float64(i + 1)
		}
		return a
	}
	for _, test := range []struct {
		name  string
		op    string
		attrs ops.Attrs
		w     tensor.Array
		t, s  int
		grid  []int64
		bias  func(w tensor.Array, head, i, j int) float64
	}{
		{"full", "AFTFull", ops.Attrs{"causal": {0}}, sequence(4, 6), 3, 5, nil,
			func(w tensor.Array, _, i, j int) float64 { return w.Data[i*6+j] }},
		{"full causal", "AFTFull", ops.Attrs{"causal": {1}}, sequence(4, 6), 3, 3, nil,
			func(w tensor.Array, _, i, j int) float64 { return w.Data[i*6+j] }},
		{"local", "AFTLocal", ops.Attrs{"causal": {0}, "window": {2}}, sequence(5, 3), 4, 4, nil,
			func(w tensor.Array, _, i, j int) float64 {
				if j-i <= -2 || j-i >= 2 {
					return 0
				}
				return w.Data[i*3+j-i+1]
			}},
		{"local wide causal", "AFTLocal", ops.Attrs{"causal": {1}, "window": {9}}, sequence(4, 9), 4, 4, nil,
			func(w tensor.Array, _, i, j int) float64 { return w.Data[i*9+j-i+8] }},
		{"conv1d", "AFTConv1D", ops.Attrs{"causal": {0}, "pad_left": {1}}, sequence(2, 4), 5, 5, nil,
			func(w tensor.Array, h, i, j int) float64 {
				if tap := j - i + 1; tap >= 0 && tap < 4 {
					return w.Data[h*4+tap]
				}
				return 0
			}},
		{"conv2d causal", "AFTConv2D", ops.Attrs{"causal": {1}, "pads": {1, 0}}, sequence(1, 2, 2), 6, 6, []int64{2, 3},
			func(w tensor.Array, _, i, j int) float64 {
				a, b := j/3-i/3+1, j%3-i%3
				if a < 0 || a > 1 || b < 0 || b > 1 {
					return 0
				}
				return w.Data[a*2+b]
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := map[float64]bool{}
			heads := 1
			if test.op == "AFTConv1D" || test.op == "AFTConv2D" {
				heads = test.w.Shape[0]
			}
			for h := range heads {
				for i := range test.t {
					for j := range test.s {
						if test.attrs.Int("causal") == 0 || j <= i {
							want[test.bias(test.w, h, i, j)] = true
						}
					}
				}
			}
			got := map[float64]bool{}
			for _, v := range usedBias(test.op, test.attrs, test.w, extent{t: test.t, s: test.s, grid: test.grid}) {
				got[v] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("used biases (-want +got):\n%s", diff)
			}
		})
	}
}

// A batch entry with removed positions: they widen no range and their values bound nothing.
func TestOpCall_removedPositions(t *testing.T) {
	inf := math.Inf(1)
	def, _ := ops.Lookup("AFTSimple")
	c := &opCall{
		def: def, attrs: ops.Attrs{"causal": {0}, "gate": {ops.GateIdentity}}, dtype: tensor.Float32,
		q: tensor.Array{Shape: []int{1, 1, 2}, Data: []float64{-4, 0.5}},
		k: tensor.Array{Shape: []int{1, 3, 2}, Data: []float64{1, 2, -inf, -inf, 3, 80}},
		v: tensor.Array{Shape: []int{1, 3, 2}, Data: []float64{1, -2, 1e30, 1e30, -3, 1}},
	}
	if got := c.largestV(); !slices.Equal(got, []float64{3, 2}) {
		t.Errorf("largest values %v, want [3 2]", got)
	}
	if c.beyond(floatRange) {
		t.Error("a range of 79 counts as more than 80")
	}
	want := tensor.Array{Shape: []int{1, 1, 2}, Data: []float64{0, 0}}
	got := c.limit(rule{engine: Kernel}, want)
	unit := 16 * 0x1p-23
	if diff := cmp.Diff([]float64{unit * 3 * 4, unit * 2}, got.tolerance); diff != "" {
		t.Errorf("tolerance (-want +got):\n%s", diff)
	}
	c.k.Data[0] = -1
	if !c.limit(rule{engine: Portable}, want).finiteOnly || c.limit(rule{engine: Kernel}, want).finiteOnly {
		t.Error("beyond a range of 80 the bodies, and they alone, owe only finite numbers")
	}
}

func TestNumber_JSON(t *testing.T) {
	for _, v := range []float64{1.5, 0, math.Inf(1), math.Inf(-1), math.NaN()} {
		data, err := json.Marshal(Number(v))
		if err != nil {
			t.Fatal(err)
		}
		var got Number
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if float64(got) != v && !(math.IsNaN(v) && math.IsNaN(float64(got))) {
			t.Errorf("%v came back from %s as %v", v, data, got)
		}
	}
}
