package main

import (
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/verify"
	"github.com/aftonnx/aftonnx/verify/render"
)

// reportFiles are the files that a report is also written to.
type reportFiles struct {
	html, junit string
}

// reportForm is one of them: how it is written, and how such a file begins.
type reportForm struct {
	flag, path, begins string
	write              func(io.Writer, *verify.Report) error
}

func (o *reportFiles) add(f *pflag.FlagSet) {
	f.StringVar(&o.html, "html", "", "also write the report, with plots, as a page that needs nothing else, `FILE`")
	f.StringVar(&o.junit, "junit", "", "also write the results as JUnit XML, for CI, `FILE`")
}

// forms are those that were asked for.
func (o *reportFiles) forms() (forms []reportForm) {
	for _, f := range []reportForm{
		{"html", o.html, render.HTMLBegins, render.HTML},
		{"junit", o.junit, render.JUnitBegins, render.JUnit},
	} {
		if f.path != "" {
			forms = append(forms, f)
		}
	}
	return forms
}

// check judges the files before work starts. Inputs are the files of the command line, each alone or as NAME=FILE.
func (o *reportFiles) check(inputs []string) error {
	forms := o.forms()
	if len(forms) == 2 && (filepath.Clean(o.html) == filepath.Clean(o.junit) || sameFile(o.html, o.junit)) {
		return usagef("--html and --junit: %q is the same file", o.html).hint("give another name to one of them")
	}
	for _, f := range forms {
		if f.path == "-" {
			return usagef("--%s -: is written to a file, want its name", f.flag)
		}
		for _, in := range inputs {
			_, file, _ := strings.Cut(in, "=")
			if sameFile(f.path, in) || sameFile(f.path, file) {
				return usagef("--%s: %q is an input: it would be lost", f.flag, f.path).hint("write to another file")
			}
		}
		staged, err := f.stage(func(io.Writer) error { return nil }) // whether there is a place, before minutes are spent
		if err != nil {
			return err
		}
		if err := staged.Discard(); err != nil {
			return outputError(err)
		}
	}
	return nil
}

// stage makes a file ready. A report that stands there is replaced, so that a command can be repeated; anything else is kept.
func (f *reportForm) stage(write func(io.Writer) error) (*atomicfile.Staged, error) {
	staged, err := atomicfile.StageFunc(f.path, atomicfile.Options{Force: beginsWith(f.path, f.begins)}, write)
	switch {
	case errors.Is(err, atomicfile.ErrExists):
		return nil, usagef("--%s: %w, and is no such report", f.flag, err).hint("name another file, or remove it")
	case err != nil:
		return nil, usagef("--%s: %w", f.flag, err)
	}
	return staged, nil
}

// write writes the files, whatever the verdict. Each is there as a whole or not at all.
func (o *reportFiles) write(r *verify.Report) error {
	var errs []error
	for _, f := range o.forms() {
		staged, err := f.stage(func(w io.Writer) error { return f.write(w, r) })
		if err == nil {
			err = staged.Commit()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
