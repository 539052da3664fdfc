package checkpoint

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error says why a file was refused: where, what was found there, what would have been allowed. Every error that Open and
// Tensor return is one.
type Error struct {
	File string // as given to Open, or the file in a directory, or the shard of an index
	// Place is where in the file: `record "archive/data.pkl", byte 123`, `header, byte 17`. Bytes count from the start of
	// the record or header.
	Place string
	// Name is what the error is about, with its kind: `tensor "wbias"`, `global "builtins print"`. May be empty.
	Name    string
	Found   string
	Allowed string

	cause error
}

// Error gives one line: file "x.pt": place: name: found ..., allowed ...
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	if e.File != "" {
		parts = append(parts, "file "+strconv.Quote(e.File))
	}
	for _, p := range []string{e.Place, e.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	last := "found " + e.Found
	if e.Allowed != "" {
		last += ", allowed " + e.Allowed
	}
	return strings.Join(append(parts, last), ": ")
}

// Unwrap gives the operating system's error when there is one.
func (e *Error) Unwrap() error { return e.cause }

// inFile puts the file's name on an error that has none.
func inFile(err error, path string) error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Found: err.Error(), cause: err}
	}
	if e.File == "" {
		e.File = path
	}
	return e
}

// quotedLen is how much of a name from a file an error repeats.
const quotedLen = 100

// quote makes a string from a file safe to print: escaped, and cut when long.
func quote(s string) string {
	if len(s) <= quotedLen {
		return strconv.Quote(s)
	}
	cut := quotedLen
	for cut > quotedLen-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s... (%d bytes)", strconv.Quote(s[:cut]), len(s))
}

// hexBytes shows the first bytes of s, for formats that are not text.
func hexBytes[T octets](s T) string {
	const most = 8
	if len(s) > most {
		return fmt.Sprintf("% x ...", s[:most])
	}
	return fmt.Sprintf("% x", s)
}
