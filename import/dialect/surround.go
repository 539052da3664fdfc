package dialect

import (
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// surround reads what stands around the layers of a whole model and puts it into the result's.
func (r *surrounder) surround(m *reference.Model) error {
	for i := range m.Blocks {
		if err := r.block(i, &m.Blocks[i]); err != nil {
			return err
		}
	}
	if err := r.stem(m); err != nil {
		return err
	}
	if r.found.has(r.found.norm + weight) {
		m.Norm = &reference.LayerNorm{}
		if err := r.norm(m.Norm, r.found.norm); err != nil {
			return err
		}
	}
	if err := r.head(m); err != nil {
		return err
	}
	if err := r.grids(m); err != nil {
		return err
	}
	return r.complete()
}

// surrounder reads by names after the root, with the reader that layers use.
type surrounder struct {
	*reader
	found  *surroundings
	global Global
	eps    float64
	asked  map[string]bool // names in the file that were read
}

// complete makes sure that everything that was taken for a part of the model was read as one.
func (r *surrounder) complete() error {
	var unread []string
	for _, name := range r.in.Source.Names() {
		if r.found.names[name] && !r.asked[name] {
			unread = append(unread, name)
		}
	}
	if len(unread) == 0 {
		return nil
	}
	return r.fail("", "has no place in its model for "+quoteList(unread), "every tensor to be of use")
}

// recorder is a source that remembers which weights were asked for.
type recorder struct {
	Source
	asked map[string]bool
}

func (r recorder) Weight(name string) (tensor.Weight, error) {
	r.asked[name] = true
	return r.Source.Weight(name)
}

// grids takes from the layers of an image model the grids that a config gives them: the model makes its grid of the image.
func (r *surrounder) grids(m *reference.Model) error {
	if m.Patches == nil {
		return nil
	}
	if r.settings.flags.Grid != nil {
		return &FlagError{File: r.in.File, Given: []string{"--grid"},
			Reason: "--grid has no effect: an image model makes its grid of the image"}
	}
	for i := range m.Blocks {
		m.Blocks[i].Grid = [2]int{}
	}
	return nil
}

func newSurrounder(in Input, found *surroundings, s *settings, result *Result) *surrounder {
	global, asked := s.global(), map[string]bool{}
	in.Source = recorder{in.Source, asked}
	r := &surrounder{found: found, global: global, eps: reference.DefaultEps, asked: asked,
		reader: &reader{in: in, settings: s, result: result}}
	r.reader.found.prefix = found.root
	for name := range found.names {
		r.reader.found.names = append(r.reader.found.names, name[len(found.root):])
	}
	if global.Eps != nil {
		r.eps = *global.Eps
	}
	r.eps = float64(float32(r.eps)) // as ONNX holds it
	return r
}

// need requires a weight to be there because another is.
func (r *surrounder) need(name, because string) error {
	if r.found.has(name) {
		return nil
	}
	return r.fail("", "lacks "+quote(r.found.root+name), "it, beside "+quote(r.found.root+because))
}

// block reads the norms and the MLP of a block. All blocks of a model have the same parts.
func (r *surrounder) block(i int, b *reference.Block) error {
	f := r.found
	at := func(name string) string { return f.inBlock(i, name) }
	first := func(name string) string { return f.inBlock(0, name) }
	b.Residual = true
	if f.has(first(f.norm1)+weight) != f.has(at(f.norm1)+weight) {
		return r.unlike(at(f.norm1) + weight)
	}
	if f.has(at(f.norm1) + weight) {
		b.Norm = &reference.LayerNorm{}
		if err := r.norm(b.Norm, at(f.norm1)); err != nil {
			return err
		}
	} else if f.has(at(f.norm1) + ".bias") {
		return r.need(at(f.norm1)+weight, at(f.norm1)+".bias")
	}
	parts := []string{f.norm2, f.up, f.down}
	there := func(name string) bool { return f.has(at(name)+weight) || f.has(at(name)+".bias") }
	if !slices.ContainsFunc(parts, there) {
		if f.has(first(f.up) + weight) {
			return r.unlike(at(f.up) + weight)
		}
		return nil
	}
	if i > 0 && !f.has(first(f.up)+weight) {
		return r.unlike(at(f.up) + weight)
	}
	for _, part := range parts {
		if err := r.need(at(part)+weight, at(parts[slices.IndexFunc(parts, there)])); err != nil {
			return err
		}
	}
	b.MLP = &reference.MLP{}
	if err := r.norm(&b.MLP.Norm, at(f.norm2)); err != nil {
		return err
	}
	if err := r.linear(&b.MLP.Up, at(f.up)); err != nil {
		return err
	}
	return r.linear(&b.MLP.Down, at(f.down))
}

func (r *surrounder) unlike(name string) error {
	return r.fail("", fmt.Sprintf("has %s in some blocks and not in others", quote(name)), "the same parts in every block")
}

// stem reads the embedding of tokens or of patches.
func (r *surrounder) stem(m *reference.Model) error {
	f := r.found
	isText, isImage := f.has(f.embed), f.has(f.patch+weight)
	switch {
	case isText && isImage:
		return r.fail("", "has embeddings of tokens and of patches", "one of them")
	case isText:
		var err error
		m.Tokens = &reference.TokenEmbedding{}
		if m.Tokens.Weight, err = r.matrix(f.embed); err == nil && f.has(f.positions) {
			m.Tokens.Positions, err = r.matrix(f.positions)
		}
		return err
	case isImage:
		m.Patches = &reference.PatchEmbedding{}
		return r.patches(m.Patches)
	}
	for _, name := range []string{f.positions, f.imagePositions, f.classToken, f.patch + ".bias"} {
		if f.has(name) {
			return r.fail("tensor "+quote(f.root+name), "stands alone", "an embedding of tokens or of patches beside it")
		}
	}
	return nil
}

// matrix is a tensor of two dimensions, or of three of which the first is 1.
func (r *surrounder) matrix(name string) (reference.Weight, error) {
	w, err := r.weight(name)
	if err != nil {
		return w, err
	}
	if shape := w.Shape(); len(shape) == 3 && shape[0] == 1 {
		w = w.Reshaped(shape[1:])
	}
	if w.Rank() != 2 {
		return w, r.fail(r.tensorPlace(name), "has shape "+tensor.FormatShape(w.Shape()), "two dimensions")
	}
	return w, nil
}

func (r *surrounder) patches(e *reference.PatchEmbedding) (err error) {
	f := r.found
	if e.Weight, err = r.weight(f.patch + weight); err != nil {
		return err
	}
	shape := e.Weight.Shape()
	if len(shape) != 4 || shape[2] != shape[3] || slices.Contains(shape, 0) {
		return r.fail(r.tensorPlace(f.patch+weight), "has shape "+tensor.FormatShape(shape), "(D,C,p,p)")
	}
	if f.has(f.patch + ".bias") {
		if e.Bias, err = r.vector(f.patch+".bias", shape[0]); err != nil {
			return err
		}
	}
	if f.classToken != "" && f.has(f.classToken) {
		if e.ClassToken, err = r.classToken(f.classToken, shape[0]); err != nil {
			return err
		}
	}
	if f.has(f.imagePositions) {
		if e.Positions, err = r.matrix(f.imagePositions); err != nil {
			return err
		}
	}
	e.Pixels = reference.Pixels{Mean: r.global.Mean, Std: r.global.Std}
	if r.global.ImageSize != nil {
		e.Pixels.Size = *r.global.ImageSize
		return nil
	}
	e.Pixels.Size = r.square(e)
	return nil
}

// classToken is (D), or (1,1,D) as others have it.
func (r *surrounder) classToken(name string, dim int) ([]float64, error) {
	a, err := r.array(name)
	if err != nil {
		return nil, err
	}
	if len(a.Data) != dim {
		return nil, r.fail(r.tensorPlace(name), "has shape "+tensor.FormatShape(a.Shape), fmt.Sprintf("%d values", dim))
	}
	return a.Data, nil
}

// square is the size of a square image with as many positions as there are embeddings for; zero when there is none.
func (r *surrounder) square(e *reference.PatchEmbedding) [2]int {
	if e.Positions.Empty() {
		return [2]int{}
	}
	places := e.Positions.Shape()[0]
	if e.ClassToken != nil {
		places--
	}
	side := int(math.Sqrt(float64(max(places, 0))))
	if side < 1 || side*side != places {
		return [2]int{}
	}
	size := side * e.Patch()
	r.result.note("taken to be for images of %d x %d pixels, as image_size is not given", size, size)
	return [2]int{size, size}
}

func (r *surrounder) norm(to *reference.LayerNorm, name string) error {
	w, err := r.weight(name + weight)
	if err != nil {
		return err
	}
	if w.Rank() != 1 {
		return r.fail(r.tensorPlace(name+weight), "has shape "+tensor.FormatShape(w.Shape()), "one dimension")
	}
	if to.Gain, err = r.vector(name+weight, w.Len()); err != nil {
		return err
	}
	to.Eps = r.eps
	if r.found.has(name + ".bias") {
		to.Bias, err = r.vector(name+".bias", w.Len())
	}
	return err
}

// head reads the head. A language model without one has its embedding for a head; so has one whose head is the same tensor.
func (r *surrounder) head(m *reference.Model) error {
	f := r.found
	var there []string
	for _, name := range f.heads {
		if f.has(name + weight) {
			there = append(there, name)
		}
	}
	switch {
	case len(there) > 1:
		return r.fail("", "has several heads: "+quoteList(there), "one")
	case len(there) == 1:
		m.Head = &reference.Linear{}
		if err := r.linear(m.Head, there[0]); err != nil {
			return err
		}
		m.Tied = m.Tokens != nil && m.Head.Weight.SameAs(m.Tokens.Weight)
	case m.Tokens != nil:
		m.Tied = true
		m.Head = &reference.Linear{Weight: m.Tokens.Weight}
		if !f.tied {
			r.result.note("no weight of a head: read as tied to the token embedding")
		}
	}
	for _, name := range f.heads {
		if !f.has(name+".bias") || slices.Contains(there, name) {
			continue
		}
		if !m.Tied || m.Head.Bias != nil {
			return r.fail("tensor "+quote(f.root+name+".bias"), "stands alone", "the head's weight beside it")
		}
		bias, err := r.vector(name+".bias", m.Head.Out())
		if err != nil {
			return err
		}
		m.Head.Bias = bias
	}
	if m.Head != nil {
		m.Labels = r.global.Labels
	}
	return nil
}
