package bench

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for want, list := range map[time.Duration][]time.Duration{
		3: {9, 3, 1}, 4: {9, 1, 3, 5}, 7: {7},
	} {
		if got := median(list); got != want {
			t.Errorf("median of %v is %v, want %v", list, got, want)
		}
	}
}

// Ratios are of the same repeat; the value is the medians', the spread the repeats'.
func TestComplete(t *testing.T) {
	ms := time.Millisecond
	base := &runner{all: []time.Duration{ms}, repeat: []time.Duration{2 * ms, 4 * ms, 3 * ms}}
	r := &runner{all: []time.Duration{ms, 9 * ms}, repeat: []time.Duration{4 * ms, 20 * ms, 9 * ms}}
	row := r.complete(base)
	if row.MedianMS != 9 || row.BestMS != 1 || row.Ratio != 3 || row.Spread != [2]float64{2, 5} || row.Runs != 2 {
		t.Errorf("got %+v", row)
	}
}

// Every runner gets its turns, between those of the others; slow ones fewer.
func TestInterleave(t *testing.T) {
	var order strings.Builder
	list := []*runner{
		{run: func(context.Context) error { order.WriteByte('a'); return nil }},
		{run: func(context.Context) error { order.WriteByte('b'); return nil }},
	}
	if err := interleave(context.Background(), list, Plan{Repeats: 2, Rounds: 2, Runs: 2}); err != nil {
		t.Fatal(err)
	}
	if got, want := order.String(), "ab"+"aabbaabb"+"aabbaabb"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
	if len(list[0].all) != 8 || len(list[0].repeat) != 2 {
		t.Errorf("kept %d runs of %d repeats, want 8 of 2", len(list[0].all), len(list[0].repeat))
	}
	if runs, rounds := (Plan{Rounds: 5, Runs: 3}).runs(3 * time.Second); runs != 1 || rounds != 1 {
		t.Errorf("a slow one runs %d times in %d rounds, want once", runs, rounds)
	}
	broken := errors.New("broken")
	list[1].run = func(context.Context) error { return broken }
	if err := interleave(context.Background(), list, Plan{1, 1, 1}); !errors.Is(err, broken) {
		t.Errorf("error %v, want the runner's", err)
	}
}

func rowsOf(t *testing.T) []Row {
	t.Helper()
	var rows []Row
	for i, c := range []string{"AFTSimple/T256", "AFTSimple/T1024", "AFTFull/T256", "AFTFull/T1024", "AFTConv2D/k3/2x3"} {
		rows = append(rows, Row{Case: c, Engine: Kernel, DType: "float32", MedianMS: float64(i + 1), Ratio: 1, Spread: [2]float64{1, 1}},
			Row{Case: c, Engine: MHA, DType: "float32", MedianMS: float64(10 * (i + 1)), Ratio: 10, Spread: [2]float64{9, 11}},
			Row{Case: c, Engine: Kernel, DType: "float32", Input: Growing, MedianMS: 2, Ratio: 2})
	}
	return append(rows, Row{Case: "enwik8-local-12x512/T1024", Engine: Kernel, DType: "float32", MedianMS: 5})
}

// The plot is well-formed, with a line and a name for every series of two lengths or more.
func TestPlot(t *testing.T) {
	svg := Plot(rowsOf(t))
	lines := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 3 {
		t.Errorf("%d lines, want AFTSimple, AFTFull and MultiHeadAttention", lines)
	}
	for _, name := range []string{">AFTSimple<", ">AFTFull<", ">MultiHeadAttention<", ">256<", ">1024<"} {
		if !strings.Contains(svg, name) {
			t.Errorf("the plot does not say %s", name)
		}
	}
	if Plot(rowsOf(t)[:3]) != "" {
		t.Error("a plot of one length")
	}
}

func TestMarkdown(t *testing.T) {
	text := Markdown(&Report{Threads: 2, Repeats: 3, Results: rowsOf(t)})
	for _, want := range []string{"| AFTSimple/T256 | 1.00 |", "10.0 [9.00-11.0]", "| AFTSimple/T256 |  | 2.00 |", "idle threads sleep"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
