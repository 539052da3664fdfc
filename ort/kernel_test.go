//go:build cgo

package ort_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ort"
)

func qkv(t testing.TB, dtype tensor.DType, shape ...int) map[string]*ort.Tensor {
	return map[string]*ort.Tensor{
		"q": ramp(t, dtype, 0, shape...), "k": ramp(t, dtype, 1, shape...), "v": ramp(t, dtype, 2, shape...)}
}

// AFTSimple without a gate is one weighted mean per channel (arXiv:2105.14103, eq. 2 with w = 0), computed here in
// float64. The counter says that the kernel of that type ran, and no other.
func TestKernelRuns(t *testing.T) {
	rt := open(t)
	for dtype, tolerance := range map[tensor.DType]float64{tensor.Float32: 1e-6, tensor.Float16: 1e-3, tensor.Float64: 1e-14} {
		s := load(t, rt, simple(dtype), ort.SessionOptions{})
		in := qkv(t, dtype, 2, 5, 3)
		before := ort.KernelCalls()
		y := run(t, s, in)["y"]
		for key, n := range ort.KernelCalls() {
			want := before[key]
			if key == (kernel.Key{Op: "AFTSimple", DType: dtype}) {
				want++
			}
			if n != want {
				t.Errorf("%s: %v ran %d times, want %d", dtype, key, n-before[key], want-before[key])
			}
		}
		for i := range y.Len() {
			b, d := i/15, i%3
			var sum, weights float64
			for s := range 5 {
				at := b*15 + s*3 + d
				e := math.Exp(in["k"].At(at))
				sum, weights = sum+e*in["v"].At(at), weights+e
			}
			if got, want := y.At(i), sum/weights; math.Abs(got-want) > tolerance {
				t.Errorf("%s: y[%d] = %v, want %v", dtype, i, got, want)
			}
		}
	}
}

func TestNoKernels(t *testing.T) {
	rt := open(t)
	_, err := rt.LoadBytes(encode(t, simple(tensor.Float32)), ort.SessionOptions{NoKernels: true})
	var bad *ort.ModelError
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want a *ModelError", err)
	}
	for _, want := range []string{"ai.aft:AFTSimple", "no ai.aft kernels are registered", "no function body"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if strings.HasPrefix(bad.Err.Error(), ":") {
		t.Errorf("error %q begins with the binding's punctuation", bad.Err)
	}

	// With a body, the same file runs either way; the counter tells which.
	m := simple(tensor.Float32)
	m.Functions = []*onnxpb.FunctionProto{{
		Domain: ops.Domain, Name: "AFTSimple", Input: []string{"Q", "K", "V"}, Output: []string{"Y"},
		Attribute: []string{"causal", "gate"}, OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: 17}},
		Node: []*onnxpb.NodeProto{node("Sub", []string{"K", "V"}, "Y")}, // not AFT: the result tells too
	}}
	in := qkv(t, tensor.Float32, 1, 2, 2)
	key := kernel.Key{Op: "AFTSimple", DType: tensor.Float32}
	for _, noKernels := range []bool{false, true} {
		s := load(t, rt, m, ort.SessionOptions{NoKernels: noKernels})
		before := ort.KernelCalls()[key]
		y := run(t, s, in)["y"]
		ran := ort.KernelCalls()[key] - before
		isBody := y.At(0) == float64(float32(in["k"].At(0))-float32(in["v"].At(0)))
		if noKernels != (ran == 0) || noKernels != isBody {
			t.Errorf("NoKernels %v: the kernel ran %d times, the body's result: %v", noKernels, ran, isBody)
		}
	}
}

// all are the attributes and inputs of a good call of every operator, B = 1, T = 4, D = 2, H = 1; s = 3 and 4 tokens before
// for the step forms.
func all(t *testing.T, dtype tensor.DType) map[string]struct {
	attrs  []*onnxpb.AttributeProto
	inputs []*ort.Tensor
} {
	x := func(shape ...int) *ort.Tensor { return ramp(t, dtype, float64(len(shape)), shape...) }
	integers := func(v ...int64) *ort.Tensor {
		x, err := tensor.FromInt64s([]int{len(v)}, v)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	grid, position, length := integers(2, 2), integers(4), integers(3)
	sums := func(columns int) []*ort.Tensor { // of four tokens or so
		wide := ops.T2.DType(dtype)
		return []*ort.Tensor{floats(t, wide, []int{1, columns}, slices.Repeat([]float64{0.5}, columns)...), ramp(t, wide, 2, 1, 2),
			floats(t, wide, []int{1, columns}, slices.Repeat([]float64{2.5}, columns)...)}
	}
	causal, gate := intAttr("causal", 0), intAttr("gate", 0)
	type attrs = []*onnxpb.AttributeProto
	type in = []*ort.Tensor
	q := x(1, 4, 2)
	return map[string]struct {
		attrs  []*onnxpb.AttributeProto
		inputs []*ort.Tensor
	}{
		"AFTFull":   {attrs{causal, gate}, in{q, q, q, x(4, 4)}},
		"AFTSimple": {attrs{causal, gate}, in{q, q, q}},
		"AFTLocal":  {attrs{causal, gate, intAttr("window", 2)}, in{q, q, q, x(4, 3)}},
		"AFTConv1D": {attrs{causal, gate, intAttr("pad_left", 1)}, in{q, x(1, 4, 1), q, x(1, 3)}},
		"AFTConv2D": {attrs{causal, gate, intsAttr("pads", 1, 1)}, in{q, x(1, 4, 1), q, x(1, 3, 3), grid}},

		"AFTFullStep":   {attrs{gate}, in{q, q, q, x(9, 9), x(1, 8, 2), x(1, 8, 2), position, length}},
		"AFTSimpleStep": {attrs{gate}, slices.Concat(in{q, q, q}, sums(2), in{position, length})},
		"AFTLocalStep":  {attrs{gate}, slices.Concat(in{q, q, q, x(9, 3)}, sums(2), in{x(1, 2, 2), x(1, 2, 2), position, length})},
		"AFTConv1DStep": {attrs{gate}, slices.Concat(in{q, x(1, 4, 1), q, x(1, 3)}, sums(1), in{x(1, 2, 1), x(1, 2, 2), position, length})},
	}
}

// aftModel is a one-node model whose inputs have the ranks of the tensors and dynamic sizes. Its outputs are "y" and, of a state,
// those of the declaration.
func aftModel(op string, attrs []*onnxpb.AttributeProto, inputs []*ort.Tensor) (*onnxpb.ModelProto, map[string]*ort.Tensor) {
	var ports []port
	var names []string
	feeds := map[string]*ort.Tensor{}
	for i, x := range inputs {
		name := fmt.Sprintf("in%d", i)
		p := port{name, x.DType, nil}
		for axis := range x.Shape {
			p.dims = append(p.dims, fmt.Sprintf("%s_%d", name, axis))
		}
		ports, names = append(ports, p), append(names, name)
		feeds[name] = x
	}
	def, _ := ops.Lookup(op)
	n := aftNode(op, names, attrs...)
	var outputs []port
	for i, p := range def.Outputs {
		y := port{p.Name, inputs[def.Past(i)].DType, nil}
		if i == 0 {
			y.name = "y"
		} else {
			n.Output = append(n.Output, p.Name)
		}
		for axis := range inputs[def.Past(i)].Shape {
			y.dims = append(y.dims, fmt.Sprintf("%s_%d", y.name, axis))
		}
		outputs = append(outputs, y)
	}
	return model(ports, outputs, n), feeds
}

// Every operator of the declarations is registered for every type and gives what the kernel gives without ONNX Runtime.
func TestEveryOperator(t *testing.T) {
	rt := open(t)
	for _, dtype := range ops.Types() {
		calls := all(t, dtype)
		for _, def := range ops.All() {
			c, ok := calls[def.Name]
			if !ok {
				t.Errorf("%s: this test has no call for it", def.Name)
				continue
			}
			m, feeds := aftModel(def.Name, c.attrs, c.inputs)
			got := run(t, load(t, rt, m, ort.SessionOptions{Threads: 2}), feeds)
			attrs := ops.Attrs{}
			for _, a := range c.attrs {
				attrs[a.Name] = a.Ints
				if a.Type == onnxpb.AttributeProto_INT {
					attrs[a.Name] = []int64{*a.I}
				}
			}
			want := make([]*tensor.Tensor, len(def.Outputs))
			for i := range want {
				var err error
				if want[i], err = tensor.New(c.inputs[def.Past(i)].DType, c.inputs[def.Past(i)].Shape); err != nil {
					t.Fatal(err)
				}
			}
			if err := kernel.Run(def.Name, attrs, c.inputs, want, 1); err != nil {
				t.Fatal(err)
			}
			for i, port := range def.Outputs {
				y := got[m.Graph.Output[i].Name]
				if y.DType != want[i].DType || !tensor.SameShape(y.Shape, want[i].Shape) || !bytes.Equal(y.Data, want[i].Data) {
					t.Errorf("%s %s: %s is %s %v, want %v", def.Name, dtype, port.Name, y, y.Float64s(), want[i].Float64s())
				}
			}
		}
	}
}

// A node's attributes are checked when the model is loaded: none may be missing or of another type or length.
func TestAttributesAtLoad(t *testing.T) {
	rt := open(t)
	float := &onnxpb.AttributeProto{Name: "gate", Type: onnxpb.AttributeProto_FLOAT, F: new(float32)}
	for name, test := range map[string]struct {
		op   string
		edit func([]*onnxpb.AttributeProto) []*onnxpb.AttributeProto
		want string
	}{
		"missing": {"AFTSimple", func(a []*onnxpb.AttributeProto) []*onnxpb.AttributeProto { return a[:1] },
			`ai.aft.AFTSimple: attribute "gate"`},
		"missing list": {"AFTConv2D", func(a []*onnxpb.AttributeProto) []*onnxpb.AttributeProto { return a[:2] },
			`ai.aft.AFTConv2D: attribute "pads"`},
		"float": {"AFTSimple", func(a []*onnxpb.AttributeProto) []*onnxpb.AttributeProto { return append(a[:1:1], float) },
			`ai.aft.AFTSimple: attribute "gate"`},
		"list": {"AFTSimple", func(a []*onnxpb.AttributeProto) []*onnxpb.AttributeProto {
			return append(a[:1:1], intsAttr("gate", 1, 2))
		}, `ai.aft.AFTSimple: attribute "gate"`},
		"one value": {"AFTConv2D", func(a []*onnxpb.AttributeProto) []*onnxpb.AttributeProto {
			return append(a[:2:2], intsAttr("pads", 1))
		}, `ai.aft.AFTConv2D: attribute "pads": has 1 values, want 2`},
		"three values": {"AFTConv2D", func(a []*onnxpb.AttributeProto) []*onnxpb.AttributeProto {
			return append(a[:2:2], intsAttr("pads", 1, 1, 1))
		}, `ai.aft.AFTConv2D: attribute "pads": has 3 values, want 2`},
		"no list": {"AFTConv2D", func(a []*onnxpb.AttributeProto) []*onnxpb.AttributeProto {
			return append(a[:2:2], intAttr("pads", 1))
		}, `ai.aft.AFTConv2D: attribute "pads"`},
	} {
		c := all(t, tensor.Float32)[test.op]
		m, _ := aftModel(test.op, test.edit(c.attrs), c.inputs)
		if _, err := rt.LoadBytes(encode(t, m), ort.SessionOptions{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// Models made to mislead a kernel: attributes and shapes that promise more than the inputs hold. Each is an error that
// names the operator and the culprit, never a read outside (the address sanitizer runs this too).
func TestCraftedModels(t *testing.T) {
	rt := open(t)
	x := func(shape ...int) *ort.Tensor { return ramp(t, tensor.Float32, 1, shape...) }
	grid := func(v ...int64) *ort.Tensor {
		g, err := tensor.FromInt64s([]int{len(v)}, v)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	causal, gate := intAttr("causal", 0), intAttr("gate", 0)
	type attrs = []*onnxpb.AttributeProto
	type in = []*ort.Tensor
	q, k := x(1, 4, 2), x(1, 4, 1)
	for name, test := range map[string]struct {
		op    string
		attrs attrs
		in    in
		want  string
	}{
		"R7 T beyond W":         {"AFTFull", attrs{causal, gate}, in{q, q, q, x(3, 4)}, `"W"`},
		"R7 S beyond W":         {"AFTFull", attrs{causal, gate}, in{q, q, q, x(4, 3)}, `"W"`},
		"R20 K shorter than V":  {"AFTFull", attrs{causal, gate}, in{q, x(1, 3, 2), q, x(4, 4)}, "AFTFull"},
		"R20 batch of 1":        {"AFTSimple", attrs{causal, gate}, in{x(2, 4, 2), q, q}, `"K"`},
		"R20 channels":          {"AFTSimple", attrs{causal, gate}, in{q, q, x(1, 4, 3)}, `"V"`},
		"R20 rank 2":            {"AFTSimple", attrs{causal, gate}, in{x(4, 2), q, q}, `"Q"`},
		"R20 rank 0":            {"AFTSimple", attrs{causal, gate}, in{x(), q, q}, `"Q"`},
		"R20 rank 7":            {"AFTSimple", attrs{causal, gate}, in{q, x(1, 1, 1, 1, 1, 4, 2), q}, `"K": has rank 7, want at most 3`},
		"R20 window":            {"AFTLocal", attrs{causal, gate, intAttr("window", 1000)}, in{q, q, q, x(4, 3)}, `"W"`},
		"R20 window 0":          {"AFTLocal", attrs{causal, gate, intAttr("window", 0)}, in{q, q, q, x(4, 3)}, `"window"`},
		"R20 window huge":       {"AFTLocal", attrs{causal, gate, intAttr("window", math.MaxInt64)}, in{q, q, q, x(4, 3)}, `"window"`},
		"R20 pad":               {"AFTConv1D", attrs{causal, gate, intAttr("pad_left", 3)}, in{q, k, q, x(1, 3)}, `"pad_left"`},
		"R20 pad negative":      {"AFTConv1D", attrs{causal, gate, intAttr("pad_left", -1)}, in{q, k, q, x(1, 3)}, `"pad_left"`},
		"R20 heads":             {"AFTConv1D", attrs{causal, gate, intAttr("pad_left", 1)}, in{q, k, q, x(2, 3)}, "AFTConv1D"},
		"R20 heads not in D":    {"AFTConv1D", attrs{causal, gate, intAttr("pad_left", 1)}, in{x(1, 4, 3), x(1, 4, 2), x(1, 4, 3), x(2, 3)}, "AFTConv1D"},
		"R20 grid too large":    {"AFTConv2D", attrs{causal, gate, intsAttr("pads", 1, 1)}, in{q, k, q, x(1, 3, 3), grid(4, 4)}, `"grid"`},
		"R20 grid overflows":    {"AFTConv2D", attrs{causal, gate, intsAttr("pads", 1, 1)}, in{q, k, q, x(1, 3, 3), grid(1<<62, 1<<62)}, `"grid"`},
		"R20 grid wraps to T":   {"AFTConv2D", attrs{causal, gate, intsAttr("pads", 1, 1)}, in{q, k, q, x(1, 3, 3), grid(1<<62+1, 4)}, `"grid"`},
		"R20 grid negative":     {"AFTConv2D", attrs{causal, gate, intsAttr("pads", 1, 1)}, in{q, k, q, x(1, 3, 3), grid(-2, -2)}, `"grid"`},
		"R20 grid of one value": {"AFTConv2D", attrs{causal, gate, intsAttr("pads", 1, 1)}, in{q, k, q, x(1, 3, 3), grid(4)}, `"grid"`},
		"R20 pads":              {"AFTConv2D", attrs{causal, gate, intsAttr("pads", 9, 9)}, in{q, k, q, x(1, 3, 3), grid(2, 2)}, `"pads"`},
		"R20 causal 2":          {"AFTSimple", attrs{intAttr("causal", 2), gate}, in{q, q, q}, `"causal"`},
		"R20 gate 9":            {"AFTSimple", attrs{causal, intAttr("gate", 9)}, in{q, q, q}, `"gate"`},
	} {
		t.Run(name, func(t *testing.T) {
			m, feeds := aftModel(test.op, test.attrs, test.in)
			s := load(t, rt, m, ort.SessionOptions{})
			_, err := s.Run(context.Background(), feeds)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range []string{"ai.aft." + test.op, test.want, "node_y"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// Nodes that do not fit their declaration never reach a kernel.
//
// Rule R22 of docs/hostile.md.
func TestCraftedNodes(t *testing.T) {
	rt := open(t)
	for name, edit := range map[string]func(*onnxpb.ModelProto){
		"an input short": func(m *onnxpb.ModelProto) { m.Graph.Node[0].Input = []string{"q", "k"} },
		"an input more":  func(m *onnxpb.ModelProto) { m.Graph.Node[0].Input = []string{"q", "k", "v", "v"} },
		"two outputs":    func(m *onnxpb.ModelProto) { m.Graph.Node[0].Output = []string{"y", "z"} },
		"mixed types": func(m *onnxpb.ModelProto) {
			m.Graph.Input[1].Type.GetTensorType().ElemType = onnxpb.DataType(tensor.Float64)
		},
		"integers": func(m *onnxpb.ModelProto) {
			for _, v := range append(m.Graph.Input, m.Graph.Output...) {
				v.Type.GetTensorType().ElemType = onnxpb.DataType(tensor.Int64)
			}
		},
	} {
		m := simple(tensor.Float32)
		edit(m)
		if _, err := rt.LoadBytes(encode(t, m), ort.SessionOptions{}); err == nil || !strings.Contains(err.Error(), "AFTSimple") {
			t.Errorf("%s: got %v, want an error about AFTSimple", name, err)
		}
	}
	// A hole where an input should be: refused at load or at run, in words.
	m := simple(tensor.Float32)
	m.Graph.Node[0].Input[1] = ""
	s, err := rt.LoadBytes(encode(t, m), ort.SessionOptions{})
	if err == nil {
		defer s.Close()
		_, err = s.Run(context.Background(), qkv(t, tensor.Float32, 1, 2, 2))
	}
	if err == nil || !strings.Contains(err.Error(), "AFTSimple") {
		t.Errorf("a hole: got %v, want an error about AFTSimple", err)
	}
}

// The bits do not depend on the number of threads, nor on what else is in the batch.
//
// Rule N11 of docs/hostile.md.
func TestSameBitsOverThreads(t *testing.T) {
	rt := open(t)
	const b, n, d = 3, 257, 34
	q, k, v := ramp(t, tensor.Float32, 0, b, n, d), ramp(t, tensor.Float32, 1, b, n, d), ramp(t, tensor.Float32, 2, b, n, d)
	w := ramp(t, tensor.Float32, 3, n, n)
	m, feeds := aftModel("AFTFull", []*onnxpb.AttributeProto{intAttr("causal", 1), intAttr("gate", 0)}, []*ort.Tensor{q, k, v, w})
	var first []byte
	for _, threads := range []int{1, 2, 8} {
		s := load(t, rt, m, ort.SessionOptions{Threads: threads})
		for range 3 {
			y := run(t, s, feeds)["y"].Data
			if first == nil {
				first = y
			} else if !bytes.Equal(first, y) {
				t.Fatalf("%d threads give other bits than 1", threads)
			}
		}
	}
}
