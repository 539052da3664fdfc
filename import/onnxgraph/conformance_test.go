package onnxgraph

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// ONNX's own conformance cases (the "node" backend tests, opset 9 to 11), which onnx-go carries as Go source. They are
// parsed instead of imported because their package needs modules that this one does not.
func TestConformance(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/owulveryck/onnx-go").Output()
	if err != nil {
		t.Skipf("no go command to find onnx-go's sources: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "backend", "testbackend", "onnx",
		"onnx_test_*.go"))
	if err != nil || len(files) == 0 {
		t.Skipf("onnx-go's sources hold no cases: %v", err)
	}
	ran, known := 0, newCatalog()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		c, err := parseCase(file)
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(file), err)
		}
		if known.standard[c.op] == nil {
			continue
		}
		ran++
		t.Run(c.title, c.run)
	}
	if ran < 150 {
		t.Errorf("ran %d cases, want at least 150", ran)
	}
}

type conformanceCase struct {
	op, title    string
	model        []byte
	inputs, want []*tensor.Tensor
}

func (c *conformanceCase) run(t *testing.T) {
	m, err := Decode(c.model, Options{})
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]*tensor.Tensor{}
	for i, v := range m.Inputs() {
		in, err := asDeclared(c.inputs[i], v).Cast(v.DType) // the source keeps some integers as floats
		if err != nil {
			t.Fatal(err)
		}
		inputs[v.Name] = in
	}
	got, err := m.Run(context.Background(), inputs, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range m.Outputs() {
		g, want := got[v.Name], asDeclared(c.want[i], v)
		if !tensor.SameShape(g.Shape, want.Shape) {
			t.Fatalf("output %d has shape %v, want %v", i, g.Shape, want.Shape)
		}
		if d := worst(g.Float64s(), want.Float64s()); d > 1e-5 { // the cases were computed in float32
			t.Errorf("output %d differs by %g\ngot  %v\nwant %v", i, d, g.Float64s(), want.Float64s())
		}
	}
}

// asDeclared makes a scalar of a scalar that the source writes as one element.
func asDeclared(x *tensor.Tensor, v Value) *tensor.Tensor {
	if v.Dims != nil && len(v.Dims) == 0 {
		return &tensor.Tensor{DType: x.DType, Shape: []int{}, Data: x.Data}
	}
	return x
}

// parseCase reads the one testbackend.TestCase literal of a file.
func parseCase(file string) (*conformanceCase, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	c := &conformanceCase{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok || err != nil {
			return err == nil
		}
		if s, ok := lit.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "TestCase" {
			err = c.read(lit)
		}
		return false
	})
	return c, err
}

func (c *conformanceCase) read(lit *ast.CompositeLit) (err error) {
	for _, e := range lit.Elts {
		field := e.(*ast.KeyValueExpr)
		switch field.Key.(*ast.Ident).Name {
		case "OpType":
			c.op, err = strconv.Unquote(field.Value.(*ast.BasicLit).Value)
		case "Title":
			c.title, err = strconv.Unquote(field.Value.(*ast.BasicLit).Value)
		case "ModelB":
			for _, b := range field.Value.(*ast.CompositeLit).Elts {
				var v float64
				if v, err = number(b); err != nil {
					return err
				}
				c.model = append(c.model, byte(v))
			}
		case "Input":
			c.inputs, err = tensors(field.Value.(*ast.CompositeLit))
		case "ExpectedOutput":
			c.want, err = tensors(field.Value.(*ast.CompositeLit))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tensors reads tensor.New(tensor.WithShape(...), tensor.WithBacking([]T{...})).
func tensors(list *ast.CompositeLit) ([]*tensor.Tensor, error) {
	var out []*tensor.Tensor
	for _, e := range list.Elts {
		shape, values, dtype := []int{}, []float64{}, tensor.Invalid
		for _, option := range e.(*ast.CallExpr).Args {
			call := option.(*ast.CallExpr)
			switch name := call.Fun.(*ast.SelectorExpr).Sel.Name; name {
			case "WithShape":
				for _, d := range call.Args {
					v, err := number(d)
					if err != nil {
						return nil, err
					}
					shape = append(shape, int(v))
				}
			case "WithBacking":
				backing := call.Args[0].(*ast.CompositeLit)
				name := backing.Type.(*ast.ArrayType).Elt.(*ast.Ident).Name
				if name == "int" {
					name = "int64"
				}
				dtype, _ = tensor.ParseDType(name)
				for _, d := range backing.Elts {
					v, err := number(d)
					if err != nil {
						return nil, err
					}
					values = append(values, v)
				}
			default:
				return nil, fmt.Errorf("tensor option %s", name)
			}
		}
		v, err := tensor.FromFloat64s(dtype, shape, values)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func number(e ast.Expr) (float64, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if n, err := strconv.ParseInt(e.Value, 0, 64); err == nil {
			return float64(n), nil
		}
		return strconv.ParseFloat(e.Value, 64)
	case *ast.UnaryExpr:
		v, err := number(e.X)
		return -v, err
	case *ast.Ident:
		switch e.Name {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
	}
	return 0, fmt.Errorf("%T is no number", e)
}

// The table's own names are the operators' names, and no two families define one.
func TestCatalogIsConsistent(t *testing.T) {
	seen := map[string]bool{}
	for _, family := range families() {
		for _, op := range family {
			if seen[op.name] {
				t.Errorf("%s is defined twice", op.name)
			}
			seen[op.name] = true
			if op.run == nil || op.in.min > op.in.max || op.out.min > op.out.max {
				t.Errorf("%s: the entry is incomplete: %+v", op.name, op)
			}
		}
	}
	if _, ok := onnxpb.DType(1); !ok || !seen["MatMul"] {
		t.Error("the catalogue lacks MatMul")
	}
}
