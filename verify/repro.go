package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
)

// Bundle is a failure made small: a model of the first layer that differs, or the whole model where layers cannot be told
// apart, what goes into it, and what should come out. Anything that runs ONNX can run it.
type Bundle struct {
	Engine  Engine
	Layer   string // the first value that differs; "" where the model is whole
	Case    string // the inputs of the model that it was found on
	Problem string
	Model   []byte // weights inside
	Inputs  []NamedTensor
	Outputs []NamedTensor // the truth, in the model's types
	Report  *Report       // of the smallest failing run
}

// NamedTensor is a value with its name.
type NamedTensor struct {
	Name  string
	Value *tensor.Tensor
}

// ErrNothingToReproduce says that no output of a report differs.
var ErrNothingToReproduce = errors.New("nothing to reproduce: no output of an engine differs")

// failing keeps the first layer that an engine got wrong.
type failing struct {
	run     *modelRun
	subject *subject
	index   int            // of the case
	name    string         // the value that differs; "": the layers cannot be told apart
	from    string         // the value that its truth is computed from; "": the inputs of the model
	input   *tensor.Tensor // that value
	want    tensor.Array
}

// Reproduce looks for the smallest input on which the first engine that failed in a report of Model still fails: seeded inputs
// are tried as one sequence of 1, 2, 4 positions and so on, and then between the last that passed and the first that failed.
// Given inputs stay as they are.
func Reproduce(ctx context.Context, path string, o Options, r *Report) (*Bundle, error) {
	i := slices.IndexFunc(r.Results, func(row Result) bool { return !row.Pass && row.Kind == KindOutput })
	if i < 0 {
		return nil, ErrNothingToReproduce
	}
	o.Full = false
	if e := r.Results[i].Engine; e != Reference {
		o.Engines = []Engine{Reference, e}
	}
	s := &search{ctx: ctx, path: path, options: o}
	return s.smallest()
}

// search is a Reproduce on its way.
type search struct {
	ctx     context.Context
	path    string
	options Options
}

func (s *search) smallest() (*Bundle, error) {
	if len(s.options.Inputs) == 0 && s.options.Grid == [2]int{} {
		longest := s.options.Sequence
		if longest == 0 {
			longest = longestChecked
		}
		low := 0
		for n := 1; n <= longest; n = min(2*n, max(longest, n+1)) {
			b := s.try(n)
			if b == nil {
				low = n
				continue
			}
			return s.between(low, n, b), s.ctx.Err()
		}
	}
	b, err := s.run(s.options)
	if err == nil && b == nil {
		err = errors.New("the failure did not happen again")
	}
	return b, err
}

// between is the shortest failing sequence above low, where high fails with b.
func (s *search) between(low, high int, b *Bundle) *Bundle {
	for high-low > 1 {
		middle := (low + high) / 2
		if found := s.try(middle); found != nil {
			b, high = found, middle
		} else {
			low = middle
		}
	}
	return b
}

// try runs one sequence of n positions; nil: it passes, or the model does not take it.
func (s *search) try(n int) *Bundle {
	o := s.options
	o.Batch, o.Sequence = 1, n
	b, err := s.run(o)
	if err != nil {
		return nil
	}
	return b
}

// run verifies and makes a bundle of what fails, nil if nothing does.
func (s *search) run(o Options) (*Bundle, error) {
	found := &failing{}
	var b *Bundle
	report, err := verifyModel(s.ctx, s.path, o, found, func(r *Report) (err error) {
		if at := slices.IndexFunc(r.Results, func(row Result) bool { return !row.Pass && row.Kind == KindOutput }); at >= 0 {
			b, err = found.bundle(&r.Results[at])
		}
		return err
	})
	if err != nil || b == nil {
		return nil, err
	}
	b.Report = report
	return b, nil
}

// noteFailing notes a value that differs, if it is the first.
func (w *walk) noteFailing(v *rival, j int, name string, want tensor.Array) {
	f := w.run.found
	if f == nil || f.subject != nil || Stateful(w.s.graph.Proto()) {
		return
	}
	from := w.before(name)
	if from == "" {
		*f = failing{run: w.run, subject: w.s, index: j, name: name, want: want}
	} else if in := v.values[j][from]; in != nil { // else the block before is in another part
		*f = failing{run: w.run, subject: w.s, index: j, name: name, want: want, from: from, input: in}
	}
}

// noteRows notes the model that rows fail of, where no layer of it was found.
func (f *failing) noteRows(r *modelRun, s *subject, rows []Result) {
	if f != nil && f.subject == nil && slices.ContainsFunc(rows, func(row Result) bool { return !row.Pass }) {
		*f = failing{run: r, subject: s}
	}
}

// before is the value that a layer's truth is computed from.
func (w *walk) before(name string) string {
	switch {
	case w.block < 0:
		return ""
	case w.block == len(w.model.Blocks):
		return wiring.BlockOutput(w.model, w.block-1)
	}
	if names := blockNames(w.model, w.block); name == names.output && names.attended != names.output {
		return names.attended
	}
	if w.block > 0 {
		return wiring.BlockOutput(w.model, w.block-1)
	}
	if w.hasStem() {
		return wiring.Embedded
	}
	return ""
}

// bundle cuts the layer that differs out of the model.
func (f *failing) bundle(row *Result) (*Bundle, error) {
	b := &Bundle{Engine: row.Engine, Layer: f.name, Problem: row.Problem}
	p := f.subject.graph.Proto()
	var want map[string]tensor.Array
	if f.name != "" {
		var err error
		if p, err = cut(p, cutting{from: f.from, to: []string{f.name}, dtype: f.subject.dtype}); err != nil {
			return nil, err
		}
		want = map[string]tensor.Array{f.name: f.want}
	} else {
		if row.Worst != nil {
			f.index = max(0, slices.IndexFunc(f.run.cases, func(c *modelCase) bool { return strings.HasPrefix(row.Worst.Case, c.id) }))
		}
		want = f.run.want[f.index]
	}
	c := f.run.cases[f.index]
	b.Case = c.id
	whole, err := withWeights(p, f.subject.dir)
	if err != nil {
		return nil, err
	}
	if b.Model, err = onnxpb.Encode(whole); err != nil {
		return nil, err
	}
	return b, b.fill(whole, f, c, want)
}

// fill gives a bundle its inputs and outputs, in the order of the graph.
func (b *Bundle) fill(p *onnxpb.ModelProto, f *failing, c *modelCase, want map[string]tensor.Array) error {
	graph, err := onnxgraph.New(p, onnxgraph.Options{})
	if err != nil {
		return err
	}
	for _, v := range graph.Inputs() {
		t := c.inputs[v.Name]
		if v.Name == f.from {
			if t, err = f.input.Cast(v.DType); err != nil {
				return err
			}
		}
		if t == nil {
			return fmt.Errorf("input %q: has no value", v.Name)
		}
		b.Inputs = append(b.Inputs, NamedTensor{v.Name, t})
	}
	for _, v := range graph.Outputs() {
		truth, ok := want[v.Name]
		if !ok {
			continue // a state, of which nothing is known
		}
		t, err := truth.Tensor(v.DType)
		if err != nil {
			return fmt.Errorf("output %q: %w", v.Name, err)
		}
		b.Outputs = append(b.Outputs, NamedTensor{v.Name, t})
	}
	return nil
}

// withWeights is a model with its external data inside.
func withWeights(p *onnxpb.ModelProto, dir string) (*onnxpb.ModelProto, error) {
	folder := onnxpb.NewFolder(dir)
	g := &onnxpb.GraphProto{Name: p.GetGraph().GetName(), Node: p.GetGraph().GetNode(), Input: p.GetGraph().GetInput(),
		Output: p.GetGraph().GetOutput()}
	for _, t := range p.GetGraph().GetInitializer() {
		if _, external, err := onnxpb.ExternalData(t); err != nil || !external {
			if err != nil {
				return nil, err
			}
			g.Initializer = append(g.Initializer, t)
			continue
		}
		w, err := folder.Weight(t)
		if err != nil {
			return nil, err
		}
		value := &tensor.Tensor{DType: w.DType(), Shape: w.Shape()}
		if err := w.Parts(func(part *tensor.Tensor) error {
			value.Data = append(value.Data, part.Data...)
			return nil
		}); err != nil {
			return nil, err
		}
		g.Initializer = append(g.Initializer, onnxpb.TensorToProto(t.GetName(), value))
	}
	return &onnxpb.ModelProto{IrVersion: p.GetIrVersion(), ProducerName: "aftonnx repro", OpsetImport: p.GetOpsetImport(),
		Functions: p.GetFunctions(), Graph: g}, nil
}
