package fuse

import (
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
)

// matMul is sum_k A[..., m, k] B[..., k, n].
func (a *analysis) matMul(n *onnxgraph.Node, idx indices) (poly, error) {
	x, y := a.shapeOf(n.Inputs[0]), a.shapeOf(n.Inputs[1])
	if len(x) == 0 || len(y) == 0 {
		return nil, errShape
	}
	over := a.axis(x[len(x)-1])
	rest := idx
	var column index
	if len(y) > 1 {
		column, rest = rest[len(rest)-1], rest[:len(rest)-1]
	}
	var row index
	if len(x) > 1 {
		row, rest = rest[len(rest)-1], rest[:len(rest)-1]
	}
	left, right := indices{over}, indices{over}
	if len(x) > 1 {
		left = append(slices.Clone(rest[len(rest)-(len(x)-2):]), row, over)
	}
	if len(y) > 1 {
		right = append(slices.Clone(rest[len(rest)-(len(y)-2):]), over, column)
	}
	p, err := a.value(n.Inputs[0], left, false)
	if err != nil {
		return nil, err
	}
	q, err := a.value(n.Inputs[1], right, false)
	if err != nil {
		return nil, err
	}
	return sum(times(p, q), over), nil
}

// einsum is the operator as it is written: every letter is an index, and what the result does not have is summed over.
func (a *analysis) einsum(n *onnxgraph.Node, idx indices) (poly, error) {
	equation := strings.ReplaceAll(string(n.Attrs["equation"].GetS()), " ", "")
	left, right, explicit := strings.Cut(equation, "->")
	operands := strings.Split(left, ",")
	if len(operands) != len(n.Inputs) {
		return nil, errShape
	}
	shapes := make([][]size, len(operands))
	for i, name := range n.Inputs {
		if shapes[i] = a.shapeOf(name); shapes[i] == nil {
			return nil, errShape
		}
		operands[i] = dots(operands[i], len(shapes[i]))
	}
	if explicit {
		right = dots(right, len(idx))
	} else {
		right = implicit(operands)
	}
	at := map[rune]index{}
	letters := []rune(right)
	if len(letters) != len(idx) {
		return nil, errShape
	}
	for i, letter := range letters {
		at[letter] = idx[i]
	}
	p, over := number(1), index{}
	for i, operand := range operands {
		letters := []rune(operand)
		if len(letters) != len(shapes[i]) {
			return nil, errShape
		}
		own := make(indices, len(letters))
		for j, letter := range letters {
			if slices.Contains(letters[:j], letter) {
				return nil, errShape // a diagonal
			}
			if _, ok := at[letter]; !ok {
				x := a.axis(a.largest(letter, operands, shapes))
				at[letter], over = x, append(over, x...)
			}
			own[j] = at[letter]
		}
		q, err := a.value(n.Inputs[i], own, false)
		if err != nil {
			return nil, err
		}
		p = times(p, q)
	}
	return sum(p, over), nil
}

// largest is how long the axis of a letter is: an operand may have 1 there and broadcast.
func (a *analysis) largest(letter rune, operands []string, shapes [][]size) size {
	n := one
	for i, operand := range operands {
		for j, r := range []rune(operand) {
			if r == letter && j < len(shapes[i]) && shapes[i][j] != one {
				n = shapes[i][j]
			}
		}
	}
	return n
}

// dots writes an ellipsis as letters of its own, counted from the last.
func dots(operand string, rank int) string {
	before, after, ok := strings.Cut(operand, "...")
	if !ok {
		return operand
	}
	var middle []rune
	for i := rank - len([]rune(before)) - len([]rune(after)); i > 0; i-- {
		middle = append(middle, 0xE000+rune(i))
	}
	return before + string(middle) + after
}

// implicit is the result of an equation without an arrow: the ellipsis, then the letters that occur once, in order.
func implicit(operands []string) string {
	all := []rune(strings.Join(operands, ""))
	slices.Sort(all)
	var broad, once []rune
	for i, r := range all {
		switch {
		case r >= 0xE000:
			if i == 0 || all[i-1] != r {
				broad = append([]rune{r}, broad...)
			}
		case (i == 0 || all[i-1] != r) && (i == len(all)-1 || all[i+1] != r):
			once = append(once, r)
		}
	}
	return string(broad) + string(once)
}

// conv is a convolution that keeps channels apart: sum_s taps[c, t, s] X[b, c, s]. shift is where a Slice of its result begins.
func (a *analysis) conv(n *onnxgraph.Node, idx indices, shift []int) (poly, error) {
	in, w := a.shapeOf(n.Inputs[0]), a.shapeOf(n.Inputs[1])
	weight := a.rep(n.Inputs[1])
	if len(in) != len(idx) || len(w) != len(in) || len(in) < 3 || len(n.Inputs) > 2 && n.Inputs[2] != "" || a.class[weight] == data {
		return nil, nil
	}
	group := int64(1)
	if attr := n.Attrs["group"]; attr != nil {
		group = attr.GetI()
	}
	channels := size{int(group), int(group)}
	if in[1] != channels || w[0] != channels || w[1] != one || shift[0] != 0 || shift[1] != 0 {
		return nil, nil
	}
	rank := len(in) - 2
	ints := func(name string, otherwise int64) []int64 {
		if list := n.Attrs[name].GetInts(); len(list) > 0 {
			return list
		}
		return slices.Repeat([]int64{otherwise}, 2*rank)
	}
	auto := string(n.Attrs["auto_pad"].GetS())
	if auto != "" && auto != "NOTSET" && auto != "VALID" {
		return nil, nil
	}
	pads := ints("pads", 0)
	source, padded, err := a.padding(n.Inputs[0], len(in))
	if err != nil {
		return nil, err
	}
	from := a.shapeOf(source)
	t := &taps{channel: idx[1]}
	all := indices{idx[0], idx[1]}
	var over index
	for i := range rank {
		x := a.axis(from[i+2])
		all, over = append(all, x), append(over, x...)
		if ints("strides", 1)[i] != 1 || len(idx[i+2]) > 1 || len(x) > 1 || len(idx[i+2]) != len(x) {
			return nil, errShape
		}
		t.to, t.from = append(t.to, idx[i+2]...), append(t.from, x...)
		if len(x) == 0 {
			return nil, errShape
		}
		t.pads = append(t.pads, int(pads[i])+padded[i+2]-shift[i+2])
		t.dilation = append(t.dilation, int(ints("dilations", 1)[i]))
	}
	p, err := a.value(source, all, false)
	if err != nil {
		return nil, err
	}
	b := seal(&base{kind: tapsOf, name: weight, taps: t})
	return sum(times(of(b), p), over), nil
}

// padding looks through a Pad with zeros before a convolution: what is padded, and by how much at the beginning of each axis.
func (a *analysis) padding(name string, rank int) (source string, before []int, err error) {
	name, before = a.rep(name), make([]int, rank)
	i, made := a.makers[name]
	if !made || a.nodes[i].Op != "Pad" || a.nodes[i].Domain != "" {
		return name, before, nil
	}
	n := &a.nodes[i]
	pads := n.Attrs["pads"].GetInts()
	if n.Version >= 11 {
		var ok bool
		if pads, ok = a.ints(a.rep(n.Inputs[1])); !ok {
			return "", nil, errShape
		}
		if len(n.Inputs) > 2 && n.Inputs[2] != "" {
			if c, ok := a.scalar(a.rep(n.Inputs[2])); !ok || c != 0 {
				return "", nil, errShape
			}
		}
	}
	mode := string(n.Attrs["mode"].GetS())
	if len(pads) != 2*rank || mode != "" && mode != "constant" || n.Attrs["value"].GetF() != 0 || len(n.Inputs) > 3 {
		return "", nil, errShape
	}
	for i := range rank {
		before[i] = int(pads[i])
		if pads[i] < 0 || pads[rank+i] < 0 || i < 2 && (pads[i] != 0 || pads[rank+i] != 0) {
			return "", nil, errShape
		}
	}
	return a.rep(n.Inputs[0]), before, nil
}
