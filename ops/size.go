package ops

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// size is an int64 number: known while the body is written, or computed by it as a vector of one element. Arithmetic on
// known sizes adds no nodes, so one way of writing a body serves fixed attributes and attributes read from the node.
type size struct {
	known bool
	value int64
	name  string
}

func fixed(v int64) size { return size{known: true, value: v} }

// cond is a truth value, known or computed as a bool vector of one element.
type cond struct {
	known bool
	value bool
	name  string
}

// vec is the name of s as a vector of one element.
func (b *builder) vec(s size) string {
	if s.known {
		return b.ints(s.value)
	}
	return s.name
}

// vector joins sizes to a shape, or to the argument of Slice and Pad.
func (b *builder) vector(parts ...size) string {
	var values []int64
	var names []string
	flush := func() {
		if len(values) > 0 {
			names = append(names, b.ints(values...))
			values = nil
		}
	}
	for _, p := range parts {
		if p.known {
			values = append(values, p.value)
			continue
		}
		flush()
		names = append(names, p.name)
	}
	flush()
	if len(names) == 1 {
		return names[0]
	}
	return b.op("Concat", names, onnxpb.IntAttr("axis", 0))
}

// dim is a dimension of x.
func (b *builder) dim(x string, axis int64) size {
	return size{name: b.op("Gather", []string{b.op("Shape", []string{x}), b.ints(axis)})}
}

// attr is value i of an attribute.
func (b *builder) attr(name string, i int) size {
	if b.spec.Attrs != nil {
		return fixed(b.spec.Attrs[name][i])
	}
	for _, a := range b.def.Attrs {
		if a.Name == name && a.Len > 0 {
			all := b.op("Constant", nil, onnxpb.RefAttr("value_ints", name, onnxpb.AttributeProto_INTS))
			return size{name: b.op("Gather", []string{all, b.ints(int64(i))})}
		}
	}
	scalar := b.op("Constant", nil, onnxpb.RefAttr("value_int", name, onnxpb.AttributeProto_INT))
	return size{name: b.op("Reshape", []string{scalar, b.ints(1)})}
}

func (b *builder) binary(opType string, x, y size, f func(x, y int64) int64) size {
	if x.known && y.known {
		return fixed(f(x.value, y.value))
	}
	return size{name: b.op(opType, []string{b.vec(x), b.vec(y)})}
}

func (b *builder) plus(x, y size) size {
	if y.known && y.value == 0 {
		return x
	}
	return b.binary("Add", x, y, func(x, y int64) int64 { return x + y })
}

func (b *builder) minus(x, y size) size {
	if y.known && y.value == 0 {
		return x
	}
	return b.binary("Sub", x, y, func(x, y int64) int64 { return x - y })
}

func (b *builder) negative(x size) size { return b.minus(fixed(0), x) }

func (b *builder) times(x, y size) size {
	return b.binary("Mul", x, y, func(x, y int64) int64 { return x * y })
}

func (b *builder) least(x, y size) size {
	return b.binary("Min", x, y, func(x, y int64) int64 { return min(x, y) })
}

func (b *builder) most(x, y size) size {
	return b.binary("Max", x, y, func(x, y int64) int64 { return max(x, y) })
}

// quotient is x/y rounded towards zero, for x >= 0. A divisor below 1 counts as 1: an engine that divides int64 by zero
// may take its process down.
func (b *builder) quotient(x, y size) size {
	return b.binary("Div", x, b.most(y, fixed(1)), func(x, y int64) int64 { return x / y })
}

// blocks is the number of blocks of length n that hold x elements.
func (b *builder) blocks(x, n size) size {
	return b.quotient(b.plus(x, b.minus(n, fixed(1))), n)
}

// root is the square root of x, rounded down.
func (b *builder) root(x size) size {
	if x.known {
		return fixed(int64(math.Sqrt(float64(x.value))))
	}
	r := b.op("Sqrt", []string{b.cast(x.name, tensor.Float64)})
	return size{name: b.cast(r, tensor.Int64)}
}

func (b *builder) compare(opType string, x, y size, f func(x, y int64) bool) cond {
	if x.known && y.known {
		return cond{known: true, value: f(x.value, y.value)}
	}
	return cond{name: b.op(opType, []string{b.vec(x), b.vec(y)})}
}

func (b *builder) equal(x, y size) cond {
	return b.compare("Equal", x, y, func(x, y int64) bool { return x == y })
}

func (b *builder) less(x, y size) cond {
	return b.compare("Less", x, y, func(x, y int64) bool { return x < y })
}

func (b *builder) not(x cond) cond {
	if x.known {
		return cond{known: true, value: !x.value}
	}
	return cond{name: b.op("Not", []string{x.name})}
}

func (b *builder) and(conds ...cond) cond {
	all := cond{known: true, value: true}
	for _, c := range conds {
		switch {
		case all.known && all.value, c.known && !c.value:
			all = c
		case c.known || all.known: // c is true, or all is false
		default:
			all = cond{name: b.op("And", []string{all.name, c.name})}
		}
	}
	return all
}

func (b *builder) or(x, y cond) cond {
	switch {
	case x.known && x.value, y.known && !y.value:
		return x
	case x.known || y.known:
		return y
	}
	return cond{name: b.op("Or", []string{x.name, y.name})}
}

// choose is x where c holds and y elsewhere.
func (b *builder) choose(c cond, x, y size) size {
	if c.known {
		if c.value {
			return x
		}
		return y
	}
	return size{name: b.op("Where", []string{c.name, b.vec(x), b.vec(y)})}
}

// refused is a dimension that no runtime accepts: how a body fails where the kernel fails.
const refused = -7

// require is x where c holds and a dimension that makes the body fail elsewhere.
func (b *builder) require(c cond, x size) size {
	return b.choose(c, x, fixed(refused))
}

// causal is the attribute "causal".
func (b *builder) causal() cond { return b.not(b.equal(b.attr("causal", 0), fixed(0))) }
