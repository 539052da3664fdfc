package npy

import (
	"fmt"
	"strings"
)

// Error says where in which file something is not as the format, or this package, wants it.
type Error struct {
	File    string // empty when the bytes did not come from a named file
	Entry   string // the member of an .npz; empty in an .npy
	Place   string // "header", "data", "archive"
	Problem string // what was found and what is allowed
}

// Error writes `"x.npz": entry "w.npy": header: has no key "descr"`.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		fmt.Fprintf(&b, "%q: ", e.File)
	}
	if e.Entry != "" {
		fmt.Fprintf(&b, "entry %q: ", e.Entry)
	}
	fmt.Fprintf(&b, "%s: %s", e.Place, e.Problem)
	return b.String()
}

func errorAt(place, format string, args ...any) *Error {
	return &Error{Place: place, Problem: fmt.Sprintf(format, args...)}
}
