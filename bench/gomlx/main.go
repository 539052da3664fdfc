// Gomlx times aftonnx's native engine beside onnx-gomlx with GoMLX's backend in pure Go, on the same model and inputs, in turns.
// It is a module of its own, so that aftonnx depends on neither.
//
//	aftonnx export testdata/model.bin -o model.onnx
//	cd bench/gomlx
//	GOLANG_PROTOBUF_REGISTRATION_CONFLICT=ignore go run . -sequence 256 ../../model.onnx
//
// Both libraries register ONNX's messages in protobuf's registry under one name, which is fatal unless that variable says
// otherwise. onnx-gomlx (0.3.4) knows neither functions nor Sigmoid, ReduceMax and ReduceSum, and can run AFT in no form: nodes of
// ai.aft are replaced by the sum of their queries, keys and values, in the model that both engines then run. What is compared is
// all else: embeddings, projections, norms, GELU, heads.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/gomlx/gomlx/backends"
	_ "github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	gomlx "github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/onnx-gomlx/onnx"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/verify"
)

func main() {
	batch := flag.Int("batch", 1, "the batch of the inputs")
	sequence := flag.Int("sequence", 256, "their sequence length")
	rounds := flag.Int("rounds", 7, "how often each engine gets its turn")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: gomlx [flags] model.onnx")
	}
	if err := compare(flag.Arg(0), *batch, *sequence, *rounds); err != nil {
		log.Fatal(err)
	}
}

// engine runs the model once and returns its first output.
type engine struct {
	name  string
	run   func() ([]float64, error)
	times []time.Duration
	y     []float64
}

func compare(path string, batch, sequence, rounds int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	model, err := onnxgraph.Decode(data, onnxgraph.Options{Dir: filepath.Dir(path)})
	if err != nil {
		return err
	}
	if n := replaceAFT(model.Proto()); n > 0 {
		fmt.Printf("%d nodes of ai.aft are replaced by sums\n", n)
		if data, err = proto.Marshal(model.Proto()); err != nil {
			return err
		}
		if model, err = onnxgraph.Decode(data, onnxgraph.Options{Dir: filepath.Dir(path)}); err != nil {
			return err
		}
	}
	inputs, err := verify.SizedInputs(model, batch, sequence, 0)
	if err != nil {
		return err
	}
	output := model.Outputs()[0].Name
	native := &engine{name: "aftonnx native, float64", run: func() ([]float64, error) {
		out, err := model.Run(context.Background(), inputs, onnxgraph.RunOptions{})
		if err != nil {
			return nil, err
		}
		return out[output].Float64s(), nil
	}}
	other, err := newGoMLX(data, model, inputs)
	if err != nil {
		return fmt.Errorf("onnx-gomlx: %w", err)
	}
	list := []*engine{native, other}
	for range rounds + 1 { // the first warms up
		for _, e := range list {
			start := time.Now()
			if e.y, err = e.run(); err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			e.times = append(e.times, time.Since(start))
		}
	}
	report(list)
	return nil
}

// replaceAFT puts Add(Add(Q, K), V) in the place of every AFT node.
func replaceAFT(m *onnxpb.ModelProto) (count int) {
	g := m.GetGraph()
	nodes := g.Node
	g.Node = nil
	for _, n := range nodes {
		if n.Domain != ops.Domain {
			g.Node = append(g.Node, n)
			continue
		}
		first := proto.Clone(n).(*onnxpb.NodeProto)
		first.OpType, first.Domain, first.Attribute = "Add", "", nil
		first.Input, first.Output = n.Input[:2], []string{n.Output[0] + ".sum"}
		second := proto.Clone(first).(*onnxpb.NodeProto)
		first.Name += ".sum"
		second.Input, second.Output = []string{first.Output[0], n.Input[2]}, n.Output
		g.Node = append(g.Node, first, second)
		count++
	}
	if count > 0 {
		m.Functions = nil
	}
	return count
}

func report(list []*engine) {
	fmt.Printf("%d cores\n", runtime.GOMAXPROCS(0))
	base := median(list[0].times[1:])
	for _, e := range list {
		m := median(e.times[1:])
		fmt.Printf("%-28s %8.2f ms  %6.2f times\n", e.name, float64(m)/1e6, float64(m)/float64(base))
	}
	worst, largest := 0.0, 0.0
	for i, v := range list[0].y {
		worst, largest = max(worst, math.Abs(v-list[1].y[i])), max(largest, math.Abs(v))
	}
	fmt.Printf("largest difference %.3g, of an output of %.3g\n", worst, largest)
}

func median(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// newGoMLX compiles the model for GoMLX's backend in pure Go.
func newGoMLX(data []byte, ours *onnxgraph.Model, inputs map[string]*ort.Tensor) (e *engine, err error) {
	defer func() { // GoMLX reports what it cannot do by panics
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	model, err := onnx.Parse(data)
	if err != nil {
		return nil, err
	}
	backend, err := backends.NewWithConfig("go")
	if err != nil {
		return nil, err
	}
	weights := gomlx.New()
	if err := model.VariablesToContext(weights); err != nil {
		return nil, err
	}
	var names []string
	var given []any
	for _, v := range ours.Inputs() {
		t := inputs[v.Name]
		names = append(names, v.Name)
		switch t.DType {
		case ort.Int64:
			ids, err := t.Int64s()
			if err != nil {
				return nil, err
			}
			given = append(given, tensors.FromFlatDataAndDimensions(ids, t.Shape...))
		case ort.Float32:
			values, err := ort.Values[float32](t)
			if err != nil {
				return nil, err
			}
			given = append(given, tensors.FromFlatDataAndDimensions(values, t.Shape...))
		default:
			return nil, fmt.Errorf("input %q is %s, want int64 or float32", v.Name, t.DType)
		}
	}
	exec, err := gomlx.NewExec(backend, weights, func(ctx *gomlx.Context, in []*graph.Node) []*graph.Node {
		named := map[string]*graph.Node{}
		for i, name := range names {
			named[name] = in[i]
		}
		return model.CallGraph(ctx, in[0].Graph(), named)
	})
	if err != nil {
		return nil, err
	}
	run := func() (y []float64, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%v", p)
			}
		}()
		out, err := exec.Exec(given...)
		if err != nil {
			return nil, err
		}
		flat, err := tensors.CopyFlatData[float32](out[0])
		if err != nil {
			return nil, err
		}
		y = make([]float64, len(flat))
		for i, v := range flat {
			y[i] = float64(v)
		}
		return y, nil
	}
	_, err = run() // compiles
	return &engine{name: "onnx-gomlx, backend go, float32", run: run}, err
}
