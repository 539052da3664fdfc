//go:build cgo

package bench

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

func open(t *testing.T) *ort.Runtime {
	t.Helper()
	rt, err := ort.Open(context.Background(), ort.Options{Notify: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	return rt
}

// small are cases that take milliseconds; every one goes through the checks that Run makes of kernels, function bodies and
// every graph of a user.
func small() []string {
	return []string{"AFTSimple/T40/D64", "AFTSimple/causal/T40/D64/B2", "AFTFull/T33/D64", "AFTFull/causal/T33/D64/B2",
		"AFTLocal/s5/T40/D64", "AFTLocal/s5/causal/T40/D64/B2", "AFTConv1D/h8/s4/causal/T40/D64/B2", "AFTConv1D/h4/s5/T40/D64",
		"AFTConv2D/k3/5x7/D64/B2"}
}

// Every engine is timed on every operator, and agrees.
func TestRun(t *testing.T) {
	rt := open(t)
	cases, err := Select(small(), nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := Run(context.Background(), rt, Options{Cases: cases, Threads: 2, Plan: Plan{1, 1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for _, e := range []Engine{Kernel, Portable, User, MHA, Floor} {
			i := slices.IndexFunc(rows, func(r Row) bool { return r.Case == c.Name() && r.Engine == e })
			if i < 0 || rows[i].MedianMS <= 0 || rows[i].Ratio <= 0 {
				t.Errorf("%s: no figures of %s", c.Name(), e)
			}
		}
		for _, in := range inputs()[1:] {
			if !slices.ContainsFunc(rows, func(r Row) bool { return r.Case == c.Name() && r.Input == in }) {
				t.Errorf("%s: no figures with keys %s", c.Name(), in)
			}
		}
	}
}

// A wrong output is found: of the kernel by the equations, of others by the kernel's.
func TestWrongOutputs(t *testing.T) {
	for _, name := range small() {
		c, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		d := newData(c, Ordinary)
		y, err := tensor.New(tensor.Float32, []int{c.B, c.T, c.D})
		if err != nil {
			t.Fatal(err)
		}
		if d.checkKernel(y) == nil {
			t.Errorf("%s: zeros pass for the kernel's output", name)
		}
	}
	ones := &tensor.Tensor{DType: tensor.Float32, Shape: []int{2}, Data: floatBytes([]float32{1, 1})}
	other := &tensor.Tensor{DType: tensor.Float32, Shape: []int{2}, Data: floatBytes([]float32{1, 1.01})}
	if checkAgainst(ones, ones, 1) != nil || checkAgainst(ones, other, 1) == nil {
		t.Error("checkAgainst does not tell 1 from 1.01")
	}
}

func TestRunStops(t *testing.T) {
	rt := open(t)
	c, err := Parse(small()[0])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, rt, Options{Cases: []Case{c}, Threads: 1, Plan: DefaultPlan()}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
