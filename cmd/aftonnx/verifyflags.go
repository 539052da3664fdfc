package main

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/verify"
)

// sweepFlags say what a model is verified with: every value of a list with every one of the others.
type sweepFlags struct {
	batch, sequence, threads []int
	levels                   []string
	seeds                    int
	ranges                   []string
}

func (s *sweepFlags) add(f *pflag.FlagSet) {
	f.IntSliceVar(&s.batch, "batch", nil, "the batch of random inputs, or a comma-separated `LIST` to verify with each (0: 2)")
	f.IntSliceVar(&s.sequence, "sequence", nil,
		"the sequence length of random inputs, or a `LIST` (0: at most 64, chosen by cost)")
	f.IntSliceVar(&s.threads, "threads", nil, fmt.Sprintf("threads of ONNX Runtime, at most %d, or a `LIST` (0: it decides)", maxThreads))
	f.StringSliceVar(&s.levels, "optimization", nil,
		"how far ONNX Runtime rewrites the graph, a `LIST` of none, basic, extended, all (default: all)")
	f.IntVar(&s.seeds, "seeds", 1, "how many seeds, --seed and those that follow it")
	f.StringArrayVar(&s.ranges, "range", nil,
		"draw random inputs evenly from `[NAME=]LO,HI` instead of the normal distribution; NAME may be a pattern")
}

// sweep reads the flags. --dtype, which is one of a checkpoint's export, may be a list here.
func (s *sweepFlags) sweep(f *pflag.FlagSet, e *exportFlags) (verify.Sweep, error) {
	w := verify.Sweep{Threads: s.threads, Batches: s.batch, Sequences: s.sequence, Seeds: s.seeds}
	for name, list := range map[string][]int{"batch": s.batch, "sequence": s.sequence} {
		if f.Changed(name) && (len(list) == 0 || slices.Min(list) < 0) {
			return w, usagef("--%s %s: want 0 or more", name, f.Lookup(name).Value)
		}
	}
	for _, n := range s.threads {
		if err := (&runtimeFlags{threads: n}).check(); err != nil {
			return w, err
		}
	}
	if s.seeds < 1 {
		return w, usagef("--seeds %d: want 1 or more", s.seeds)
	}
	for _, name := range s.levels {
		level := ort.Optimization(name)
		if !slices.Contains(ort.Optimizations(), level) {
			return w, usagef("--optimization %q: unknown, want none, basic, extended or all", name)
		}
		w.Optimizations = append(w.Optimizations, level)
	}
	for _, name := range strings.Split(e.dtype, ",") {
		d, err := parseFloatType(name)
		if err != nil {
			return w, err
		}
		w.DTypes = append(w.DTypes, d)
	}
	return w, nil
}

func (s *sweepFlags) setRanges(o *verify.Options) error {
	for _, text := range s.ranges {
		name, limits := splitName(text)
		low, high, _ := strings.Cut(limits, ",")
		from, err1 := strconv.ParseFloat(low, 64)
		to, err2 := strconv.ParseFloat(high, 64)
		if err1 != nil || err2 != nil || !(from <= to) || math.IsInf(to-from, 0) {
			return usagef("--range %q: want [NAME=]LO,HI, two numbers, the first not above the second", text)
		}
		if _, err := path.Match(name, ""); err != nil {
			return usagef("--range %q: the pattern of names: %w", text, err)
		}
		o.Ranges = append(o.Ranges, verify.Range{Input: name, Low: from, High: to})
	}
	return nil
}

// judgeFlags say what passes, in place of derived tolerances.
type judgeFlags struct {
	relative, absolute []string
	statistic          string
}

func (j *judgeFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&j.relative, "rtol", nil,
		"allow `[OUTPUT=]X` of the largest number of an element's row, instead of what is derived; OUTPUT may be a pattern")
	f.StringArrayVar(&j.absolute, "atol", nil, "allow `[OUTPUT=]X` absolutely, in addition to --rtol")
	f.StringVar(&j.statistic, "statistic", "elementwise",
		"which error decides, `NAME`: elementwise, max, mean or quantile=Q (the part Q of the elements passes)")
}

// set reads the flags. --rtol and --atol of one name are one tolerance.
func (j *judgeFlags) set(o *verify.Options) error {
	var err error
	if o.Statistic, err = verify.ParseStatistic(j.statistic); err != nil {
		return usagef("--statistic: %w", err)
	}
	for flag, list := range map[string][]string{"rtol": j.relative, "atol": j.absolute} {
		for _, text := range list {
			name, number := splitName(text)
			x, err := strconv.ParseFloat(number, 64)
			if err != nil || !(x >= 0) || math.IsInf(x, 0) {
				return usagef("--%s %q: want [OUTPUT=]X, a number of 0 or more", flag, text)
			}
			if _, err := path.Match(name, ""); err != nil {
				return usagef("--%s %q: the pattern of names: %w", flag, text, err)
			}
			at := slices.IndexFunc(o.Tolerances, func(t verify.Tolerance) bool { return t.Output == name })
			if at < 0 {
				at, o.Tolerances = len(o.Tolerances), append(o.Tolerances, verify.Tolerance{Output: name})
			}
			if flag == "rtol" {
				o.Tolerances[at].Relative = x
			} else {
				o.Tolerances[at].Absolute = x
			}
		}
	}
	slices.SortStableFunc(o.Tolerances, func(a, b verify.Tolerance) int { return len(a.Output) - len(b.Output) }) // of all comes first
	return nil
}

// splitName splits "NAME=value"; without a name it is "".
func splitName(text string) (name, value string) {
	if name, value, found := strings.Cut(text, "="); found {
		return name, value
	}
	return "", text
}
