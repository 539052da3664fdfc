package render

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/verify"
)

var update = flag.Bool("update", false, "rewrite testdata")

// number is a Number to point at.
func number(v float64) *verify.Number { n := verify.Number(v); return &n }

// deviation is all about one figure.
func deviation(v float64, share *verify.Number) verify.Deviation {
	return verify.Deviation{MaxAbs: verify.Number(2 * v), MaxRel: verify.Number(v), RMS: verify.Number(v / 4), OfAllowed: share}
}

// someReport has a row of every kind of outcome: pass, fail, information, finite only, an engine that is missing; layers that are
// exact, that fail and that are not finite.
func someReport() *verify.Report {
	total := deviation(3e-6, nil)
	exact, infinite := deviation(0, nil), deviation(math.Inf(1), nil)
	return &verify.Report{
		Schema: verify.Schema, Subject: "m.onnx", Seed: 7,
		Engines: []verify.EngineStatus{
			{Name: verify.Reference, About: "Go, float64"}, {Name: verify.Kernel, About: "ONNX Runtime 1.2.3"},
			{Name: verify.Native, About: "Go graph"}, {Name: verify.Portable, Missing: "no library"},
		},
		Results: []verify.Result{
			{
				Name: "y", Kind: verify.KindOutput, Engine: verify.Kernel, DType: "float32", Pass: true, Cases: 2, MaxAbs: 1e-6, MaxRel: 2e-6,
				Derived: "the kernel's rule", Calls: 3, Nodes: 3,
				Worst:      &verify.Worst{Case: "x (1,2,3)", Index: []int{0, 1, 2}, Got: 1.25, Want: 1.5, Tolerance: 0.5},
				Statistics: &verify.Statistics{Elements: 12, Exact: 2, MeanAbs: 1e-7, RMS: 2e-7, P50: 0.1, P90: 0.25, P99: 0.5, First: -3, Histogram: []int{4, 0, 6}},
				HeatMap: &verify.HeatMap{Case: "x (2,2,3), y", Of: "allowed", Positions: 4, Channels: 3, Sequence: 2,
					Cells: [][]verify.Number{{0, 0, 0.001}, {0.01, 0.02, 0.2}, {0.3, 1, 0}, {0, 0, 0}}},
			},
			{
				Name: "y", Setting: "opset 18", Kind: verify.KindOutput, Engine: verify.Native, DType: "float32", Cases: 2, MaxAbs: 2, MaxRel: 1,
				Derived: "the native rule", Problem: "x (1,2,3): element [0 0 0] is NaN, want 2", Located: "layers.1.aft",
				Worst:      &verify.Worst{Case: "x (1,2,3)", Index: []int{0, 0, 0}, Got: verify.Number(math.NaN()), Want: 2, Tolerance: 0.1},
				Statistics: &verify.Statistics{Elements: 3, RMS: verify.Number(math.Inf(1)), P99: verify.Number(math.Inf(1)), First: 23, Histogram: []int{1, 2}},
				HeatMap: &verify.HeatMap{Case: "x (1,2,3), y", Of: "allowed", Positions: 2, Channels: 300, Sequence: 2,
					Cells: [][]verify.Number{{verify.Number(math.Inf(1)), 3}, {0, 5}}},
			},
			{Name: "z", Kind: verify.KindOutput, Engine: verify.Kernel, DType: "float32", Cases: 1, Problem: "x: the engine gave no such output"},
			{Name: "y", Kind: verify.KindOutput, Engine: verify.Portable, DType: "float32", Pass: true, Cases: 1, Finite: 1, FiniteMaxAbs: 0.25},
			{
				Name: "rounding", Kind: verify.KindRounding, Engine: verify.Reference, DType: "float16", Pass: true, Cases: 1,
				Worst: &verify.Worst{Case: "x", Index: []int{0}, Got: 1, Want: 1.001},
				HeatMap: &verify.HeatMap{Case: "x", Of: "max", Positions: 1, Channels: 2, Sequence: 1,
					Cells: [][]verify.Number{{0.001, 0.0005}}},
			},
		},
		Layers: []verify.Layer{
			{Name: "embedded", Block: -1, Engine: verify.Kernel, Pass: true, Own: exact, Accumulated: &exact},
			{Name: "layers.0.aft", Block: 0, Engine: verify.Kernel, Pass: true, Own: deviation(1e-7, number(0.25))},
			{Name: "layers.0.y", Block: 0, Engine: verify.Kernel, Own: deviation(2e-6, number(1.5)), Accumulated: &total},
			{Name: "logits", Block: 1, Engine: verify.Kernel, Pass: true, Own: deviation(1e-7, number(0.5)), Accumulated: &total},
			{Name: "layers.0.y", Setting: "opset 18", Block: 0, Engine: verify.Native, Bodies: true, Own: infinite, Accumulated: &infinite},
			{Name: "layers.0.y", Other: true, Setting: "opset 18", Block: 0, Engine: verify.Native, Pass: true, Own: deviation(1e-15, number(0.5))},
		},
		PreFlight: &verify.PreFlight{
			Layers:  []verify.PreFlightLayer{{Block: 0, MinKey: -90, MaxKey: 95, MinBias: -1, MaxBias: 1, LowestBest: -3, Naive: verify.NaiveOverflows}},
			Float16: verify.Float16Flight{Largest: 70000, At: "layers.0.h"},
		},
		Covered: []string{"x (1,2,3)", "all 3 layers"},
		Notes:   []string{"a note"},
	}
}

// hostile names try to be markup, to close what they stand in, to name what is loaded, and to be no text at all.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title></svg></style>`, "]]>&amp;<!--", "a\x00b\x1b[31m\x7f", "\xff\xfe\xc3", "\u202eabc\ufffe\u2028",
	"{{.Subject}}", "javascript:alert(1)", "' onload='x", "line\nbreak\ttab",
}

// hostileReport puts a name wherever a report has text.
func hostileReport(name string) *verify.Report {
	r := someReport()
	r.Subject, r.Covered, r.Notes = name, []string{name}, []string{name}
	for i := range r.Engines {
		r.Engines[i].Name, r.Engines[i].About, r.Engines[i].Missing = verify.Engine(name), name, name
	}
	for i := range r.Results {
		row := &r.Results[i]
		row.Name, row.Setting, row.Kind, row.Engine, row.DType = name, name, verify.Kind(name), verify.Engine(name), name
		row.Derived, row.Problem, row.Located = name, name, name
		if row.Worst != nil {
			row.Worst.Case = name
		}
		if row.HeatMap != nil {
			row.HeatMap.Case, row.HeatMap.Of = name, name
		}
	}
	for i := range r.Layers {
		r.Layers[i].Name, r.Layers[i].Setting, r.Layers[i].Engine = name, name, verify.Engine(name)
	}
	r.PreFlight.Layers[0].Naive, r.PreFlight.Float16.At = name, name
	return r
}

func written(t *testing.T, write func(io.Writer, *verify.Report) error, r *verify.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for path, write := range map[string]func(io.Writer, *verify.Report) error{"testdata/report.html": HTML, "testdata/report.xml": JUnit} {
		got := written(t, write, someReport())
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// Anything that a browser would fetch has one of these forms; "url(" and "src" are in the page's own words nowhere.
var fetched = regexp.MustCompile(`(?i)https?:|//[a-z]|\bsrc(set)?\s*=|\bhref\s*=|url\(|@import|<(script|link|iframe|object|embed|base|img|image|use)\b`)

func TestHTML_offline(t *testing.T) {
	for _, r := range []*verify.Report{someReport(), {}} {
		if found := fetched.FindString(written(t, HTML, r)); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	if !fetched.MatchString(`<p style="background:url(x)">`) || !fetched.MatchString("<link rel=x>") {
		t.Error("the pattern finds nothing")
	}
}

// shape is the elements and attributes of a page, without its text.
func shape(t *testing.T, page string) []string {
	t.Helper()
	var tags []string
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return tags
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			tag := start.Name.Local
			for _, a := range start.Attr {
				tag += " " + a.Name.Local
			}
			tags = append(tags, tag)
		}
	}
}

// Whatever the names are, the page has the elements of a page whose names are harmless, and XML is XML.
func TestHostileNames(t *testing.T) {
	page, suites := shape(t, written(t, HTML, hostileReport("harmless"))), shape(t, written(t, JUnit, hostileReport("harmless")))
	for _, name := range hostile {
		html, junit := written(t, HTML, hostileReport(name)), written(t, JUnit, hostileReport(name))
		if diff := cmp.Diff(page, shape(t, html)); diff != "" {
			t.Errorf("%q: the page has other elements (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(suites, shape(t, junit)); diff != "" {
			t.Errorf("%q: the XML has other elements (-want +got):\n%s", name, diff)
		}
		if strings.Contains(html, "ZgotmplZ") {
			t.Errorf("%q: html/template refused a value", name)
		}
		for _, text := range []string{html, junit} {
			if strings.ContainsAny(text, "\x00\x1b\x7f\u202e\u2028\ufffe\ufffd") || strings.ToValidUTF8(text, "") != text {
				t.Errorf("%q: does not print", name)
			}
		}
		if err := xml.Unmarshal([]byte(junit), new(junitReport)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestLegible(t *testing.T) {
	for name, want := range map[string]string{
		"layers.0.h": "layers.0.h", "é 层": "é 层", "a\x1b\n": `a\x1b\n`, "\xff": `\xff`, "\u202e": `\u202e`, "\ufffd": "\ufffd", "it's": "it's",
	} {
		if got := legible(name); got != want {
			t.Errorf("legible(%q) = %s, want %s", name, got, want)
		}
	}
}

// JUnit's counts are those of its cases: every result and layer, the engine that is missing, the failures among them.
func TestJUnit_counts(t *testing.T) {
	r := someReport()
	var got junitReport
	if err := xml.Unmarshal([]byte(written(t, JUnit, r)), &got); err != nil {
		t.Fatal(err)
	}
	if want := len(r.Results) + len(r.Layers) + 1; got.Tests != want || got.Failures != 4 || got.Skipped != 1 {
		t.Errorf("%d tests, %d failures, %d skipped: want %d, 4, 1", got.Tests, got.Failures, got.Skipped, want)
	}
	tests := 0
	for _, s := range got.Suites {
		if tests += s.Tests; s.Tests != len(s.Cases) {
			t.Errorf("suite %s: %d tests, has %d", s.Name, s.Tests, len(s.Cases))
		}
	}
	if tests != got.Tests {
		t.Errorf("suites have %d tests, the report %d", tests, got.Tests)
	}
	if f := got.Suites[2].Cases; f[0].Failure == nil || !strings.Contains(f[0].Failure.Text, "at x (1,2,3) [0 0 0]: got NaN, want 2") ||
		!strings.Contains(f[0].Failure.Text, "observed +Inf, allowed 1.00e-01") {
		t.Errorf("the failure says %+v", f[0])
	}
}

// A layer that exceeds its tolerance while every result of its engine passes decides nothing.
func TestJUnit_layerDecidesNothing(t *testing.T) {
	r := &verify.Report{
		Pass:    true,
		Results: []verify.Result{{Name: "y", Engine: verify.Kernel, Pass: true}},
		Layers:  []verify.Layer{{Name: "a", Engine: verify.Kernel}, {Name: "a", Engine: verify.Portable}},
	}
	if junit := written(t, JUnit, r); strings.Contains(junit, "<failure") {
		t.Errorf("JUnit:\n%s", junit)
	}
	r.Pass, r.Results[0].Pass = false, false
	if junit := written(t, JUnit, r); strings.Count(junit, "<failure") != 2 {
		t.Errorf("with a result that fails:\n%s", junit)
	}
}

// A report that compared nothing fails, without a result that does.
func TestNothingCompared(t *testing.T) {
	r := &verify.Report{Schema: verify.Schema}
	if page := written(t, HTML, r); !strings.Contains(page, "Nothing compared") || !strings.HasPrefix(page, HTMLBegins) {
		t.Errorf("the page:\n%s", page)
	}
	if junit := written(t, JUnit, r); !strings.Contains(junit, `failures="1"`) || !strings.HasPrefix(junit, JUnitBegins) {
		t.Errorf("JUnit:\n%s", junit)
	}
}

// A writer's error is returned.
func TestWriteError(t *testing.T) {
	full := errors.New("disk full")
	w := writer(func([]byte) (int, error) { return 0, full })
	for name, write := range map[string]func(io.Writer, *verify.Report) error{"HTML": HTML, "JUnit": JUnit} {
		if err := write(w, someReport()); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
