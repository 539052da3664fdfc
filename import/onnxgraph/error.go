package onnxgraph

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a model that cannot be read or executed. Its text has the form of onnxpb.Error: file, place, found, allowed.
type Error struct {
	File    string // set by a caller that knows it
	Place   string // such as node "Add_3" (Add); names from files are quoted
	Found   string
	Allowed string
	cause   error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		fmt.Fprintf(&b, "%q: ", e.File)
	}
	if e.Place != "" {
		b.WriteString(e.Place + ": ")
	}
	b.WriteString(e.Found)
	if e.Allowed != "" {
		b.WriteString(", want " + e.Allowed)
	}
	return b.String()
}

// Unwrap returns the error of the layer below, if there is one: an *onnxpb.Error, or a context's.
func (e *Error) Unwrap() error { return e.cause }

// InputError is a call of Run whose inputs or outputs do not fit the model.
type InputError struct {
	Name    string // of the graph's input or output
	Found   string
	Allowed string
}

func (e *InputError) Error() string {
	text := quote(e.Name) + ": " + e.Found
	if e.Allowed != "" {
		text += ", want " + e.Allowed
	}
	return text
}

// fromProtobuf turns the protobuf layer's error into this package's.
func fromProtobuf(err error) *Error { return &Error{Found: err.Error(), cause: err} }

// within puts a place in front of the place that err names. Places are thus written only when there is an error.
func within(place string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Place: place, Found: err.Error(), cause: err}
	}
	located := *e
	if located.Place = place; e.Place != "" {
		located.Place = place + ": " + e.Place
	}
	return &located
}

// list writes at most ten names, quoted.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	quoted := make([]string, 0, 11)
	for i, name := range names {
		if i == 10 {
			quoted = append(quoted, fmt.Sprintf("and %d more", len(names)-10))
			break
		}
		quoted = append(quoted, quote(name))
	}
	return strings.Join(quoted, ", ")
}
