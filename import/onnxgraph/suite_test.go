package onnxgraph

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

var (
	suiteDir = flag.String("onnx-testdata", "", "the folder that ONNX's `backend-test-tools generate-data -o DIR` filled")
	update   = flag.Bool("update", false, "with -onnx-testdata: write docs/conformance.md")
)

// tally counts the cases of one operator.
type tally struct{ passed, failed, unsupported int }

// known are cases that this engine answers otherwise, and why. The names are those of folders, without "test_".
var known = map[string]string{
	"batchnorm_epsilon_training_mode":     "training computes running statistics; models are run for inference",
	"batchnorm_example_training_mode":     "training computes running statistics; models are run for inference",
	"cast_BFLOAT16_to_FLOAT":              "the suite stores bfloat16 as uint16, which the model does not declare",
	"cast_FLOAT_to_BFLOAT16":              "the suite stores bfloat16 as uint16, which the model does not declare",
	"castlike_BFLOAT16_to_FLOAT":          "the suite stores bfloat16 as uint16, which the model does not declare",
	"castlike_BFLOAT16_to_FLOAT_expanded": "the suite stores bfloat16 as uint16, which the model does not declare",
	"castlike_FLOAT_to_BFLOAT16":          "the suite stores bfloat16 as uint16, which the model does not declare",
	"castlike_FLOAT_to_BFLOAT16_expanded": "the suite stores bfloat16 as uint16, which the model does not declare",
	"globalaveragepool":                   "the model is of opset 1; those below 7 are refused",
	"globalaveragepool_precomputed":       "the model is of opset 1; those below 7 are refused",
	"not_2d":                              "the model is of opset 1; those below 7 are refused",
	"not_3d":                              "the model is of opset 1; those below 7 are refused",
	"not_4d":                              "the model is of opset 1; those below 7 are refused",
	"softplus":                            "the model is of opset 1; those below 7 are refused",
	"softplus_example":                    "the model is of opset 1; those below 7 are refused",
	"training_dropout":                    "models are run for inference",
	"training_dropout_default":            "models are run for inference",
	"training_dropout_default_mask":       "models are run for inference",
	"training_dropout_mask":               "models are run for inference",
	"training_dropout_zero_ratio":         "models are run for inference",
	"training_dropout_zero_ratio_mask":    "models are run for inference",
}

// TestConformanceSuite runs ONNX's own node tests, which Debian's python3-onnx generates (see docs/conformance.md).
func TestConformanceSuite(t *testing.T) {
	if *suiteDir == "" {
		t.Skip("needs ONNX's test data, which is not in the repository: docs/conformance.md says how to make it, then -onnx-testdata DIR")
	}
	cases, err := filepath.Glob(filepath.Join(*suiteDir, "node", "test_*"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in %s: %v", *suiteDir, err)
	}
	tallies := map[string]*tally{}
	for _, dir := range cases {
		name := strings.TrimPrefix(filepath.Base(dir), "test_")
		op, err := runCase(dir)
		if tallies[op] == nil {
			tallies[op] = &tally{}
		}
		var unsupported *unsupportedError
		switch {
		case err == nil:
			tallies[op].passed++
			if known[name] != "" {
				t.Errorf("%s passes, and stands in the list of those that do not", name)
			}
		case errors.As(err, &unsupported):
			tallies[op].unsupported++
		default:
			tallies[op].failed++
			if known[name] == "" {
				t.Errorf("%s (%s): %v", name, op, err)
			}
		}
	}
	text := conformanceTable(tallies)
	t.Log(text)
	if *update {
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "conformance.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// unsupportedError is a case of an operator or type that this engine does not have.
type unsupportedError struct{ error }

// runCase runs one folder and says which operator it is about.
func runCase(dir string) (op string, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return "", err
	}
	p, err := onnxpb.Decode(data)
	if err != nil {
		return "", err
	}
	nodes := p.GetGraph().GetNode()
	op = nodes[len(nodes)-1].GetOpType()
	if len(nodes) > 1 {
		op = "(several)"
	}
	catalogue := newCatalog()
	for _, n := range nodes {
		if catalogue.standard[n.GetOpType()] == nil && len(p.GetFunctions()) == 0 || n.GetDomain() != "" {
			return op, &unsupportedError{fmt.Errorf("operator %s", n.GetOpType())}
		}
	}
	for _, v := range slices.Concat(p.GetGraph().GetInput(), p.GetGraph().GetOutput()) {
		if _, ok := onnxpb.DType(v.GetType().GetTensorType().GetElemType()); !ok {
			return op, &unsupportedError{fmt.Errorf("%s is no tensor of numbers", v.GetName())}
		}
	}
	m, err := New(p, Options{})
	if err != nil {
		return op, err
	}
	sets, err := filepath.Glob(filepath.Join(dir, "test_data_set_*"))
	if err != nil {
		return op, err
	}
	for _, set := range sets {
		if err := runSet(m, set); err != nil {
			return op, err
		}
	}
	return op, nil
}

func runSet(m *Model, dir string) error {
	inputs := map[string]*tensor.Tensor{}
	for i, v := range m.Inputs() {
		t, err := readSuite(filepath.Join(dir, fmt.Sprintf("input_%d.pb", i)))
		if err != nil {
			return err
		}
		inputs[v.Name] = t
	}
	got, err := m.Run(context.Background(), inputs, RunOptions{})
	if err != nil {
		return err
	}
	for i, v := range m.Outputs() {
		want, err := readSuite(filepath.Join(dir, fmt.Sprintf("output_%d.pb", i)))
		if err != nil {
			return err
		}
		g := got[v.Name]
		if !tensor.SameShape(g.Shape, want.Shape) || g.DType != want.DType {
			return fmt.Errorf("output %d is %s, want %s", i, g, want)
		}
		x, y := g.Float64s(), want.Float64s()
		for j := range y { // the suite's own tolerances: relative 1e-3, absolute 1e-7
			if x[j] != y[j] && !(math.IsNaN(x[j]) && math.IsNaN(y[j])) && !(math.Abs(x[j]-y[j]) <= 1e-7+1e-3*math.Abs(y[j])) {
				return fmt.Errorf("output %d, element %d is %v, want %v", i, j, x[j], y[j])
			}
		}
	}
	return nil
}

func readSuite(path string) (*tensor.Tensor, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, t, err := onnxpb.DecodeTensor(data)
	return t, err
}

func conformanceTable(tallies map[string]*tally) string {
	var b strings.Builder
	b.WriteString(`# Conformance of the native engine

ONNX's own node tests of version 1.12 (opset 17), on ` + "`import/onnxgraph`" + `. Unsupported: operators and types (strings, sequences,
optionals) that the engine does not have; a model that needs one is refused by the node's name. To make this page again, with
Debian's python3-onnx and numpy's aliases that it still uses (bool, int, float, object) put back:

    backend-test-tools generate-data -o DIR
    go test ./import/onnxgraph -run ConformanceSuite -onnx-testdata DIR -update

| operator | passed | failed | unsupported |
|---|---|---|---|
`)
	all := tally{}
	for _, op := range sorted(tallies) {
		n := tallies[op]
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", op, n.passed, n.failed, n.unsupported)
		all.passed, all.failed, all.unsupported = all.passed+n.passed, all.failed+n.failed, all.unsupported+n.unsupported
	}
	fmt.Fprintf(&b, "| **all** | %d | %d | %d |\n\nFailed, and why:\n\n", all.passed, all.failed, all.unsupported)
	for _, name := range sorted(known) {
		fmt.Fprintf(&b, "- `test_%s`: %s\n", name, known[name])
	}
	return b.String()
}
