package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/spelling"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/verify"
)

// Exit codes; "aftonnx help exit-codes" explains them.
const (
	exitMismatch    = 1
	exitUsage       = 2
	exitInput       = 3
	exitRuntime     = 4
	exitInterrupted = 130
)

// failure is an error with an exit code and advice. Without err nothing is printed: the output said it all.
type failure struct {
	code  int
	err   error
	hints []string
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// hint adds a line of advice; an empty one adds nothing.
func (f *failure) hint(format string, args ...any) *failure {
	if text := fmt.Sprintf(format, args...); text != "" {
		f.hints = append(f.hints, text)
	}
	return f
}

func usagef(format string, args ...any) *failure {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func inputf(format string, args ...any) *failure {
	return &failure{code: exitInput, err: fmt.Errorf(format, args...)}
}

// conclude prints an error and returns the exit code.
func (a *app) conclude(err error) int {
	if err == nil {
		return 0
	}
	if a.ctx.Err() != nil && (errors.Is(err, context.Cause(a.ctx)) || errors.Is(err, a.ctx.Err())) {
		a.say("interrupted")
		return exitInterrupted
	}
	f := classify(err)
	if f.err != nil {
		a.say("%s", err)
	}
	for _, h := range f.hints {
		a.say("hint: %s", h)
	}
	return f.code
}

// say writes one message; continuation lines are indented by their author.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.messages, "aftonnx: "+format+"\n", args...)
}

// classify finds the exit code of an error that no verb gave one to.
func classify(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var flag *importer.FlagError
	if errors.As(err, &flag) {
		f = &failure{code: exitUsage, err: err}
		if len(flag.Flags) > 0 && !strings.Contains(err.Error(), flag.Flags[0]) {
			f.hint("give %s", strings.Join(flag.Flags, " or "))
		}
		return f
	}
	if code := inputCode(err); code != 0 {
		return &failure{code: code, err: err}
	}
	return &failure{code: exitUsage, err: err}
}

func inputCode(err error) int {
	var (
		missing    *ort.MissingError
		old        *ort.VersionError
		checkpoint *checkpoint.Error
		imported   *importer.Error
		graph      *onnxgraph.Error
		wire       *onnxpb.Error
		model      *ort.ModelError
		inputs     *verify.InputError
	)
	switch {
	case errors.As(err, &missing), errors.As(err, &old):
		return exitRuntime
	case errors.As(err, &checkpoint), errors.As(err, &imported), errors.As(err, &graph), errors.As(err, &wire),
		errors.As(err, &model), errors.As(err, &inputs), errors.Is(err, fs.ErrNotExist):
		return exitInput
	}
	return 0
}

// nearest advises on a mistyped name: the names that look like it, else all of them.
func nearest(what, name string, names []string) string {
	if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) }); i >= 0 {
		return "did you mean " + names[i] + "?"
	}
	var close []string
	for _, n := range names {
		if similar(name, n) {
			close = append(close, n)
		}
	}
	if len(close) > 0 {
		return "did you mean " + strings.Join(close, " or ") + "?"
	}
	names = slices.Sorted(slices.Values(names))
	return what + " are " + strings.Join(names, ", ")
}

// similar reports whether one name may be a mistyping of the other.
func similar(a, b string) bool {
	return spelling.Distance(strings.ToLower(a), strings.ToLower(b)) <= 1+len(b)/3
}
