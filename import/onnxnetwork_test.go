package importer_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/reference"
)

// network is the one of that name.
func network(t *testing.T, name string) *reference.Model {
	t.Helper()
	all := wiringtest.Networks()
	i := slices.IndexFunc(all, func(n wiringtest.Network) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("no network %q", name)
	}
	return all[i].Model
}

// withMetadata adds what export says beside the graph.
func withMetadata(p *onnxpb.ModelProto, pairs ...string) *onnxpb.ModelProto {
	for i := 0; i < len(pairs); i += 2 {
		p.MetadataProps = append(p.MetadataProps, &onnxpb.StringStringEntryProto{Key: "io.aftonnx." + pairs[i], Value: pairs[i+1]})
	}
	return p
}

// TestNetworkRoundTrip reads every network back: the same model, bit for bit, whatever the type and the opset.
func TestNetworkRoundTrip(t *testing.T) {
	for _, n := range wiringtest.Networks() {
		for _, o := range []wiring.Options{
			{DType: tensor.Float64, Opset: 17}, {DType: tensor.Float32, Opset: 13}, {DType: tensor.Float16, Opset: 16},
			{DType: tensor.Float16, Opset: 21}, {DType: tensor.Float32, Opset: 18, Mask: true}, {DType: tensor.Float64, Opset: 15, Mask: true},
		} {
			o.Mask = o.Mask && n.Model.Patches == nil
			t.Run(fmt.Sprintf("%s, %s, opset %d", n.Name, o.DType, o.Opset), func(t *testing.T) {
				p, err := wiringtest.Proto(n.Model, o)
				if err != nil {
					t.Fatal(err)
				}
				if n.Model.Labels != nil {
					withMetadata(p, "labels", "cat\ndog\na tram, or a bus\nother", "image_size", "4,6", "mean", "0.5,0.25,0.1", "std", "0.25,0.5,1")
				}
				src := &importer.Source{}
				m, err := importer.FromONNX("x.onnx", p, src)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(n.Model, m, byElements(t)); diff != "" {
					t.Errorf("(-exported +read):\n%s", diff)
				}
				if src.DType != o.DType {
					t.Errorf("type %s, want %s", src.DType, o.DType)
				}
			})
		}
	}
}

// TestNetworkRoundTrip_stateful: what a stateful model's step forms say of windows is enough to have the layers back.
func TestNetworkRoundTrip_stateful(t *testing.T) {
	for _, n := range wiringtest.Stateful() {
		p, err := wiringtest.Proto(n.Model, wiring.Options{DType: tensor.Float32, Opset: 17, Stateful: true})
		if err != nil {
			t.Fatalf("%s: %v", n.Name, err)
		}
		m, err := importer.FromONNX("x.onnx", p, &importer.Source{})
		if err != nil {
			t.Fatalf("%s: %v", n.Name, err)
		}
		if diff := cmp.Diff(n.Model, m, byElements(t)); diff != "" {
			t.Errorf("%s (-exported +read):\n%s", n.Name, diff)
		}
	}
	p, err := wiringtest.Proto(wiringtest.Stateful()[0].Model, wiring.Options{DType: tensor.Float32, Opset: 17, Stateful: true})
	if err != nil {
		t.Fatal(err)
	}
	reads(p, "past_layers.0.m", "past_layers.0.d") // both (batch, heads)
	if _, err := importer.FromONNX("x.onnx", p, &importer.Source{}); err == nil {
		t.Error("a graph whose state is mixed up was read")
	}
}

// maker is the node that makes a value.
func maker(p *onnxpb.ModelProto, value string) *onnxpb.NodeProto {
	for _, n := range p.Graph.Node {
		if slices.Contains(n.Output, value) {
			return n
		}
	}
	panic("nothing makes " + value)
}

func stored(p *onnxpb.ModelProto, name string) *onnxpb.TensorProto {
	for _, t := range p.Graph.Initializer {
		if t.GetName() == name {
			return t
		}
	}
	panic("no initialiser " + name)
}

// reads replaces every reading of a value by one of another.
func reads(p *onnxpb.ModelProto, value, instead string) {
	for _, n := range p.Graph.Node {
		for i, in := range n.Input {
			if in == value {
				n.Input[i] = instead
			}
		}
	}
}

func remove(p *onnxpb.ModelProto, value string) {
	p.Graph.Node = slices.DeleteFunc(p.Graph.Node, func(n *onnxpb.NodeProto) bool { return slices.Contains(n.Output, value) })
}

// before puts a node in front of the one that makes a value.
func before(p *onnxpb.ModelProto, value string, n *onnxpb.NodeProto) {
	n.Name = n.Output[0]
	at := slices.Index(p.Graph.Node, maker(p, value))
	p.Graph.Node = slices.Insert(p.Graph.Node, at, n)
}

func initializer(name string, d tensor.DType, shape []int, values ...float64) *onnxpb.TensorProto {
	x, err := tensor.FromFloat64s(d, shape, values)
	if err != nil {
		panic(err)
	}
	return onnxpb.TensorToProto(name, x)
}

// TestNetworkRefused changes networks in ways that leave every weight where it was, or nearly, and would compute something
// else. Each is found, and the message names the place.
func TestNetworkRefused(t *testing.T) {
	const (
		tied   = "language, tied"
		untied = "language, another head"
		mean   = "image, conv"
		placed = "image, class token and positions"
	)
	ints := func(name string, values ...int64) *onnxpb.TensorProto {
		x, err := tensor.FromInt64s([]int{len(values)}, values)
		if err != nil {
			panic(err)
		}
		return onnxpb.TensorToProto(name, x)
	}
	cases := []struct {
		name, network string
		change        func(p *onnxpb.ModelProto)
		text          string
	}{
		{"gains exchanged", tied, func(p *onnxpb.ModelProto) {
			a, b := maker(p, "layers.0.norm1"), maker(p, "layers.0.norm2")
			a.Input[1], b.Input[1] = b.Input[1], a.Input[1]
		}, `makes "layers.0.norm1"`},
		{"the norm of another block", tied, func(p *onnxpb.ModelProto) {
			maker(p, "layers.1.norm1").Input[1] = "layers.0.norm1.weight"
		}, `makes "layers.1.norm1"`},
		{"a norm over another axis", tied, func(p *onnxpb.ModelProto) {
			maker(p, "layers.0.norm1").Attribute[0] = onnxpb.IntAttr("axis", 1)
		}, `makes "layers.0.norm1"`},
		{"no residual", tied, func(p *onnxpb.ModelProto) {
			reads(p, "layers.0.h", "layers.0.out")
			remove(p, "layers.0.h")
		}, `"layers.0.h"`},
		{"a residual from elsewhere", tied, func(p *onnxpb.ModelProto) { maker(p, "layers.1.h").Input[0] = "embedded" }, `makes "layers.1.h"`},
		{"a residual after the norm", tied, func(p *onnxpb.ModelProto) { maker(p, "layers.1.h").Input[0] = "layers.1.norm1" }, `makes "layers.1.h"`},
		{"a residual that is taken away", tied, func(p *onnxpb.ModelProto) { maker(p, "layers.0.y").OpType = "Sub" }, `makes "layers.0.y"`},
		{"post-norm", tied, func(p *onnxpb.ModelProto) { maker(p, "layers.0.fc1.product").Input[0] = "layers.0.h" }, `makes "layers.0.fc1.product"`},
		{"another activation", tied, func(p *onnxpb.ModelProto) { maker(p, "layers.0.gelu.erf").OpType = "Tanh" }, `makes "layers.0.gelu.erf"`},
		{"no half", tied, func(p *onnxpb.ModelProto) { *stored(p, "half") = *initializer("half", tensor.Float32, nil, 1) }, `"half"`},
		{"another root", tied, func(p *onnxpb.ModelProto) {
			*stored(p, "root_two") = *initializer("root_two", tensor.Float32, nil, 1.702)
		}, `"root_two"`},
		{"no mask in one layer", tied, func(p *onnxpb.ModelProto) {
			maker(p, "layers.1.aft").Input[1] = "layers.1.k"
			remove(p, "layers.1.k_real")
		}, `makes "layers.1.aft"`},
		{"a mask of values", tied, func(p *onnxpb.ModelProto) { maker(p, "layers.0.k_real").Input[1] = "layers.0.v" }, `makes "layers.0.k_real"`},
		{"a mask the other way round", tied, func(p *onnxpb.ModelProto) {
			in := maker(p, "layers.0.k_real").Input
			in[1], in[2] = in[2], in[1]
		}, `makes "layers.0.k_real"`},
		{"removed by a small number", tied, func(p *onnxpb.ModelProto) {
			*stored(p, "removed") = *initializer("removed", tensor.Float32, nil, -1e4)
		}, `"removed"`},
		{"a mask and no input for it", tied, func(p *onnxpb.ModelProto) { p.Graph.Input = p.Graph.Input[:1] }, `"mask.shape"`},
		{"a weight beside", tied, func(p *onnxpb.ModelProto) {
			p.Graph.Initializer = append(p.Graph.Initializer, initializer("class_token", tensor.Float32, []int{6}, make([]float64, 6)...))
		}, `"class_token"`},
		{"a head that is not read", tied, func(p *onnxpb.ModelProto) {
			p.Graph.Initializer = append(p.Graph.Initializer, initializer("head.weight", tensor.Float32, []int{11, 6}, make([]float64, 66)...))
		}, `"embed.weight_t"`},
		{"a tied head of another embedding", tied, func(p *onnxpb.ModelProto) { maker(p, "embed.weight_t").Input[0] = "positions.weight" }, `"positions.weight"`},
		{"a head tied behind the file's back", untied, func(p *onnxpb.ModelProto) { maker(p, "head.weight_t").Input[0] = "embed.weight" }, `makes "head.weight_t"`},
		{"no final norm", tied, func(p *onnxpb.ModelProto) { maker(p, "logits").Input[0] = "layers.1.y" }, `makes "logits"`},
		{"a head without its bias", untied, func(p *onnxpb.ModelProto) {
			remove(p, "logits")
			maker(p, "head.product").Output[0] = "logits"
		}, `"logits"`},
		{"blocks in another order", untied, func(p *onnxpb.ModelProto) {
			reads(p, "layers.0.y", "?")
			reads(p, "embedded", "layers.0.y")
			reads(p, "?", "embedded")
		}, `makes "layers.0.norm1"`},
		{"layers renumbered", untied, func(p *onnxpb.ModelProto) {
			a, b := stored(p, "layers.0.q.weight"), stored(p, "layers.1.q.weight")
			a.Name, b.Name = b.Name, a.Name
			a, b = stored(p, "layers.0.w"), stored(p, "layers.1.w")
			a.Name, b.Name = b.Name, a.Name
		}, "layer 1"},
		{"positions from the second on", untied, func(p *onnxpb.ModelProto) {
			maker(p, "positions.range").Input[0] = "one"
		}, `makes "positions.range"`},
		{"positions sliced", untied, func(p *onnxpb.ModelProto) {
			n := maker(p, "positions")
			n.OpType, n.Attribute = "Slice", nil
		}, `makes "positions"`},
		{"no positions", untied, func(p *onnxpb.ModelProto) {
			maker(p, "embed").Output[0] = "embedded"
			remove(p, "embedded")
		}, `"embed`},
		{"negative tokens let through", untied, func(p *onnxpb.ModelProto) { maker(p, "embed").Input[1] = "input_ids" }, `makes "embed"`},
		{"embeddings scaled", untied, func(p *onnxpb.ModelProto) {
			before(p, "embedded", onnxpb.Node("Mul", []string{"embed", "embed"}, []string{"scaled"}))
			maker(p, "embedded").Input[0] = "scaled"
		}, `makes "scaled"`},
		{"the class token last", placed, func(p *onnxpb.ModelProto) {
			in := maker(p, "patch.classed").Input
			in[0], in[1] = in[1], in[0]
		}, `makes "patch.classed"`},
		{"another row pooled", placed, func(p *onnxpb.ModelProto) { maker(p, "pooled").Input[1] = "first" }, `makes "pooled"`},
		{"pooled before the norm", placed, func(p *onnxpb.ModelProto) { maker(p, "pooled").Input[0] = "layers.1.y" }, `makes "pooled"`},
		{"the mean of another axis", mean, func(p *onnxpb.ModelProto) {
			maker(p, "pooled").Attribute[0] = onnxpb.IntsAttr("axes", 2)
		}, `makes "pooled"`},
		{"the mean in place of the class token", placed, func(p *onnxpb.ModelProto) {
			n := maker(p, "pooled")
			n.OpType, n.Input = "ReduceMean", n.Input[:1]
		}, `makes "pooled"`},
		{"rows and columns exchanged", mean, func(p *onnxpb.ModelProto) { *stored(p, "two_three") = *ints("two_three", 3, 2) }, `"two_three"`},
		{"patches in another order", mean, func(p *onnxpb.ModelProto) {
			maker(p, "patch.ordered").Attribute = []*onnxpb.AttributeProto{onnxpb.IntsAttr("perm", 0, 4, 2, 1, 3, 5)}
		}, `makes "patch.ordered"`},
		{"another patch size", mean, func(p *onnxpb.ModelProto) { *stored(p, "patch.size") = *ints("patch.size", 1) }, `"patch.size"`},
		{"a grid from outside", mean, func(p *onnxpb.ModelProto) {
			remove(p, "grid")
			p.Graph.Initializer = append(p.Graph.Initializer, ints("grid", 2, 3))
		}, `fixes a grid`},
		{"another input", mean, func(p *onnxpb.ModelProto) { p.Graph.Input[0].Name = "image" }, `has the inputs "image"`},
		{"an input of another type", untied, func(p *onnxpb.ModelProto) {
			p.Graph.Input[0] = onnxpb.ValueInfo("input_ids", tensor.Int32)
		}, `int32`},
		{"a weight of another shape", placed, func(p *onnxpb.ModelProto) { stored(p, "positions.weight").Dims = []int64{6, 7} }, `positions.weight`},
		{"two types", placed, func(p *onnxpb.ModelProto) {
			*stored(p, "norm.bias") = *initializer("norm.bias", tensor.Float64, []int{6}, make([]float64, 6)...)
		}, `"norm.bias"`},
		{"a constant missing", tied, func(p *onnxpb.ModelProto) {
			p.Graph.Initializer = slices.DeleteFunc(p.Graph.Initializer, func(w *onnxpb.TensorProto) bool { return w.Name == "half" })
		}, `initializer "half": is missing`},
		{"a constant cut off", tied, func(p *onnxpb.ModelProto) { stored(p, "half").RawData = []byte{1} }, `tensor "half": raw_data has 1 bytes, want 4`},
		{"a weight cut off", placed, func(p *onnxpb.ModelProto) { stored(p, "head.weight").RawData = []byte{1} }, `tensor "head.weight": raw_data has 1 bytes`},
		{"a wide image size", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "image_size", "wide,6") }, `metadata "image_size": holds "wide", want numbers`},
		{"half an image size", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "image_size", "4") }, `"image_size"`},
		{"no whole image size", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "image_size", "4.5,6") }, `"image_size"`},
		{"an image size of other positions", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "image_size", "4,4") }, "image_size"},
		{"no mean", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "mean", "dark") }, `"mean"`},
		{"a mean that is no number", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "mean", "NaN,0,0") }, `"mean"`},
		{"two means", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "mean", "0.5,0.5") }, "mean: has 2 values"},
		{"a std of 0", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "std", "1,0,1") }, "std"},
		{"fewer labels", placed, func(p *onnxpb.ModelProto) { withMetadata(p, "labels", "cat\ndog") }, "labels: are 2, want 4"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := wiringtest.Proto(network(t, c.network), wiring.Options{DType: tensor.Float32, Opset: 17, Mask: c.network == tied})
			if err != nil {
				t.Fatal(err)
			}
			c.change(p)
			_, err = importer.FromONNX("x.onnx", p, &importer.Source{})
			wantBadFile(t, c.name, err, "x.onnx", c.text)
		})
	}
}
