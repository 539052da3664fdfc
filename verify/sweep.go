package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// Sweep lists what a model is verified with: every value of a list with every one of the others. An empty list leaves what
// Options say.
type Sweep struct {
	DTypes        []tensor.DType // of a checkpoint's export
	Optimizations []ort.Optimization
	Threads       []int
	Batches       []int
	Sequences     []int
	Seeds         int // Options.Seed and those that follow it; 0: one
}

// setting is one verification of a sweep.
type setting struct {
	words   []string // what differs from one setting to another
	options Options
}

// vary gives every setting each of some values. Only what has several is put into words.
func vary[T any](settings []setting, values []T, word string, set func(*Options, T)) []setting {
	if len(values) == 0 {
		return settings
	}
	var all []setting
	for _, s := range settings {
		for _, v := range values {
			with := setting{slices.Clone(s.words), s.options}
			if set(&with.options, v); len(values) > 1 {
				with.words = append(with.words, strings.TrimSpace(fmt.Sprintf("%s %v", word, v)))
			}
			all = append(all, with)
		}
	}
	return all
}

func (w Sweep) settings(o Options) []setting {
	list := []setting{{options: o}}
	list = vary(list, w.DTypes, "", func(o *Options, v tensor.DType) { o.Export.DType = v })
	list = vary(list, w.Optimizations, "optimization", func(o *Options, v ort.Optimization) { o.Optimization = v })
	list = vary(list, w.Threads, "threads", func(o *Options, v int) { o.Threads = v })
	list = vary(list, w.Batches, "batch", func(o *Options, v int) { o.Batch = v })
	list = vary(list, w.Sequences, "sequence", func(o *Options, v int) { o.Sequence = v })
	var seeds []uint64
	for i := range w.Seeds {
		seeds = append(seeds, o.Seed+uint64(i))
	}
	return vary(list, seeds, "seed", func(o *Options, v uint64) { o.Seed = v })
}

// Models is Model in every setting of a sweep, as one report. What does not depend on the setting is there once. The options
// of the first setting that fails come second, those of the first setting if none does.
func Models(ctx context.Context, path string, o Options, w Sweep) (*Report, *Options, error) {
	var all *Report
	var failed *Options
	settings := w.settings(o)
	for i := range settings {
		s := &settings[i]
		name := strings.Join(s.words, ", ")
		if len(w.DTypes) > 1 {
			if err := s.castInputs(); err != nil {
				return nil, nil, err
			}
		}
		if o.Progress != nil && name != "" {
			s.options.Progress = func(text string) { o.Progress(name + ": " + text) }
		}
		r, err := Model(ctx, path, s.options)
		if err != nil {
			if name != "" {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return nil, nil, err
		}
		r.set(name)
		if !r.Pass && failed == nil {
			failed = &s.options
		}
		if all == nil {
			all = r
			continue
		}
		all.Merge(r)
	}
	if failed == nil {
		failed = &settings[0].options
	}
	return all, failed, nil
}

// castInputs makes the given inputs of the type that the setting exports to.
func (s *setting) castInputs() (err error) {
	s.options.Inputs = maps.Clone(s.options.Inputs)
	for name, t := range s.options.Inputs {
		if !t.DType.IsFloat() {
			continue
		}
		if s.options.Inputs[name], err = t.Cast(s.options.Export.DType); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
	}
	return nil
}

// set names the setting of all rows.
func (r *Report) set(name string) {
	for i := range r.Results {
		r.Results[i].Setting = name
	}
	for i := range r.Layers {
		r.Layers[i].Setting = name
	}
}

// SetRuntime adds to the setting of all rows which ONNX Runtime it was: its version, or where it ran nothing the library.
func (r *Report) SetRuntime(library string) {
	name := library
	for _, e := range r.Engines {
		if about, _, found := strings.Cut(e.About, ","); found && strings.HasPrefix(about, "ONNX Runtime ") {
			name = about
		}
	}
	add := func(setting *string) {
		if *setting = name + ", " + *setting; strings.HasSuffix(*setting, ", ") {
			*setting = name
		}
	}
	for i := range r.Results {
		add(&r.Results[i].Setting)
	}
	for i := range r.Layers {
		add(&r.Layers[i].Setting)
	}
}

// Merge adds another setting's report of the same subject.
func (r *Report) Merge(of *Report) {
	r.Pass = r.Pass && of.Pass
	for i := range of.Results {
		row := &of.Results[i]
		if !r.has(row) {
			r.Results = append(r.Results, *row)
		}
	}
	r.Layers = append(r.Layers, of.Layers...)
	r.Covered, r.Notes = union(r.Covered, of.Covered), union(r.Notes, of.Notes)
	for _, e := range of.Engines {
		if !slices.ContainsFunc(r.Engines, func(have EngineStatus) bool {
			return have.Name == e.Name && have.About == e.About && have.Missing == e.Missing
		}) {
			r.Engines = append(r.Engines, e)
		}
	}
	if r.PreFlight == nil || of.PreFlight == nil {
		return
	}
	for _, l := range of.PreFlight.Layers {
		r.PreFlight.add(l)
	}
	if f := &r.PreFlight.Float16; of.PreFlight.Float16.Largest > f.Largest {
		*f = of.PreFlight.Float16
	}
}

// has reports whether a row about the weights is there already: inputs do not change them.
func (r *Report) has(row *Result) bool {
	return (row.Kind == KindWeights || row.Kind == KindDigest) && slices.ContainsFunc(r.Results, func(have Result) bool {
		return have.Name == row.Name && have.DType == row.DType && have.Pass == row.Pass
	})
}

func union(list, more []string) []string {
	for _, text := range more {
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}
