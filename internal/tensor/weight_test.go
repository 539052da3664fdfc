package tensor

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// pieces makes Parts that gives float64 pieces of these lengths, the elements counting up from 0.
func pieces(t *testing.T, lengths ...int) Parts {
	return func(yield func(*Tensor) error) error {
		next := 0.0
		for _, n := range lengths {
			values := make([]float64, n)
			for i := range values {
				values[i], next = next, next+1
			}
			part, err := FromFloat64s(Float64, []int{n}, values)
			if err != nil {
				t.Fatal(err)
			}
			if err := yield(part); err != nil {
				return err
			}
		}
		return nil
	}
}

// elements reads a weight by its parts, each of which must be of rank 1 and of the weight's type.
func elements(t *testing.T, w Weight) (values []float64, parts int) {
	t.Helper()
	err := w.Parts(func(part *Tensor) error {
		if part.DType != w.DType() || len(part.Shape) != 1 || part.Shape[0] != part.Len() || part.Len() == 0 {
			t.Errorf("part %d is %v of %d elements, want some of %s in one dimension", parts, part, part.Len(), w.DType())
		}
		values, parts = append(values, part.Float64s()...), parts+1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return values, parts
}

// counting is an array of that shape whose elements are 0, 1, 2...
func counting(t *testing.T, shape ...int) Array {
	t.Helper()
	a, err := NewArray(shape...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Data {
		a.Data[i] = float64(i)
	}
	return a
}

// Whatever a weight is made of, it says the same of itself and gives the same elements, twice.
func TestWeight(t *testing.T) {
	a := counting(t, 3, 4)
	half, err := a.Tensor(Float16)
	if err != nil {
		t.Fatal(err)
	}
	at := &Origin{Path: "model.bin", Offset: 64}
	for name, c := range map[string]struct {
		weight Weight
		dtype  DType
		held   bool
		origin *Origin
	}{
		"held":     {Hold(a), Float64, true, nil},
		"typed":    {Typed(half), Float16, false, nil},
		"computed": {Computed([]int{3, 4}, func() (Array, error) { return a, nil }), Float64, false, nil},
		"read": {NewWeight(WeightOptions{Shape: []int{3, 4}, DType: Float64, Parts: pieces(t, 5, 1, 6), Origin: at}),
			Float64, false, at},
	} {
		w := c.weight
		if !slices.Equal(w.Shape(), []int{3, 4}) || w.Rank() != 2 || w.Len() != 12 || w.Empty() {
			t.Errorf("%s: shape %v, rank %d, %d elements, empty %v", name, w.Shape(), w.Rank(), w.Len(), w.Empty())
		}
		if w.DType() != c.dtype || w.Origin() != c.origin {
			t.Errorf("%s: %s at %v, want %s at %v", name, w.DType(), w.Origin(), c.dtype, c.origin)
		}
		if held, ok := w.Held(); ok != c.held || ok && &held.Data[0] != &a.Data[0] {
			t.Errorf("%s: held %v, want %v and the very array", name, ok, c.held)
		}
		for range 2 {
			if got, _ := elements(t, w); !slices.Equal(got, a.Data) {
				t.Errorf("%s: parts give %v", name, got)
			}
			got, err := w.Array()
			if err != nil || !slices.Equal(got.Shape, a.Shape) || !slices.Equal(got.Data, a.Data) {
				t.Errorf("%s: array %v of shape %v, %v", name, got.Data, got.Shape, err)
			}
		}
	}
}

// Every type is given as it is and widened by Array. The values are held exactly by all types but bool.
func TestWeight_types(t *testing.T) {
	for d := Float32; d <= Bool; d++ {
		values := []float64{0, 1, 2, 100, 64, 3}
		if d == Bool {
			values = []float64{0, 1, 1, 0, 1, 0}
		}
		x, err := FromFloat64s(d, []int{2, 3}, values)
		if err != nil {
			t.Fatal(err)
		}
		w := Typed(x)
		if got, _ := elements(t, w); w.DType() != d || !slices.Equal(got, values) {
			t.Errorf("%s: parts of %s give %v", d, w.DType(), got)
		}
		if a, err := w.Array(); err != nil || !slices.Equal(a.Data, values) || !SameShape(a.Shape, x.Shape) {
			t.Errorf("%s: array %v, %v", d, a, err)
		}
	}
	if _, err := Typed(&Tensor{Shape: []int{1}, Data: []byte{1}}).Array(); err == nil {
		t.Error("a tensor of no type is read")
	}
}

// A large array comes in pieces, of which none is lost.
func TestWeight_pieces(t *testing.T) {
	a := counting(t, 2*partElements+1)
	single, err := a.Tensor(Float32)
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]Weight{
		"held":     Hold(a),
		"typed":    Typed(single),
		"computed": Computed(a.Shape, func() (Array, error) { return a, nil }),
	} {
		if got, parts := elements(t, w); parts != 3 || !slices.Equal(got, a.Data) {
			t.Errorf("%s: %d elements in %d parts, want %d in 3", name, len(got), parts, len(a.Data))
		}
	}
}

// Parts that give another number of elements than the shape holds are an error, before anything is written past the end.
func TestWeight_wrongNumber(t *testing.T) {
	short := counting(t, 5)
	for _, c := range []struct {
		name   string
		weight Weight
		want   string
	}{
		{"few", NewWeight(WeightOptions{Shape: []int{2, 3}, DType: Float64, Parts: pieces(t, 4)}), "2 of the 6 elements of shape (2,3) are missing"},
		{"none", NewWeight(WeightOptions{Shape: []int{2, 3}, DType: Float64, Parts: pieces(t)}), "6 of the 6 elements"},
		{"many", NewWeight(WeightOptions{Shape: []int{2, 3}, DType: Float64, Parts: pieces(t, 4, 3)}), "more than the 6 elements of shape (2,3)"},
		{"some where there are none", NewWeight(WeightOptions{Shape: []int{0, 3}, DType: Float64, Parts: pieces(t, 1)}), "more than the 0 elements"},
		{"computed", Computed([]int{2, 3}, func() (Array, error) { return short, nil }), "1 of the 6 elements"},
		{"typed", Typed(&Tensor{DType: Float32, Shape: []int{3}, Data: make([]byte, 8)}), "1 of the 3 elements"},
		{"reshaped", Typed(&Tensor{DType: Int8, Shape: []int{4}, Data: make([]byte, 4)}).Reshaped([]int{3}), "more than the 3 elements"},
		{"a negative size", NewWeight(WeightOptions{Shape: []int{-2, 3}, DType: Float64, Parts: pieces(t)}), "dimension 0 is -2"},
		{"a product that overflows", NewWeight(WeightOptions{Shape: []int{1 << 32, 1 << 32}, DType: Float64, Parts: pieces(t)}), "more than"},
	} {
		got := 0
		err := c.weight.Parts(func(part *Tensor) error { got += part.Len(); return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) || got > max(0, c.weight.Len()) {
			t.Errorf("%s: parts give %d elements and %v, want %q", c.name, got, err, c.want)
		}
		if a, err := c.weight.Array(); err == nil || !strings.Contains(err.Error(), c.want) || !a.Empty() {
			t.Errorf("%s: array of shape %v and %v, want none and %q", c.name, a.Shape, err, c.want)
		}
	}
}

// The error of who reads ends the reading and comes back as it is; so does that of who gives.
func TestWeight_errors(t *testing.T) {
	stop := errors.New("full")
	a := counting(t, 2*partElements)
	single, err := a.Tensor(Float32)
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]Weight{
		"held":     Hold(a),
		"typed":    Typed(single),
		"computed": Computed(a.Shape, func() (Array, error) { return a, nil }),
		"read":     NewWeight(WeightOptions{Shape: []int{3}, DType: Float64, Parts: pieces(t, 1, 2)}),
	} {
		calls := 0
		if err := w.Parts(func(*Tensor) error { calls++; return stop }); err != stop || calls != 1 {
			t.Errorf("%s: %v after %d parts, want %v after one", name, err, calls, stop)
		}
	}
	failing := Computed([]int{2}, func() (Array, error) { return Array{}, stop })
	if err := failing.Parts(func(*Tensor) error { return nil }); err != stop {
		t.Errorf("computed: %v, want %v", err, stop)
	}
	if a, err := failing.Array(); err != stop || !a.Empty() {
		t.Errorf("computed: array %v, %v; want none and %v", a, err, stop)
	}
	// What fails after some elements gives no half of an array.
	broken := NewWeight(WeightOptions{Shape: []int{3}, DType: Float64, Parts: func(yield func(*Tensor) error) error {
		return errors.Join(pieces(t, 2)(yield), stop)
	}})
	if a, err := broken.Array(); !errors.Is(err, stop) || !a.Empty() {
		t.Errorf("broken: array %v, %v; want none and %v", a, err, stop)
	}
}

// No array is not an array without elements.
func TestWeight_empty(t *testing.T) {
	for name, w := range map[string]Weight{"zero": {}, "held": Hold(Array{}), "reshaped": Weight{}.Reshaped([]int{2, 3})} {
		if !w.Empty() || w.Len() != 0 || w.Rank() != 0 || w.Shape() != nil {
			t.Errorf("%s: empty %v, %d elements of shape %v", name, w.Empty(), w.Len(), w.Shape())
		}
		if a, err := w.Array(); err != nil || !a.Empty() {
			t.Errorf("%s: array %v, %v", name, a, err)
		}
		if err := w.Parts(func(*Tensor) error { return errors.New("called") }); err != nil {
			t.Errorf("%s: a part is given", name)
		}
	}
	none := Hold(counting(t, 0, 4))
	if a, err := none.Array(); none.Empty() || none.Len() != 0 || none.Rank() != 2 || err != nil || !SameShape(a.Shape, []int{0, 4}) {
		t.Errorf("(0,4): empty %v, %d elements, shape %v, array %v, %v", none.Empty(), none.Len(), none.Shape(), a, err)
	}
	scalar := Hold(Array{Data: []float64{7}})
	if got, _ := elements(t, scalar); scalar.Empty() || scalar.Len() != 1 || scalar.Rank() != 0 || !slices.Equal(got, []float64{7}) {
		t.Errorf("scalar: empty %v, %d elements %v", scalar.Empty(), scalar.Len(), got)
	}
}

func TestReshaped(t *testing.T) {
	a := counting(t, 2, 6)
	at := &Origin{Path: "model.bin", Offset: 8}
	for name, w := range map[string]Weight{
		"held": Hold(a),
		"read": NewWeight(WeightOptions{Shape: a.Shape, DType: Float64, Parts: pieces(t, 12), Origin: at}),
	} {
		shape := []int{3, 4}
		r := w.Reshaped(shape)
		if got, _ := elements(t, r); !SameShape(r.Shape(), []int{3, 4}) || !slices.Equal(got, a.Data) {
			t.Errorf("%s: shape %v, elements %v", name, r.Shape(), got)
		}
		if r.DType() != w.DType() || r.Origin() != w.Origin() {
			t.Errorf("%s: %s at %v, want %s at %v", name, r.DType(), r.Origin(), w.DType(), w.Origin())
		}
		if shape[0] = 9; r.Shape()[0] != 3 {
			t.Errorf("%s: the shape is the caller's", name)
		}
		if !SameShape(w.Shape(), []int{2, 6}) || r.SameAs(w) || !r.Reshaped([]int{2, 6}).SameAs(w) {
			t.Errorf("%s: the first shape is %v; same as before %v, and back again %v", name, w.Shape(), r.SameAs(w),
				r.Reshaped([]int{2, 6}).SameAs(w))
		}
	}
}

func TestSameAs(t *testing.T) {
	a := counting(t, 2, 3)
	twin := counting(t, 2, 3)
	read := func(path string, offset int64, dtype DType, shape ...int) Weight {
		return NewWeight(WeightOptions{Shape: shape, DType: dtype, Parts: pieces(t, 6), Origin: &Origin{path, offset}})
	}
	nowhere := NewWeight(WeightOptions{Shape: []int{2, 3}, DType: Float64, Parts: pieces(t, 6)})
	for _, c := range []struct {
		name string
		x, y Weight
		want bool
	}{
		{"one array", Hold(a), Hold(a), true},
		{"equal arrays", Hold(a), Hold(twin), false},
		{"one array of two shapes", Hold(a), Hold(Array{Shape: []int{3, 2}, Data: a.Data}), false},
		{"one place", read("m", 64, Float32, 2, 3), read("m", 64, Float32, 2, 3), true},
		{"two places", read("m", 64, Float32, 2, 3), read("m", 88, Float32, 2, 3), false},
		{"two files", read("m", 64, Float32, 2, 3), read("n", 64, Float32, 2, 3), false},
		{"two types", read("m", 64, Float16, 2, 3), read("m", 64, BFloat16, 2, 3), false},
		{"two shapes", read("m", 64, Float32, 2, 3), read("m", 64, Float32, 6), false},
		{"no place", nowhere, nowhere, false},
		{"a place and none", read("m", 64, Float64, 2, 3), nowhere, false},
		{"memory and a file", Hold(a), read("m", 64, Float64, 2, 3), false},
		{"nothing", Weight{}, Weight{}, false},
		{"nothing and something", Weight{}, Hold(a), false},
		{"no elements", Hold(counting(t, 0)), Hold(counting(t, 0)), false},
	} {
		if c.x.SameAs(c.y) != c.want || c.y.SameAs(c.x) != c.want {
			t.Errorf("%s: %v and %v, want %v", c.name, c.x.SameAs(c.y), c.y.SameAs(c.x), c.want)
		}
	}
}

// Computing happens when elements are asked for, each time, and never to describe the weight.
func TestComputed_lazy(t *testing.T) {
	calls := 0
	w := Computed([]int{1}, func() (Array, error) { calls++; return Array{Shape: []int{1}, Data: []float64{math.Pi}}, nil })
	if w.Len() != 1 || w.Rank() != 1 || w.Empty() || w.SameAs(w) || calls != 0 {
		t.Errorf("computed %d times to be described", calls)
	}
	for want := 1; want <= 2; want++ {
		if a, err := w.Array(); err != nil || a.Data[0] != math.Pi || calls != want {
			t.Errorf("%v, %v after %d calls, want %d", a, err, calls, want)
		}
	}
}
