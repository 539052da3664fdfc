package verify

import (
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// PreFlight says what of a model, on the inputs of the verification, would not survive elsewhere: an implementation of AFT
// that takes exp(K) and exp(W), or exp(K+W), as they are, and values in float16. It judges nothing: the engines here do not
// compute so.
type PreFlight struct {
	Layers  []PreFlightLayer `json:"layers"`
	Float16 Float16Flight    `json:"float16"`
}

// PreFlightLayer is what the exponentials of a layer are of, over all cases.
type PreFlightLayer struct {
	Block   int    `json:"block"`
	MinKey  Number `json:"min_key"` // keys that a mask removes left out
	MaxKey  Number `json:"max_key"`
	MinBias Number `json:"min_bias"` // of the entries of W that some pair uses
	MaxBias Number `json:"max_bias"`
	// LowestBest is the smallest, over rows, of a row's largest key: of a causal layer that is the first row's.
	LowestBest Number `json:"lowest_best_key"`
	Naive      string `json:"naive_float32"` // one of the Naive constants
}

// What becomes of AFT in float32 without care.
const (
	NaiveFine        = "fine"
	NaiveMayOverflow = "may overflow"      // a sum of exp(K+W) may exceed the largest float32, or exp(K) V
	NaiveOverflows   = "overflows"         // exp(K) or exp(W) does
	NaiveUnderflows  = "may divide 0 by 0" // all exponentials of a row may round to 0
)

// Float16Flight is the largest value that would have to be a float16.
type Float16Flight struct {
	Largest  Number `json:"largest"`
	At       string `json:"at"`       // the value, as the graph calls it, or a weight
	Survives bool   `json:"survives"` // Largest is at most 65504
}

const (
	maxFloat16 = 65504
	// exp of more is Inf in float32, exp of less is 0.
	expHighest = 88.72283905206835
	expLowest  = -103.972077083991796
)

// see takes a value of the model in.
func (f *Float16Flight) see(name string, values []float64) {
	if v := Number(largestFinite(values)); v > f.Largest || f.At == "" {
		f.Largest, f.At = v, name
	}
	f.Survives = f.Largest <= maxFloat16
}

// seeBlock takes a block in: x goes into it in the truth, and half is what its first half gives.
func (p *PreFlight) seeBlock(b *reference.Block, i int, x, half tensor.Array, at reference.Places) error {
	name := fmt.Sprintf("layers.%d", i)
	in := x
	if b.Norm != nil {
		var err error
		if in, err = b.Norm.Forward(x); err != nil {
			return err
		}
		p.Float16.see(name+".norm1", in.Data)
	}
	var qkv [3]signal
	for part, of := range []*reference.Linear{&b.Q, &b.K, &b.V} {
		y, err := of.Forward(in)
		if err != nil {
			return err
		}
		p.Float16.see(fmt.Sprintf("%s.%c", name, "qkv"[part]), y.Data)
		qkv[part] = signal{value: y, variance: make([]float64, len(y.Data))}
	}
	qkv[1].remove(at.Mask)
	call, err := noise{}.call(&b.Layer, qkv[0], qkv[1], qkv[2], at.Grid)
	if err != nil {
		return err
	}
	p.seeCall(call.opCall, i, b.Causal)
	if b.MLP == nil {
		return nil
	}
	p.Float16.see(name+".h", half.Data)
	if half, err = b.MLP.Norm.Forward(half); err == nil {
		half, err = b.MLP.Up.Forward(half)
	}
	p.Float16.see(name+".fc1", half.Data)
	return err
}

// seeCall takes an operator's keys and biases in.
func (p *PreFlight) seeCall(c *opCall, block int, causal bool) {
	if len(c.k.Data) == 0 {
		return
	}
	minKey, maxKey := finiteExtremes(c.k.Data)
	minBias, maxBias := finiteExtremes(c.bias)
	best := lowestBest(c.k, causal)
	naive := NaiveFine
	switch sources := math.Log(float64(c.k.Shape[1])) + math.Log(max(1, largestFinite(c.v.Data))); {
	case max(maxKey, maxBias) > expHighest:
		naive = NaiveOverflows
	case maxKey+maxBias+sources > expHighest:
		naive = NaiveMayOverflow
	case best+minBias < expLowest:
		naive = NaiveUnderflows
	}
	of := PreFlightLayer{Block: block, MinKey: Number(minKey), MaxKey: Number(maxKey), MinBias: Number(minBias), MaxBias: Number(maxBias),
		LowestBest: Number(best), Naive: naive}
	p.add(of)
}

// add merges what is known of a layer.
func (p *PreFlight) add(of PreFlightLayer) {
	if i := slices.IndexFunc(p.Layers, func(l PreFlightLayer) bool { return l.Block == of.Block }); i >= 0 {
		p.Layers[i].merge(of)
		return
	}
	p.Layers = append(p.Layers, of)
}

// merge takes what another case found in.
func (l *PreFlightLayer) merge(of PreFlightLayer) {
	l.MinKey, l.MaxKey = min(l.MinKey, of.MinKey), max(l.MaxKey, of.MaxKey)
	l.MinBias, l.MaxBias = min(l.MinBias, of.MinBias), max(l.MaxBias, of.MaxBias)
	l.LowestBest = min(l.LowestBest, of.LowestBest)
	worse := []string{NaiveFine, NaiveUnderflows, NaiveMayOverflow, NaiveOverflows}
	if slices.Index(worse, of.Naive) > slices.Index(worse, l.Naive) {
		l.Naive = of.Naive
	}
}

// finiteExtremes are 0 and 0 of nothing.
func finiteExtremes(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !isUndefined(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	if low > high {
		return 0, 0
	}
	return low, high
}

// lowestBest is the smallest, over batch entries and channels, of the largest key that a row has at least: all keys' or, of a
// causal layer, the first key. Channels without a key are left out.
func lowestBest(k tensor.Array, causal bool) float64 {
	sources, channels := k.Shape[1], k.Shape[2]
	lowest := math.Inf(1)
	for b := range k.Shape[0] {
		for d := range channels {
			best := math.Inf(-1)
			for s := range sources {
				v := k.Data[(b*sources+s)*channels+d]
				if !isUndefined(v) {
					best = max(best, v)
				}
				if causal && !math.IsInf(best, -1) {
					break
				}
			}
			if !math.IsInf(best, -1) {
				lowest = min(lowest, best)
			}
		}
	}
	if math.IsInf(lowest, 1) {
		return 0
	}
	return lowest
}

// Says is the pre-flight in words, a line a finding.
func (p *PreFlight) Says() []string {
	var says []string
	for _, l := range p.Layers {
		keys := fmt.Sprintf("layers.%d: keys %.4g to %.4g, biases %.4g to %.4g", l.Block, float64(l.MinKey), float64(l.MaxKey),
			float64(l.MinBias), float64(l.MaxBias))
		switch l.Naive {
		case NaiveOverflows:
			says = append(says, keys+": exp overflows in float32 where nothing is taken off before, as of more than 88.7")
		case NaiveMayOverflow:
			says = append(says, keys+": sums of exp(K+W) V may overflow in float32 where nothing is taken off before")
		case NaiveUnderflows:
			says = append(says, keys+": all exponentials of a row may round to 0 in float32 where nothing is taken off before")
		}
	}
	if len(says) == 0 {
		says = append(says, "an AFT that takes exp(K) and exp(W) as they are would do on these inputs")
	}
	if p.Float16.Survives {
		return append(says, fmt.Sprintf("float16 would do: the largest value is %.4g at %s, of 65504", float64(p.Float16.Largest), p.Float16.At))
	}
	return append(says, fmt.Sprintf("float16 would overflow: %s has %.4g, of 65504", p.Float16.At, float64(p.Float16.Largest)))
}
