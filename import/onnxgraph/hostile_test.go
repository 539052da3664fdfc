package onnxgraph

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// base is a good model that every case below breaks in one place: x, w -> Add -> h -> Scale(h, factor) -> y.
func base(t testing.TB) *onnxpb.ModelProto {
	scale := functionProto("Scale", []string{"v"}, []string{"r"},
		onnxpb.Node("Constant", nil, []string{"k"}, onnxpb.RefAttr("value_float", "factor", attrFloat)),
		onnxpb.Node("Mul", []string{"v", "k"}, []string{"r"}))
	scale.Attribute = []string{"factor"}
	m := withFunctions([]*onnxpb.FunctionProto{scale}, namedNode("sum", "Add", []string{"x", "w"}, []string{"h"}),
		callNode("scale", "Scale", []string{"h"}, []string{"y"}, onnxpb.FloatAttr("factor", 2)))
	m.Graph.Input = infos{onnxpb.ValueInfo("x", tensor.Float32, onnxpb.Dynamic("n"))}
	m.Graph.Initializer = []*onnxpb.TensorProto{onnxpb.TensorToProto("w", floats(t, []int{1}, 1))}
	return m
}

func TestDecodeRefuses(t *testing.T) {
	graphAttr := func(depth int) *onnxpb.AttributeProto {
		a := onnxpb.IntAttr("i", 1)
		for range depth {
			g := &onnxpb.GraphProto{Name: "g", Node: []*onnxpb.NodeProto{onnxpb.Node("If", []string{"x"},
				[]string{"z"}, a)}, Output: infos{anyShape("z", tensor.Float32)}}
			a = &onnxpb.AttributeProto{Name: "then_branch", Type: onnxpb.AttributeProto_GRAPH, G: g}
		}
		return a
	}
	branch := func(change func(g *onnxpb.GraphProto)) func(m *onnxpb.ModelProto) {
		return func(m *onnxpb.ModelProto) {
			a := graphAttr(1)
			change(a.G)
			m.Graph.Node[0] = onnxpb.Node("If", []string{"x"}, []string{"h"}, a)
		}
	}
	outer := func() *onnxpb.TensorProto {
		return &onnxpb.TensorProto{Name: "e", DataType: 1, DataLocation: onnxpb.TensorProto_EXTERNAL,
			ExternalData: []*onnxpb.StringStringEntryProto{{Key: "location", Value: "../secret"}}}
	}
	tests := []struct {
		name   string
		change func(m *onnxpb.ModelProto)
		want   string
	}{
		{"O12 ir_version 0", func(m *onnxpb.ModelProto) { m.IrVersion = 0 }, "ir_version: is 0, want 3..13"},
		{"O12 ir_version huge", func(m *onnxpb.ModelProto) { m.IrVersion = 1 << 31 }, "ir_version: is 2147483648"},
		{"O31 metadata twice", func(m *onnxpb.ModelProto) {
			m.MetadataProps = append(m.MetadataProps, &onnxpb.StringStringEntryProto{Key: "k", Value: "1"},
				&onnxpb.StringStringEntryProto{Key: "k\n", Value: "2"}, &onnxpb.StringStringEntryProto{Key: "k", Value: "1"})
		}, `metadata_props: key "k" is there twice, want once`},
		{"O12 no imports", func(m *onnxpb.ModelProto) { m.OpsetImport = nil }, "opset_import: is empty"},
		{"O12 import twice", func(m *onnxpb.ModelProto) {
			m.OpsetImport = append(m.OpsetImport, onnxpb.Opset("ai.onnx", 17))
		},
			`opset_import[2]: domain "ai.onnx" is imported twice`},
		{"O12 opset 0", func(m *onnxpb.ModelProto) { m.OpsetImport[0].Version = 0 }, `version of domain "" is 0, want 7..25`},
		{"O12 opset -1", func(m *onnxpb.ModelProto) { m.OpsetImport[1].Version = -1 }, "is -1, want 1.."},
		{"O12 opset 9999", func(m *onnxpb.ModelProto) { m.OpsetImport[0].Version = 9999 }, "is 9999, want 7..25"},
		{"O13 domain not imported", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Domain = "com.aft0nnx"
		}, `node "sum" (com.aft0nnx.Add): domain "com.aft0nnx" is not imported`},

		{"O19 no outputs", func(m *onnxpb.ModelProto) { m.Graph.Output = nil }, "graph.output: is empty"},
		{"O19 output from nowhere", func(m *onnxpb.ModelProto) {
			m.Graph.Output[0].Name = "q"
		}, `graph.output[0]: nothing produces "q"`},
		{"O19 output twice", func(m *onnxpb.ModelProto) {
			m.Graph.Output = append(m.Graph.Output, m.Graph.Output[0])
		}, `output "y" is listed twice`},
		{"O19 input twice", func(m *onnxpb.ModelProto) {
			m.Graph.Input = append(m.Graph.Input, m.Graph.Input[0])
		}, `name "x" is defined twice`},
		{"O19 initializer twice", func(m *onnxpb.ModelProto) {
			m.Graph.Initializer = append(m.Graph.Initializer, m.Graph.Initializer[0])
		},
			`graph.initializer[1]: name "w" is defined twice`},
		{"O19 initializer without a name", func(m *onnxpb.ModelProto) {
			m.Graph.Initializer[0].Name = ""
		}, "graph.initializer[0]: the name is empty"},
		{"O34 initializer that fits no input", func(m *onnxpb.ModelProto) {
			m.Graph.Input = append(m.Graph.Input, onnxpb.ValueInfo("w", tensor.Float32, onnxpb.Fixed(2)))
		}, `initializer "w": has shape (1), want (2), as the graph input of that name says`},
		{"O29 input of a negative size", func(m *onnxpb.ModelProto) {
			m.Graph.Input[0] = minusFive()
		}, `graph.input[0]: "x": dimension 0 is -5, want >= 0`},
		{"O29 input of strings", func(m *onnxpb.ModelProto) {
			m.Graph.Input[0].GetType().GetTensorType().ElemType = 8
		}, "the element type is STRING"},
		{"O29 input that is a sequence", func(m *onnxpb.ModelProto) {
			m.Graph.Input[0].Type = &onnxpb.TypeProto{Value: &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{}}}
		}, `"x": is no tensor`},
		{"O29 input without a type", func(m *onnxpb.ModelProto) { m.Graph.Input[0].Type = nil }, `"x": is no tensor`},

		{"O19 output of two nodes", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Output[0] = "h"
		}, `node "scale" (test.local.Scale): name "h" is defined twice`},
		{"O19 output that is an input", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Output[0] = "x"
		}, `name "x" is defined twice`},
		{"O19 output that is an initializer", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Output[0] = "w"
		}, `name "w" is defined twice`},
		{"O19 undefined input", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Input[1] = "q"
		}, `node "sum" (Add): nothing produces input "q"`},
		{"O19 use before definition", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Input[1] = "y"
		}, `input "y" is the output of node 1, which does not come before`},
		{"O19 cycle of one", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Input[1] = "h"
		}, `input "h" is the output of node 0`},
		{"O19 no op_type", func(m *onnxpb.ModelProto) { m.Graph.Node[0].OpType = "" }, "the op_type is empty"},
		{"O20 node without outputs", func(m *onnxpb.ModelProto) { m.Graph.Node[0].Output = nil }, "has no outputs"},
		{"O20 many inputs", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Input = repeat("x", 1e5)
		}, "has 100000 inputs and 1 outputs, want at most 4096 each"},
		{"O20 many edges", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = &onnxpb.NodeProto{OpType: "Odd", Input: repeat("x", 4096), Output: append(names("o",
				4000), "h")}
		}, "graph: the nodes and their operands, functions inlined, are more than 1048576"},
		{"O32 name with an escape", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Output[0] = "h\x1b[2J"
		}, `the name "h\x1b[2J" contains U+001B`},
		{"O32 name with NUL", func(m *onnxpb.ModelProto) { m.Graph.Input[0].Name = "x\x00" }, "contains U+0000"},
		{"O32 name that turns text around", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Name = "a\u202eb"
		}, "contains U+202E"},
		{"O32 name of a megabyte", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Output[0] = strings.Repeat("n", 1<<20)
		}, "has 1048576 bytes, want at most 65536"},

		{"O21 attribute twice", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute = append(m.Graph.Node[1].Attribute, onnxpb.FloatAttr("factor", 3))
		},
			`attribute "factor": is present twice`},
		{"O21 attribute without a name", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute[0].Name = ""
		}, "attribute 0: the name is empty"},
		{"O21 attribute of two values", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute[0].Ints = []int64{1}
		}, `attribute "factor": the type is FLOAT, but there is a value of type FLOAT and INTS`},
		{"O21 attribute of another type", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute[0].Type = attrInt
		}, "the type is INT, but there is a value of type FLOAT"},
		{"O21 attribute without a type", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute[0].Type = 0
		}, "the type is 0"},
		{"O21 attribute of type 99", func(m *onnxpb.ModelProto) { m.Graph.Node[1].Attribute[0].Type = 99 }, "the type is 99"},
		{"O21 tensor attribute without a tensor", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("Constant", nil,
				[]string{"h"}, &onnxpb.AttributeProto{Name: "value", Type: attrTensor})
		}, "the type is TENSOR, but there is no value"},
		{"O18 reference outside a function", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("Constant", nil, []string{"h"}, onnxpb.RefAttr("value_float", "f", attrFloat))
		}, `refers to parameter "f" outside a function`},
		{"O26 sparse attribute", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("Constant", nil,
				[]string{"h"}, &onnxpb.AttributeProto{Name: "sparse_value", Type: onnxpb.AttributeProto_SPARSE_TENSOR})
		}, "sparse tensors are not supported"},
		{"O26 sparse initializer", func(m *onnxpb.ModelProto) {
			m.Graph.SparseInitializer = []*onnxpb.SparseTensorProto{{}}
		}, "sparse tensors are not supported"},

		{"O27 external initializer", func(m *onnxpb.ModelProto) {
			m.Graph.Initializer[0] = outer()
		}, `graph.initializer[0]: tensor "e": the data's location is "../secret"`},
		{"O27 external constant", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("Constant", nil,
				[]string{"h"}, &onnxpb.AttributeProto{Name: "value", Type: attrTensor, T: outer()})
		}, "another file"},
		{"O27 external tensor in a list", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("Odd", nil,
				[]string{"h"}, &onnxpb.AttributeProto{Name: "v", Type: onnxpb.AttributeProto_TENSORS,
					Tensors: []*onnxpb.TensorProto{outer()}})
		}, "another file"},
		{"O27 external tensor in a function", func(m *onnxpb.ModelProto) {
			m.Functions[0].Node[0].Attribute[0] = &onnxpb.AttributeProto{Name: "value", Type: attrTensor, T: outer()}
		}, "another file"},
		{"O27 external tensor in a sub-graph", func(m *onnxpb.ModelProto) {
			a := graphAttr(1)
			a.G.Initializer = []*onnxpb.TensorProto{outer()}
			m.Graph.Node[0] = onnxpb.Node("If", []string{"x"}, []string{"h"}, a)
		}, `attribute "then_branch": initializer[0]: tensor "e": the data is in another file`},
		{"O27 external default", func(m *onnxpb.ModelProto) {
			m.Functions[0].AttributeProto = []*onnxpb.AttributeProto{{Name: "t", Type: attrTensor, T: outer()}}
		}, "another file"},
		{"O9 9 sub-graphs", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("If", []string{"x"}, []string{"h"}, graphAttr(9))
		}, "at most 8 levels"},
		{"O28 20 sub-graphs", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("If", []string{"x"}, []string{"h"}, graphAttr(20))
		}, "at most 8 levels"},
		{"undefined name in a sub-graph", func(m *onnxpb.ModelProto) {
			a := graphAttr(1)
			a.G.Node[0].Input[0] = "q"
			m.Graph.Node[0] = onnxpb.Node("If", []string{"x"}, []string{"h"}, a)
		}, `nothing produces input "q"`},

		{"O26 sparse tensor in a sub-graph", branch(func(g *onnxpb.GraphProto) {
			g.SparseInitializer = []*onnxpb.SparseTensorProto{{}}
		}), "sparse tensors are not supported"},
		{"O19 input of a sub-graph twice", branch(func(g *onnxpb.GraphProto) {
			g.Input = infos{anyShape("a", tensor.Float32), anyShape("a", tensor.Float32)}
		}), `input[1]: name "a" is defined twice`},
		{"O19 initializer of a sub-graph twice", branch(func(g *onnxpb.GraphProto) {
			w := onnxpb.TensorToProto("a", floats(t, []int{1}, 1))
			g.Initializer = []*onnxpb.TensorProto{w, w}
		}), `initializer[1]: name "a" is defined twice`},
		{"O19 output of a sub-graph from nowhere", branch(func(g *onnxpb.GraphProto) { g.Output[0].Name = "q" }), `output[0]: nothing produces "q"`},
		{"O9 9 sub-graphs in lists", func(m *onnxpb.ModelProto) {
			m.Graph.Node[0] = onnxpb.Node("Odd", []string{"x"}, []string{"h"}, &onnxpb.AttributeProto{Name: "all",
				Type: onnxpb.AttributeProto_GRAPHS, Graphs: []*onnxpb.GraphProto{graphAttr(9).G}})
		}, "at most 8 levels"},

		{"O16 function twice", func(m *onnxpb.ModelProto) {
			m.Functions = append(m.Functions, m.Functions[0])
		}, `functions[1]: function "test.local.Scale" is defined twice`},
		{"O16 function without a name", func(m *onnxpb.ModelProto) {
			m.Functions[0].Name = ""
		}, "functions[0]: the name is empty"},
		{"O16 10001 functions", func(m *onnxpb.ModelProto) {
			m.Functions = make([]*onnxpb.FunctionProto, 10001)
		}, "there are 10001, want at most 10000"},
		{"function without outputs", func(m *onnxpb.ModelProto) { m.Functions[0].Output = nil }, "output: is empty"},
		{"function output from nowhere", func(m *onnxpb.ModelProto) {
			m.Functions[0].Output[0] = "q"
		}, `nothing produces "q"`},
		{"function output twice", func(m *onnxpb.ModelProto) {
			m.Functions[0].Output = repeat("r", 2)
		}, `output "r" is listed twice`},
		{"function input twice", func(m *onnxpb.ModelProto) {
			m.Functions[0].Input = repeat("v", 2)
		}, `name "v" is defined twice`},
		{"function sees the graph", func(m *onnxpb.ModelProto) {
			m.Functions[0].Node[1].Input[0] = "w"
		}, `function "test.local.Scale": node of output "r" (Mul): nothing produces input "w"`},
		{"function without imports", func(m *onnxpb.ModelProto) {
			m.Functions[0].OpsetImport = nil
		}, `function "test.local.Scale": opset_import: is empty`},
		{"O18 required attribute missing", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute = nil
		}, `node "scale" (test.local.Scale): attribute "factor" is missing`},
		{"O18 attribute that is not declared", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute = append(m.Graph.Node[1].Attribute, onnxpb.IntAttr("q", 1))
		},
			`attribute "q" is not declared by function "test.local.Scale"`},
		{"O18 attribute declared twice", func(m *onnxpb.ModelProto) {
			m.Functions[0].AttributeProto = []*onnxpb.AttributeProto{onnxpb.FloatAttr("factor", 1)}
		},
			`attribute "factor" is declared twice`},
		{"O18 reference to nothing", func(m *onnxpb.ModelProto) {
			m.Functions[0].Node[0].Attribute[0].RefAttrName = "q"
		}, `refers to parameter "q", want one of "factor"`},
		{"O18 reference with a value", func(m *onnxpb.ModelProto) {
			m.Functions[0].Node[0].Attribute[0].F = new(float32)
			*m.Functions[0].Node[0].Attribute[0].F = 1
		},
			`has a value (FLOAT) and refers to parameter "factor"`},
		{"O18 argument of another type", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Attribute[0] = onnxpb.IntAttr("factor", 2)
		}, `attribute "value_float" is of type INT, want FLOAT`},
		{"O30 too many arguments", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Input = repeat("h", 2)
		}, "has 2 inputs and 1 outputs, want at most 1 and 1"},
		{"O30 required operand left out by the call", func(m *onnxpb.ModelProto) {
			m.Graph.Node[1].Input = nil
		}, `node of output "y" (Mul): leaves out input 0`},
		{"O30 operand that the function returns left out by the call", func(m *onnxpb.ModelProto) {
			m.Functions[0] = functionProto("Scale", []string{"v", "w"}, []string{"w"}, onnxpb.Node("Neg", []string{"v"}, []string{"n"}))
			m.Graph.Node[1].Attribute = nil
		}, `node "scale/w" (Identity): leaves out input 0`},
		{"O30 operand of an ai.aft operator left out by the call", func(m *onnxpb.ModelProto) {
			aft := onnxpb.Node("AFTSimple", []string{"v", "k", "v"}, []string{"r"}, onnxpb.IntAttr("causal", 0), onnxpb.IntAttr("gate", 0))
			aft.Domain = ops.Domain
			m.Functions[0] = functionProto("Scale", []string{"v", "k"}, []string{"r"}, aft)
			m.Functions[0].OpsetImport = append(m.Functions[0].OpsetImport, onnxpb.Opset(ops.Domain, ops.Version))
			m.Graph.Node[1].Attribute = nil
		}, `node of output "y" (ai.aft.AFTSimple): leaves out input 1`},
		{"O17 function that calls itself", func(m *onnxpb.ModelProto) {
			m.Functions[0].Node = append(m.Functions[0].Node, callNode("", "Scale", []string{"v"}, []string{"z"},
				onnxpb.FloatAttr("factor", 2)))
		}, "calls itself, directly or through other functions"},
		{"O17 functions that call each other", func(m *onnxpb.ModelProto) {
			m.Functions = []*onnxpb.FunctionProto{functionProto("Scale", []string{"v"},
				[]string{"r"}, callNode("", "B", []string{"v"}, []string{"r"})),
				functionProto("B", []string{"v"}, []string{"r"}, callNode("", "Scale", []string{"v"}, []string{"r"}))}
			m.Graph.Node[1].Attribute = nil
		}, "calls itself"},
		{"O17 function that calls itself in a branch", func(m *onnxpb.ModelProto) {
			inner := &onnxpb.GraphProto{Name: "g", Node: []*onnxpb.NodeProto{callNode("", "Scale", []string{"v"},
				[]string{"z"}, onnxpb.FloatAttr("factor", 2))},
				Output: infos{anyShape("z", tensor.Float32)}}
			m.Functions[0].Node = append(m.Functions[0].Node, onnxpb.Node("If", []string{"v"}, []string{"c"},
				&onnxpb.AttributeProto{Name: "then_branch", Type: onnxpb.AttributeProto_GRAPH, G: inner}))
		}, "calls itself"},
		{"O17 102 calls deep", func(m *onnxpb.ModelProto) {
			m.Functions = nested(102, 1)
			m.Graph.Node[1] = callNode("", "F0", []string{"h"}, []string{"y"})
		}, "at most 100 levels"},
		{"O17 102 calls deep, callees first", func(m *onnxpb.ModelProto) {
			list := nested(102, 1)
			for i := range list {
				m.Functions = append(m.Functions, list[len(list)-1-i])
			}
			m.Graph.Node[1] = callNode("", "F0", []string{"h"}, []string{"y"})
		}, "at most 100 levels"},
		{"O17 2^40 calls", func(m *onnxpb.ModelProto) {
			m.Functions = nested(40, 2)
			m.Graph.Node[1] = callNode("", "F0", []string{"h"}, []string{"y"})
		}, "graph: the nodes and their operands, functions inlined, are more than 1048576"},
	}
	decode(t, base(t))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := base(t)
			test.change(m)
			data, err := onnxpb.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			begin, before := time.Now(), allocated()
			_, err = Decode(data, Options{})
			used, took := allocated()-before, time.Since(begin)
			var bad *Error
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want an *Error that says %q", err, test.want)
			}
			if limit := uint64(3*len(data) + 64<<20); used > limit { // what package onnxpb charges a file
				t.Errorf("allocated %d bytes before refusing, want at most %d", used, limit)
			}
			if took > 20*time.Second { // 2 s is the promise; a loaded machine takes longer, what hangs takes minutes
				t.Errorf("took %v", took)
			}
		})
	}
}

func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func minusFive() *onnxpb.ValueInfoProto {
	v := onnxpb.ValueInfo("x", tensor.Float32, onnxpb.Fixed(5))
	v.GetType().GetTensorType().GetShape().Dim[0].Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: -5}
	return v
}

func repeat(name string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = name
	}
	return out
}

func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = name(prefix, i)
	}
	return out
}

// Wherever a model is cut off, and whichever bit of it flips, the result is an error or a model.
//
// Rule O33 of docs/hostile.md.
func TestCorruptModels(t *testing.T) {
	good, err := onnxpb.Encode(base(t))
	if err != nil {
		t.Fatal(err)
	}
	check := func(data []byte) {
		m, err := Decode(data, Options{})
		var bad *Error
		if err != nil && !errors.As(err, &bad) {
			t.Errorf("%x: error %v is no *Error", data, err)
		}
		if err == nil && len(m.Outputs()) == 0 {
			t.Errorf("%x: a model without outputs", data)
		}
	}
	for n := range good {
		check(good[:n])
	}
	for bit := range 8 * len(good) {
		flipped := append([]byte{}, good...)
		flipped[bit/8] ^= 1 << (bit % 8)
		check(flipped)
	}
}

// The protobuf layer's refusals come through as this package's error, hints included.
func TestNoModelAtAll(t *testing.T) {
	for data, want := range map[string]string{
		"":                          "no graph",
		"PK\x03\x04\x14\x00":        "zip file",
		`{"a": 1}`:                  "JSON",
		"\x3a\x7f":                  "graph: byte 1: the length is 127",
		"\x08\x08\x3a\x00\x3a\x00":  "present twice",
		"\x08\x08\x3a\x02\x0a\x00":  "opset_import: is empty",
		"hello, this is some text.": "text",
	} {
		_, err := Decode([]byte(data), Options{})
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want an *Error that says %q", data, err, want)
		}
	}
	var low *onnxpb.Error
	if _, err := Decode(nil, Options{}); !errors.As(err, &low) {
		t.Errorf("error %v does not wrap the protobuf layer's", err)
	}
}
