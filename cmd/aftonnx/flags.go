package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/verify"
)

// exactly takes that many arguments; what names them in the error.
func exactly(n int, what string) cobra.PositionalArgs {
	return between(n, n, what)
}

func between(low, high int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low {
			return usagef("%s: missing argument: %s", cmd.CommandPath(), what).hint("usage: %s", cmd.UseLine())
		}
		if len(args) > high {
			return usagef("%s: unexpected argument %q", cmd.CommandPath(), args[high]).hint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// addJSON adds --json to a verb that reports.
func (a *app) addJSON(f *pflag.FlagSet, schema string) {
	f.BoolVar(&a.json, "json", false, "print JSON (schema "+schema+")")
}

// flagError says what a flag takes, in this program's words instead of strconv's.
func flagError(err error) *failure {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return usagef("%w", err)
	}
	want, ok := map[string]string{
		"int": "a whole number", "uint64": "a whole number, 0 or more", "float64": "a number", "bool": "true or false",
		"intSlice": "whole numbers, with commas between them",
	}[invalid.GetFlag().Value.Type()]
	if !ok {
		return usagef("%w", err)
	}
	return usagef("--%s %q: want %s", invalid.GetFlag().Name, invalid.GetValue(), want)
}

// runtimeFlags say which ONNX Runtime is used and how.
type runtimeFlags struct {
	library string
	offline bool
	threads int
}

// maxThreads is far beyond what helps: ONNX Runtime starts every thread it is asked for.
const maxThreads = 1024

func (r *runtimeFlags) add(f *pflag.FlagSet) {
	f.IntVar(&r.threads, "threads", 0, fmt.Sprintf("threads of ONNX Runtime, at most %d (0: it decides)", maxThreads))
	f.StringVar(&r.library, "ort", "", "the ONNX Runtime library to use, `LIB` (default: found, or fetched once)")
	r.addOffline(f)
}

func (r *runtimeFlags) addOffline(f *pflag.FlagSet) {
	f.BoolVar(&r.offline, "offline", false, "never fetch anything")
}

func (r *runtimeFlags) options(a *app) ort.Options {
	return ort.Options{Library: r.library, Offline: r.offline, Notify: func(text string) { a.say("%s", text) }}
}

func (r *runtimeFlags) opener(a *app) verify.Opener {
	return func(ctx context.Context) (*ort.Runtime, error) { return ort.Open(ctx, r.options(a)) }
}

func (r *runtimeFlags) check() error {
	if r.threads < 0 || r.threads > maxThreads {
		return usagef("--threads %d: want 0..%d", r.threads, maxThreads)
	}
	return nil
}

// importFlags say what the tensor names of a checkpoint do not.
type importFlags struct {
	variant string
	causal  bool
	window  int
	heads   int
	grid    string
}

func (i *importFlags) add(f *pflag.FlagSet) {
	f.StringVar(&i.variant, "variant", "", "the checkpoint's layers are full, simple, local or conv")
	f.BoolVar(&i.causal, "causal", false, "a position sees itself and what comes before it (--causal=false: every position)")
	f.IntVar(&i.window, "window", 0, "the window of AFT-local layers: the paper's `S`")
	f.IntVar(&i.heads, "heads", 0, "the number `H` of heads of AFT-conv layers")
	f.StringVar(&i.grid, "grid", "", "the grid `H,W` of 2-D AFT-conv layers")
}

func (i *importFlags) options(f *pflag.FlagSet) (importer.Options, error) {
	o := importer.Options{Variant: i.variant, Window: i.window, Heads: i.heads}
	if f.Changed("causal") {
		o.Causal = &i.causal
	}
	switch i.variant {
	case "", "full", "simple", "local", "conv":
	default:
		return o, usagef("--variant %q: unknown, want full, simple, local or conv", i.variant)
	}
	if err := notNegative(f, "window", "heads"); err != nil {
		return o, err
	}
	grid, err := parseGrid(i.grid)
	o.Grid = grid
	return o, err
}

// notNegative refuses numbers below 0 in flags that take 0 as "not said".
func notNegative(f *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if n, err := f.GetInt(name); err != nil || n < 0 {
			return usagef("--%s %d: want 0 or more", name, n)
		}
	}
	return nil
}

// parseGrid reads --grid, zero when it is not given.
func parseGrid(s string) ([2]int, error) {
	grid, ok := gridOf(s)
	if s != "" && !ok {
		return grid, usagef("--grid %q: want two positive numbers, H,W", s)
	}
	return grid, nil
}

// gridOf reads "H,W" or "HxW".
func gridOf(s string) (grid [2]int, ok bool) {
	h, w, ok := strings.Cut(strings.Replace(s, "x", ",", 1), ",")
	rows, err1 := strconv.Atoi(h)
	columns, err2 := strconv.Atoi(w)
	if !ok || err1 != nil || err2 != nil || rows < 1 || columns < 1 {
		return grid, false
	}
	return [2]int{rows, columns}, true
}

// checkSizes judges the sizes of random inputs: a grid has as many positions as places.
func checkSizes(sequence int, grid [2]int) error {
	if n := grid[0] * grid[1]; n > 0 && sequence > 0 && n != sequence {
		return usagef("--grid %d,%d, --sequence %d: the grid has %d positions", grid[0], grid[1], sequence, n).
			hint("--grid says the sequence length")
	}
	return nil
}

// parseFloatType reads --dtype.
func parseFloatType(s string) (tensor.DType, error) {
	for _, d := range ops.Types() {
		if d.String() == s {
			return d, nil
		}
	}
	return tensor.Invalid, usagef("--dtype %q: unknown, want float32, float16 or float64", s)
}

// parseEngines reads --engine, a list; nil for the default.
func parseEngines(list []string) ([]verify.Engine, error) {
	var engines []verify.Engine
	for _, name := range list {
		e, err := parseEngine(name)
		if err != nil {
			return nil, err
		}
		engines = append(engines, e)
	}
	return engines, nil
}

func parseEngine(name string) (verify.Engine, error) {
	if e := verify.Engine(name); slices.Contains(verify.Engines(), e) {
		return e, nil
	}
	return "", usagef("--engine %q: unknown, want one of reference, kernel, portable, native", name)
}
