package onnxpb

import (
	"fmt"
	"strings"
)

// Error is a refused file, model or tensor. Its text names what is known of: the file, the place in it, what was found
// there and what is allowed, in this order.
type Error struct {
	File    string // set by a caller that knows it
	Place   string // such as graph.node[3].attribute[0]; names from files are quoted
	Offset  int64  // of the byte in the file, -1 where there is none to name
	Found   string // a clause: "dims[1] is -1"
	Allowed string // what is accepted instead, "" where Found says it all
	Hint    string // what the file seems to be
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		fmt.Fprintf(&b, "%q: ", e.File)
	}
	if e.Place != "" {
		b.WriteString(e.Place + ": ")
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, "byte %d: ", e.Offset)
	}
	b.WriteString(e.Found)
	if e.Allowed != "" {
		b.WriteString(", want " + e.Allowed)
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}
