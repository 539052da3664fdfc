package tensor

import (
	"fmt"
	"math"
	"testing"
)

func TestNumElements(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  int
		ok    bool
	}{
		{nil, 1, true},
		{[]int{2, 3}, 6, true},
		{[]int{0, 5}, 0, true},
		{[]int{-1, 5}, 0, false},
		{[]int{math.MaxInt}, math.MaxInt, true},
		{[]int{math.MaxInt, 2}, 0, false},
		{[]int{1 << 32, 1 << 32}, 0, false},
		// The verdict must not depend on where the zero stands.
		{[]int{0, 1 << 62, 4}, 0, false},
		{[]int{1 << 62, 4, 0}, 0, false},
	} {
		got, err := NumElements(c.shape)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("NumElements(%v) = %d, %v; want %d, ok %v", c.shape, got, err, c.want, c.ok)
		}
	}
	if _, err := ByteLen(Float64, []int{math.MaxInt / 4}); err == nil {
		t.Error("ByteLen of MaxInt/4 doubles does not overflow")
	}
	if _, err := ByteLen(Invalid, []int{1}); err == nil {
		t.Error("ByteLen of an invalid type succeeds")
	}
}

func TestFromBytes(t *testing.T) {
	if _, err := FromBytes(Float32, []int{2, 3}, make([]byte, 24)); err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, 23, 25} {
		if _, err := FromBytes(Float32, []int{2, 3}, make([]byte, n)); err == nil {
			t.Errorf("%d bytes make a float32 (2,3)", n)
		}
	}
}

// TestRoundTrip widens what it stores: every type holds small integers exactly.
func TestRoundTrip(t *testing.T) {
	values := []float64{0, 1, 2, 100}
	for d := Float32; d <= Bool; d++ {
		in := values
		if d == Bool {
			in = []float64{0, 1, 1, 0}
		}
		x, err := FromFloat64s(d, []int{2, 2}, in)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range in {
			if got := x.At(i); got != want {
				t.Errorf("%s[%d] = %v, want %v", d, i, got, want)
			}
		}
		if parsed, ok := ParseDType(d.String()); !ok || parsed != d {
			t.Errorf("ParseDType(%q) = %v, %v", d.String(), parsed, ok)
		}
	}
	if _, ok := ParseDType("invalid"); ok {
		t.Error(`ParseDType("invalid") succeeds`)
	}
}

// A tensor prints as what it is, not as its bytes.
func TestString(t *testing.T) {
	x, err := New(Float32, []int{2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%v %s", x, map[string]*Tensor{"x": x}); got != "float32 (2,3) map[x:float32 (2,3)]" {
		t.Errorf("printed as %q", got)
	}
}

func TestInt64s(t *testing.T) {
	x, err := FromInt64s([]int{3}, []int64{math.MinInt64, -1, math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	got, err := x.Int64s()
	if err != nil || got[0] != math.MinInt64 || got[1] != -1 || got[2] != math.MaxInt64 {
		t.Errorf("Int64s = %v, %v", got, err)
	}
	f, _ := New(Float32, []int{1})
	if _, err := f.Int64s(); err == nil {
		t.Error("Int64s of a float32 succeeds")
	}
}

// TestRoundsOnce holds float64 to half against cases where rounding through float32 first lands on a tie and goes the
// wrong way. 1 + 2^-11 is a tie of float16 (to even: 1), 1 + 2^-8 one of bfloat16; the smallest excess decides upwards,
// and 2^-40 of it is lost in float32.
func TestRoundsOnce(t *testing.T) {
	for _, c := range []struct {
		dtype    DType
		in, want float64
	}{
		{Float16, 1 + 0x1p-11, 1},
		{Float16, 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-10},
		{Float16, 1 + 3*0x1p-11 - 0x1p-40, 1 + 0x1p-10},
		{Float16, 65504, 65504},
		{Float16, 65520, math.Inf(1)},
		{Float16, 65519.99999, 65504},
		{Float16, 1e300, math.Inf(1)},
		{Float16, 0x1p-24, 0x1p-24},
		{Float16, 0x1p-25, 0},
		{Float16, 0x1p-25 + 0x1p-60, 0x1p-24},
		{BFloat16, 1 + 0x1p-8, 1},
		{BFloat16, 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-7},
		{BFloat16, -1e300, math.Inf(-1)},
		{Float32, 1 + 0x1p-24, 1},
		{Float16, math.Inf(-1), math.Inf(-1)},
	} {
		x, err := FromFloat64s(c.dtype, nil, []float64{c.in})
		if err != nil {
			t.Fatal(err)
		}
		if got := x.At(0); got != c.want {
			t.Errorf("%s(%v) = %v, want %v", c.dtype, c.in, got, c.want)
		}
	}
	for _, d := range []DType{Float16, BFloat16, Float32} {
		x, _ := FromFloat64s(d, nil, []float64{math.NaN()})
		if !math.IsNaN(x.At(0)) {
			t.Errorf("%s(NaN) = %v", d, x.At(0))
		}
	}
}

func TestUnravel(t *testing.T) {
	got := Unravel(17, []int{2, 3, 4})
	if !SameShape(got, []int{1, 1, 1}) {
		t.Errorf("Unravel(17, (2,3,4)) = %v, want [1 1 1]", got)
	}
}
