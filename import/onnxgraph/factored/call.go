package factored

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/dense"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Parallel runs pieces of [0,n), each element of so many elementary operations, on the cores there are.
type Parallel func(n, work int, f func(lo, hi int))

// Result is an answer, as far as there is one.
type Result struct {
	Y       tensor.Array
	Unknown []int // the elements of Y that the definition has to give
}

// Call runs an operator over whole sequences on inputs in the order of its declaration. It is false for an operator, or sizes, that it
// knows nothing of. Unknown are elements whose denominator is too small to be trusted, and those that numbers reach that are
// not finite; what they are changes no bit of the others.
func Call(op string, attrs ops.Attrs, in []tensor.Array, parallel Parallel) (Result, bool) {
	if len(in) < 4 || len(in[0].Data) == 0 || in[1].Shape[1] == 0 {
		return Result{}, false
	}
	p := &problem{q: in[0], k: in[1], v: in[2], gate: attrs.Int("gate"), causal: attrs.Int("causal") == 1, parallel: parallel}
	switch op {
	case "AFTFull":
		p.bias = pairs(in[3])
	case "AFTLocal":
		p.bias = band(in[3], int(attrs.Int("window")))
	case "AFTConv1D":
		p.bias = taps(in[3], int(attrs.Int("pad_left")))
	case "AFTConv2D":
		p.bias = plane(in[3], in[4], attrs["pads"])
	default:
		return Result{}, false
	}
	return p.run()
}

// problem is one call.
type problem struct {
	q, k, v  tensor.Array
	gate     int64
	causal   bool
	bias     bias
	parallel Parallel
}

func (p *problem) run() (Result, bool) {
	y, err := tensor.NewArray(p.q.Shape...)
	if err != nil {
		return Result{}, false
	}
	steps, channels, sources := p.q.Shape[1], p.q.Shape[2], p.k.Shape[1]
	known := make([]bool, len(y.Data))
	for b := range p.q.Shape[0] {
		groups := p.terms(b)
		p.parallel(steps, channels*(2*min(p.bias.longest(sources), sources)+20), func(lo, hi int) {
			r := &rows{problem: p, groups: groups, y: y, known: known, batch: b, buffer: make([]float64, p.bias.longest(sources)),
				sum: make([]float64, 2*channels)}
			for t := lo; t < hi; t++ {
				r.one(t)
			}
		})
	}
	result := Result{Y: y}
	for i, ok := range known {
		if !ok {
			result.Unknown = append(result.Unknown, i)
		}
	}
	return result, true
}

// rows computes rows of Y of one batch entry.
type rows struct {
	*problem
	groups      []group
	y           tensor.Array
	known       []bool // by element of y
	batch       int
	buffer, sum []float64
}

// Denominators and numerators in these bounds are trusted: what underflowed is nothing beside them.
const (
	least = 1e-250
	most  = 1e250
)

// one computes row t.
func (r *rows) one(t int) {
	steps, channels, visible := r.q.Shape[1], r.q.Shape[2], r.k.Shape[1]
	if r.causal {
		visible = t + 1
	}
	var w weights
	for h := range r.groups {
		g := &r.groups[h]
		if h == 0 || r.bias.perHead {
			w = r.bias.row(r.buffer, h, t, visible)
		}
		if math.IsNaN(w.outside) {
			continue
		}
		sum := r.sum[:g.width]
		g.others(sum, w, visible)
		dense.Weigh(sum, w.inside, g.rows[w.from*g.width:], g.width)
		at := (r.batch*steps+t)*channels + g.first
		for i := range g.channels {
			den := sum[g.channels+min(i, g.keys-1)]
			if g.odd[i] || !(den >= least && den <= most) || !(math.Abs(sum[i]) <= most) {
				continue
			}
			r.y.Data[at+i], r.known[at+i] = gated(r.gate, r.q.Data[at+i], sum[i]/den), true
		}
	}
}

// gated is gate(q) times a ratio of sums.
func gated(gate int64, q, ratio float64) float64 {
	switch gate {
	case ops.GateSigmoid:
		e := math.Exp(-math.Abs(q))
		if q < 0 {
			return e / (1 + e) * ratio
		}
		return ratio / (1 + e)
	case ops.GateTanh:
		return math.Tanh(q) * ratio
	case ops.GateIdentity:
		return q * ratio
	}
	return ratio
}
