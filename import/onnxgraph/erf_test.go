package onnxgraph

import (
	"math"
	"testing"
)

// TestErf holds the series against the library's rational functions: within two units in the last place everywhere.
func TestErf(t *testing.T) {
	erf := erf()
	for i := range 200_001 {
		x := float64(i-100_000) / 100_000 * 7
		for _, x := range []float64{x, x * x * x / 343, math.Ldexp(x, -40)} {
			got, want := erf(x), math.Erf(x)
			if !(math.Abs(got-want) <= 4.5e-16*math.Abs(want)) {
				t.Fatalf("erf(%v) is %v, want %v", x, got, want)
			}
		}
	}
	for _, x := range []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 5.9375} {
		if got, want := erf(x), math.Erf(x); got != want || math.Signbit(got) != math.Signbit(want) {
			t.Errorf("erf(%v) is %v, want %v", x, got, want)
		}
	}
	if !math.IsNaN(erf(math.NaN())) {
		t.Error("erf of NaN is a number")
	}
}
