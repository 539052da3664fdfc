package importer_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ops/wiring/wiringtest"
	"github.com/aftonnx/aftonnx/reference"
)

// graphOf writes a model down the way an export does, without function bodies.
func graphOf(t *testing.T, m *reference.Model, dtype tensor.DType) *onnxpb.ModelProto {
	t.Helper()
	p, err := wiringtest.Proto(m, wiring.Options{DType: dtype, Opset: 17})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// byElements compares weights by what they hold.
func byElements(t *testing.T) cmp.Option {
	return cmp.Transformer("elements", func(w tensor.Weight) tensor.Array {
		a, err := w.Array()
		if err != nil {
			t.Error(err)
		}
		return a
	})
}

// encode writes a model into a folder of the test.
func encode(t *testing.T, p *onnxpb.ModelProto) string {
	t.Helper()
	data, err := onnxpb.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, path string) *reference.Model {
	t.Helper()
	m, _, err := importer.Load(path, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestONNXRoundTrip writes checkpoints down as an export does and reads them back: the same model, bit for bit.
func TestONNXRoundTrip(t *testing.T) {
	for _, path := range []string{testdata("stack.bin"), testdata("simple.bin"), testdata("full.bin"), testdata("local.bin"),
		testdata("conv1d.bin"), testdata("conv2d.bin"), layerFile("xmu-full"), layerFile("comvex-full"), layerFile("rish-stack")} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want := load(t, path)
			if path == testdata("simple.bin") {
				want.Blocks[0].Gate = reference.GateTanh
			}
			m, src, err := importer.Load(encode(t, graphOf(t, want, tensor.Float64)), importer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, m, byElements(t)); diff != "" {
				t.Errorf("(-checkpoint +model.onnx):\n%s", diff)
			}
			if src.Format != "onnx" || src.DType != tensor.Float64 || len(src.SHA256) != 64 {
				t.Errorf("got source %+v, want onnx, float64 and a sum", *src)
			}
		})
	}
}

// TestONNXWeightsAsStored: the weights of a float16 model are those it holds, rounded.
func TestONNXWeightsAsStored(t *testing.T) {
	want := load(t, testdata("simple.bin"))
	p := graphOf(t, want, tensor.Float16)
	m, src, err := importer.Load(encode(t, p), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	exact, err := want.Blocks[0].Q.Weight.Array()
	if err != nil {
		t.Fatal(err)
	}
	rounded, err := exact.Tensor(tensor.Float16)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reference.Hold(rounded.Array()), m.Blocks[0].Q.Weight, byElements(t)); diff != "" || src.DType != tensor.Float16 {
		t.Errorf("type %s, weights (-rounded +got):\n%s", src.DType, diff)
	}
}

// TestONNXFixedGrid: a grid that is a constant of the model is the layer's.
func TestONNXFixedGrid(t *testing.T) {
	p := graphOf(t, load(t, testdata("conv2d.bin")), tensor.Float32)
	grid, err := tensor.FromInt64s([]int{2}, []int64{3, 4})
	if err != nil {
		t.Fatal(err)
	}
	p.Graph.Input = p.Graph.Input[:1]
	p.Graph.Initializer = append(p.Graph.Initializer, onnxpb.TensorToProto("grid", grid))
	if m := load(t, encode(t, p)); m.Blocks[0].Grid != [2]int{3, 4} || m.NeedsGrid() {
		t.Errorf("grid %v, want [3 4]", m.Blocks[0].Grid)
	}
}

func aftNode(p *onnxpb.ModelProto) *onnxpb.NodeProto {
	for _, n := range p.Graph.Node {
		if n.Domain == "ai.aft" {
			return n
		}
	}
	return nil
}

// TestONNXRefused changes an exported model in ways that would make the weights mean something else.
func TestONNXRefused(t *testing.T) {
	cases := []struct {
		name   string
		change func(p *onnxpb.ModelProto)
		text   string
	}{
		{"another producer", func(p *onnxpb.ModelProto) { p.ProducerName = "pytorch" }, `"pytorch"`},
		{"no AFT nodes", func(p *onnxpb.ModelProto) { aftNode(p).Domain = "" }, "no AFT layers"},
		{"an operator of tomorrow", func(p *onnxpb.ModelProto) { aftNode(p).OpType = "AFTFuture" }, `"AFTFuture"`},
		{"an attribute missing", func(p *onnxpb.ModelProto) { n := aftNode(p); n.Attribute = n.Attribute[1:] }, "lacks the attribute"},
		{"an input missing", func(p *onnxpb.ModelProto) { n := aftNode(p); n.Input = n.Input[:3] }, `is "AFTLocal" of "layers.0.q", "layers.0.k", "layers.0.v" with`},
		{"biases from elsewhere", func(p *onnxpb.ModelProto) { aftNode(p).Input[3] = "layers.0.q.weight" }, `"layers.0.v", "layers.0.q.weight" with`},
		{"queries and keys exchanged", func(p *onnxpb.ModelProto) { in := aftNode(p).Input; in[0], in[1] = in[1], in[0] }, `is "AFTLocal" of "layers.0.k", "layers.0.q"`},
		{"queries not of x", func(p *onnxpb.ModelProto) { p.Graph.Node[1].Input[0] = "layers.0.q.weight_t" }, `is "MatMul" of "layers.0.q.weight_t", "layers.0.q.weight_t", want the graph as it was exported, there "MatMul" of "x"`},
		{"another operator in a projection", func(p *onnxpb.ModelProto) { p.Graph.Node[2].OpType = "Sub" }, `is "Sub" of`},
		{"a residual in place of the bias", func(p *onnxpb.ModelProto) { p.Graph.Node[2].Input[1] = "x" }, `is "Add" of "layers.0.q.product", "x"`},
		{"a weight that is not turned", func(p *onnxpb.ModelProto) {
			p.Graph.Node[0].Attribute = append(p.Graph.Node[0].Attribute, onnxpb.IntsAttr("perm", 0, 1))
		}, `attribute "perm"`},
		{"a node beside", func(p *onnxpb.ModelProto) {
			p.Graph.Node = append(p.Graph.Node, onnxpb.Node("Relu", []string{"x"}, []string{"r"}))
		}, `"Relu"`},
		{"an output of another name", func(p *onnxpb.ModelProto) {
			p.Graph.Node = append(p.Graph.Node, onnxpb.Node("Relu", []string{"y"}, []string{"z"}))
			p.Graph.Output[0].Name = "z"
		}, `has the outputs "z" (float32), want "y" (float32)`},
		{"a node after the last layer", func(p *onnxpb.ModelProto) {
			last := p.Graph.Node[len(p.Graph.Node)-1]
			last.Output[0] = "z"
			p.Graph.Node = append(p.Graph.Node, onnxpb.Node("Relu", []string{"z"}, []string{"y"}))
		}, `node that makes "z"`},
		{"a weight beside", func(p *onnxpb.ModelProto) {
			p.Graph.Initializer = append(p.Graph.Initializer, &onnxpb.TensorProto{Name: "layers.7.q.weight"})
		}, `"layers.7.q.weight"`},
		{"a weight twice", func(p *onnxpb.ModelProto) {
			p.Graph.Initializer = append(p.Graph.Initializer, p.Graph.Initializer[0])
		}, "two of that name"},
		{"O31 metadata twice", func(p *onnxpb.ModelProto) {
			p.MetadataProps = append(p.MetadataProps, &onnxpb.StringStringEntryProto{Key: "k"}, &onnxpb.StringStringEntryProto{Key: "k"})
		}, `metadata "k": there are two of that key`},
		{"an attribute out of range", func(p *onnxpb.ModelProto) {
			for _, a := range aftNode(p).Attribute {
				if a.Name == "window" {
					a.I = ptr(int64(-1))
				}
			}
		}, `attribute "window" is -1`},
		{"a node missing at the end", func(p *onnxpb.ModelProto) {
			p.Graph.Node = p.Graph.Node[:len(p.Graph.Node)-1]
		}, "the graph as it was exported"},
		{"a value twice", func(p *onnxpb.ModelProto) { p.Graph.Node = append(p.Graph.Node, p.Graph.Node[0]) }, "two nodes make it"},
		{"a weight missing", func(p *onnxpb.ModelProto) { p.Graph.Initializer = p.Graph.Initializer[1:] }, `"layers.0.q.weight"`},
		{"an integer weight", func(p *onnxpb.ModelProto) {
			ints, _ := tensor.FromInt64s([]int{1}, []int64{1})
			p.Graph.Initializer[0] = onnxpb.TensorToProto("layers.0.q.weight", ints)
		}, `"layers.0.q.weight"`},
		{"no output", func(p *onnxpb.ModelProto) { p.Graph.Output = nil }, "has the outputs none"},
		{"a window that does not fit the band", func(p *onnxpb.ModelProto) {
			for _, a := range aftNode(p).Attribute {
				if a.Name == "window" {
					a.I = ptr(int64(2))
				}
			}
		}, "layer 0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := graphOf(t, load(t, testdata("local.bin")), tensor.Float32)
			c.change(p)
			path := encode(t, p)
			_, _, err := importer.Load(path, importer.Options{})
			wantBadFile(t, c.name, err, path, c.text)
		})
	}
}

// What a model of ours says beside its nodes: a grid or taps that are none, of any type, are refused.
func TestONNXConstantsRefused(t *testing.T) {
	fixed := load(t, testdata("conv2d.bin"))
	fixed.Blocks[0].Layer.Grid = [2]int{2, 3}
	good := graphOf(t, fixed, tensor.Float32)
	for name, change := range map[string]func(grid *onnxpb.TensorProto){
		"a negative height": func(grid *onnxpb.TensorProto) { put(t, grid, []int{2}, -1, 3) },
		"three numbers":     func(grid *onnxpb.TensorProto) { put(t, grid, []int{3}, 1, 2, 3) },
		"floats":            func(grid *onnxpb.TensorProto) { grid.DataType = 1; grid.Dims = []int64{4} },
		"cut off":           func(grid *onnxpb.TensorProto) { grid.RawData = grid.RawData[:5] },
		"of no type":        func(grid *onnxpb.TensorProto) { grid.DataType = 99 },
	} {
		p := proto.Clone(good).(*onnxpb.ModelProto)
		i := slices.IndexFunc(p.Graph.Initializer, func(w *onnxpb.TensorProto) bool { return w.Name == "grid" })
		if i < 0 {
			t.Fatal("the graph holds no grid")
		}
		change(p.Graph.Initializer[i])
		_, err := importer.FromONNX("x.onnx", p, &importer.Source{})
		wantBadFile(t, name, err, "x.onnx", `"grid"`)
	}
}

// The taps of a step form are a constant beside it: one that is none, or is not there to be read, is refused.
func TestONNXTapsRefused(t *testing.T) {
	good, err := wiringtest.Proto(wiringtest.Stateful()[0].Model, wiring.Options{DType: tensor.Float32, Opset: 17, Stateful: true})
	if err != nil {
		t.Fatal(err)
	}
	const name = "layers.0.taps_end"
	for what, c := range map[string]struct {
		change func(taps *onnxpb.TensorProto)
		text   string
	}{
		"none":     {func(taps *onnxpb.TensorProto) { put(t, taps, []int{1}, 0) }, "is no number of taps"},
		"too many": {func(taps *onnxpb.TensorProto) { put(t, taps, []int{1}, 1<<40) }, "is no number of taps"},
		"two":      {func(taps *onnxpb.TensorProto) { put(t, taps, []int{2}, 1, 1) }, "is no number of taps"},
		"cut off":  {func(taps *onnxpb.TensorProto) { taps.RawData = taps.RawData[:3] }, "raw_data has 3 bytes, want 8"},
	} {
		p := proto.Clone(good).(*onnxpb.ModelProto)
		taps := stored(p, name)
		c.change(taps)
		taps.Name = name
		_, err := importer.FromONNX("x.onnx", p, &importer.Source{})
		wantBadFile(t, what, err, "x.onnx", name, c.text)
	}
}

// A weight that is read at once, and whose file has changed since its checksum was taken.
func TestONNXChecksum(t *testing.T) {
	p := graphOf(t, load(t, testdata("local.bin")), tensor.Float32)
	bias, dir := stored(p, "layers.0.q.bias"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w"), bias.RawData, 0o600); err != nil {
		t.Fatal(err)
	}
	bias.RawData, bias.DataLocation = nil, onnxpb.TensorProto_EXTERNAL
	bias.ExternalData = []*onnxpb.StringStringEntryProto{{Key: "location", Value: "w"}, {Key: "checksum", Value: strings.Repeat("0", 40)}}
	path := filepath.Join(dir, "x.onnx")
	_, err := importer.FromONNX(path, p, &importer.Source{})
	wantBadFile(t, "another checksum", err, path, `tensor "layers.0.q.bias": data file`, "its SHA-1 is")
}

// put makes an initialiser of integers.
func put(t *testing.T, to *onnxpb.TensorProto, shape []int, values ...int64) {
	t.Helper()
	x, err := tensor.FromInt64s(shape, values)
	if err != nil {
		t.Fatal(err)
	}
	proto.Reset(to)
	proto.Merge(to, onnxpb.TensorToProto("grid", x))
}

// Rule O7 of docs/hostile.md: a model beyond protobuf's limit is refused by its size, and not read.
func TestONNXTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := os.WriteFile(path, []byte{8, 8, 0x3a, 0}, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 3<<30); err != nil {
		t.Skip("no sparse files here:", err)
	}
	_, _, err := importer.Load(path, importer.Options{})
	wantBadFile(t, "a model of 3 GiB", err, path, "has 3221225472 bytes, want at most 2147483647", "external data")
}

// A config beside a checkpoint that is no plain file of a bearable size is an error, and nothing is read of it.
func TestConfigRefused(t *testing.T) {
	data, err := os.ReadFile(testdata("full.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for what, make := range map[string]func(path string) error{
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"2 MiB":    func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte(" "), 2<<20), 0o600) },
	} {
		for _, name := range []string{"config.json", "preprocessor_config.json"} {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "m.bin"), data, 0o600), make(path)); err != nil {
				t.Fatal(err)
			}
			_, _, err := importer.Load(filepath.Join(dir, "m.bin"), importer.Options{})
			wantBadFile(t, what, err, path, "no regular file of at most 1 MiB")
		}
	}
}

func TestONNXTakesNoFlags(t *testing.T) {
	path := encode(t, graphOf(t, load(t, testdata("local.bin")), tensor.Float32))
	_, _, err := importer.Load(path, importer.Options{Window: 2, Causal: ptr(true)})
	var flag *importer.FlagError
	if !errors.As(err, &flag) || cmp.Diff(flag.Given, []string{"--causal", "--window"}) != "" || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want a FlagError about --causal and --window", err)
	}
}

// FuzzONNX: whatever graph claims to be ours gives a model that holds together, or an error that means a bad file.
func FuzzONNX(f *testing.F) {
	for _, name := range []string{"simple.bin", "local.bin", "conv2d.bin"} {
		m, _, err := importer.Load(testdata(name), importer.Options{})
		if err != nil {
			f.Fatal(err)
		}
		data, err := onnxpb.Encode(graphOf(&testing.T{}, m, tensor.Float32))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, n := range wiringtest.Networks() {
		data, err := onnxpb.Encode(graphOf(&testing.T{}, n.Model, tensor.Float32))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := onnxpb.Decode(data)
		if err != nil {
			return
		}
		p.ProducerName = "aftonnx"
		m, err := importer.FromONNX("x.onnx", p, &importer.Source{})
		if err != nil {
			wantBadFile(t, "x.onnx", err, "x.onnx")
		} else if err := m.Check(); err != nil {
			t.Errorf("a model that does not hold together: %v", err)
		}
	})
}
