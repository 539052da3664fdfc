package render

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/verify"
)

// The plots' size. They are drawn as wide as a phone shows without shrinking letters to nothing; wide pages set them side by side.
const (
	plotWidth            = 440
	plotLeft, plotRight  = 58, 424
	plotMiddle           = (plotLeft + plotRight) / 2
	plotTop, plotBottom  = 14, 220
	plotHeight           = 262
	band                 = 22 // for what a logarithm cannot show: 0 below the decades, Inf above
	mostTicks, mostBlock = 7, 12
)

// frame gives the templates the lengths that all plots have in common.
func frame() template.FuncMap {
	constant := func(p px) func() px { return func() px { return p } }
	return template.FuncMap{"width": constant(plotWidth), "height": constant(plotHeight), "left": constant(plotLeft), "right": constant(plotRight),
		"middle": constant(plotMiddle), "top": constant(plotTop), "bottom": constant(plotBottom)}
}

// series is the layers of one engine, first to last.
type series struct {
	title  string
	layers []*verify.Layer
}

// layerSeries takes the layers apart by model, setting, engine and its way of computing, in their order.
func layerSeries(layers []verify.Layer) []*series {
	var list []*series
	found := map[string]*series{}
	for i := range layers {
		l := &layers[i]
		name := labelled(engineOf(l.Engine, l.Bodies), l.Setting)
		if l.Other {
			name += ", other model"
		}
		s := found[name]
		if s == nil {
			s = &series{title: name}
			found[name], list = s, append(list, s)
		}
		s.layers = append(s.layers, l)
	}
	return list
}

// urgency orders series: those with a layer that failed before others, then by how much of its tolerance some layer takes.
func (s *series) urgency() (most float64) {
	for _, l := range s.layers {
		if !l.Pass {
			return math.Inf(1)
		}
		if l.Own.OfAllowed != nil {
			most = max(most, float64(*l.Own.OfAllowed))
		}
	}
	return most
}

// layerPlot is the error by layer on one engine: what each layer adds of its own, and what has added up so far.
type layerPlot struct {
	Title, About       string
	Axis               string // what layers are counted by
	YTicks, XTicks     []tick
	OwnLine, TotalLine string // points of a polyline
	Marks              []layerMark
	Failed             *tick // the first layer that fails
	Drawn              bool
	Rows               []layerRow
}

type layerMark struct {
	X, Y         px
	Total, Fails bool
	Title        string
}

// layerRow is a line of the table behind the plot.
type layerRow struct {
	Name                                 string
	Block                                string
	OwnAbs, OwnRel, OwnRMS, OwnShare     string
	TotalAbs, TotalRel, TotalRMS, Totals string
	Verdict, Class                       string
}

// layerPlots have one vertical axis in common, so that engines compare.
func layerPlots(r *verify.Report) []layerPlot {
	scale, axis := newDecades(r.Layers), "block"
	if r.PreFlight == nil { // the blocks of this model are not known, its nodes are
		axis = "node"
	}
	var plots []layerPlot
	list := layerSeries(r.Layers)
	drawn := mostUrgent(len(list), func(i int) float64 { return list[i].urgency() })
	for i, s := range list {
		plots = append(plots, newLayerPlot(s, scale))
		plots[i].Axis, plots[i].Drawn = axis, drawn[i]
	}
	return plots
}

func newLayerPlot(s *series, scale *decades) layerPlot {
	p := layerPlot{Title: s.title, YTicks: scale.ticks(), XTicks: blockTicks(s.layers)}
	var own, total []string
	failed := 0
	for i, l := range s.layers {
		at := layerX(i, len(s.layers))
		mark := layerMark{X: at, Y: scale.y(l.Own.MaxRel), Fails: !l.Pass, Title: tell(l)}
		own = append(own, fmt.Sprintf("%v,%v", mark.X, mark.Y))
		if l.Accumulated != nil {
			y := scale.y(l.Accumulated.MaxRel)
			total = append(total, fmt.Sprintf("%v,%v", at, y))
			p.Marks = append(p.Marks, layerMark{X: at, Y: y, Total: true, Title: tell(l)})
		}
		p.Marks = append(p.Marks, mark)
		if !l.Pass {
			if failed == 0 {
				p.Failed = &tick{at, legible(l.Name)}
			}
			failed++
		}
		p.Rows = append(p.Rows, newLayerRow(l))
	}
	p.OwnLine, p.TotalLine = strings.Join(own, " "), strings.Join(total, " ")
	p.About = counted(len(s.layers), "layer") + ", none fails."
	if failed > 0 {
		p.About = fmt.Sprintf("%d of %s fail, the first is %s.", failed, counted(len(s.layers), "layer"), p.Failed.Text)
	}
	return p
}

// tell is a layer in words, shown where the pointer rests on its mark.
func tell(l *verify.Layer) string {
	text := fmt.Sprintf("%s: own error %s of max", legible(l.Name), small(l.Own.MaxRel))
	if l.Own.OfAllowed != nil {
		text += ", " + ofAllowed(float64(*l.Own.OfAllowed))
	}
	if l.Accumulated != nil {
		text += fmt.Sprintf("; accumulated %s of max", small(l.Accumulated.MaxRel))
	}
	if !l.Pass {
		text += "; fails"
	}
	return text
}

func newLayerRow(l *verify.Layer) layerRow {
	row := layerRow{Name: legible(l.Name), Block: strconv.Itoa(l.Block), Verdict: "pass", Class: "pass",
		OwnAbs: small(l.Own.MaxAbs), OwnRel: small(l.Own.MaxRel), OwnRMS: small(l.Own.RMS), OwnShare: share(&l.Own)}
	if l.Block < 0 {
		row.Block = "in"
	}
	if a := l.Accumulated; a != nil {
		row.TotalAbs, row.TotalRel, row.TotalRMS, row.Totals = small(a.MaxAbs), small(a.MaxRel), small(a.RMS), share(a)
	}
	if !l.Pass {
		row.Verdict, row.Class = "FAIL", "fail"
	}
	return row
}

func share(d *verify.Deviation) string {
	if d.OfAllowed == nil {
		return ""
	}
	return percent(float64(*d.OfAllowed))
}

// layerX spreads layers over the width.
func layerX(i, of int) px {
	if of < 2 {
		return plotMiddle
	}
	const margin = 10
	return plotLeft + margin + px(i)*(plotRight-plotLeft-2*margin)/px(of-1)
}

// blockTicks marks where blocks begin. The last group is what comes behind the blocks if others have values inside and it has none.
func blockTicks(layers []*verify.Layer) []tick {
	var all []tick
	inside, last := map[int]bool{}, 0
	for i, l := range layers {
		if i == 0 || l.Block != layers[i-1].Block {
			all = append(all, tick{layerX(i, len(layers)), strconv.Itoa(l.Block)})
		}
		inside[l.Block] = inside[l.Block] || l.Accumulated == nil
		last = l.Block
	}
	if len(layers) > 0 && layers[0].Block < 0 {
		all[0].Text = "in"
	}
	if len(all) > 1 && len(inside) > 1 && !inside[last] && inside[0] {
		all[len(all)-1].Text = "out"
	}
	step := (len(all) + mostBlock - 1) / mostBlock
	var some []tick
	for i, t := range all {
		if step <= 1 || i%step == 0 {
			some = append(some, t)
		}
	}
	return some
}

// decades is a logarithmic axis, with places for 0 and for what is not finite where they occur.
type decades struct {
	low, high       int // powers of ten
	zero, undefined bool
}

func newDecades(layers []verify.Layer) *decades {
	d := &decades{low: math.MaxInt, high: math.MinInt}
	for i := range layers {
		d.see(layers[i].Own.MaxRel)
		if a := layers[i].Accumulated; a != nil {
			d.see(a.MaxRel)
		}
	}
	if d.low > d.high {
		d.low, d.high = -1, 0
	}
	d.high = max(d.high, d.low+1)
	return d
}

func (d *decades) see(n verify.Number) {
	switch v := float64(n); {
	case isUndefined(v):
		d.undefined = true
	case v <= 0:
		d.zero = true
	default:
		exponent := math.Log10(v)
		d.low, d.high = min(d.low, int(math.Floor(exponent))), max(d.high, int(math.Ceil(exponent)))
	}
}

func (d *decades) y(n verify.Number) px {
	top, bottom := px(plotTop), px(plotBottom)
	if d.undefined {
		top += band
	}
	if d.zero {
		bottom -= band
	}
	switch v := float64(n); {
	case isUndefined(v):
		return plotTop + 6
	case v <= 0:
		return plotBottom - 6
	default:
		return bottom - (bottom-top)*px((math.Log10(v)-float64(d.low))/float64(d.high-d.low))
	}
}

func (d *decades) ticks() []tick {
	var t []tick
	if d.undefined {
		t = append(t, tick{plotTop + 6, "Inf"})
	}
	step := (d.high - d.low + mostTicks - 1) / mostTicks
	for e := d.high; e >= d.low; e -= step {
		t = append(t, tick{d.y(verify.Number(math.Pow10(e))), fmt.Sprintf("1e%d", e)})
	}
	if d.zero {
		t = append(t, tick{plotBottom - 6, "0"})
	}
	return t
}
