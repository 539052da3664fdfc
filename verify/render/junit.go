package render

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/verify"
)

// The elements of JUnit XML that CI systems agree on.
type (
	junitReport struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitFailure `xml:"failure"`
		Skipped *junitSkipped `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

// JUnitBegins is how every file begins that JUnit writes, of whatever report.
const JUnitBegins = xml.Header + `<testsuites name="aftonnx verify `

// JUnit writes a report as CI systems read test results: a suite for every engine, and for every setting of a sweep; a test for every
// result and every layer. An engine that is missing is a test that was skipped; a report that compared nothing is a failure of its own.
// The error is w's.
func JUnit(w io.Writer, r *verify.Report) error {
	report := newJUnit(r)
	data, err := xml.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	_, err = io.Copy(w, bytes.NewReader(append([]byte(xml.Header), append(data, '\n')...)))
	return err
}

// junitMaker collects tests by suite, in the order in which suites are seen first.
type junitMaker struct {
	report *verify.Report
	suites []*junitSuite
	found  map[string]*junitSuite
}

func newJUnit(r *verify.Report) *junitReport {
	m := &junitMaker{report: r, found: map[string]*junitSuite{}}
	failed := false
	for _, e := range r.Engines {
		if e.Missing != "" {
			m.add(e.Name, "", junitCase{Class: "engine", Name: legible(string(e.Name)), Skipped: &junitSkipped{legible(e.Missing)}})
		}
	}
	for i := range r.Results {
		m.add(r.Results[i].Engine, r.Results[i].Setting, resultCase(&r.Results[i]))
		failed = failed || !r.Results[i].Pass
	}
	for i := range r.Layers {
		l := &r.Layers[i]
		m.add(l.Engine, l.Setting, layerCase(l, m.found[labelled(string(l.Engine), l.Setting)]))
	}
	if !r.Pass && !failed {
		m.add("verdict", "", junitCase{Class: "verdict", Name: "something was compared",
			Failure: &junitFailure{Message: "no engine was compared with the truth", Type: "verdict"}})
	}
	out := &junitReport{Name: "aftonnx verify " + legible(r.Subject)}
	for _, s := range m.suites {
		out.Tests, out.Failures, out.Skipped = out.Tests+s.Tests, out.Failures+s.Failures, out.Skipped+s.Skipped
		out.Suites = append(out.Suites, *s)
	}
	return out
}

func (m *junitMaker) add(e verify.Engine, setting string, c junitCase) {
	name := labelled(string(e), setting)
	s := m.found[name]
	if s == nil {
		s = &junitSuite{Name: name, Properties: m.properties(e)}
		m.found[name], m.suites = s, append(m.suites, s)
	}
	c.Class = name + "." + c.Class
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func (m *junitMaker) properties(of verify.Engine) []junitProperty {
	p := []junitProperty{
		{"subject", legible(m.report.Subject)}, {"schema", legible(m.report.Schema)}, {"seed", strconv.FormatUint(m.report.Seed, 10)},
	}
	for _, e := range m.report.Engines {
		if e.Name == of && e.About != "" {
			p = append(p, junitProperty{"engine", legible(e.About)})
		}
	}
	return p
}

func resultCase(r *verify.Result) junitCase {
	c := junitCase{Class: legible(string(r.Kind)), Name: legible(r.Name) + ", " + legible(r.DType)}
	var text []string
	if w := r.Worst; w != nil {
		allowed := ""
		if r.Kind != verify.KindRounding {
			allowed = fmt.Sprintf(", allowed %s (%s)", small(w.Tolerance), percent(w.Ratio()))
		}
		text = append(text, fmt.Sprintf("observed %s%s", small(verify.Number(w.Error())), allowed),
			fmt.Sprintf("at %s: got %s, want %s", place(w), exactly(w.Got), exactly(w.Want)))
	}
	if r.Derived != "" {
		text = append(text, "derived from: "+legible(r.Derived))
	}
	if r.Located != "" {
		text = append(text, "first layer that differs: "+legible(r.Located))
	}
	if r.Pass {
		c.Out = strings.Join(text, "\n")
		return c
	}
	message := legible(r.Problem)
	if message == "" {
		message = "does not match"
	}
	c.Failure = &junitFailure{Message: message, Type: legible(string(r.Kind)), Text: strings.Join(text, "\n")}
	return c
}

// layerCase is a failure where a result of the suite failed as well. Of another exporter's model layers say where a difference begins,
// and decide nothing: a build must not break over one while the verdict is a pass.
func layerCase(l *verify.Layer, s *junitSuite) junitCase {
	c := junitCase{Class: "layers", Name: legible(l.Name)}
	if l.Other {
		c.Name = "other " + c.Name
	}
	if l.Bodies {
		c.Name += ", with function bodies"
	}
	if l.Pass || s == nil || s.Failures == 0 {
		c.Out = tell(l)
		return c
	}
	message := "own error " + small(l.Own.MaxAbs)
	if l.Own.OfAllowed != nil {
		message += ", " + ofAllowed(float64(*l.Own.OfAllowed))
	}
	c.Failure = &junitFailure{Message: message, Type: "layer", Text: tell(l)}
	return c
}
