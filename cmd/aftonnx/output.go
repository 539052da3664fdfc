package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// table is rows under a header. On a terminal the columns are aligned; elsewhere they are separated by tabs, the header
// included, so that cut and awk can take it apart.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (a *app) printTable(t *table) {
	lines := append([][]string{t.header}, t.rows...)
	if !a.terminal {
		for _, cells := range lines {
			fmt.Fprintln(a.out, strings.Join(cells, "\t"))
		}
		return
	}
	width := make([]int, len(t.header))
	for _, cells := range lines {
		for i, c := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for n, cells := range lines {
		var b strings.Builder
		for i, c := range cells {
			text := a.paint(c)
			if n == 0 {
				text = strings.ToUpper(c)
			}
			b.WriteString(text)
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+2))
			}
		}
		fmt.Fprintln(a.out, strings.TrimRight(b.String(), " "))
	}
}

// The words that verdict columns hold.
const (
	wordPass    = "pass"
	wordFail    = "FAIL"
	wordMissing = "missing"
	wordFound   = "found" // but not tried: the engines' rows say whether it works
	wordInfo    = "info"
	wordFinite  = "finite" // finite where more is not owed: no tolerance was applied
)

// paint colours a verdict where colours are wanted.
func (a *app) paint(cell string) string {
	colours := map[string]string{wordPass: "32", wordFail: "1;31", wordMissing: "33"}
	if code, ok := colours[cell]; ok && a.colour {
		return "\x1b[" + code + "m" + cell + "\x1b[0m"
	}
	return cell
}

// printJSON writes a value that has a schema field. Errors of writing are resultWriter's.
func (a *app) printJSON(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s\n", data)
	return nil
}

// quiet is how long work goes on before progress is shown.
const quiet = time.Second

// step shows what is being done on a terminal, in place of the step before, once the work has taken over a second.
func (a *app) step(text string) {
	if a.progress && time.Since(a.started) > quiet {
		a.stepping = true
		fmt.Fprintf(a.messages, "\r\x1b[K%s", text)
	}
}

// stepsDone removes the last step.
func (a *app) stepsDone() {
	if a.stepping {
		a.stepping = false
		fmt.Fprint(a.messages, "\r\x1b[K")
	}
}

// printable keeps a name from a file from driving the terminal: control characters and invalid UTF-8 are escaped.
func printable(name string) string {
	quoted := fmt.Sprintf("%q", name)
	if quoted == `"`+name+`"` {
		return name
	}
	return quoted
}
