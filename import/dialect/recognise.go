package dialect

import (
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// Source is a file as this package sees it. Names are in the order of the file; dicts on the way to a tensor end in "/".
type Source interface {
	Names() []string
	Tensor(name string) (*tensor.Tensor, error)
	Weight(name string) (tensor.Weight, error) // to be read while the source is open
}

// Input is a file and everything known about it.
type Input struct {
	File    string // for messages
	Source  Source
	Options Options
	Config  *Config // the config.json beside the file; nil: none
	Stored  *Config // the config inside the file, read where the naming is our own; nil: none
}

// Result is what a file holds.
type Result struct {
	Model   *reference.Model
	Dialect string
	DType   tensor.DType // the widest floating-point type among the tensors read
	Notes   []string     // what was assumed, and what was left unread
}

// Recognise reads the layers of a file, in the order of their numbers, and what stands around them. Errors are *FlagError where the command line has to
// decide, *Error where the file is wrong, and whatever the Source returns.
func Recognise(in Input) (*Result, error) {
	var err error
	if in.Source, err = unwrap(in.File, in.Source); err != nil {
		return nil, err
	}
	scope, err := findLayers(in.File, in.Source.Names(), dialects())
	if err != nil {
		return nil, err
	}
	row := scope.layers[0].dialect
	s := &settings{flags: in.Options.facts(), config: in.Config, used: map[string]bool{}}
	if row.stored {
		s.stored = in.Stored
	}
	res := &Result{Model: &reference.Model{}, Dialect: row.name}
	if len(scope.beside) > 0 {
		res.note("not read, beside the layers: %s", quoteList(scope.beside))
	}
	for i, l := range scope.layers {
		r := &reader{
			in: in, found: l, index: i, settings: s, result: res,
			place: place(i, len(scope.layers), l.prefix, row.name),
		}
		layer, err := r.layer()
		if err != nil {
			return nil, err
		}
		if err := layer.Check(); err != nil {
			return nil, r.fail(r.place, err.Error(), "")
		}
		res.Model.Blocks = append(res.Model.Blocks, reference.Block{Layer: layer})
	}
	if scope.around != nil {
		if err := newSurrounder(in, scope.around, s, res).surround(res.Model); err != nil {
			return nil, err
		}
	}
	if unused := s.unused(); len(unused) > 0 {
		return nil, &FlagError{File: in.File, Given: unused, Reason: noEffect(unused)}
	}
	if err := res.Model.Check(); err != nil {
		return nil, &Error{File: in.File, Found: err.Error()}
	}
	return res, nil
}

func (r *Result) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, n := range r.Notes {
		if n == text {
			return
		}
	}
	r.Notes = append(r.Notes, text)
}

// widen keeps the widest type; float16 and bfloat16 together need float32 to hold both.
func (r *Result) widen(d tensor.DType) {
	switch {
	case r.DType == tensor.Invalid || d.Size() > r.DType.Size():
		r.DType = d
	case d.Size() == r.DType.Size() && d != r.DType:
		r.DType = tensor.Float32
	}
}

func noEffect(flags []string) string {
	why := map[string]string{
		"--window": "only AFT-local has a window, and takes --variant local where the names do not say so",
		"--heads":  "only AFT-conv has heads",
		"--grid":   "only AFT-conv in two dimensions has a grid",
	}
	parts := make([]string, len(flags))
	for i, f := range flags {
		parts[i] = f + " has no effect: " + why[f]
	}
	return strings.Join(parts, "; ")
}
