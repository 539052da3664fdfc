//go:build cgo

package export_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// constant is a float32 tensor of one number.
func constant(t *testing.T, v float64, shape ...int) *tensor.Tensor {
	t.Helper()
	a, err := tensor.NewArray(shape...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Data {
		a.Data[i] = v
	}
	return mustTensor(t, a, tensor.Float32)
}

// TestBodies_longSums: the mean of equal numbers is that number, however many there are. A plain float sum of 0.1 is off
// by 80 units after a thousand terms and by 1300 after 16384; bodies are allowed 16, and T/8 more for running sums.
func TestBodies_longSums(t *testing.T) {
	rt := openRuntime(t)
	const unit = 0x1p-23 * 0.1
	for _, c := range []struct {
		op         string
		length     int
		causal     int64
		w          []int
		runningSum bool
	}{
		{op: "AFTFull", length: 1000, w: []int{1000, 1000}},
		{op: "AFTFull", length: 1000, w: []int{1000, 1000}, causal: 1},
		{op: "AFTFull", length: 130, w: []int{130, 130}},
		{op: "AFTLocal", length: 1000, w: []int{1000, 5}},
		{op: "AFTSimple", length: 16384},
		{op: "AFTSimple", length: 16384, causal: 1, runningSum: true},
		{op: "AFTConv1D", length: 1000, w: []int{2, 16}, runningSum: true},
		{op: "AFTConv1D", length: 1000, w: []int{2, 999}, causal: 1, runningSum: true},
		{op: "AFTConv2D", length: 900, w: []int{2, 15, 15}},
		{op: "AFTConv2D", length: 900, w: []int{2, 59, 59}, causal: 1},
	} {
		t.Run(fmt.Sprintf("%s %d causal %d %v", c.op, c.length, c.causal, c.w), func(t *testing.T) {
			d, _ := ops.Lookup(c.op)
			v, k := constant(t, 0.1, 1, c.length, 8), constant(t, 0, 1, c.length, 8)
			inputs := map[string]*tensor.Tensor{"Q": v, "K": k, "V": v}
			shapes := [][]int{v.Shape, k.Shape, v.Shape}
			if c.w != nil {
				inputs["W"] = constant(t, 0, c.w...)
				shapes = append(shapes, c.w)
			}
			if c.op == "AFTConv1D" || c.op == "AFTConv2D" {
				inputs["K"] = constant(t, 0, 1, c.length, 2)
				shapes[1] = inputs["K"].Shape
			}
			if c.op == "AFTConv2D" {
				inputs["grid"] = gridTensor(t, 30, 30)
			}
			described := make([]ops.Input, len(shapes))
			for i, s := range shapes {
				described[i] = ops.Input{DType: tensor.Float32, Shape: s}
			}
			attrs := d.DefaultAttrs(shapes, ops.Attrs{"causal": {c.causal}, "gate": {ops.GateAbsent}})
			got, err := run(t, rt, mustOperator(t, c.op, attrs, described, export.Options{}), inputs)
			if err != nil {
				t.Fatal(err)
			}
			allowed := 16.0
			if c.runningSum {
				allowed += float64(c.length) / 8
			}
			for i := range got["Y"].Len() {
				if off := math.Abs(got["Y"].At(i)-v.At(i)) / unit; !(off <= allowed) {
					t.Fatalf("element %d is %v, want %v: off by %.1f units, allowed %.1f", i, got["Y"].At(i), v.At(i), off, allowed)
				}
			}
		})
	}
}

// TestBodies_lowWindow: biases of -300 on every pair there is cancel. They must not be weighed against a bias of 0 that
// no pair has.
func TestBodies_lowWindow(t *testing.T) {
	rt := openRuntime(t)
	for _, c := range []struct {
		op    string
		w     []int
		attrs ops.Attrs
	}{
		{"AFTFull", []int{6, 6}, ops.Attrs{}},
		{"AFTLocal", []int{6, 13}, ops.Attrs{"window": {7}}},
		{"AFTConv1D", []int{2, 13}, ops.Attrs{"pad_left": {6}}},
		{"AFTConv2D", []int{2, 3, 5}, ops.Attrs{"pads": {1, 2}}},
	} {
		d, _ := ops.Lookup(c.op)
		for _, inputs := range [][]ops.Input{nil, {{}, {Shape: []int{1, 6, 2}}, {Shape: []int{1, 6, 4}}}} {
			c.attrs["causal"], c.attrs["gate"] = []int64{0}, []int64{ops.GateAbsent}
			keys := 4
			if c.op == "AFTConv1D" || c.op == "AFTConv2D" {
				keys = 2
			}
			feeds := map[string]*tensor.Tensor{
				"Q": constant(t, 0, 1, 6, 4), "K": constant(t, 1, 1, 6, keys),
				"V": mustTensor(t, random(t, 3, 1, 6, 4), tensor.Float32), "W": constant(t, -300, c.w...),
			}
			if c.op == "AFTConv2D" {
				feeds["grid"] = gridTensor(t, 2, 3)
			}
			got, err := run(t, rt, mustOperator(t, d.Name, c.attrs, inputs, export.Options{}), feeds)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got["Y"].Len() {
				mean := 0.0
				for s := range 6 {
					mean += feeds["V"].At(4*s+i%4) / 6
				}
				if y := got["Y"].At(i); !(math.Abs(y-mean) <= 1e-6) {
					t.Fatalf("%s: element %d is %v, want the mean %v", c.op, i, y, mean)
				}
			}
		}
	}
}
