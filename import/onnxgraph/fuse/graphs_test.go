package fuse

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// model builds the formulation at an opset: axes of reductions are an attribute before opset 18.
func (f *formulation) model(t testing.TB, opset int64, dtype tensor.DType) *onnxpb.ModelProto {
	t.Helper()
	g := &onnxpb.GraphProto{Name: "formulation"}
	dims := func(last ...onnxpb.Dim) []onnxpb.Dim {
		return append([]onnxpb.Dim{onnxpb.Dynamic("batch"), onnxpb.Dynamic("sequence")}, last...)
	}
	for _, name := range []string{"q", "k", "v"} {
		g.Input = append(g.Input, onnxpb.ValueInfo(name, dtype, dims(onnxpb.Fixed(6))...))
	}
	g.Input = append(g.Input, onnxpb.ValueInfo("kk", dtype, dims(onnxpb.Fixed(3))...),
		onnxpb.ValueInfo("m", dtype, dims()...))
	consts, used := constants(t, dtype), map[string]bool{}
	for line := range strings.Lines(f.nodes) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		arrow := slices.Index(words, "->")
		n := onnxpb.Node(words[0], slices.Clone(words[1:arrow]), []string{words[arrow+1]})
		for _, a := range words[arrow+2:] {
			name, value, _ := strings.Cut(a, "=")
			n.Attribute = append(n.Attribute, attribute(name, value))
		}
		if strings.HasPrefix(n.OpType, "Reduce") && n.OpType != "ReduceSum" && opset >= 18 {
			i := slices.IndexFunc(n.Attribute, func(a *onnxpb.AttributeProto) bool { return a.Name == "axes" })
			n.Input = append(n.Input, "axis"+fmt.Sprint(n.Attribute[i].Ints[0]))
			n.Attribute = slices.Delete(n.Attribute, i, i+1)
		}
		for _, in := range n.Input {
			used[in] = true
		}
		delete(consts, n.Output[0])
		g.Node = append(g.Node, n)
	}
	for _, name := range sortedKeys(consts) {
		if used[name] {
			g.Initializer = append(g.Initializer, onnxpb.TensorToProto(name, consts[name]))
		}
	}
	g.Output = []*onnxpb.ValueInfoProto{onnxpb.ValueInfo("y", dtype, dims(onnxpb.Fixed(6))...)}
	return &onnxpb.ModelProto{IrVersion: 8, OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", opset)}, Graph: g}
}

func attribute(name, value string) *onnxpb.AttributeProto {
	if name == "equation" {
		return onnxpb.StringAttr(name, value)
	}
	var list []int64
	for _, s := range strings.Split(value, ",") {
		x, _ := strconv.ParseInt(s, 10, 64)
		list = append(list, x)
	}
	if name == "ratio" || name == "min" || name == "max" {
		x, _ := strconv.ParseFloat(value, 32)
		return onnxpb.FloatAttr(name, float32(x))
	}
	if slices.Contains([]string{"perm", "axes", "pads", "starts", "ends", "split"}, name) {
		return onnxpb.IntsAttr(name, list...)
	}
	return onnxpb.IntAttr(name, list[0])
}

func (f *formulation) inputs(t *testing.T, dtype tensor.DType, batch, sequence int) Inputs {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(batch), uint64(sequence)))
	in := Inputs{}
	for _, name := range []string{"q", "k", "v", "kk", "m"} {
		shape := map[string][]int{"kk": {batch, sequence, 3}, "m": {batch, sequence}}[name]
		if shape == nil {
			shape = []int{batch, sequence, 6}
		}
		n, _ := tensor.NumElements(shape)
		values := make([]float64, n)
		for i := range values {
			if values[i] = rng.NormFloat64(); name == "m" {
				values[i] = float64(min(1, i%4))
			}
		}
		in[name] = typed(t, dtype, shape, values...)
	}
	return in
}

func typed(t testing.TB, d tensor.DType, shape []int, values ...float64) *tensor.Tensor {
	t.Helper()
	x, err := tensor.FromFloat64s(d, shape, values)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// constants are the initialisers that formulations may use.
func constants(t testing.TB, dtype tensor.DType) map[string]*tensor.Tensor {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	matrix := func(rows, columns int, f func(i, j int) float64) *tensor.Tensor {
		values := make([]float64, rows*columns)
		for i := range values {
			values[i] = f(i/columns, i%columns)
		}
		return typed(t, dtype, []int{rows, columns}, values...)
	}
	random := func(int, int) float64 { return rng.NormFloat64() }
	w := matrix(9, 9, random)
	ints := func(list ...int64) *tensor.Tensor {
		x, err := tensor.FromInt64s([]int{len(list)}, list)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	scalar := func(v float64) *tensor.Tensor { return typed(t, dtype, []int{}, v) }
	whole := func(v int64) *tensor.Tensor { return typed(t, tensor.Int64, []int{}, float64(v)) }
	inside := func(in, out func(i, j int) float64) func(i, j int) float64 {
		return func(i, j int) float64 {
			if max(i-j, j-i) < 3 {
				return in(i, j)
			}
			return out(i, j)
		}
	}
	number := func(v float64) func(int, int) float64 { return func(int, int) float64 { return v } }
	past := func(i, j int) float64 {
		if j > i {
			return math.Inf(-1)
		}
		return 0
	}
	taps := []float64{0.5, -0.25, 1, 2, 0.125, -0.5, 3, 1.5, -0.75} // exp(w)-1 > -1
	var taps6 []float64
	for h := range 3 {
		taps6 = append(taps6, taps[3*h:3*h+3]...)
		taps6 = append(taps6, taps[3*h:3*h+3]...)
	}
	return map[string]*tensor.Tensor{
		"w": w, "expw": matrix(9, 9, func(i, j int) float64 { return math.Exp(w.At(9*i + j)) }),
		"band": matrix(9, 9, inside(random, number(0))), "hidden": matrix(9, 9, inside(random, number(math.Inf(-1)))),
		"past": matrix(9, 9, past), "lower": matrix(9, 9, func(i, j int) float64 { return math.Exp(past(i, j)) }),
		"uu": matrix(9, 2, random), "vv": matrix(9, 2, random),
		"tiny": scalar(1e-6), "onef": scalar(1), "twof": scalar(2), "minusinf": scalar(math.Inf(-1)), "one": whole(1), "two": whole(2),
		"zero1": ints(0), "zeros2": ints(0, 0), "axes01": ints(0, 1), "axes03": ints(0, 3),
		"axis0": ints(0), "axis1": ints(1), "axis2": ints(2), "axis3": ints(3), "cut": ints(-2),
		"heads": ints(0, 0, 3, 2), "merged": ints(0, 0, 6), "rows": ints(0, 6, -1), "split": ints(0, 3, 2, -1),
		"pads3": ints(0, 0, 1, 0, 0, 1),
		"taps":  typed(t, dtype, []int{3, 1, 3}, taps...), "taps6": typed(t, dtype, []int{6, 1, 3}, taps6...),
	}
}
