//go:build cgo

package export_test

import (
	"fmt"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// operands are the sizes of a call whose values are counted.
type operands struct {
	b, t, s, d, h int
	taps          []int // of W, without its first dimension
	grid          [2]int64
}

// TestBodies_sizes counts the elements of every value of a body: none is larger than what (*ops.Def).Function promises.
func TestBodies_sizes(t *testing.T) {
	rt := openRuntime(t)
	const dense = "dense"
	for _, c := range []struct {
		op, form string
		operands
	}{
		{"AFTFull", "", operands{b: 1, t: 40, s: 40, d: 8}},
		{"AFTFull", "", operands{b: 2, t: 8, s: 300, d: 3}},
		{"AFTFull", "", operands{b: 1, t: 150, s: 150, d: 4}},
		{"AFTSimple", "", operands{b: 2, t: 3, s: 3, d: 16}},
		{"AFTSimple", "", operands{b: 1, t: 3, s: 70, d: 16}},
		{"AFTLocal", "", operands{b: 1, t: 40, s: 40, d: 8, taps: []int{31}}},
		{"AFTLocal", "", operands{b: 1, t: 20, s: 20, d: 40, taps: []int{201}}},
		{"AFTConv1D", "", operands{b: 1, t: 64, s: 64, d: 48, h: 48, taps: []int{11}}},
		{"AFTConv1D", "", operands{b: 2, t: 50, s: 50, d: 32, h: 2, taps: []int{33}}},
		{"AFTConv1D", "", operands{b: 1, t: 20, s: 20, d: 40, h: 1, taps: []int{301}}},
		{"AFTConv2D", "", operands{b: 1, t: 42, s: 42, d: 16, h: 16, taps: []int{5, 3}, grid: [2]int64{6, 7}}},
		{"AFTConv2D", "", operands{b: 2, t: 64, s: 64, d: 12, h: 3, taps: []int{15, 15}, grid: [2]int64{8, 8}}},
		{"AFTConv2D", dense, operands{b: 2, t: 42, s: 42, d: 12, h: 3, taps: []int{5, 3}, grid: [2]int64{6, 7}}},
	} {
		for causal := range int64(2) {
			t.Run(fmt.Sprintf("%s %v causal %d", c.op, c.operands, causal), func(t *testing.T) {
				if causal == 1 {
					c.s = c.t
				}
				d, _ := ops.Lookup(c.op)
				inputs, shapes := c.inputs(t, d)
				attrs := d.DefaultAttrs(shapes, ops.Attrs{"causal": {causal}})
				var described []ops.Input
				if c.form != dense {
					for _, s := range shapes {
						described = append(described, ops.Input{DType: tensor.Float32, Shape: s})
					}
				}
				p := mustOperator(t, c.op, attrs, described, export.Options{Flatten: true})
				outputEverything(p)
				values, err := run(t, rt, p, inputs)
				if err != nil {
					t.Fatal(err)
				}
				largest, name := largestValue(values)
				if allowed := c.allowed(c.op, c.form == dense, attrs); largest > allowed {
					t.Errorf("%s has %d elements, want at most %d", name, largest, allowed)
				}
			})
		}
	}
}

// inputs are random operands, and the shapes of the T1 ones.
func (o operands) inputs(t *testing.T, d *ops.Def) (map[string]*tensor.Tensor, [][]int) {
	keys := o.d
	if o.h > 0 {
		keys = o.h
	}
	shapes := [][]int{{o.b, o.t, o.d}, {o.b, o.s, keys}, {o.b, o.s, o.d}}
	switch {
	case d.Name == "AFTFull":
		shapes = append(shapes, []int{o.t + 3, o.s + 1})
	case o.h > 0:
		shapes = append(shapes, append([]int{o.h}, o.taps...))
	case o.taps != nil:
		shapes = append(shapes, append([]int{o.t}, o.taps...))
	}
	inputs := map[string]*tensor.Tensor{}
	for i, s := range shapes {
		inputs[d.Inputs[i].Name] = mustTensor(t, random(t, uint64(i), s...), tensor.Float32)
	}
	if o.grid != [2]int64{} {
		inputs["grid"] = gridTensor(t, o.grid[0], o.grid[1])
	}
	return inputs, shapes
}

// allowed is the promise of (*ops.Def).Function.
func (o operands) allowed(op string, dense bool, attrs ops.Attrs) int {
	length := max(o.t, o.s)
	most := 4 * o.b * length * max(length, o.d)
	switch {
	case op == "AFTConv1D":
		reach := min(int(max(attrs.Int("pad_left"), int64(o.taps[0]-1)-attrs.Int("pad_left"))), o.t)
		most = max(most, 3*o.h*reach*reach)
	case dense:
		most = max(most, 3*o.h*o.t*o.t)
	case op == "AFTConv2D":
		most = max(most, o.d*(o.taps[0]+1)*(o.taps[1]+1)) // made symmetric
	}
	return most
}

// outputEverything makes every value of p an output.
func outputEverything(p *onnxpb.ModelProto) {
	for _, n := range p.Graph.Node {
		if n.Output[0] != p.Graph.Output[0].Name {
			p.Graph.Output = append(p.Graph.Output, &onnxpb.ValueInfoProto{Name: n.Output[0]})
		}
	}
}

func largestValue(values map[string]*tensor.Tensor) (elements int, name string) {
	for value, x := range values {
		if x.Len() > elements {
			elements, name = x.Len(), value
		}
	}
	return elements, name
}
