package optest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ops/optest"
	"github.com/aftonnx/aftonnx/reference"
)

// TestComplete names what a declared operator still lacks: files of its stem, a reference, a kernel, a body for every
// opset and type, or golden cases.
func TestComplete(t *testing.T) {
	manifest := goldentest.Find("testdata/golden/manifest.json")
	if manifest == "" {
		t.Fatal("testdata/golden/manifest.json not found")
	}
	cases, err := optest.Golden(filepath.Dir(manifest))
	if err != nil {
		t.Fatal(err)
	}
	for _, def := range ops.All() {
		t.Run(def.Name, func(t *testing.T) {
			for _, file := range []string{"ops/%s.go", "reference/%s.go", "ops/kernel/%s.c"} {
				if _, err := os.Stat(filepath.Join("../..", fmt.Sprintf(file, def.Stem))); err != nil {
					t.Error(err)
				}
			}
			if def.Whole == "" { // a step form's truth is that of the whole
				checkCases(t, def, cases)
			}
			checkBodies(t, def)
		})
	}
}

func checkCases(t *testing.T, def *ops.Def, cases []optest.Case) {
	covered := map[string]bool{}
	count := 0
	for _, c := range cases {
		if c.Op != def.Name {
			continue
		}
		count++
		for name, values := range c.Attrs {
			if name == "causal" || name == "gate" {
				covered[fmt.Sprint(name, "=", values[0])] = true
			}
		}
		if count == 1 {
			checkEngines(t, def, c)
		}
	}
	if count < 6 {
		t.Errorf("has %d golden cases, want at least 6", count)
	}
	for _, want := range []string{"causal=0", "causal=1", "gate=0", "gate=1", "gate=2", "gate=3"} {
		if !covered[want] {
			t.Errorf("no golden case with %s", want)
		}
	}
}

// checkEngines calls the reference and the kernel by name. Whether they are right is the conformance suite's business.
func checkEngines(t *testing.T, def *ops.Def, c optest.Case) {
	arrays := make([]tensor.Array, len(c.Inputs))
	for i, in := range c.Inputs {
		arrays[i] = in.Array()
	}
	if _, err := reference.Call(def.Name, c.Attrs, arrays); err != nil {
		t.Errorf("reference: %v", err)
	}
	if kernel.Available() != nil {
		return
	}
	for _, dtype := range ops.Types() {
		inputs := make([]*tensor.Tensor, len(c.Inputs))
		for i, in := range c.Inputs {
			inputs[i] = in
			if in.DType.IsFloat() {
				inputs[i], _ = in.Cast(dtype)
			}
		}
		out, err := tensor.New(dtype, inputs[0].Shape)
		if err != nil {
			t.Fatal(err)
		}
		if err := kernel.Run(def.Name, c.Attrs, inputs, []*tensor.Tensor{out}, 1); err != nil {
			t.Errorf("kernel, %s: %v", dtype, err)
		}
	}
}

func checkBodies(t *testing.T, def *ops.Def) {
	for opset := ops.MinOpset; opset <= ops.MaxOpset; opset++ {
		for _, dtype := range ops.Types() {
			body, err := def.Function(ops.BodySpec{Opset: opset, DType: dtype})
			if err != nil {
				t.Errorf("body, opset %d, %s: %v", opset, dtype, err)
				continue
			}
			if body.Name != def.Name || body.Domain != ops.Domain || len(body.Attribute) != len(def.Attrs) {
				t.Errorf("body, opset %d, %s: is %s.%s with attributes %s", opset, dtype, body.Domain, body.Name,
					strings.Join(body.Attribute, " "))
			}
		}
	}
}
