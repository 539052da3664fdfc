package factored

import "math"

// group is the terms of some channels of a batch entry, a row a source: exp(K) V, channel by channel, then exp(K), one for each of
// the channels or one for all of them. K is shifted by the largest of its column.
type group struct {
	rows     []float64
	width    int
	first    int // channel
	channels int
	keys     int       // columns of exp(K)
	odd      []bool    // channels that hold something that is not finite
	before   []float64 // row s: the sum of rows 0..s-1; nil where no source goes without a bias
	after    []float64 // row s: the sum of rows s..; nil where nothing behind a window is seen
}

// terms makes the groups of a batch entry: one of all channels where each has a key of its own, one a head elsewhere.
func (p *problem) terms(b int) []group {
	sources, columns, channels := p.k.Shape[1], p.k.Shape[2], p.v.Shape[2]
	heads, per, keys := 1, channels, channels
	if p.bias.perHead {
		heads, per, keys = columns, channels/columns, 1
	}
	groups := make([]group, heads)
	p.parallel(heads, sources*(per+keys)*8, func(lo, hi int) {
		for h := lo; h < hi; h++ {
			g := &groups[h]
			*g = group{width: per + keys, first: h * per, channels: per, keys: keys, odd: make([]bool, per),
				rows: make([]float64, sources*(per+keys))}
			p.fill(g, b, h)
			if p.bias.rest {
				g.running(sources, !p.causal)
			}
		}
	})
	return groups
}

// fill computes the rows. A key of -Inf removes its source, whatever its value is. Where a key or a value is not finite the channels
// that it reaches are odd, and their terms mean nothing.
func (p *problem) fill(g *group, b, h int) {
	sources, columns, channels := p.k.Shape[1], p.k.Shape[2], p.v.Shape[2]
	keysOf := func(s int) []float64 { return p.k.Data[(b*sources+s)*columns+min(h, columns-g.keys):][:g.keys] }
	top, odd := make([]float64, g.keys), make([]bool, g.keys)
	for i := range top {
		top[i] = math.Inf(-1)
	}
	for s := range sources {
		for i, k := range keysOf(s) {
			odd[i] = odd[i] || math.IsNaN(k) || math.IsInf(k, 1)
			top[i] = max(top[i], k)
		}
	}
	for i := range g.odd {
		g.odd[i] = odd[min(i, g.keys-1)]
	}
	for s := range sources {
		row := g.rows[s*g.width:][:g.width]
		keys := row[g.channels:]
		for i, k := range keysOf(s) {
			if !odd[i] && !math.IsInf(k, -1) {
				keys[i] = math.Exp(k - top[i])
			}
		}
		for i, v := range p.v.Data[(b*sources+s)*channels+g.first:][:g.channels] {
			e := keys[min(i, g.keys-1)]
			if e == 0 {
				continue
			}
			if math.IsNaN(v) || math.IsInf(v, 0) {
				g.odd[i] = true
				continue
			}
			row[i] = e * v
		}
	}
}

// running makes the sums of the rows up to each, and with both those from each on.
func (g *group) running(sources int, both bool) {
	g.before = make([]float64, (sources+1)*g.width)
	for s := range sources {
		for i, v := range g.rows[s*g.width:][:g.width] {
			g.before[(s+1)*g.width+i] = g.before[s*g.width+i] + v
		}
	}
	if !both {
		return
	}
	g.after = make([]float64, (sources+1)*g.width)
	for s := sources - 1; s >= 0; s-- {
		for i, v := range g.rows[s*g.width:][:g.width] {
			g.after[s*g.width+i] = g.after[(s+1)*g.width+i] + v
		}
	}
}

// others puts into sum what the sources without a bias give.
func (g *group) others(sum []float64, w weights, visible int) {
	clear(sum)
	if w.outside == 0 {
		return
	}
	for i := range sum {
		sum[i] = g.before[w.from*g.width+i] * w.outside
	}
	if to := w.from + len(w.inside); to < visible && g.after != nil {
		for i := range sum {
			sum[i] += g.after[to*g.width+i] * w.outside
		}
	}
}
