package render

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/verify"
)

//go:embed page
var pageFiles embed.FS

// HTMLBegins is how every page begins that HTML writes, of whatever report.
const HTMLBegins = `<!DOCTYPE html>
<html lang="en" data-report="aftonnx.verify/`

// HTML writes a report as a page of its own, to be opened from a disk or kept as an artefact. The error is w's.
func HTML(w io.Writer, r *verify.Report) error {
	t, err := template.New("page.html").Funcs(frame()).ParseFS(pageFiles, "page/*")
	if err != nil {
		return err
	}
	var b bytes.Buffer // a page is whole or not there
	if err := t.Execute(&b, newPage(r)); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// page is what the template shows: text that is legible, lengths of plots. The template escapes, and does no sums.
type page struct {
	Subject, Schema string
	Seed            string
	Verdict         verdict
	Engines         []engineRow
	Covered         []string
	Results         []resultRow
	ManyResults     bool // too many for a card each on a phone
	Rules           []string
	Layers          []layerPlot
	Histograms      []histogram
	HeatMaps        []heatMap
	HeatSteps       []heatStep
	Unpictured      int // rows without plots of their own
	Statistics      []statisticsRow
	PreFlight       *preFlight
	Notes           []string
}

// mostCards is how many results a phone shows as cards; more of them are a table to be moved sideways.
const mostCards = 16

// verdict is the first thing that a reader sees.
type verdict struct {
	Word, Class, Text string
	Problems          []problem
}

type problem struct{ Where, What, Located string }

type engineRow struct{ Name, About, Missing string }

func newPage(r *verify.Report) *page {
	p := &page{
		Subject: legible(r.Subject), Schema: legible(r.Schema), Seed: strconv.FormatUint(r.Seed, 10), Verdict: judge(r),
		Covered: legibles(r.Covered), Notes: legibles(r.Notes), Layers: layerPlots(r), PreFlight: newPreFlight(r.PreFlight),
		HeatSteps: heatSteps(), ManyResults: len(r.Results) > mostCards,
	}
	for _, e := range r.Engines {
		p.Engines = append(p.Engines, engineRow{legible(string(e.Name)), legible(e.About), legible(e.Missing)})
	}
	p.addResults(r)
	chosen := pictured(r.Results)
	for i := range r.Results {
		row := &r.Results[i]
		if row.Statistics != nil {
			p.Statistics = append(p.Statistics, newStatisticsRow(row))
		}
		if !chosen[i] {
			if row.Statistics != nil || row.HeatMap != nil {
				p.Unpictured++
			}
			continue
		}
		if row.Statistics != nil {
			p.Histograms = append(p.Histograms, newHistogram(row))
		}
		if row.HeatMap != nil {
			p.HeatMaps = append(p.HeatMaps, newHeatMap(row))
		}
	}
	return p
}

// judge says in a sentence what came out, and what is wrong.
func judge(r *verify.Report) verdict {
	v := verdict{Word: "Pass", Class: "pass"}
	failed, missing, located := 0, 0, false
	for i := range r.Results {
		if row := &r.Results[i]; !row.Pass || row.Problem != "" {
			v.Problems = append(v.Problems, problem{title(row), legible(row.Problem), legible(row.Located)})
			located = located || row.Located != ""
			if !row.Pass {
				failed++
			}
		}
	}
	for _, e := range r.Engines {
		if e.Missing != "" {
			missing++
		}
	}
	v.Text = "All of " + counted(len(r.Results), "result") + " passed."
	if len(r.Results) == 1 {
		v.Text = "The one result passed."
	}
	switch {
	case failed > 0:
		v.Word, v.Class = "Fail", "fail"
		v.Text = strconv.Itoa(failed) + " of " + counted(len(r.Results), "result") + " failed."
	case !r.Pass:
		v.Word, v.Class, v.Text = "Nothing compared", "fail", "No engine was compared with the truth."
	}
	if missing > 0 {
		v.Text += " Not compared, for it is missing: " + counted(missing, "engine") + "."
	}
	if failing := failingLayers(r.Layers); failed > 0 && !located && len(failing) > 0 {
		v.Text += " First failing layer by engine: " + strings.Join(failing, "; ") + "."
	}
	return v
}

// mostNamed is how many layers the verdict names; a sweep can have hundreds.
const mostNamed = 3

// failingLayers are the first ones, an engine each.
func failingLayers(layers []verify.Layer) (first []string) {
	for _, s := range layerSeries(layers) {
		for _, l := range s.layers {
			if !l.Pass {
				first = append(first, legible(l.Name)+" on "+s.title)
				break
			}
		}
	}
	if more := len(first) - mostNamed; more > 1 {
		first = append(first[:mostNamed], fmt.Sprintf("and on %d engines or settings more", more))
	}
	return first
}
