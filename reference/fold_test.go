package reference

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFoldFactors(t *testing.T) {
	u := of(t, []int{2, 3}, 1, 2, 3, 4, 5, 6)
	vt := of(t, []int{4, 3}, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1)
	got := must(t)(FoldFactors(u, vt))
	want := of(t, []int{2, 4}, 1, 2, 3, 6, 4, 5, 6, 15)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	empty := must(t)(FoldFactors(of(t, []int{2, 0}), of(t, []int{3, 0})))
	same(t, "rank 0", empty, of(t, []int{2, 3}, 0, 0, 0, 0, 0, 0))
}

func TestFoldBand(t *testing.T) {
	w := of(t, []int{3, 3}, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	for _, c := range []struct {
		window int
		causal bool
		want   Array
	}{
		{1, false, of(t, []int{3, 1}, 1, 5, 9)},
		{1, true, of(t, []int{3, 1}, 1, 5, 9)},
		{2, false, of(t, []int{3, 3}, 0, 1, 2, 4, 5, 6, 8, 9, 0)},
		{2, true, of(t, []int{3, 2}, 0, 1, 4, 5, 8, 9)},
		{3, false, of(t, []int{3, 5}, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0)},
		{4, true, of(t, []int{3, 4}, 0, 0, 0, 1, 0, 0, 4, 5, 0, 7, 8, 9)},
	} {
		got := must(t)(FoldBand(w, c.window, c.causal))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("window %d causal %v (-want +got):\n%s", c.window, c.causal, diff)
		}
	}
}

// TestFoldKernel: the taps 1, 2, 3 have mean 2 and deviations sqrt(2/3) over n, 1 over n-1.
func TestFoldKernel(t *testing.T) {
	w := of(t, []int{2, 3}, 1, 2, 3, 30, 20, 10)
	gamma, beta := of(t, []int{2, 1, 1}, 2, 1), of(t, []int{2}, 5, -1)
	r := math.Sqrt(1.5)
	for _, c := range []struct {
		name string
		fold Reparam
		want []float64
	}{
		{"biased", Reparam{}, []float64{5 - 2*r, 5, 5 + 2*r, -1 + r, -1, -1 - r}},
		{"unbiased", Reparam{Unbiased: true}, []float64{3, 5, 7, 0, -1, -2}},
		{"eps is added to the deviation", Reparam{Unbiased: true, Eps: 1}, []float64{4, 5, 6, -1 + 10.0/11, -1, -1 - 10.0/11}},
		{"limit", Reparam{Unbiased: true, Limit: 3},
			[]float64{3 * math.Tanh(1), 3 * math.Tanh(5.0/3), 3 * math.Tanh(7.0/3), 0, 3 * math.Tanh(-1.0/3), 3 * math.Tanh(-2.0/3)}},
	} {
		near(t, c.name, must(t)(FoldKernel(w, gamma, beta, c.fold)), Array{Shape: w.Shape, Data: c.want}, 1e-14)
	}
	square := Array{Shape: []int{1, 2, 3}, Data: w.Data}
	one := of(t, []int{1}, 1)
	mean, std := 11.0, math.Sqrt((100+81+64+361+81+1)/6.0)
	want := clone(square)
	for i, v := range square.Data {
		want.Data[i] = (v-mean)/std + 1
	}
	near(t, "over both axes", must(t)(FoldKernel(square, one, one, Reparam{})), want, 1e-14)
}

// TestFoldKernelStart: gamma = beta = 0, as training starts, gives AFT-simple.
func TestFoldKernelStart(t *testing.T) {
	r := seeded(31)
	zeros := of(t, []int{2}, 0, 0)
	w := must(t)(FoldKernel(random(r, 1, 2, 5), zeros, zeros, Reparam{}))
	same(t, "w", w, random(r, 0, 2, 5))
}

func TestFoldErrors(t *testing.T) {
	square, two := of(t, []int{2, 2}, 1, 2, 3, 4), of(t, []int{2}, 1, 1)
	tall := func(n int) Array { return Array{Shape: []int{n, 1}, Data: make([]float64, n)} }
	for _, c := range []struct {
		want string
		f    func() (Array, error)
	}{
		{`factorised bias: input "v": has shape (2,1), want R = 2 at axis 1`,
			func() (Array, error) { return FoldFactors(square, tall(2)) }},
		{`factorised bias: input "u": has shape (2), want rank 2`, func() (Array, error) { return FoldFactors(two, square) }},
		{`has 400000000 values, want at most 268435456`, func() (Array, error) { return FoldFactors(tall(20000), tall(20000)) }},
		{`local bias: input "w": has shape (2,1), want a square`, func() (Array, error) { return FoldBand(tall(2), 1, false) }},
		{`local bias: input "w": has 4 values, but shape (2,3) holds 6`,
			func() (Array, error) { return FoldBand(Array{Shape: []int{2, 3}, Data: square.Data}, 1, false) }},
		{`local bias: window is 0, want 1..`, func() (Array, error) { return FoldBand(square, 0, false) }},
		{`local bias: the bias of shape (2,4294967293): has`,
			func() (Array, error) { return FoldBand(square, math.MaxInt32, false) }},
		{`kernel: input "w": has shape (2), want (H,s) or (H,kh,kw)`,
			func() (Array, error) { return FoldKernel(two, two, two, Reparam{}) }},
		{`kernel: input "gamma": has shape (2,2), want one value for each of the 2 heads`,
			func() (Array, error) { return FoldKernel(square, square, two, Reparam{}) }},
		{`kernel: input "beta": has shape (2,1), want one value for each of the 3 heads`,
			func() (Array, error) { return FoldKernel(tall(3), tall(3), tall(2), Reparam{}) }},
		{`kernel: input "w": has shape (2,1), want at least 2 taps`,
			func() (Array, error) { return FoldKernel(tall(2), two, two, Reparam{Unbiased: true}) }},
		{`kernel: head 0: its 1 taps are all 0`, func() (Array, error) { return FoldKernel(tall(2), two, two, Reparam{}) }},
		{`kernel: eps is -1`, func() (Array, error) { return FoldKernel(square, two, two, Reparam{Eps: -1}) }},
		{`kernel: eps is NaN`, func() (Array, error) { return FoldKernel(square, two, two, Reparam{Eps: nan}) }},
		{`kernel: limit is -3`, func() (Array, error) { return FoldKernel(square, two, two, Reparam{Limit: -3}) }},
	} {
		if got, err := c.f(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("gave %v, %v; want %q", got.Shape, err, c.want)
		}
	}
	if got := fmt.Sprint(Gate(7)); got != "gate(7)" {
		t.Errorf("an unknown gate is called %q", got)
	}
}

// Equal taps have no deviation, though their mean may round to another number than they are.
func TestFoldKernel_equal(t *testing.T) {
	one := of(t, []int{1}, 1)
	for _, tap := range []float64{0.1, 1e300, 5e-324} {
		w := of(t, []int{1, 3}, tap, tap, tap)
		if y, err := FoldKernel(w, one, one, Reparam{}); err == nil || !strings.Contains(err.Error(), "their standard deviation is 0") {
			t.Errorf("three taps of %v: %v, %v", tap, y, err)
		}
		same(t, "with eps", must(t)(FoldKernel(w, one, one, Reparam{Eps: 1e-6})), of(t, []int{1, 3}, 1, 1, 1))
	}
}
