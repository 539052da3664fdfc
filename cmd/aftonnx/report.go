package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/verify"
)

// printReport writes a report as JSON or as a table of its rows. On a terminal the tolerances follow the table, a line
// each; piped, they are a column. A table of the layers comes second, if asked for.
func (a *app) printReport(r *verify.Report, layers bool) error {
	if a.json {
		return a.printJSON(r)
	}
	a.printRows(r)
	if layers {
		fmt.Fprintln(a.out)
		a.printLayers(r)
	}
	return nil
}

// printLayers is the errors at the block boundaries and inside the blocks: what a layer adds of its own, and what there is of all
// up to it.
func (a *app) printLayers(r *verify.Report) {
	t := &table{header: []string{"layer", "engine", "own error", "own rms", "of allowed", "accumulated", "accumulated rms", "verdict"}}
	for i := range r.Layers {
		l := &r.Layers[i]
		name, engine, verdict := l.Name, string(l.Engine), wordPass
		if l.Other {
			name = "other " + name
		}
		if l.Setting != "" {
			name += " (" + l.Setting + ")"
		}
		if l.Bodies {
			engine += ", bodies"
		}
		if !l.Pass {
			verdict = wordFail
		}
		used := ""
		if l.Own.OfAllowed != nil {
			used = fmt.Sprintf("%.2g%%", 100*float64(*l.Own.OfAllowed))
		}
		total := []string{"", ""}
		if l.Accumulated != nil {
			total = []string{fmt.Sprintf("%.2e", float64(l.Accumulated.MaxAbs)), fmt.Sprintf("%.2e", float64(l.Accumulated.RMS))}
		}
		t.add(name, engine, fmt.Sprintf("%.2e", float64(l.Own.MaxAbs)), fmt.Sprintf("%.2e", float64(l.Own.RMS)), used, total[0], total[1], verdict)
	}
	a.printTable(t)
}

func (a *app) printRows(r *verify.Report) {
	t := &table{header: []string{"result", "engine", "type", "cases", "max error", "of max", "observed/allowed", "calls", "verdict"}}
	if !a.terminal {
		t.header = append(t.header, "worst at", "got", "want", "tolerance", "derived from")
	}
	var rules []string
	for i := range r.Results {
		row := &r.Results[i]
		cells := reportCells(row)
		if !a.terminal {
			cells = append(cells, worstCells(row)...)
		}
		t.add(cells...)
		rule := fmt.Sprintf("%s %s: %s", row.Engine, row.DType, row.Derived)
		if row.Derived != "" && row.Engine != verify.Reference && !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	for _, e := range r.Engines {
		if e.Missing != "" {
			cells := slices.Repeat([]string{""}, len(t.header))
			cells[1], cells[8] = string(e.Name), wordMissing
			t.add(cells...)
		}
	}
	a.printTable(t)
	if a.terminal {
		for _, rule := range rules {
			fmt.Fprintf(a.out, "tolerance, %s\n", rule)
		}
	}
}

func reportCells(row *verify.Result) []string {
	verdict := wordPass
	switch {
	case !row.Pass:
		verdict = wordFail
	case row.Kind == verify.KindRounding:
		verdict = wordInfo
	case row.Finite > 0 && row.Finite == row.Cases:
		verdict = wordFinite
	}
	used := ""
	if row.Worst != nil && row.Kind != verify.KindRounding {
		used = observed(row.Worst)
	}
	calls := ""
	if row.Calls > 0 || row.Nodes > 0 {
		calls = fmt.Sprint(row.Calls)
	}
	largest, relative := fmt.Sprintf("%.2e", float64(row.MaxAbs)), fmt.Sprintf("%.2e", float64(row.MaxRel))
	if verdict == wordFinite {
		largest, relative = fmt.Sprintf("%.2e", float64(row.FiniteMaxAbs)), ""
	}
	return []string{row.Label(), string(row.Engine), row.DType, fmt.Sprint(row.Cases), largest, relative, used, calls, verdict}
}

// observed is an element's error, what it may be and how much of that it takes.
func observed(w *verify.Worst) string {
	return fmt.Sprintf("%.2g/%.2g %.2g%%", w.Error(), float64(w.Tolerance), 100*w.Ratio())
}

func worstCells(row *verify.Result) []string {
	if row.Worst == nil {
		return []string{"", "", "", "", row.Derived}
	}
	w := row.Worst
	tolerance := ""
	if row.Kind != verify.KindRounding {
		tolerance = fmt.Sprintf("%.3g", float64(w.Tolerance))
	}
	return []string{
		fmt.Sprintf("%s %v", w.Case, w.Index), fmt.Sprint(float64(w.Got)), fmt.Sprint(float64(w.Want)), tolerance, row.Derived,
	}
}

// explain says on the message stream what the table cannot: what was covered, notes, and every problem.
func (a *app) explain(r *verify.Report) {
	if !a.json { // where they are fields
		for _, note := range r.Notes {
			a.say("note: %s", note)
		}
		if r.PreFlight != nil {
			for _, text := range r.PreFlight.Says() {
				a.say("pre-flight: %s", text)
			}
		}
		a.say("covered: %s", strings.Join(r.Covered, "; "))
	}
	wide := false
	for i := range r.Results {
		if row := &r.Results[i]; row.Finite > 0 && row.Kind == verify.KindOutput && row.Engine == verify.Portable {
			a.say("note: %s, %s: in %d of %d cases keys and biases span more than the function bodies are exact in: there they are "+
				"only finite, and off by %.2g", row.Label(), row.Engine, row.Finite, row.Cases, float64(row.FiniteMaxAbs))
			wide = true
		}
	}
	if wide {
		a.say("hint: aftonnx export --portable-math double makes them exact in a much wider range")
	}
	for i := range r.Results {
		if row := &r.Results[i]; row.Problem != "" {
			a.say("%s, %s, %s: %s", row.Label(), row.Engine, row.DType, row.Problem)
			if row.Located != "" {
				a.say("  first layer that differs: %s", row.Located)
			}
		}
	}
}

// verdict turns a report into the exit code.
func verdict(r *verify.Report) error {
	if failed := slices.ContainsFunc(r.Results, func(row verify.Result) bool { return !row.Pass }); failed {
		return &failure{code: exitMismatch, err: fmt.Errorf("%s: does not match", printable(r.Subject))}
	}
	if err := r.Missing(); err != nil {
		f := &failure{code: exitRuntime, err: err}
		return f.hint("--engine reference,native verifies without ONNX Runtime")
	}
	if !r.Pass {
		return &failure{code: exitUsage, err: errors.New("nothing was compared: choose at least one engine beside reference")}
	}
	return nil
}
