package ort

import (
	"fmt"
	"strings"
)

// MinVersion is the oldest ONNX Runtime whose C API has all that this package calls.
const MinVersion = "1.24"

// Attempt is one place where a library was looked for and why it did not serve.
type Attempt struct {
	Source Source
	Place  string // a path, a directory, an address; "" where the source says it all
	Err    error
}

// MissingError says that no usable ONNX Runtime library was found: everything that was tried, and the ways out.
type MissingError struct {
	Platform string // "linux/amd64"
	Reason   string // why nothing could work at all, such as a build without cgo; "" otherwise
	Tried    []Attempt
	WaysOut  []string
}

// Error lists what was tried, a line each.
func (e *MissingError) Error() string {
	var b strings.Builder
	if e.Reason != "" {
		b.WriteString(e.Reason)
	} else {
		fmt.Fprintf(&b, "no ONNX Runtime library %s or newer for %s", MinVersion, e.Platform)
	}
	for _, a := range e.Tried {
		fmt.Fprintf(&b, "\n  tried %s", a.Source)
		if a.Place != "" {
			fmt.Fprintf(&b, " %q", a.Place)
		}
		fmt.Fprintf(&b, ": %v", a.Err)
	}
	for _, w := range e.WaysOut {
		fmt.Fprintf(&b, "\n  way out: %s", w)
	}
	return b.String()
}

// Unwrap gives errors.Is and errors.As the reasons of every attempt.
func (e *MissingError) Unwrap() []error {
	var errs []error
	for _, a := range e.Tried {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	return errs
}

// VersionError says that a library is an ONNX Runtime, but too old.
type VersionError struct {
	Library string
	Found   string
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("ONNX Runtime library %q: is version %q, want %s or newer", e.Library, e.Found, MinVersion)
}

// ModelError says that ONNX Runtime refused a model, or that the model has inputs or outputs that are no tensors of a
// type this package knows.
type ModelError struct {
	Path string // "" for a model given as bytes
	Err  error
}

func (e *ModelError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("model: %v", e.Err)
	}
	return fmt.Sprintf("model %q: %v", e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *ModelError) Unwrap() error { return e.Err }

// InputError says which input of a run is wrong, what was found and what the model wants. Nothing was run.
type InputError struct {
	Name   string
	Reason string
}

func (e *InputError) Error() string { return fmt.Sprintf("input %q: %s", e.Name, e.Reason) }

// ErrClosed is what a Runtime or Session returns after Close.
var ErrClosed = fmt.Errorf("closed")
