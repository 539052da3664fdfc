package reference

import (
	"math"
	"testing"
)

// TestByHand: sums of two or three terms worked out on paper. ln2 and ln3 in K or W are weights of 2 and 3.
func TestByHand(t *testing.T) {
	ln2, ln3 := math.Log(2), math.Log(3)
	absent, causal := Options{Gate: GateAbsent}, Options{Gate: GateAbsent, Causal: true}
	zeros := func(shape ...int) Array { return random(seeded(1), 0, shape...) }
	three := []int{1, 3, 1}
	k := of(t, three, 0, ln2, ln3) // weights 1, 2, 3
	v := of(t, three, 6, 12, 24)
	q := zeros(1, 3, 1)
	two := func(a, b int) Conv2DOptions { return Conv2DOptions{absent, [2]int{2, 2}, [2]int{a, b}} }
	square := []int{1, 4, 1}
	for _, c := range []struct {
		name string
		y    func() (Array, error)
		want Array
	}{
		// (6 + 2*12 + 3*24) / 6
		{"simple", func() (Array, error) { return AFTSimple(q, k, v, absent) }, of(t, three, 17, 17, 17)},
		// 6; (6+24)/3; 17
		{"simple causal", func() (Array, error) { return AFTSimple(q, k, v, causal) }, of(t, three, 6, 10, 17)},
		// Half of it: sigmoid(0) = 1/2.
		{"simple gated", func() (Array, error) { return AFTSimple(q, k, v, Options{}) }, of(t, three, 8.5, 8.5, 8.5)},
		// tanh(0) = 0.
		{"simple tanh", func() (Array, error) { return AFTSimple(q, k, v, Options{Gate: GateTanh}) }, of(t, three, 0, 0, 0)},
		{"simple identity", func() (Array, error) {
			return AFTSimple(of(t, three, 2, -1, 0), k, v, Options{Gate: GateIdentity})
		}, of(t, three, 34, -17, 0)},
		// One query, three sources, row of weights 3, 1, 2: (18 + 24 + 144) / 11.
		{"full cross", func() (Array, error) {
			return AFTFull(zeros(1, 1, 1), k, v, of(t, []int{1, 3}, ln3, 0, ln2), absent)
		}, of(t, []int{1, 1, 1}, 186.0/11)},
		// Row 0 sees itself; row 1 weighs 3*1 and 1*2: (18+24)/5; row 2 weighs 1, 2*2, 3: (6+48+72)/8.
		{"full causal", func() (Array, error) {
			return AFTFull(q, k, v, of(t, []int{3, 3}, 9, 9, 9, ln3, 0, 9, 0, ln2, 0), causal)
		}, of(t, three, 6, 8.4, 15.75)},
		// s = 1: only the diagonal, factor 2. Rows: (12+24+72)/7, (6+48+72)/8, (6+24+144)/9.
		{"local s=1", func() (Array, error) {
			return AFTLocal(q, k, v, of(t, []int{3, 1}, ln2, ln2, ln2), LocalOptions{absent, 1})
		}, of(t, three, 108.0/7, 126.0/8, 174.0/9)},
		// s = 2, columns t-1, t, t+1. Row 0: source 1 tripled; row 1: source 0 doubled; row 2: itself tripled.
		{"local s=2", func() (Array, error) {
			return AFTLocal(q, k, v, of(t, []int{3, 3}, 9, 0, ln3, ln2, 0, 0, 0, ln3, 9), LocalOptions{absent, 2})
		}, of(t, three, (6+72+72)/10.0, (12+24+72)/7.0, (6+24+216)/12.0)},
		// Causal s = 2, columns t-1, t. Row 1: source 0 doubled; row 2: source 1 tripled, source 0 counts once.
		{"local causal", func() (Array, error) {
			return AFTLocal(q, k, v, of(t, []int{3, 2}, 9, 0, ln2, 0, ln3, 0), LocalOptions{causal, 2})
		}, of(t, three, 6, (12+24)/4.0, (6+72+72)/10.0)},
		// Two taps, the second on the position itself (tripled), the first on the one before (doubled).
		// Row 0: 3*1, 2, 3; row 1: 2*1, 3*2, 3; row 2: 1, 2*2, 3*3.
		{"conv1d", func() (Array, error) {
			return AFTConv1D(q, k, v, of(t, []int{1, 2}, ln2, ln3), Conv1DOptions{absent, 1})
		}, of(t, three, (18+24+72)/8.0, (12+72+72)/11.0, (6+48+216)/14.0)},
		{"conv1d causal", func() (Array, error) {
			return AFTConv1D(q, k, v, of(t, []int{1, 2}, ln2, ln3), Conv1DOptions{causal, 1})
		}, of(t, three, 6, (12+72)/8.0, (6+48+216)/14.0)},
		// A grid 0 1 / 2 3 with keys 0. One column of two taps: the upper weighs the position above, doubled.
		{"conv2d above", func() (Array, error) {
			return AFTConv2D(zeros(square...), zeros(square...), of(t, square, 1, 2, 3, 4), of(t, []int{1, 2, 1}, ln2, 0), two(1, 0))
		}, of(t, square, 10.0/4, 10.0/4, 11.0/5, 12.0/5)},
		// One row of two taps: the left weighs the position to the left, tripled; rows do not wrap around.
		{"conv2d left", func() (Array, error) {
			return AFTConv2D(zeros(square...), zeros(square...), of(t, square, 1, 2, 3, 4), of(t, []int{1, 1, 2}, ln3, 0), two(0, 1))
		}, of(t, square, 10.0/4, 12.0/6, 10.0/4, 16.0/6)},
	} {
		near(t, c.name, must(t)(c.y()), c.want, 1e-14*24)
	}
}

// TestHeads: channels 0,1 use key column 0, channels 2,3 column 1; the kernel of head 1 alone is not 0.
func TestHeads(t *testing.T) {
	ln3 := math.Log(3)
	q := of(t, []int{1, 2, 4}, make([]float64, 8)...)
	k := of(t, []int{1, 2, 2}, 0, ln3, 0, 0)
	v := of(t, []int{1, 2, 4}, 1, 2, 3, 4, 5, 6, 7, 8)
	w := of(t, []int{2, 1}, 0, ln3)
	got := must(t)(AFTConv1D(q, k, v, w, Conv1DOptions{Options: Options{Gate: GateAbsent}}))
	// Head 0 weighs 1, 1. Head 1: row 0 weighs 3*3 and 1, row 1 weighs 3 and 3*1.
	want := of(t, []int{1, 2, 4}, 3, 4, (27+7)/10.0, (36+8)/10.0, 3, 4, 5, 6)
	near(t, "heads", got, want, 1e-14*8)
}

func TestGate(t *testing.T) {
	e := math.E
	for _, c := range []struct {
		gate    Gate
		q, want float64
	}{
		{GateSigmoid, 0, 0.5}, {GateSigmoid, 1, e / (e + 1)}, {GateSigmoid, -1, 1 / (e + 1)},
		{GateSigmoid, 800, 1}, {GateSigmoid, -1000, 0}, {GateSigmoid, math.Inf(1), 1}, {GateSigmoid, math.Inf(-1), 0},
		{GateSigmoid, -740, math.Exp(-740)}, // 1/(1+exp(740)) would be 0
		{GateTanh, 1, (e*e - 1) / (e*e + 1)}, {GateTanh, 1000, 1}, {GateTanh, -1000, -1},
		{GateIdentity, -3, -3}, {GateAbsent, 17, 1}, {GateAbsent, math.NaN(), 1},
	} {
		if got := c.gate.times(c.q, 1); !(math.Abs(got-c.want) <= 1e-15*math.Abs(c.want)) {
			t.Errorf("%v(%v) is %v, want %v", c.gate, c.q, got, c.want)
		}
		if got := c.gate.times(c.q, 0); c.q == c.q && got != 0 {
			t.Errorf("%v(%v) * 0 is %v", c.gate, c.q, got)
		}
	}
}
