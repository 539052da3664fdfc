package dialect

import (
	"fmt"
	"strconv"
	"strings"
)

// FlagError says that the command line has to decide something the file does not say, or contradicts it.
type FlagError struct {
	File   string
	Place  string   // "layer 0 (labml)"; empty when it is about the whole file
	Flags  []string // what is missing: "--causal"
	Given  []string // or what was given and contradicts the file, or has no effect
	Reason string   // says what to do about it, without a full stop
}

// Error gives one line: file, place, reason.
func (e *FlagError) Error() string { return join(e.File, e.Place, e.Reason) }

// Error says that a file does not hold layers that can be read: where, what was found, what would be allowed.
type Error struct {
	File    string
	Place   string // tensor, layer or key; names that come from the file are quoted
	Found   string
	Allowed string // may be empty
}

// Error gives one line: file, place, what was found, what is allowed.
func (e *Error) Error() string {
	text := e.Found
	if e.Allowed != "" {
		text += ", want " + e.Allowed
	}
	return join(e.File, e.Place, text)
}

func join(file, place, text string) string {
	if place != "" {
		text = place + ": " + text
	}
	if file != "" {
		text = strconv.Quote(file) + ": " + text
	}
	return text
}

// listed is how many names an error lists, and quotedLen how much of each.
const (
	listed    = 20
	quotedLen = 100
)

// quote makes a name from a file safe to print.
func quote(name string) string {
	if len(name) > quotedLen {
		return strconv.Quote(name[:quotedLen]) + "..."
	}
	return strconv.Quote(name)
}

// quoteList names up to 20 things and counts the rest.
func quoteList(names []string) string {
	shown := names[:min(len(names), listed)]
	parts := make([]string, len(shown))
	for i, name := range shown {
		parts[i] = quote(name)
	}
	text := strings.Join(parts, ", ")
	if rest := len(names) - len(shown); rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}
