package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ort"
)

// Options say what is measured and how.
type Options struct {
	Cases    []Case
	Models   []Model // whole networks
	Fused    []FusedModel
	Decoding []int // positions at which a token is timed, see DecodePositions
	Threads  int
	Spinning bool
	Plan     Plan
	Step     func(what string) // called before every case; may be nil
}

// DefaultPlan is three repeats of five rounds.
func DefaultPlan() Plan { return Plan{Repeats: 3, Rounds: 5, Runs: 3} }

// Run measures. An output that is wrong is an error that wraps ErrMismatch, and no figures.
func Run(ctx context.Context, rt *ort.Runtime, o Options) ([]Row, error) {
	var rows []Row
	step := o.Step
	if step == nil {
		step = func(string) {}
	}
	for _, c := range o.Cases {
		step(c.Name())
		more, err := measureCase(ctx, rt, c, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name(), err)
		}
		rows = append(rows, more...)
	}
	for _, m := range o.Models {
		step(m.Name)
		more, err := measureModel(ctx, rt, m, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		rows = append(rows, more...)
	}
	for _, m := range o.Fused {
		step(m.Name)
		more, err := measureFused(ctx, rt, m, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		rows = append(rows, more...)
	}
	for _, position := range o.Decoding {
		step(fmt.Sprintf("decoding at position %d", position))
		more, err := measureDecoding(ctx, rt, position, o)
		if err != nil {
			return nil, fmt.Errorf("decoding at position %d: %w", position, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// ErrMismatch is wrapped by errors that say that an engine computed something else.
var ErrMismatch = errors.New("wrong output")

// lab is where the runners of one case are made.
type lab struct {
	ctx context.Context
	rt  *ort.Runtime
	o   Options
	c   Case
	d   *data

	list []*runner
}

func (l *lab) close() {
	for _, r := range l.list {
		if r.close != nil {
			r.close()
		}
	}
}

// measureCase measures every engine at one case.
func measureCase(ctx context.Context, rt *ort.Runtime, c Case, o Options) ([]Row, error) {
	l := &lab{ctx: ctx, rt: rt, o: o, c: c, d: newData(c, Ordinary)}
	defer func() { l.close() }()
	kernelOut, err := l.operators()
	if err != nil {
		return nil, err
	}
	if err := l.others(kernelOut); err != nil {
		return nil, err
	}
	floor, err := l.floors()
	if err != nil {
		return nil, err
	}
	if err := interleave(ctx, l.list, o.Plan); err != nil {
		return nil, err
	}
	return append(figures(l.list, l.c), floor(l.list)...), nil
}

// figures completes the rows of a case, leaving of several graphs of a user the fastest. The first runner is the kernel.
func figures(list []*runner, c Case) []Row {
	var rows []Row
	user := -1
	for _, r := range list {
		if r.row.Engine == Floor {
			continue
		}
		row := r.complete(list[0])
		if r.row.Engine != MHA {
			row.GFLOPS = 2 * c.products() / row.MedianMS / 1e6
		}
		bytes := c.bytes()
		if row.DType == tensor.Float16.String() {
			bytes /= 2
		}
		row.GBS = bytes / row.MedianMS / 1e6
		if row.Engine == User && user >= 0 {
			if row.MedianMS < rows[user].MedianMS {
				rows[user] = row
			}
			continue
		}
		if row.Engine == User {
			user = len(rows)
		}
		rows = append(rows, row)
	}
	return rows
}

// operators adds the kernel on every input and in float16, and the function body.
func (l *lab) operators() (*tensor.Tensor, error) {
	y, err := l.operator(Row{Engine: Kernel, DType: tensor.Float32.String()}, l.d, tensor.Float32)
	if err != nil {
		return nil, err
	}
	if _, err := l.operator(Row{Engine: Kernel, DType: tensor.Float16.String()}, l.d, tensor.Float16); err != nil {
		return nil, err
	}
	for _, in := range inputs()[1:] {
		row := Row{Engine: Kernel, DType: tensor.Float32.String(), Input: in}
		if _, err := l.operator(row, newData(l.c, in), tensor.Float32); err != nil {
			return nil, err
		}
	}
	if l.bodyFits() {
		_, err = l.operator(Row{Engine: Portable, DType: tensor.Float32.String()}, l.d, tensor.Float32)
	}
	return y, err
}

// bodyFits reports whether the dense forms of the function body and of users' graphs stay below a gigabyte.
func (l *lab) bodyFits() bool {
	return l.c.Op == "AFTSimple" || l.c.Op == "AFTConv1D" || l.c.T <= 8192
}

// operator adds our operator as a model of one node, with a constant W.
func (l *lab) operator(row Row, d *data, dtype tensor.DType) (*tensor.Tensor, error) {
	c := l.c
	def, ok := ops.Lookup(c.Op)
	if !ok {
		return nil, fmt.Errorf("no operator %q", c.Op)
	}
	feed, err := d.feed(dtype, [3]string{"Q", "K", "V"})
	if err != nil {
		return nil, err
	}
	described := []ops.Input{{DType: dtype, Shape: feed["Q"].Shape}, {DType: dtype, Shape: feed["K"].Shape},
		{DType: dtype, Shape: feed["V"].Shape}}
	model, err := export.Operator(def, c.attrs(), described, export.Options{DType: dtype})
	if err != nil {
		return nil, err
	}
	if d.w != nil {
		w, err := tensorOf(dtype, c.bias(), d.w)
		if err != nil {
			return nil, err
		}
		fix(model, "W", w)
	}
	if c.Op == "AFTConv2D" {
		grid, err := tensor.FromInt64s([]int{2}, []int64{int64(c.Grid[0]), int64(c.Grid[1])})
		if err != nil {
			return nil, err
		}
		fix(model, "grid", grid)
	}
	before := ort.KernelCalls()[kernel.Key{Op: c.Op, DType: dtype}]
	y, err := l.add(row, model, feed, "Y")
	if err != nil {
		return nil, err
	}
	if ran := ort.KernelCalls()[kernel.Key{Op: c.Op, DType: dtype}] > before; ran != (row.Engine == Kernel) {
		return nil, fmt.Errorf("%s: %w: the kernel ran: %v", row.Engine, ErrMismatch, ran)
	}
	if row.Engine == Kernel {
		err = d.checkKernel(y)
	} else {
		err = checkAgainst(y, l.list[0].out(), largestOf(d.v))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", row.Engine, ErrMismatch, err)
	}
	return y, nil
}

// fix makes an input of the model a constant.
func fix(m *onnxpb.ModelProto, name string, t *tensor.Tensor) {
	var rest []*onnxpb.ValueInfoProto
	for _, in := range m.Graph.Input {
		if in.Name != name {
			rest = append(rest, in)
		}
	}
	m.Graph.Input = rest
	m.Graph.Initializer = append(m.Graph.Initializer, onnxpb.TensorToProto(name, t))
}

// others adds the graphs of users and the attention.
func (l *lab) others(kernelOut *tensor.Tensor) error {
	feed, err := l.d.feed(tensor.Float32, [3]string{"q", "k", "v"})
	if err != nil {
		return err
	}
	if l.bodyFits() {
		for _, v := range userGraphs(l.c, l.d.w) {
			y, err := l.add(Row{Engine: User, Graph: v.name, DType: tensor.Float32.String()}, v.model, feed, "y")
			if err != nil {
				return fmt.Errorf("%s, %s: %w", User, v.name, err)
			}
			if err := checkAgainst(y, kernelOut, largestOf(l.d.v)); err != nil {
				return fmt.Errorf("%s, %s: %w: %w", User, v.name, ErrMismatch, err)
			}
		}
	}
	model, ok := attention(l.c)
	if !ok || l.c.T > 8192 { // heads of T x T
		return nil
	}
	same := map[string]*tensor.Tensor{"q": feed["q"], "k": feed["v"], "v": feed["v"]} // its K has as many channels as Q
	_, err = l.add(Row{Engine: MHA, DType: tensor.Float32.String()}, model, same, "y")
	return err
}

// add loads a model, runs it once and adds it to the runners; returns its output, which later runs write again.
func (l *lab) add(row Row, model *onnxpb.ModelProto, feed map[string]*tensor.Tensor, output string) (*tensor.Tensor, error) {
	file, err := onnxpb.Encode(model)
	if err != nil {
		return nil, err
	}
	y, err := tensor.New(feed[firstOf(feed, "Q", "q")].DType, []int{l.c.B, l.c.T, l.c.D})
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // or what was freed before would serve, and not be counted
	ort.Trim()
	before, _, _ := resident()
	resetPeak()
	session, err := l.rt.LoadBytes(file, ort.SessionOptions{Threads: l.o.Threads, NoKernels: row.Engine != Kernel, NoSpinning: !l.o.Spinning})
	if err != nil {
		return nil, err
	}
	out := map[string]*tensor.Tensor{output: y}
	r := &runner{row: row, close: func() { session.Close() }, y: y}
	r.row.Case = l.c.Name()
	r.run = func(ctx context.Context) error { return session.RunInto(ctx, feed, out) }
	l.list = append(l.list, r)
	if err := r.run(l.ctx); err != nil {
		return nil, err
	}
	if _, peak, ok := resident(); ok {
		r.peak = max(0, peak-before)
	}
	return y, nil
}

func firstOf(feed map[string]*tensor.Tensor, names ...string) string {
	for _, name := range names {
		if feed[name] != nil {
			return name
		}
	}
	return ""
}
