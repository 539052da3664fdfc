package fuse

import (
	"fmt"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// emitter writes the nodes of one layer.
type emitter struct {
	*analysis
	prefix string
	taken  map[string]bool
	dtype  tensor.DType // of the layer's operands
	nodes  []*onnxpb.NodeProto
	consts []*onnxpb.TensorProto
	dims   map[digit]string // a vector of one: how far a digit counts
	ints   map[string]string
}

// emit writes a layer; its last node makes l.root.
func (a *analysis) emit(l *layer, taken map[string]bool) (*emitter, error) {
	e := &emitter{analysis: a, prefix: l.root, taken: taken, dtype: a.dtypes[l.root], dims: map[digit]string{}, ints: map[string]string{}}
	if !slices.Contains(ops.Types(), e.dtype) {
		return nil, missf("the layer computes in %s, and the operators in float16, float32 and float64", e.dtype)
	}
	def, ok := ops.Lookup(l.op)
	if !ok || !l.complete(def) {
		return nil, fmt.Errorf("%s: the layer is incomplete", l.op)
	}
	columns := slices.Concat(l.heads, l.channels)
	keys := columns
	if l.convolution {
		keys = l.heads
	}
	k, err := e.poly(l.k, [][]digit{l.batch, l.sources, keys}, true)
	if err != nil {
		return nil, err
	}
	v, err := e.poly(l.v, [][]digit{l.batch, l.sources, columns}, true)
	if err != nil {
		return nil, err
	}
	out := [][]digit{l.batch, l.queries, columns}
	q, err := e.query(l, out, v)
	if err != nil {
		return nil, err
	}
	inputs := []string{q, k, v}
	switch {
	case l.bias != nil:
		w, err := e.poly(l.bias, [][]digit{l.queries, l.sources}, true)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, w)
	case l.weight != nil:
		w, err := l.weight.Cast(e.dtype)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, e.constant("W", w))
	}
	if l.op == "AFTConv2D" {
		grid, err := e.shape([][]digit{l.queries[:1], l.queries[1:]}, false)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, grid)
	}
	y := e.name("Y")
	e.nodes = append(e.nodes, ops.Node(def, e.name("aft"), inputs, []string{y}, l.attrs))
	if y, err = e.layout(y, indicesOf(out), l.out, false); err != nil {
		return nil, err
	}
	for _, n := range e.nodes {
		if n.Output[0] == y {
			n.Output[0] = l.root
		}
	}
	return e, nil
}

func indicesOf(axes [][]digit) indices {
	idx := make(indices, len(axes))
	for i, x := range axes {
		idx[i] = index(x)
	}
	return idx
}

// query writes Q, or without a gate something that has its shape.
func (e *emitter) query(l *layer, out [][]digit, v string) (string, error) {
	if l.q != nil {
		return e.poly(l.q, out, true)
	}
	same := len(l.queries) == len(l.sources)
	for i := range min(len(l.queries), len(l.sources)) {
		same = same && e.sizes[l.queries[i]] == e.sizes[l.sources[i]]
	}
	switch {
	case same:
		return v, nil
	case len(l.queries) == 0:
		return e.node("Slice", []string{v, e.vector(0), e.vector(1), e.vector(1)}), nil
	}
	shape, err := e.shape(out, false)
	if err != nil {
		return "", err
	}
	zero, err := tensor.FromFloat64s(e.dtype, []int{}, []float64{0})
	if err != nil {
		return "", err
	}
	return e.node("Expand", []string{e.constant("zero", zero), shape}), nil
}

func (e *emitter) name(what string) string {
	name := e.prefix + "/" + what
	for i := 1; e.taken[name]; i++ {
		name = fmt.Sprintf("%s/%s_%d", e.prefix, what, i)
	}
	e.taken[name] = true
	return name
}

func (e *emitter) node(op string, inputs []string, attrs ...*onnxpb.AttributeProto) string {
	n := onnxpb.Node(op, inputs, []string{e.name(op)}, attrs...)
	n.Name = n.Output[0]
	e.nodes = append(e.nodes, n)
	return n.Output[0]
}

func (e *emitter) constant(what string, t *tensor.Tensor) string {
	name := e.name(what)
	e.consts = append(e.consts, onnxpb.TensorToProto(name, t))
	return name
}

// vector is a list of integers.
func (e *emitter) vector(list ...int64) string {
	key := fmt.Sprint(list)
	if name, ok := e.ints[key]; ok {
		return name
	}
	t, err := tensor.FromInt64s([]int{len(list)}, list)
	if err != nil {
		return ""
	}
	e.ints[key] = e.constant("ints", t)
	return e.ints[key]
}

// ---- sizes

// dim is how far a digit counts, as a vector of one element.
func (e *emitter) dim(d digit) (string, error) {
	if e.sizes[d].fixed() {
		return e.vector(int64(e.sizes[d][0])), nil
	}
	if name, ok := e.dims[d]; ok {
		return name, nil
	}
	at, ok := e.seen[d]
	if !ok {
		return "", missf("the length of an axis is nowhere to be read off")
	}
	e.dims[d] = e.node("Gather", []string{e.node("Shape", []string{at.value}), e.vector(int64(at.axis))})
	return e.dims[d], nil
}

// shape is the shape of a tensor with those axes; with infer, one of them may be left for Reshape to find out.
func (e *emitter) shape(axes [][]digit, infer bool) (string, error) {
	list, open := make([]int64, len(axes)), 0
	for i, x := range axes {
		list[i] = 1
		for _, d := range x {
			if !e.sizes[d].fixed() {
				list[i] = -1
			} else if list[i] > 0 {
				list[i] *= int64(e.sizes[d][0])
			}
		}
		open += int(truth(list[i] < 0))
	}
	if open == 0 || open == 1 && infer {
		return e.vector(list...), nil
	}
	var parts []string
	for i, x := range axes {
		if list[i] >= 0 {
			parts = append(parts, e.vector(list[i]))
			continue
		}
		product := ""
		for _, d := range x {
			n, err := e.dim(d)
			if err != nil {
				return "", err
			}
			if product == "" {
				product = n
			} else {
				product = e.node("Mul", []string{product, n})
			}
		}
		parts = append(parts, product)
	}
	return e.node("Concat", parts, onnxpb.IntAttr("axis", 0)), nil
}

// ---- layout

// layout brings a value to other axes. With full, axes that it lacks are repeated.
func (e *emitter) layout(name string, have indices, want indices, full bool) (string, error) {
	own := have.digits()
	target, missing := make(indices, len(want)), false
	for i, x := range want {
		for _, d := range x {
			if slices.Contains(own, d) {
				target[i] = append(target[i], d)
			} else {
				missing = true
			}
		}
	}
	if len(target.digits()) != len(own) {
		return "", missf("%s has an axis that the operator has no place for", name)
	}
	if !slices.Equal(own, target.digits()) {
		perm, ok := permutation(have, target.digits())
		if !ok {
			var fine indices
			for _, d := range own {
				fine = append(fine, index{d})
			}
			var err error
			if name, err = e.reshape(name, fine); err != nil {
				return "", err
			}
			have = fine
			perm, _ = permutation(have, target.digits())
		}
		name = e.node("Transpose", []string{name}, onnxpb.IntsAttr("perm", perm...))
		moved := make(indices, len(have))
		for i, p := range perm {
			moved[i] = have[p]
		}
		have = moved
	}
	if missing && full && mixed(want, own) {
		return e.repeat(name, own, want)
	}
	if !sameAxes(have, target) {
		var err error
		if name, err = e.reshape(name, target); err != nil {
			return "", err
		}
	}
	if missing && full {
		shape, err := e.shape(axesOf(want), false)
		if err != nil {
			return "", err
		}
		name = e.node("Expand", []string{name, shape})
	}
	return name, nil
}

// mixed reports whether an axis is counted by digits of which only some are there.
func mixed(axes indices, own []digit) bool {
	return slices.ContainsFunc(axes, func(x index) bool {
		n := 0
		for _, d := range x {
			n += int(truth(slices.Contains(own, d)))
		}
		return n > 0 && n < len(x)
	})
}

// repeat brings a value, its digits in order, to axes of more digits: every digit gets an axis of its own in between.
func (e *emitter) repeat(name string, own []digit, want indices) (string, error) {
	var narrow, wide indices
	for _, d := range want.digits() {
		wide = append(wide, index{d})
		if slices.Contains(own, d) {
			narrow = append(narrow, index{d})
		} else {
			narrow = append(narrow, nil)
		}
	}
	name, err := e.reshape(name, narrow)
	if err != nil {
		return "", err
	}
	shape, err := e.shape(axesOf(wide), false)
	if err != nil {
		return "", err
	}
	return e.reshape(e.node("Expand", []string{name, shape}), want)
}

func axesOf(x indices) [][]digit {
	axes := make([][]digit, len(x))
	for i := range x {
		axes[i] = x[i]
	}
	return axes
}

func sameAxes(x, y indices) bool {
	return slices.EqualFunc(x, y, func(a, b index) bool { return slices.Equal(a, b) })
}

func (e *emitter) reshape(name string, to indices) (string, error) {
	shape, err := e.shape(axesOf(to), true)
	if err != nil {
		return "", err
	}
	return e.node("Reshape", []string{name, shape}), nil
}

// permutation orders whole axes so that their digits come in the order wanted; axes of size 1 come first.
func permutation(axes indices, want []digit) ([]int64, bool) {
	var perm []int64
	for i, x := range axes {
		if len(x) == 0 {
			perm = append(perm, int64(i))
		}
	}
	for len(want) > 0 {
		i := slices.IndexFunc(axes, func(x index) bool { return len(x) > 0 && x[0] == want[0] })
		if i < 0 || len(axes[i]) > len(want) || !slices.Equal(axes[i], index(want[:len(axes[i])])) {
			return nil, false
		}
		perm, want = append(perm, int64(i)), want[len(axes[i]):]
	}
	return perm, true
}

// ---- expressions

// poly writes a sum of products as a tensor with those axes.
func (e *emitter) poly(p poly, axes [][]digit, full bool) (string, error) {
	sum := ""
	for i, t := range p {
		x, err := e.term(t, axes, full && len(p) == 1)
		if err != nil {
			return "", err
		}
		if i == 0 {
			sum = x
		} else {
			sum = e.node("Add", []string{sum, x})
		}
	}
	if sum == "" {
		zero, err := e.number(0)
		if err != nil {
			return "", err
		}
		sum = zero
	}
	if full && len(p) != 1 {
		shape, err := e.shape(axes, false)
		if err != nil {
			return "", err
		}
		sum = e.node("Expand", []string{sum, shape})
	}
	return sum, nil
}

func (e *emitter) number(x float64) (string, error) {
	t, err := tensor.FromFloat64s(e.dtype, []int{}, []float64{x})
	if err != nil {
		return "", err
	}
	return e.constant("number", t), nil
}

func (e *emitter) term(t term, axes [][]digit, full bool) (string, error) {
	product := ""
	for _, f := range t.factors {
		x, err := e.factor(f, axes, full && len(t.factors) == 1)
		if err != nil {
			return "", err
		}
		if product == "" {
			product = x
		} else {
			product = e.node("Mul", []string{product, x})
		}
	}
	if t.coef != 1 || product == "" {
		c, err := e.number(t.coef)
		if err != nil {
			return "", err
		}
		if product == "" {
			product = c
		} else {
			product = e.node("Mul", []string{product, c})
		}
	}
	return product, nil
}

func (e *emitter) factor(f factor, axes [][]digit, full bool) (string, error) {
	x, err := e.base(f.base, axes, full)
	if err != nil || f.power == 1 {
		return x, err
	}
	if f.power == -1 {
		return e.node("Reciprocal", []string{x}), nil
	}
	p, err := e.number(f.power)
	if err != nil {
		return "", err
	}
	return e.node("Pow", []string{x, p}), nil
}

func (e *emitter) base(b *base, axes [][]digit, full bool) (string, error) {
	switch {
	case b.kind == valueOf:
		x, err := e.layout(b.name, b.idx, indicesOf(axes), full)
		if err != nil || e.dtypes[b.name] == e.dtype || e.dtypes[b.name] == tensor.Invalid {
			return x, err
		}
		return e.node("Cast", []string{x}, onnxpb.IntAttr("to", int64(onnxpb.DataType(e.dtype)))), nil
	case b.kind == callOf && b.name == "log":
		if t := b.arg.asTerm(); len(t.factors) == 1 && t.coef == 1 && t.factors[0].base.kind == whereOf {
			return e.mask(t.factors[0].base, axes, 0, math.Inf(-1))
		}
		x, err := e.poly(b.arg, axes, full)
		if err != nil {
			return "", err
		}
		return e.node("Log", []string{x}), nil
	case b.kind == whereOf:
		return e.mask(b, axes, 1, 0)
	case b.kind == expOf:
		x, err := e.poly(b.arg, axes, full)
		if err != nil {
			return "", err
		}
		return e.node("Exp", []string{x}), nil
	case b.kind == polyOf:
		return e.poly(b.arg, axes, full)
	}
	return "", missf("an operand is made of sums that the graph has no value for")
}

// mask is one number where a condition holds, another elsewhere.
func (e *emitter) mask(b *base, axes [][]digit, yes, no float64) (string, error) {
	x, err := e.layout(b.name, b.idx, indicesOf(axes), false)
	if err != nil {
		return "", err
	}
	if b.not {
		yes, no = no, yes
	}
	y, err := e.number(yes)
	if err != nil {
		return "", err
	}
	n, err := e.number(no)
	if err != nil {
		return "", err
	}
	return e.node("Where", []string{x, y, n}), nil
}
