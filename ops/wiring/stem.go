package wiring

import (
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/reference"
)

// stem writes what stands before the first block and returns what goes into it.
func (w *writer) stem() (string, error) {
	switch {
	case w.model.Tokens != nil:
		w.tokens(w.model.Tokens)
	case w.model.Patches != nil:
		if err := w.patches(w.model.Patches); err != nil {
			return "", err
		}
	default:
		return StackInput, nil
	}
	w.declare(Embedded, w.model.Blocks[0].In())
	return Embedded, nil
}

// tokens writes a row of the embedding for each token, and adds a row for each position. Gather fails where a token or a
// position has no row; a Slice of the positions would not. But it counts negative tokens from the end: they are replaced by
// one that has no row.
func (w *writer) tokens(e *reference.TokenEmbedding) {
	table, zero := w.weight("embed.weight", e.Weight), w.integer("zero", 0)
	none := w.integer("embed.rows", int64(e.Vocabulary())) // a row that there is not
	var tokens string
	if w.options.Stateful {
		tokens = w.chunk(none)
	} else {
		negative := w.node("Less", "embed.negative", []string{TokenInput, zero})
		tokens = w.node("Where", "embed.tokens", []string{negative, none, TokenInput})
	}
	if e.Positions.Empty() {
		w.node("Gather", Embedded, []string{table, tokens}, onnxpb.IntAttr("axis", 0))
		return
	}
	rows := w.node("Gather", "embed", []string{table, tokens}, onnxpb.IntAttr("axis", 0))
	one := w.integer("one", 1)
	sizes := w.node("Shape", "embed.sizes", []string{TokenInput})
	length := w.node("Gather", "embed.length", []string{sizes, one}, onnxpb.IntAttr("axis", 0))
	places := w.node("Range", "positions.range", []string{zero, length, one})
	if w.options.Stateful {
		places = w.places(places)
	}
	positions := w.node("Gather", "positions", []string{w.weight("positions.weight", e.Positions), places},
		onnxpb.IntAttr("axis", 0))
	w.node("Add", Embedded, []string{rows, positions})
}

// patches cuts images into patches and projects them: Reshape and MatMul, since runtimes have no double Conv. The value grid
// is (rows, columns), as 2-D convolutions take it.
func (w *writer) patches(e *reference.PatchEmbedding) error {
	p, channels := int64(e.Patch()), int64(e.Channels())
	sizes := w.node("Shape", "patch.sizes", []string{ImageInput})
	sides := w.node("Gather", "patch.sides", []string{sizes, w.integers("two_three", 2, 3)}, onnxpb.IntAttr("axis", 0))
	patch := w.integers("patch.size", p)
	grid := w.node("Div", GridInput, []string{sides, patch})
	rows := w.node("Gather", "patch.rows", []string{grid, w.integers("first", 0)}, onnxpb.IntAttr("axis", 0))
	columns := w.node("Gather", "patch.columns", []string{grid, w.integers("second", 1)}, onnxpb.IntAttr("axis", 0))
	cut := w.node("Concat", "patch.cut_shape", []string{
		w.integers("patch.images", 0, channels), rows, patch, columns, patch}, onnxpb.IntAttr("axis", 0))
	tiles := w.node("Reshape", "patch.tiles", []string{ImageInput, cut})
	tiles = w.node("Transpose", "patch.ordered", []string{tiles}, onnxpb.IntsAttr("perm", 0, 2, 4, 1, 3, 5))
	places := w.node("Mul", "patch.places", []string{rows, columns})
	flat := w.node("Concat", "patch.flat_shape", []string{
		w.integers("patch.batch", 0), places, w.integers("patch.pixels", channels*p*p)}, onnxpb.IntAttr("axis", 0))
	x := w.node("Reshape", "patch.flat", []string{tiles, flat})

	matrix := w.node("Reshape", "patch.matrix", []string{w.weight("patch.weight", e.Weight),
		w.integers("patch.matrix_shape", int64(e.Dim()), channels*p*p)})
	last := Embedded
	if e.ClassToken != nil || !e.Positions.Empty() {
		last = "patch"
	}
	w.product("patch", matrix, e.Bias, x, last)
	return w.arrange(e, sizes, last)
}

// arrange puts the class token first and adds the positions.
func (w *writer) arrange(e *reference.PatchEmbedding, sizes, x string) error {
	dim := int64(e.Dim())
	if e.ClassToken != nil {
		batch := w.node("Gather", "class_token.batch", []string{sizes, w.integers("first", 0)}, onnxpb.IntAttr("axis", 0))
		shape := w.node("Concat", "class_token.shape", []string{batch, w.integers("class_token.row", 1, dim)},
			onnxpb.IntAttr("axis", 0))
		token := w.node("Expand", "class_token.rows", []string{w.vector("class_token", e.ClassToken), shape})
		last := Embedded
		if !e.Positions.Empty() {
			last = "patch.classed"
		}
		x = w.node("Concat", last, []string{token, x}, onnxpb.IntAttr("axis", 1))
	}
	if e.Positions.Empty() {
		return nil
	}
	// Add broadcasts; the Reshape fails where the number of positions is another.
	rows := w.integers("positions.shape", 0, int64(e.Positions.Shape()[0]), dim)
	x = w.node("Reshape", "patch.placed", []string{x, rows})
	w.node("Add", Embedded, []string{x, w.weight("positions.weight", e.Positions)})
	return nil
}

// mask makes of attention_mask what says, by source, whether it counts: (batch, sequence, 1). A mask of another shape than the
// sequences have would be broadcast: it is reshaped to what no tensor can be.
func (w *writer) mask() {
	shape := w.node("Shape", "mask.shape", []string{MaskInput})
	want := w.node("Shape", "mask.want", []string{InputName(w.model)})
	if w.model.Tokens == nil {
		want = w.node("Gather", "mask.sequences", []string{want, w.integers("first_two", 0, 1)}, onnxpb.IntAttr("axis", 0))
	}
	fits := w.node("Equal", "mask.fits", []string{shape, want})
	shape = w.node("Where", "mask.or_none", []string{fits, want, w.integers("none", refused)})
	checked := w.node("Reshape", "mask.checked", []string{MaskInput, shape})
	counts := w.node("Cast", "mask.counts", []string{checked}, onnxpb.IntAttr("to", int64(onnxpb.TensorProto_BOOL)))
	w.node("Unsqueeze", maskSources, []string{counts, w.integers("two", 2)})
}

const (
	maskSources = "mask.sources"
	refused     = -7 // a dimension that no runtime accepts
)
