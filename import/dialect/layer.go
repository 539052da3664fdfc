package dialect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// reader builds one layer.
type reader struct {
	in       Input
	found    found
	index    int
	place    string
	settings *settings
	result   *Result

	needs FlagError // what the command line still has to say, gathered so that one message tells all of it
}

func (r *reader) fail(where, foundThis, allowed string) *Error {
	return &Error{File: r.in.File, Place: where, Found: foundThis, Allowed: allowed}
}

// need records that a flag is missing.
func (r *reader) need(flag, reason string) {
	r.needs.Flags = append(r.needs.Flags, flag)
	if r.needs.Reason != "" {
		r.needs.Reason += "; "
	}
	r.needs.Reason += reason
}

// conflict is a fact that contradicts the file: a matter of the command line if it came from there.
func (r *reader) conflict(origin, flag, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if origin == fromFlag {
		return &FlagError{File: r.in.File, Place: r.place, Given: []string{flag}, Reason: text}
	}
	return r.fail(r.place+": "+origin, text, "")
}

// layer reads the projections, settles what the names do not say and folds the biases.
func (r *reader) layer() (reference.Layer, error) {
	var l reference.Layer
	d := &r.found.dialect
	for _, p := range []struct {
		to   *reference.Linear
		name string
	}{{&l.Q, d.q}, {&l.K, d.k}, {&l.V, d.v}} {
		if err := r.linear(p.to, p.name); err != nil {
			return l, err
		}
	}
	if d.out != "" && slices.Contains(r.found.names, d.out+weight) {
		l.Out = &reference.Linear{}
		if err := r.linear(l.Out, d.out); err != nil {
			return l, err
		}
	}
	b, err := r.biases()
	if err != nil {
		return l, err
	}
	if err := r.settle(&l, b); err != nil {
		return l, err
	}
	if err := r.heads(&l); err != nil {
		return l, err
	}
	return l, r.fold(&l, b)
}

// settle decides variant, causality, window and gate, and asks for what is missing.
func (r *reader) settle(l *reference.Layer, b *biases) error {
	variant, err := r.variant(b, l.K.Out())
	if err != nil {
		return err
	}
	if variant == "local" {
		if l.Window, err = r.window(b); err != nil {
			return err
		}
	}
	if variant != "" || r.found.dialect.causal != unsaidForLocal {
		l.Causal = r.causal(variant)
	}
	if len(r.needs.Flags) > 0 {
		r.needs.File, r.needs.Place = r.in.File, r.place
		return &r.needs
	}
	l.Variant = reference.Variant(variant)
	if variant == "conv" {
		l.Variant = reference.Conv1D
		if b.rank() > 2 {
			l.Variant = reference.Conv2D
		}
	}
	return r.gate(l)
}

// variant is "full", "simple", "local" or "conv"; "" when it has to be asked for.
func (r *reader) variant(b *biases, keys int) (string, error) {
	allowed := b.variants(keys)
	given, origin, ok := lookup(r.settings, r.index, "--variant", func(f Facts) *string { return f.Variant })
	switch {
	case ok && !slices.Contains([]string{"full", "simple", "local", "conv"}, given):
		return "", r.conflict(origin, "--variant", "variant is %s, want full, simple, local or conv", quote(given))
	case ok && !slices.Contains(allowed, given):
		return "", r.conflict(origin, "--variant", "variant is %s, but %s", given, b.describe(allowed))
	case ok:
		return given, nil
	case b.set.variant == ask:
		r.need("--variant", "give --variant "+strings.Join(allowed, " or --variant ")+
			": this implementation's layer without position biases never sums over positions, which AFT-simple does")
		return "", nil
	case len(allowed) == 1:
		return allowed[0], nil
	case b.set.variant != "":
		if b.set.note != "" {
			r.result.note("%s", b.set.note)
		}
		return b.set.variant, nil
	}
	choices := "--variant " + strings.Join(allowed, " or --variant ")
	choices = strings.Replace(choices, "--variant local", "--variant local --window S", 1)
	r.need("--variant", "give "+choices+": their tensors have the same names")
	return "", nil
}

// causal asks for what neither names nor settings say, unless other flags describe the layer: an absent --causal then means
// what an absent flag means, and a note says so.
func (r *reader) causal(variant string) bool {
	if given, _, ok := lookup(r.settings, r.index, "--causal", func(f Facts) *bool { return f.Causal }); ok {
		return given
	}
	d := r.found.dialect
	switch d.causal {
	case alwaysCausal:
		return true
	case unsaid:
	case unsaidForLocal:
		if variant != "local" {
			return false
		}
	default:
		return false
	}
	if r.settings.described() {
		r.result.note("not causal, as --causal is not given (%s)", d.why)
		return false
	}
	r.need("--causal", "give --causal or --causal=false: "+d.why)
	return false
}

// window is the paper's s. A mask in the file says it; a window given besides must agree.
func (r *reader) window(b *biases) (int, error) {
	given, origin, ok := lookup(r.settings, r.index, "--window", func(f Facts) *int { return f.Window })
	if ok && given < 1 {
		return 0, r.conflict(origin, "--window", "window is %d, want at least 1; without any bias the variant is simple", given)
	}
	if b.set.form == maskedTable {
		s, err := b.maskWindow()
		if err != nil {
			return 0, err
		}
		if ok && given != s {
			return 0, r.conflict(origin, "--window", "window is %d, but %s is that of %d", given, quote(b.set.tensors[1]), s)
		}
		return s, nil
	}
	if !ok {
		reason := "give --window S: biases count where |t-t'| < S"
		if note := r.found.dialect.windowNote; note != "" {
			reason += " (" + note + ")"
		}
		r.need("--window", reason)
	}
	return given, nil
}

func (r *reader) gate(l *reference.Layer) error {
	name, origin, ok := lookup(r.settings, r.index, "", func(f Facts) *string { return f.Gate })
	if !ok {
		return nil
	}
	gate, known := gateNamed(name)
	if !known {
		return r.fail(r.place+": "+origin, "gate is "+quote(name), "sigmoid, tanh, identity or absent")
	}
	l.Gate = gate
	return nil
}

// heads holds the key projection against the others: one key a head in AFT-conv, one a channel elsewhere.
func (r *reader) heads(l *reference.Layer) error {
	keys, hidden := l.K.Out(), l.V.Out()
	where := r.tensorPlace(r.found.dialect.k + weight)
	if l.Variant != reference.Conv1D && l.Variant != reference.Conv2D {
		if keys != hidden {
			return r.fail(where, fmt.Sprintf("has %d rows", keys), fmt.Sprintf("%d, as the values", hidden))
		}
		return nil
	}
	if keys == 0 || hidden%keys != 0 {
		return r.fail(where, fmt.Sprintf("has %d rows, one a head", keys), fmt.Sprintf("a divisor of %d, the values' rows", hidden))
	}
	given, origin, ok := lookup(r.settings, r.index, "--heads", func(f Facts) *int { return f.Heads })
	if ok && given != keys {
		return r.conflict(origin, "--heads", "heads is %d, but %s has %d rows, one a head", given, where, keys)
	}
	return nil
}

// linear reads name.weight (out,in) and, where there is one, name.bias (out).
func (r *reader) linear(to *reference.Linear, name string) error {
	w, err := r.weight(name + weight)
	if err != nil {
		return err
	}
	if w.Rank() != 2 {
		return r.fail(r.tensorPlace(name+weight), "has shape "+tensor.FormatShape(w.Shape()), "two dimensions, (out,in)")
	}
	to.Weight = w
	if !slices.Contains(r.found.names, name+".bias") {
		return nil
	}
	to.Bias, err = r.vector(name+".bias", w.Shape()[0])
	return err
}

// vector reads a floating-point tensor of n elements.
func (r *reader) vector(name string, n int) ([]float64, error) {
	a, err := r.array(name)
	if err != nil {
		return nil, err
	}
	if want := []int{n}; !tensor.SameShape(a.Shape, want) {
		return nil, r.fail(r.tensorPlace(name), "has shape "+tensor.FormatShape(a.Shape), tensor.FormatShape(want))
	}
	if a.Data == nil {
		return []float64{}, nil
	}
	return a.Data, nil
}

// array reads a floating-point tensor and widens it, which is exact.
func (r *reader) array(name string) (reference.Array, error) {
	w, err := r.weight(name)
	if err != nil {
		return reference.Array{}, err
	}
	return w.Array()
}

// weight finds a floating-point tensor, to be read when it is needed.
func (r *reader) weight(name string) (reference.Weight, error) {
	w, err := r.in.Source.Weight(r.found.prefix + name)
	if err != nil {
		return w, err
	}
	if !w.DType().IsFloat() {
		return w, r.fail(r.tensorPlace(name), "is "+w.DType().String(), "a floating-point type")
	}
	r.result.widen(w.DType())
	return w, nil
}

func (r *reader) tensorPlace(name string) string { return "tensor " + quote(r.found.prefix+name) }
