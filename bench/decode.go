package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/reference"
)

// The networks whose decoding is measured: pre-norm blocks as in the paper's language models, over bytes, without positions of
// their own. They differ in what stands where attention stands.
const (
	decodeBlocks   = 2
	decodeDim      = 512
	decodeHeads    = 8
	decodeWindow   = 32 // AFT-local's
	decodeTaps     = 16 // AFT-conv's
	decodeAlphabet = 256

	// decodeRuns is how many times as many tokens as runs of other cases are timed in a row: the caches of AFT-full and the
	// Transformer drive the others' weights out of the processor's.
	decodeRuns = 5
)

// The names of the networks: what a row of decoding says in Graph.
const (
	DecodeSimple    = "AFT-simple"
	DecodeLocal     = "AFT-local s=32"
	DecodeConv      = "AFT-conv h=8 s=16"
	DecodeFull      = "AFT-full"
	DecodeAttention = "Transformer" // with a cache of keys and values, by com.microsoft MultiHeadAttention
)

// DecodePositions are how many tokens a sequence has had before the one that is timed.
func DecodePositions() []int { return []int{256, 1024, 4096, 16384} }

// decodeNetworks are what is timed at every position, the base of its ratios first.
func decodeNetworks() []string {
	return []string{DecodeLocal, DecodeSimple, DecodeConv, DecodeFull, DecodeAttention}
}

// measureDecoding times one token at a position, in every network on every engine, in turns. What the state holds does not
// change what a step costs.
func measureDecoding(ctx context.Context, rt *ort.Runtime, position int, o Options) ([]Row, error) {
	dir, err := os.MkdirTemp("", "aftonnx-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var list []*runner
	defer func() {
		for _, r := range list {
			r.close()
		}
	}()
	for _, network := range decodeNetworks() {
		path, err := buildDecoder(dir, network, position)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", network, err)
		}
		engines := []Engine{Kernel, Portable}
		if network == DecodeAttention {
			engines = []Engine{MHA}
		}
		for _, e := range engines {
			r, err := decodeRunner(rt, path, position, e, o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", network, err)
			}
			r.row.Case, r.row.Graph = fmt.Sprintf("decode/P%d", position), network
			list = append(list, r)
		}
	}
	plan := o.Plan
	plan.Runs *= decodeRuns
	if err := interleave(ctx, list, plan); err != nil {
		return nil, err
	}
	var rows []Row
	for i, r := range list {
		if r.row.Engine == Portable {
			if err := checkAgainst(r.y, list[i-1].y, largestOutput(r.y)); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrMismatch, r.row.Graph, err)
			}
		}
		rows = append(rows, r.complete(list[0]))
	}
	return rows, nil
}

// decodeRunner feeds one token and a state of small numbers.
func decodeRunner(rt *ort.Runtime, path string, position int, e Engine, o Options) (*runner, error) {
	s, err := rt.Load(path, ort.SessionOptions{Threads: o.Threads, NoKernels: e == Portable, NoSpinning: !o.Spinning})
	if err != nil {
		return nil, err
	}
	r := &runner{close: func() { s.Close() }, row: Row{Engine: e, DType: tensor.Float32.String()}}
	feed, out, err := decodeTensors(s, position)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for name, t := range feed {
		if _, isState := wiring.IsState(name); isState {
			r.row.StateBytes += len(t.Data)
		}
	}
	r.y = out[wiring.HeadOutput]
	r.run = func(ctx context.Context) error { return s.RunInto(ctx, feed, out) }
	return r, nil
}

func decodeTensors(s *ort.Session, position int) (feed, out map[string]*tensor.Tensor, err error) {
	feed, out = map[string]*tensor.Tensor{}, map[string]*tensor.Tensor{}
	make := func(v ort.Value, extra int) (*tensor.Tensor, error) {
		shape := []int{}
		for _, d := range v.Dims {
			size := d.Size
			switch d.Name {
			case "batch", "sequence":
				size = 1
			case "capacity":
				size = position + 1
			case "past":
				size = position + extra
			}
			shape = append(shape, size)
		}
		return tensor.New(v.DType, shape)
	}
	for _, v := range s.Inputs() {
		t, err := make(v, 0)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case v.Name == wiring.PositionInput:
			t, err = tensor.FromInt64s([]int{1}, []int64{int64(position)})
		case v.DType == tensor.Int64:
			t, err = tensor.FromInt64s(t.Shape, []int64{'a'})
		default:
			values := float32Values(t.Len(), uint64(len(v.Name)))
			if strings.HasSuffix(v.Name, ".d") { // a sum of exponentials
				for i := range values {
					values[i] = float32(position) + values[i]
				}
			}
			t.Data = floatBytes(values)
		}
		if err != nil {
			return nil, nil, err
		}
		feed[v.Name] = t
	}
	for _, v := range s.Outputs() {
		t, err := make(v, 1)
		if err != nil {
			return nil, nil, err
		}
		out[v.Name] = t
	}
	return feed, out, nil
}

// float32Values are numbers in -1..1 without a pattern that matters.
func float32Values(n int, seed uint64) []float32 {
	values := make([]float32, n)
	for i := range values {
		seed = seed*6364136223846793005 + 1442695040888963407
		values[i] = float32(int32(seed>>32)) / (1 << 31)
	}
	return values
}

// pattern is a weight whose numbers are made when they are written, a piece at a time.
func pattern(seed uint64, scale float64, shape ...int) tensor.Weight {
	return tensor.NewWeight(tensor.WeightOptions{Shape: shape, DType: tensor.Float32, Parts: func(yield func(*tensor.Tensor) error) error {
		left, err := tensor.NumElements(shape)
		if err != nil {
			return err
		}
		piece := float32Values(min(left, 1<<16), seed)
		for i := range piece {
			piece[i] *= float32(scale)
		}
		data := floatBytes(piece)
		for left > 0 {
			n := min(left, len(piece))
			if err := yield(&tensor.Tensor{DType: tensor.Float32, Shape: []int{n}, Data: data[:4*n]}); err != nil {
				return err
			}
			left -= n
		}
		return nil
	}})
}

// buildDecoder writes a network's stateful export.
func buildDecoder(dir, network string, position int) (string, error) {
	path := filepath.Join(dir, strings.ReplaceAll(network, " ", "-")+".onnx")
	layer := network
	if network == DecodeAttention {
		layer = DecodeSimple
	}
	m := decodeModel(layer, position+1)
	if network != DecodeAttention {
		staged, err := export.Stage(path, m, export.Options{Stateful: true}, export.FileOptions{})
		if err != nil {
			return "", err
		}
		return path, staged.Commit()
	}
	p, err := export.Model(m, export.Options{Stateful: true})
	if err != nil {
		return "", err
	}
	attend(p)
	data, err := onnxpb.Encode(p)
	if err != nil {
		return "", err
	}
	staged, err := atomicfile.Stage(path, atomicfile.Options{}, data)
	if err != nil {
		return "", err
	}
	return path, staged.Commit()
}

func decodeModel(network string, positions int) *reference.Model {
	seed := uint64(0)
	weight := func(scale float64, shape ...int) tensor.Weight {
		seed++
		return pattern(seed, scale, shape...)
	}
	linear := func(out, in int) reference.Linear {
		return reference.Linear{Weight: weight(1/math.Sqrt(float64(in)), out, in), Bias: make([]float64, out)}
	}
	norm := func() *reference.LayerNorm {
		return &reference.LayerNorm{Gain: slices.Repeat([]float64{1}, decodeDim), Bias: make([]float64, decodeDim), Eps: reference.DefaultEps}
	}
	m := &reference.Model{Tokens: &reference.TokenEmbedding{Weight: weight(1, decodeAlphabet, decodeDim)}, Norm: norm(), Tied: true}
	m.Head = &reference.Linear{Weight: m.Tokens.Weight}
	for range decodeBlocks {
		l := reference.Layer{Variant: reference.Simple, Options: reference.Options{Causal: true}}
		keys := decodeDim
		switch network {
		case DecodeLocal:
			l.Variant, l.Window, l.W = reference.Local, decodeWindow, weight(1, positions, decodeWindow)
		case DecodeConv:
			l.Variant, l.PadLeft, l.W, keys = reference.Conv1D, decodeTaps-1, weight(1, decodeHeads, decodeTaps), decodeHeads
		case DecodeFull:
			l.Variant, l.W = reference.Full, weight(1, positions, positions)
		}
		out := linear(decodeDim, decodeDim)
		l.Q, l.K, l.V, l.Out = linear(decodeDim, decodeDim), linear(keys, decodeDim), linear(decodeDim, decodeDim), &out
		m.Blocks = append(m.Blocks, reference.Block{Layer: l, Norm: norm(), Residual: true,
			MLP: &reference.MLP{Norm: *norm(), Up: linear(4*decodeDim, decodeDim), Down: linear(decodeDim, 4*decodeDim)}})
	}
	return m
}

// attend puts ONNX Runtime's fused attention, with its cache of keys and values, in the place of the AFT nodes.
func attend(p *onnxpb.ModelProto) {
	g := p.Graph
	stateless := func(v *onnxpb.ValueInfoProto) bool {
		_, isState := wiring.IsState(v.GetName())
		return isState
	}
	g.Input, g.Output = slices.DeleteFunc(g.Input, stateless), slices.DeleteFunc(g.Output, stateless)
	cache := func(name string) *onnxpb.ValueInfoProto {
		return onnxpb.ValueInfo(name, tensor.Float32, onnxpb.Dynamic("batch"), onnxpb.Fixed(decodeHeads), onnxpb.Dynamic("past"),
			onnxpb.Fixed(decodeDim/decodeHeads))
	}
	layer := 0
	for i, n := range g.Node {
		if n.Domain == "" {
			continue
		}
		past := []string{fmt.Sprintf("past_layers.%d.keys", layer), fmt.Sprintf("past_layers.%d.values", layer)}
		present := []string{fmt.Sprintf("present_layers.%d.keys", layer), fmt.Sprintf("present_layers.%d.values", layer)}
		layer++
		for j := range past {
			g.Input, g.Output = append(g.Input, cache(past[j])), append(g.Output, cache(present[j]))
		}
		g.Node[i] = onnxpb.Node("MultiHeadAttention", append([]string{n.Input[0], n.Input[1], n.Input[2], "", "", ""}, past...),
			append([]string{n.Output[0]}, present...), onnxpb.IntAttr("num_heads", decodeHeads), onnxpb.IntAttr("unidirectional", 1))
		g.Node[i].Name, g.Node[i].Domain = n.Name, "com.microsoft"
	}
	p.Functions = nil
	for _, imported := range p.OpsetImport {
		if imported.Domain != "" {
			imported.Domain = "com.microsoft"
		}
	}
}

// decodePosition is the position of a row of decoding.
func decodePosition(row Row) (int, bool) {
	text, ok := strings.CutPrefix(row.Case, "decode/P")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
