package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Plot is an SVG of how the median times grow with T, both axes logarithmic: a line for every series of cases that was
// measured at two lengths or more, and one for the attention. It is "" where there is none.
func Plot(rows []Row) string {
	lines := series(rows)
	if len(lines) == 0 {
		return ""
	}
	p := newPlot(lines)
	p.title, p.below = "milliseconds a run, by positions T (float32, B = 1, D = 512)", "T"
	if _, decoding := decodePosition(rows[0]); decoding {
		p.title, p.below = "milliseconds a token, by the tokens before it (float32, B = 1, D = 512, 2 blocks)", "tokens before"
	}
	p.axes()
	for i, line := range lines {
		p.line(i, line)
	}
	p.labels()
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+
		"\n"+`<rect width="100%%" height="100%%" fill="white"/>`+"\n%s</svg>\n", plotWidth, plotHeight, plotWidth, plotHeight, p.out.String())
}

// Plottable reports whether some series of cases has two lengths.
func Plottable(cases []Case) bool {
	var rows []Row
	for _, c := range cases {
		rows = append(rows, Row{Case: c.Name(), Engine: Kernel, DType: "float32"})
	}
	return len(series(rows)) > 0
}

// growth is the times of one series.
type growth struct {
	name   string
	points [][2]float64 // T, ms; by T
}

// series collects the kernel's rows by family, and the attention of the widest one.
func series(rows []Row) []growth {
	byName := map[string]*growth{}
	var names []string
	add := func(name string, at int, row Row) {
		if byName[name] == nil {
			byName[name] = &growth{name: name}
			names = append(names, name)
		}
		byName[name].points = append(byName[name].points, [2]float64{float64(at), row.MedianMS})
	}
	for _, row := range rows {
		if position, ok := decodePosition(row); ok {
			if row.Engine != Portable {
				add(row.Graph, position, row)
			}
			continue
		}
		c, err := Parse(row.Case)
		if err != nil || row.Input != Ordinary || row.DType != "float32" || c.B != 1 || c.D != 512 {
			continue // a whole model, or of another size
		}
		name := ""
		switch row.Engine {
		case Kernel:
			name = c.series()
		case MHA:
			if c.Op != "AFTFull" {
				continue // the same graph is timed beside every operator
			}
			name = "MultiHeadAttention"
			if c.Causal {
				name += "/causal"
			}
		default:
			continue
		}
		add(name, c.T, row)
	}
	var lines []growth
	for _, name := range names {
		g := byName[name]
		slices.SortFunc(g.points, func(a, b [2]float64) int { return int(a[0] - b[0]) })
		if len(g.points) > 1 {
			lines = append(lines, *g)
		}
	}
	return lines
}

const (
	plotWidth, plotHeight         = 860, 560
	plotLeft, plotRight           = 70, 260 // the right margin holds the names
	plotTop, plotBottom           = 40, 60
	plotAreaRight, plotAreaBottom = plotWidth - plotRight, plotHeight - plotBottom
)

type plot struct {
	out            strings.Builder
	title, below   string // the figure's, the horizontal axis's
	minX, maxX     float64
	minY, maxY     float64
	ends           []label
	lengths, times []float64
}

// label is the name of a line, beside its last point.
type label struct {
	y, x, at float64
	text     string
	colour   string
}

func newPlot(lines []growth) *plot {
	p := &plot{minX: math.Inf(1), minY: math.Inf(1)}
	for _, line := range lines {
		for _, point := range line.points {
			p.minX, p.maxX = min(p.minX, point[0]), max(p.maxX, point[0])
			p.minY, p.maxY = min(p.minY, point[1]), max(p.maxY, point[1])
			if !slices.Contains(p.lengths, point[0]) {
				p.lengths = append(p.lengths, point[0])
			}
		}
	}
	slices.Sort(p.lengths)
	p.minY = math.Pow(10, math.Floor(math.Log10(p.minY)))
	p.maxY = math.Pow(10, math.Ceil(math.Log10(p.maxY)))
	for t := p.minY; t <= p.maxY*1.001; t *= 10 {
		p.times = append(p.times, t)
	}
	return p
}

func (p *plot) x(t float64) float64 {
	return plotLeft + (plotAreaRight-plotLeft)*math.Log(t/p.minX)/math.Log(p.maxX/p.minX)
}

func (p *plot) y(ms float64) float64 {
	return plotAreaBottom - (plotAreaBottom-plotTop)*math.Log(ms/p.minY)/math.Log(p.maxY/p.minY)
}

func (p *plot) axes() {
	fmt.Fprintf(&p.out, `<text x="%d" y="24" font-size="15">%s</text>`+"\n", plotLeft, p.title)
	for _, t := range p.times {
		y := p.y(t)
		fmt.Fprintf(&p.out, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			plotLeft, y, plotAreaRight, y, plotLeft-8, y+4, t)
	}
	for _, t := range p.lengths {
		x := p.x(t)
		fmt.Fprintf(&p.out, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n",
			x, plotTop, x, plotAreaBottom, x, plotAreaBottom+20, t)
	}
	fmt.Fprintf(&p.out, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (plotLeft+plotAreaRight)/2, plotAreaBottom+44, p.below)
}

// colours are told apart also where red and green are not: each has a brightness of its own, and lines a dash.
func colours() []string {
	return []string{"#0072b2", "#56b4e9", "#d55e00", "#8a3b00", "#e69f00", "#009e73", "#cc79a7", "#7b3f73", "#000000", "#777777"}
}

func (p *plot) line(i int, g growth) {
	colour, dash := colours()[i%len(colours())], ""
	if strings.HasPrefix(g.name, "MultiHead") || g.name == DecodeAttention {
		dash = ` stroke-dasharray="6 4"`
	}
	var points []string
	for _, point := range g.points {
		points = append(points, fmt.Sprintf("%.1f,%.1f", p.x(point[0]), p.y(point[1])))
	}
	fmt.Fprintf(&p.out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "), colour, dash)
	for _, point := range g.points {
		fmt.Fprintf(&p.out, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", p.x(point[0]), p.y(point[1]), colour)
	}
	last := g.points[len(g.points)-1]
	p.ends = append(p.ends, label{y: p.y(last[1]), x: p.x(last[0]), text: g.name, colour: colour})
}

// labels writes the names at the right, in the order of the ends and apart from each other.
func (p *plot) labels() {
	slices.SortStableFunc(p.ends, func(a, b label) int {
		switch {
		case a.y < b.y:
			return -1
		case a.y > b.y:
			return 1
		}
		return 0
	})
	const apart = 18
	next := float64(plotTop)
	for i := range p.ends {
		p.ends[i].at = max(p.ends[i].y, next)
		next = p.ends[i].at + apart
	}
	for _, l := range p.ends {
		fmt.Fprintf(&p.out, `<line x1="%.1f" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-opacity="0.35"/><text x="%d" y="%.1f" fill="%s">%s</text>`+"\n",
			l.x, l.y, plotAreaRight+14, l.at, l.colour, plotAreaRight+18, l.at+4, l.colour, l.text)
	}
}
