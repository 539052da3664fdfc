package main

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

func (a *app) inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "What is in a checkpoint or a model",
		Long: `Lists the tensors of a checkpoint (PyTorch or safetensors), or the inputs, outputs, operators, functions and
initialisers of an ONNX model. The kind of the file is found out by its content. Only the checkpoint's index is
read, so that its size does not matter.

A checkpoint in shards is named by its index (model.safetensors.index.json), or by the directory it is in.`,
		Args: exactly(1, "the file to inspect"),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := openFile(args[0])
			if err != nil {
				return err
			}
			defer f.close()
			var view inspection
			if f.checkpoint != nil {
				view = inspectCheckpoint(args[0], f.checkpoint)
			} else {
				view = inspectModel(args[0], f)
			}
			if a.json {
				return a.printJSON(view)
			}
			a.printInspection(&view)
			return nil
		},
	}
	a.addJSON(cmd.Flags(), inspectSchema)
	return cmd
}

// inspection is the JSON form; empty parts are left out, so a checkpoint and a model share it.
type inspection struct {
	Schema   string            `json:"schema"`
	File     string            `json:"file"`
	Kind     string            `json:"kind"` // "onnx", or the checkpoint's format
	IR       int64             `json:"ir_version,omitempty"`
	Opsets   []opset           `json:"opsets,omitempty"`
	Producer string            `json:"producer,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Inputs   []value           `json:"inputs,omitempty"`
	Outputs  []value           `json:"outputs,omitempty"`
	Nodes    []node            `json:"nodes,omitempty"`
	Function []function        `json:"functions,omitempty"`
	*totals
	Shards  []string `json:"shards,omitempty"` // the files of a checkpoint that is in several
	Notes   []string `json:"notes,omitempty"`  // what was chosen, what was left out
	Tensors []value  `json:"tensors"`          // of a checkpoint; a model's initialisers
}

// totals are a checkpoint's sums. What several names share counts once.
type totals struct {
	Parameters int64 `json:"parameters"` // elements of floating-point tensors
	Bytes      int64 `json:"bytes"`
}

type opset struct {
	Domain  string `json:"domain"`
	Version int64  `json:"version"`
}

// value is a named tensor. A dimension is a number, or in a model also a name or "?".
type value struct {
	Name  string   `json:"name"`
	DType string   `json:"dtype"`
	Shape []string `json:"shape"`

	External *external `json:"external,omitempty"` // nil: in the file itself
}

// external is where the data of a model's initialiser lies.
type external struct {
	File   string `json:"file"` // relative to the model's folder
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

type node struct {
	Op      string      `json:"op"` // with its domain, if that is not the standard one
	Name    string      `json:"name"`
	Inputs  []string    `json:"inputs"`
	Outputs []string    `json:"outputs"`
	Attrs   []attribute `json:"attributes,omitempty"`
}

// attribute is a number, string or list of a node; the value of any other is its type's name.
type attribute struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

func attributes(n *onnxpb.NodeProto) []attribute {
	var list []attribute
	for _, a := range n.GetAttribute() {
		var v any = a.GetType().String()
		switch a.GetType() {
		case onnxpb.AttributeProto_INT:
			v = a.GetI()
		case onnxpb.AttributeProto_INTS:
			v = a.GetInts()
		case onnxpb.AttributeProto_FLOAT:
			v = float64(a.GetF())
			if math.IsNaN(float64(a.GetF())) || math.IsInf(float64(a.GetF()), 0) {
				v = fmt.Sprint(a.GetF())
			}
		case onnxpb.AttributeProto_STRING:
			v = string(a.GetS())
		}
		list = append(list, attribute{a.GetName(), v})
	}
	return list
}

type function struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"`
}

const inspectSchema = "aftonnx.inspect/1"

func inspectCheckpoint(path string, c *checkpoint.File) inspection {
	sum := c.Totals()
	v := inspection{
		Schema: inspectSchema, File: path, Kind: string(c.Kind()), Metadata: c.Metadata(), Tensors: []value{},
		totals: &totals{Parameters: sum.Parameters, Bytes: sum.Bytes}, Shards: c.Shards(), Notes: c.Notes(),
	}
	if c.Dir() == filepath.Clean(path) {
		v.File = c.Path() // which of the directory's files it was
	}
	for _, name := range c.Names() {
		info, _ := c.Info(name)
		v.Tensors = append(v.Tensors, value{Name: name, DType: info.DType.String(), Shape: sizes(info.Shape)})
	}
	return v
}

func inspectModel(path string, f *modelFile) inspection {
	m := f.graph.Proto()
	v := inspection{
		Schema: inspectSchema, File: path, Kind: "onnx", IR: m.GetIrVersion(),
		Metadata: map[string]string{}, Tensors: []value{},
	}
	v.Producer = strings.TrimSpace(m.GetProducerName() + " " + m.GetProducerVersion())
	for _, o := range m.GetOpsetImport() {
		domain := o.GetDomain()
		if domain == "" {
			domain = "ai.onnx"
		}
		v.Opsets = append(v.Opsets, opset{domain, o.GetVersion()})
	}
	for _, p := range m.GetMetadataProps() {
		v.Metadata[p.GetKey()] = p.GetValue()
	}
	v.Inputs, v.Outputs = declared(f.graph.Inputs()), declared(f.graph.Outputs())
	for _, n := range m.GetGraph().GetNode() {
		v.Nodes = append(v.Nodes, node{
			Op: qualified(n.GetDomain(), n.GetOpType()), Name: n.GetName(),
			Inputs: n.GetInput(), Outputs: n.GetOutput(), Attrs: attributes(n),
		})
	}
	for _, fn := range m.GetFunctions() {
		v.Function = append(v.Function, function{qualified(fn.GetDomain(), fn.GetName()), len(fn.GetNode())})
	}
	for _, t := range m.GetGraph().GetInitializer() {
		v.Tensors = append(v.Tensors, initialiser(t, filepath.Dir(path)))
	}
	return v
}

// initialiser describes an initialiser of a model in dir that was checked.
func initialiser(t *onnxpb.TensorProto, dir string) value {
	v := value{Name: t.GetName(), DType: onnxpb.DataTypeName(t.GetDataType()), Shape: make([]string, len(t.GetDims()))}
	for i, d := range t.GetDims() {
		v.Shape[i] = strconv.FormatInt(d, 10)
	}
	if e, ok, err := onnxpb.ExternalData(t); ok && err == nil {
		v.External = &external{File: e.Location, Offset: e.Offset, Length: e.Length}
		if w, err := onnxpb.InitializerWeight(t, dir); err == nil && e.Length < 0 {
			v.External.Length = int64(w.Len() * w.DType().Size())
		}
	}
	return v
}

func qualified(domain, name string) string {
	if domain == "" || domain == "ai.onnx" {
		return name
	}
	return domain + "." + name
}

func declared(list []onnxgraph.Value) []value {
	out := make([]value, len(list))
	for i, v := range list {
		out[i] = value{Name: v.Name, DType: v.DType.String(), Shape: make([]string, len(v.Dims))}
		for j, d := range v.Dims {
			switch {
			case d.Size >= 0:
				out[i].Shape[j] = strconv.Itoa(d.Size)
			case d.Name != "":
				out[i].Shape[j] = d.Name
			default:
				out[i].Shape[j] = "?"
			}
		}
		if v.Dims == nil {
			out[i].Shape = []string{"..."}
		}
	}
	return out
}

func sizes(shape []int) []string {
	out := make([]string, len(shape))
	for i, d := range shape {
		out[i] = strconv.Itoa(d)
	}
	return out
}

// printInspection writes one table: what each row is about, its name, its type, its shape or attributes. Facts about
// the file come first.
func (a *app) printInspection(v *inspection) {
	t := &table{header: []string{"what", "name", "type", "details"}}
	t.add("file", printable(v.File), v.Kind, "")
	if v.IR > 0 {
		t.add("ir version", strconv.FormatInt(v.IR, 10), "", "")
	}
	for _, s := range v.Shards {
		t.add("shard", printable(s), "", "")
	}
	if v.totals != nil {
		t.add("parameters", strconv.FormatInt(v.Parameters, 10), "", "")
		t.add("bytes", strconv.FormatInt(v.Bytes, 10), "", "")
	}
	for _, n := range v.Notes {
		t.add("note", printable(n), "", "")
	}
	for _, o := range v.Opsets {
		t.add("opset", printable(o.Domain), strconv.FormatInt(o.Version, 10), "")
	}
	if v.Producer != "" {
		t.add("producer", printable(v.Producer), "", "")
	}
	for _, key := range slices.Sorted(maps.Keys(v.Metadata)) {
		t.add("metadata", printable(key), printable(v.Metadata[key]), "")
	}
	for _, part := range []struct {
		what string
		list []value
	}{{"input", v.Inputs}, {"output", v.Outputs}} {
		addValues(t, part.what, part.list)
	}
	for _, n := range v.Nodes {
		details := make([]string, len(n.Attrs))
		for i, attr := range n.Attrs {
			details[i] = printable(fmt.Sprintf("%s=%v", attr.Name, attr.Value))
		}
		t.add("node", printable(n.Name), printable(n.Op), strings.Join(details, " "))
	}
	for _, f := range v.Function {
		t.add("function", printable(f.Name), fmt.Sprintf("%d nodes", f.Nodes), "")
	}
	what := "tensor"
	if v.Kind == "onnx" {
		what = "initializer"
	}
	addValues(t, what, v.Tensors)
	a.printTable(t)
}

func addValues(t *table, what string, list []value) {
	for _, v := range list {
		shape := make([]string, len(v.Shape))
		for i, d := range v.Shape {
			shape[i] = printable(d)
		}
		details := "(" + strings.Join(shape, ",") + ")"
		if e := v.External; e != nil {
			details += fmt.Sprintf(" in %s, offset %d, %d bytes", printable(e.File), e.Offset, e.Length)
		}
		t.add(what, printable(v.Name), v.DType, details)
	}
}

// formatShape is tensor.FormatShape, for messages.
func formatShape(t *tensor.Tensor) string {
	return t.DType.String() + " " + tensor.FormatShape(t.Shape)
}
