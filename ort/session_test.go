//go:build cgo

package ort_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// binaryOp is a model z = op(x, y) of that type and shape.
func binaryOp(op string, dtype tensor.DType, dims ...any) *onnxpb.ModelProto {
	return model([]port{{"x", dtype, dims}, {"y", dtype, dims}}, []port{{"z", dtype, dims}}, node(op, []string{"x", "y"}, "z"))
}

// Sums by hand; rank 0 and empty tensors have shapes that bindings tend to lose.
func TestRunAdd(t *testing.T) {
	rt := open(t)
	for _, test := range []struct {
		name  string
		dtype tensor.DType
		dims  []any
		shape []int
		x, y  []float64
		want  []float64
	}{
		{"float32", tensor.Float32, []any{"n", 2}, []int{2, 2}, []float64{1, 2, 3, 4}, []float64{.5, .5, .5, -4}, []float64{1.5, 2.5, 3.5, 0}},
		{"float16", tensor.Float16, []any{"n"}, []int{3}, []float64{1, 2, 60000}, []float64{.5, .25, 5}, []float64{1.5, 2.25, 60000}},
		{"float64", tensor.Float64, []any{1}, []int{1}, []float64{1e300}, []float64{2e300}, []float64{3e300}},
		{"int64", tensor.Int64, []any{"a", "b", "c"}, []int{1, 2, 1}, []float64{1 << 40, -7}, []float64{1, 7}, []float64{1<<40 + 1, 0}},
		{"int32", tensor.Int32, []any{2}, []int{2}, []float64{1, -7}, []float64{1, 7}, []float64{2, 0}},
		{"rank 0 float32", tensor.Float32, nil, []int{}, []float64{2}, []float64{3}, []float64{5}},
		{"rank 0 float16", tensor.Float16, nil, []int{}, []float64{2}, []float64{3}, []float64{5}},
		{"rank 0 int64", tensor.Int64, nil, []int{}, []float64{2}, []float64{3}, []float64{5}},
		{"empty", tensor.Float32, []any{"n", 4}, []int{0, 4}, nil, nil, nil},
		{"empty float16", tensor.Float16, []any{"n", 4}, []int{0, 4}, nil, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := load(t, rt, binaryOp("Add", test.dtype, test.dims...), ort.SessionOptions{})
			in := map[string]*ort.Tensor{
				"x": floats(t, test.dtype, test.shape, test.x...), "y": floats(t, test.dtype, test.shape, test.y...)}
			want := floats(t, test.dtype, test.shape, test.want...)
			if diff := cmp.Diff(map[string]*ort.Tensor{"z": want}, run(t, s, in)); diff != "" {
				t.Errorf("Run (-want +got):\n%s", diff)
			}
			into, err := tensor.New(test.dtype, test.shape)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.RunInto(context.Background(), in, map[string]*ort.Tensor{"z": into}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, into); diff != "" {
				t.Errorf("RunInto (-want +got):\n%s", diff)
			}
		})
	}
}

// Every element type goes in and comes out bit for bit, the two outputs being the same value.
func TestRunCarriesEveryType(t *testing.T) {
	rt := open(t)
	for d := tensor.Float32; d <= tensor.Bool; d++ {
		s := load(t, rt, model([]port{{"x", d, []any{"n"}}}, []port{{"y", d, []any{"n"}}, {"z", d, []any{"n"}}},
			node("Identity", []string{"x"}, "y"), node("Identity", []string{"y"}, "z")), ort.SessionOptions{})
		data := make([]byte, 5*d.Size())
		for i := range data {
			data[i] = byte(37*i + 11)
			if d == tensor.Bool {
				data[i] = byte(i & 1)
			}
		}
		x, err := tensor.FromBytes(d, []int{5}, data)
		if err != nil {
			t.Fatal(err)
		}
		out := run(t, s, map[string]*ort.Tensor{"x": x})
		if diff := cmp.Diff(map[string]*ort.Tensor{"y": x, "z": x}, out); diff != "" {
			t.Errorf("%s (-want +got):\n%s", d, diff)
		}
		if &out["y"].Data[0] == &x.Data[0] {
			t.Errorf("%s: the output is the input's memory", d)
		}
	}
}

// The shape of a float16 output that only the run decides.
func TestRunDynamicFloat16Output(t *testing.T) {
	s := load(t, open(t), model([]port{{"x", tensor.Float16, []any{"n"}}, {"shape", tensor.Int64, []any{"rank"}}},
		[]port{{"y", tensor.Float16, []any{"a", "b"}}}, node("Reshape", []string{"x", "shape"}, "y")), ort.SessionOptions{})
	x := floats(t, tensor.Float16, []int{6}, 1, 2, 3, 4, 5, 6)
	for _, shape := range [][]int64{{2, 3}, {3, 2}, {6, 1}} {
		dims, err := tensor.FromInt64s([]int{2}, shape)
		if err != nil {
			t.Fatal(err)
		}
		want := &ort.Tensor{DType: tensor.Float16, Shape: []int{int(shape[0]), int(shape[1])}, Data: x.Data}
		if diff := cmp.Diff(want, run(t, s, map[string]*ort.Tensor{"x": x, "shape": dims})["y"]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// Memory that C must not read in place: elements at odd addresses, and bools other than 0 and 1.
//
// Rule R16 of docs/hostile.md.
func TestRunCopiesAwkwardMemory(t *testing.T) {
	rt := open(t)
	s := load(t, rt, binaryOp("Add", tensor.Float32, "n"), ort.SessionOptions{})
	want := float32Bits(2, 4, 6)
	for offset := range 4 {
		buf := append(make([]byte, offset, 64), float32Bits(1, 2, 3)...)
		x := &ort.Tensor{DType: tensor.Float32, Shape: []int{3}, Data: buf[offset:]}
		if got := run(t, s, map[string]*ort.Tensor{"x": x, "y": x})["z"]; !bytes.Equal(got.Data, want) {
			t.Errorf("offset %d: got % x, want % x", offset, got.Data, want)
		}
	}
	not := load(t, rt, model([]port{{"x", tensor.Bool, []any{"n"}}}, []port{{"y", tensor.Bool, []any{"n"}}},
		node("Not", []string{"x"}, "y")), ort.SessionOptions{})
	x := &ort.Tensor{DType: tensor.Bool, Shape: []int{4}, Data: []byte{0, 1, 2, 255}}
	if got := run(t, not, map[string]*ort.Tensor{"x": x})["y"]; !bytes.Equal(got.Data, []byte{1, 0, 0, 0}) {
		t.Errorf("not {0, 1, 2, 255} = %v", got.Data)
	}
	if x.Data[2] != 2 {
		t.Error("the input was changed")
	}
	// As an output any bytes will do: they are only written.
	y := &ort.Tensor{DType: tensor.Bool, Shape: []int{4}, Data: []byte{9, 255, 2, 0}}
	err := not.RunInto(context.Background(), map[string]*ort.Tensor{"x": x}, map[string]*ort.Tensor{"y": y})
	if err != nil || !bytes.Equal(y.Data, []byte{1, 0, 0, 0}) {
		t.Errorf("into a used buffer: %v, %v", y.Data, err)
	}
}

func TestPorts(t *testing.T) {
	m := simple(tensor.Float16)
	m.Graph.Input[1].Type.GetTensorType().Shape.Dim[2] = &onnxpb.TensorShapeProto_Dimension{
		Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: 8}}
	m.Graph.Input[2].Type.GetTensorType().Shape = nil
	s := load(t, open(t), m, ort.SessionOptions{})
	b, n, d := ort.Dim{Size: -1, Name: "batch"}, ort.Dim{Size: -1, Name: "sequence"}, ort.Dim{Size: -1, Name: "dim"}
	want := []ort.Value{
		{Name: "q", DType: tensor.Float16, Dims: []ort.Dim{b, n, d}},
		{Name: "k", DType: tensor.Float16, Dims: []ort.Dim{b, n, {Size: 8}}},
		{Name: "v", DType: tensor.Float16, AnyShape: true},
	}
	if diff := cmp.Diff(want, s.Inputs()); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]ort.Value{{Name: "y", DType: tensor.Float16, Dims: []ort.Dim{b, n, d}}}, s.Outputs()); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	if got := s.Inputs()[1].String() + s.Inputs()[2].String(); got != "k float16 (batch,sequence,8)v float16 (...)" {
		t.Errorf("String: %s", got)
	}
}

// Each wrong input is named, with what was found and what is wanted; the session works on afterwards.
//
// Rules R4, R5 of docs/hostile.md.
func TestRunChecksInputs(t *testing.T) {
	rt := open(t)
	s := load(t, rt, model(
		[]port{{"x", tensor.Float32, []any{"n", 2}}, {"m", tensor.Int64, nil}}, []port{{"z", tensor.Float32, []any{"n", 2}}},
		node("Cast", []string{"m"}, "c", intAttr("to", 1)), node("Mul", []string{"x", "c"}, "z")), ort.SessionOptions{})
	x, m := floats(t, tensor.Float32, []int{1, 2}, 3, 4), floats(t, tensor.Int64, []int{}, 2)
	of := func(shape []int, bytes int) *ort.Tensor {
		return &ort.Tensor{DType: tensor.Float32, Shape: shape, Data: make([]byte, bytes)}
	}
	for name, test := range map[string]struct {
		inputs map[string]*ort.Tensor
		input  string
		want   []string
	}{
		"missing":        {map[string]*ort.Tensor{"x": x}, "m", []string{"missing", "x float32 (n,2); m int64 ()"}},
		"none":           {nil, "x", []string{"missing"}},
		"unknown":        {map[string]*ort.Tensor{"x": x, "m": m, "X": x}, "X", []string{"no such input", "x float32 (n,2)"}},
		"nil":            {map[string]*ort.Tensor{"x": nil, "m": m}, "x", []string{"is nil", "want float32 (n,2)"}},
		"type":           {map[string]*ort.Tensor{"x": floats(t, tensor.Float64, []int{1, 2}, 1, 2), "m": m}, "x", []string{"float64", "want float32 (n,2)"}},
		"zero":           {map[string]*ort.Tensor{"x": {}, "m": m}, "x", []string{"is invalid"}},
		"rank":           {map[string]*ort.Tensor{"x": of([]int{2}, 8), "m": m}, "x", []string{"(2) of rank 1", "want float32 (n,2)"}},
		"rank of scalar": {map[string]*ort.Tensor{"x": x, "m": floats(t, tensor.Int64, []int{1}, 2)}, "m", []string{"(1) of rank 1", "want int64 ()"}},
		"dimension":      {map[string]*ort.Tensor{"x": of([]int{2, 3}, 24), "m": m}, "x", []string{"(2,3)", "want float32 (n,2)"}},
		"short data":     {map[string]*ort.Tensor{"x": of([]int{2, 2}, 12), "m": m}, "x", []string{"12 bytes", "(2,2)", "16"}},
		"long data":      {map[string]*ort.Tensor{"x": of([]int{2, 2}, 17), "m": m}, "x", []string{"17 bytes", "16"}},
		"negative":       {map[string]*ort.Tensor{"x": of([]int{-1, 2}, 8), "m": m}, "x", []string{"-1"}},
		"overflow":       {map[string]*ort.Tensor{"x": of([]int{1 << 62, 1 << 62}, 0), "m": m}, "x", []string{"elements"}},
	} {
		_, err := s.Run(context.Background(), test.inputs)
		var in *ort.InputError
		if !errors.As(err, &in) || in.Name != test.input {
			t.Errorf("%s: got %v, want an *InputError for %q", name, err, test.input)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", name, err, want)
			}
		}
		if got := run(t, s, map[string]*ort.Tensor{"x": x, "m": m})["z"].Float64s(); !cmp.Equal(got, []float64{6, 8}) {
			t.Fatalf("%s: afterwards the session gives %v", name, got)
		}
	}
}

// Rule R15 of docs/hostile.md.
func TestRunIntoChecksOutputs(t *testing.T) {
	s := load(t, open(t), binaryOp("Add", tensor.Float32, "n"), ort.SessionOptions{})
	x, y := floats(t, tensor.Float32, []int{3}, 1, 2, 3), floats(t, tensor.Float32, []int{3}, 1, 2, 3)
	in := map[string]*ort.Tensor{"x": x, "y": y}
	odd := make([]byte, 64)[1:13]
	for name, test := range map[string]struct {
		outputs map[string]*ort.Tensor
		want    string
	}{
		"unknown":    {map[string]*ort.Tensor{"w": y}, `"w": the model has no such output, it gives z float32 (n)`},
		"nil":        {map[string]*ort.Tensor{"z": nil}, `output "z": is nil`},
		"type":       {map[string]*ort.Tensor{"z": floats(t, tensor.Int64, []int{3}, 0, 0, 0)}, "is int64"},
		"rank":       {map[string]*ort.Tensor{"z": floats(t, tensor.Float32, []int{3, 1}, 0, 0, 0)}, "rank 2"},
		"size":       {map[string]*ort.Tensor{"z": floats(t, tensor.Float32, []int{4}, 0, 0, 0, 0)}, "3"}, // ONNX Runtime's words
		"an input":   {map[string]*ort.Tensor{"z": x}, "shares memory with input"},
		"misaligned": {map[string]*ort.Tensor{"z": {DType: tensor.Float32, Shape: []int{3}, Data: odd}}, "aligned to 4"},
	} {
		err := s.RunInto(context.Background(), in, test.outputs)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if got := run(t, s, in)["z"].Float64s(); !cmp.Equal(got, []float64{2, 4, 6}) {
		t.Errorf("afterwards the session gives %v", got)
	}
}

// Rule R3 of docs/hostile.md.
func TestLoadErrors(t *testing.T) {
	rt := open(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := encode(t, binaryOp("Add", tensor.Float32, "n"))
	unknown := model([]port{{"x", tensor.Float32, nil}}, []port{{"y", tensor.Float32, nil}}, aftNode("AFTNew", []string{"x"}))
	sequence := binaryOp("Add", tensor.Float32, "n")
	sequence.Graph.Node = append(sequence.Graph.Node, node("SequenceConstruct", []string{"z"}, "s"))
	sequence.Graph.Output = append(sequence.Graph.Output, &onnxpb.ValueInfoProto{Name: "s"})
	for name, test := range map[string]struct {
		path string
		want string
	}{
		"absent":      {filepath.Join(dir, "none.onnx"), "no such file"},
		"directory":   {dir, "is a directory"},
		"empty":       {write("empty.onnx", nil), "is empty"},
		"text":        {write("text.onnx", []byte("hello")), "Protobuf parsing failed"},
		"cut":         {write("cut.onnx", good[:len(good)-7]), "Protobuf parsing failed"},
		"R3 operator": {write("op.onnx", encode(t, unknown)), "ai.aft:AFTNew(-1) is not a registered function/op (registered in domain ai.aft, version 1: AFTFull, "},
		"sequence":    {write("seq.onnx", encode(t, sequence)), `output "s": is no dense tensor`},
		"string":      {write("string.onnx", encode(t, strings8())), `input "x": has ONNX element type 8`},
	} {
		_, err := rt.Load(test.path, ort.SessionOptions{})
		var bad *ort.ModelError
		if !errors.As(err, &bad) || bad.Path != test.path || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want a *ModelError that says %q", name, err, test.want)
		}
	}
	if _, err := rt.LoadBytes(nil, ort.SessionOptions{}); err == nil {
		t.Error("no bytes at all make a model")
	}
	for _, n := range []int{math.MinInt, -1, ort.MaxThreads + 1, math.MaxInt} {
		want := fmt.Sprintf("threads: is %d, want 0 (ONNX Runtime's choice) to 1024", n)
		if _, err := rt.LoadBytes(good, ort.SessionOptions{Threads: n}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d threads: %v, want %q", n, err, want)
		}
	}
	s, err := rt.Load(write("good.onnx", good), ort.SessionOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := floats(t, tensor.Float32, []int{1}, math.Pi)
	if got := run(t, s, map[string]*ort.Tensor{"x": x, "y": x})["z"].At(0); got != 2*x.At(0) {
		t.Errorf("a model from a file gives %v, want %v", got, 2*x.At(0))
	}
}

// strings8 is a model over strings, ONNX type 8.
func strings8() *onnxpb.ModelProto {
	m := binaryOp("Identity", tensor.Float32, "n")
	m.Graph.Node[0].Input = []string{"x"}
	for _, v := range append(m.Graph.Input, m.Graph.Output...) {
		v.Type.GetTensorType().ElemType = 8
	}
	return m
}

// ONNX Runtime would write its errors to standard error; they belong to the caller alone.
func TestErrorsArePrintedNowhere(t *testing.T) {
	if os.Getenv("AFTONNX_TEST_FAIL") != "" {
		s := load(t, open(t), binaryOp("Add", tensor.Float32, "n"), ort.SessionOptions{})
		_, err := s.Run(context.Background(), map[string]*ort.Tensor{
			"x": floats(t, tensor.Float32, []int{2}, 1, 2), "y": floats(t, tensor.Float32, []int{3}, 1, 2, 3)})
		if err == nil || !strings.Contains(err.Error(), "Add") {
			t.Errorf("got %v, want an error about Add", err)
		}
		if _, err := s.Run(context.Background(), nil); err == nil {
			t.Error("no error without inputs")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestErrorsArePrintedNowhere$")
	cmd.Env = append(os.Environ(), "AFTONNX_TEST_FAIL=1")
	out, err := cmd.CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil || text != "PASS" {
		t.Errorf("%v, printed %q, want PASS alone", err, text)
	}
}

// 1e-30 * 1e30 * 1e30 is a number, and 1e30 * 1e30 none: ONNX Runtime takes a factor into the weights of a convolution before it at
// every level but that at which nodes run as they are.
func TestOptimization(t *testing.T) {
	rt := open(t)
	dims := []any{1, 1, 1, 1}
	m := model([]port{{"x", tensor.Float32, dims}}, []port{{"y", tensor.Float32, dims}},
		node("Conv", []string{"x", "w"}, "c"), node("Mul", []string{"c", "factor"}, "y"))
	m.Graph.Initializer = []*onnxpb.TensorProto{constant("w", tensor.Float32, []int{1, 1, 1, 1}, 1e30),
		constant("factor", tensor.Float32, []int{1, 1, 1, 1}, 1e30)}
	for _, level := range append(ort.Optimizations(), "") {
		s := load(t, rt, m, ort.SessionOptions{Optimization: level})
		y := run(t, s, map[string]*ort.Tensor{"x": floats(t, tensor.Float32, []int{1, 1, 1, 1}, 1e-30)})["y"].At(0)
		if asTheyAre := !math.IsInf(y, 1); asTheyAre != (level == ort.OptimizeNone) {
			t.Errorf("level %q: %v", level, y)
		}
	}
}
