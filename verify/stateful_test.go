package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
)

// Every causal language model, stateful, passes in chunks of 1, 2, 7 and all tokens, on every engine and in every type.
func TestModel_stateful(t *testing.T) {
	needRuntime(t)
	for _, n := range wiringtest.Stateful() {
		for _, dtype := range []tensor.DType{tensor.Float32, tensor.Float16, tensor.Float64} {
			if testing.Short() && dtype != tensor.Float32 {
				continue
			}
			t.Run(fmt.Sprintf("%s %s", n.Name, dtype), func(t *testing.T) {
				p := exported(t, n.Model, export.Options{DType: dtype, Stateful: true})
				r, err := Model(t.Context(), writeModel(t, p), Options{Source: n.Model, Threads: 1, Full: dtype == tensor.Float32})
				if err != nil {
					t.Fatal(err)
				}
				wantPass(t, r)
				for _, e := range []Engine{Kernel, Portable, Native} {
					find(t, r, p.Graph.Output[0].GetName(), e)
				}
				if row := find(t, r, p.Graph.Output[0].GetName(), Kernel); row.Calls == 0 || row.Calls != row.Nodes {
					t.Errorf("%d kernel calls, want %d", row.Calls, row.Nodes)
				}
				for _, want := range []string{"chunks of 1", "chunks of 2", "chunks of 7"} {
					if !slices.ContainsFunc(r.Covered, func(c string) bool { return strings.Contains(c, want) }) {
						t.Errorf("covered %q, want %s", r.Covered, want)
					}
				}
			})
		}
	}
}

// A body whose state is wrong passes where a sequence is taken whole, and fails where it is cut, in the layer that it is in. The
// kernels do not run it.
func TestModel_statefulFault(t *testing.T) {
	needRuntime(t)
	networks := wiringtest.Stateful()
	if testing.Short() {
		networks = networks[:1]
	}
	for _, n := range networks {
		for _, output := range []string{"present_m", "present_n", "present_keys", "present_values"} {
			p := exported(t, n.Model, export.Options{Stateful: true})
			broken := ""
			for _, f := range p.Functions {
				if broken == "" && damage(f, output) {
					broken = f.Name
				}
			}
			if broken == "" {
				continue // no layer has such a part
			}
			r, err := Model(t.Context(), writeModel(t, p), Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			name := p.Graph.Output[0].GetName()
			for _, e := range []Engine{Portable, Native} {
				row := find(t, r, name, e)
				if row.Pass || !strings.Contains(row.Problem, "chunks of") || !strings.HasPrefix(row.Located, "layers.") {
					t.Errorf("%s, %s of %s, %s: passed %v, %q, located %q", n.Name, output, broken, e, row.Pass, row.Problem, row.Located)
				}
			}
			if row := find(t, r, name, Kernel); !row.Pass {
				t.Errorf("%s, %s of %s: the kernel fails: %s", n.Name, output, broken, row.Problem)
			}
		}
	}
}

// Other models have inputs that begin with past_, which mean something else: a cache of their own form.
func TestStateful_others(t *testing.T) {
	p := exported(t, wiringtest.Stateful()[0].Model, export.Options{Stateful: true})
	if !Stateful(p) {
		t.Error("an export of ours is not stateful")
	}
	p.ProducerName = "pytorch"
	if Stateful(p) {
		t.Error("another's model is taken for ours")
	}
	p = exported(t, wiringtest.Stateful()[0].Model, export.Options{})
	p.Graph.Input = append(p.Graph.Input, onnxpb.ValueInfo("past_key_values.0.key", tensor.Float32, onnxpb.Dynamic("batch")))
	if Stateful(p) {
		t.Error("a model without positions is taken for a stateful one")
	}
}

// damage makes an output of a function 3/4 of what it was.
func damage(f *onnxpb.FunctionProto, output string) bool {
	for i, n := range f.Node {
		if !slices.Contains(n.Output, output) {
			continue
		}
		n.Output[slices.Index(n.Output, output)] = "sound"
		factor, err := tensor.FromFloat64s(tensor.Float32, nil, []float64{0.75})
		if err != nil {
			panic(err)
		}
		f.Node = slices.Insert(f.Node, i+1, onnxpb.Node("Constant", nil, []string{"factor"}, onnxpb.TensorAttr("value", factor)),
			onnxpb.Node("Mul", []string{"sound", "factor"}, []string{output}))
		return true
	}
	return false
}
