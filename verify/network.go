package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
	"github.com/aftonnx/aftonnx/reference"
)

// walk judges a model block by block. Noise that a residual adds to what it came from does not stay independent, and over
// many blocks no first-order bound is both safe and tight. So every block is held against the reference on what the engine
// itself put into it: that every block is right makes the model right, however much it amplifies rounding.
//
// A model whose weights exceed the budget is cut between blocks into parts. Each part is loaded, run on every engine with
// the reference's value in front of it, judged and dropped.
type walk struct {
	run    *modelRun
	s      *subject
	model  *reference.Model // the truth
	parts  []part
	rivals []*rival
	truth  []tensor.Array // by case: what the reference puts into the block at hand
	at     []reference.Places
	chain  bool    // whether the truth is computed on the way
	coarse *noise  // that of the whole model, for the engines that round; nil: it is not carried
	whole  []stage // by case: the block at hand with all noise that was carried to it
}

// part is some blocks, first to end-1.
type part struct{ first, end int }

// rival is an engine on its way through a model.
type rival struct {
	engine Engine
	bodies bool   // native, with the function bodies in the nodes' place
	twin   *rival // the bodies, as long as they are judged along with native
	led    bool   // it is a twin
	parted bool   // from its twin, after the block at hand
	row    *Result
	noise  noise
	values []map[string]*tensor.Tensor // by case: what it gave in the part at hand
	x      []tensor.Array              // by case: what it put into the block at hand
	lost   error                       // why its blocks cannot be told apart
}

func (v *rival) describe(c *modelCase, of string) string {
	id := c.id
	if v.bodies {
		id += ", bodies"
	}
	return id + ", " + of
}

// byBlocks is compare for a model whose reference is known.
func (r *modelRun) byBlocks(ctx context.Context, s *subject, label string) ([]Result, error) {
	w := &walk{run: r, s: s, model: r.truth.stored, parts: r.options.parts(r.truth)}
	w.chain = r.want == nil || len(w.parts) > 1
	rows := w.enter(label)
	for _, p := range w.parts {
		if err := w.runPart(ctx, p); err != nil {
			return nil, err
		}
		if err := w.judgePart(ctx, p); err != nil {
			return nil, err
		}
	}
	for _, v := range w.rivals {
		if err := w.conclude(ctx, v); err != nil {
			return nil, err
		}
	}
	var list []Result
	for _, row := range rows {
		list = append(list, *row)
	}
	return list, nil
}

// enter makes the rows, one an engine, and the rivals that share them.
func (w *walk) enter(label string) (rows []*Result) {
	r := w.run
	for _, e := range r.engines.list {
		if reason := r.idle(w.s, e); reason != "" {
			if e == Kernel {
				r.note("%s%s %s", label, e, reason)
			}
			continue
		}
		n := r.noiseOf(w.s, e)
		row := &Result{Name: label + wiring.OutputName(w.model), Kind: KindOutput, Engine: e, DType: w.s.dtype.String(),
			Pass: true, Derived: n.String() + "; block by block on the engine's own values"}
		if len(w.parts) > 1 {
			row.Derived += fmt.Sprintf(", in %d parts, each on the reference's value", len(w.parts))
		} else {
			row.Derived += "; the error is the whole model's"
		}
		rows = append(rows, row)
		w.rivals = append(w.rivals, &rival{engine: e, row: row, noise: n})
		if e == Native && len(w.s.graph.Proto().GetFunctions()) > 0 {
			bodies := &rival{engine: e, row: row, noise: n, bodies: true, led: true}
			w.rivals[len(w.rivals)-1].twin = bodies
			w.rivals = append(w.rivals, bodies)
		}
		if e != Native && len(w.parts) == 1 {
			w.coarse = &n
		}
	}
	return rows
}

// runPart runs a part on every engine and keeps what it gave.
func (w *walk) runPart(ctx context.Context, p part) error {
	c := cutting{dtype: w.s.dtype, to: w.values(p)}
	if p.first > 0 {
		c.from = wiring.BlockOutput(w.model, p.first-1)
	}
	m, err := cut(w.s.graph.Proto(), c)
	if err != nil {
		w.lose(err)
		return nil
	}
	model, err := newLoadable(m, w.s.dir)
	if err != nil {
		return err
	}
	for _, e := range w.run.engines.list {
		if err := w.runEngine(ctx, e, model, c.from); err != nil {
			return err
		}
	}
	return nil
}

// values are what a part must show.
func (w *walk) values(p part) []string {
	var names []string
	if p.first == 0 && (w.model.Tokens != nil || w.model.Patches != nil) {
		names = append(names, wiring.Embedded)
	}
	for i := p.first; i < p.end; i++ {
		of := blockNames(w.model, i)
		names = append(names, of.aft, of.attended, of.output)
	}
	if p.end == len(w.model.Blocks) {
		names = append(names, wiring.OutputName(w.model))
	}
	return append(names, w.states(p)...)
}

// states are what a part of a stateful model hands on to its next chunk.
func (w *walk) states(p part) []string {
	var names []string
	for _, out := range w.s.graph.Proto().GetGraph().GetOutput() {
		name, isState := wiring.IsState(out.GetName())
		for i := p.first; isState && i < p.end; i++ {
			if strings.HasPrefix(name, fmt.Sprintf("layers.%d.", i)) {
				names = append(names, out.GetName())
			}
		}
	}
	return names
}

// lose gives up on telling the blocks of an engine apart, or of all.
func (w *walk) lose(err error) {
	for _, v := range w.rivals {
		if v.lost == nil {
			v.lost = err
		}
	}
}

func (w *walk) runEngine(ctx context.Context, e Engine, model *loadable, from string) (err error) {
	var rivals []*rival
	for _, v := range w.rivals {
		if v.engine == e && v.lost == nil {
			rivals = append(rivals, v)
		}
	}
	if len(rivals) == 0 {
		return nil
	}
	w.run.options.progress("%s", e)
	p, err := w.run.engines.load(e, model)
	if err != nil {
		for _, v := range rivals {
			v.lost = err
		}
		return nil
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, v := range rivals {
		if v.lost = w.runRival(ctx, v, p, from); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// runRival runs the cases. In front of a part stands the reference's value, in the model's type.
func (w *walk) runRival(ctx context.Context, v *rival, p *program, from string) error {
	v.values, v.x = nil, nil
	for i, c := range w.run.cases {
		inputs := c.inputs
		if from != "" {
			x, err := w.truth[i].Tensor(w.s.dtype)
			if err != nil {
				return err
			}
			inputs = map[string]*tensor.Tensor{from: x}
			for name, t := range c.inputs {
				if p.takes[name] {
					inputs[name] = t
				}
			}
			v.x = append(v.x, x.Array())
		}
		out, calls, err := p.runCase(ctx, c, inputs, v.bodies)
		if err != nil {
			return err
		}
		v.values = append(v.values, out)
		if v.engine == Kernel {
			v.row.countCalls(c.id, calls, p.nodes)
		}
	}
	return nil
}

// judgePart holds the values of a part against the truth, and carries the truth and the noise to its end.
func (w *walk) judgePart(ctx context.Context, p part) error {
	if p.first == 0 {
		if err := w.judgeStem(); err != nil {
			return err
		}
	}
	for i := p.first; i < p.end; i++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.run.options.progress("reference: layer %d of %d", i+1, len(w.model.Blocks))
		b, err := holdBlock(&w.model.Blocks[i])
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		for j := range w.run.cases {
			if err := w.judgeBlock(b, i, j); err != nil {
				return w.run.unfit(fmt.Errorf("%s: layer %d: %w", w.run.cases[j].id, i, err))
			}
		}
	}
	if p.end < len(w.model.Blocks) {
		return nil
	}
	return w.judgeEnd()
}

// judgeStem is the embedding; a stack has none.
func (w *walk) judgeStem() error {
	for j, c := range w.run.cases {
		in := c.reference(w.model)
		value, at, err := w.model.Embed(in)
		if err != nil {
			return w.run.unfit(fmt.Errorf("engine %s: %s: %w", Reference, c.id, err))
		}
		w.truth, w.at = append(w.truth, value), append(w.at, at)
		for _, v := range w.rivals {
			h, _, err := v.noise.embed(w.model, in)
			if err != nil {
				return err
			}
			v.x = append(v.x, h.value)
			if w.model.Tokens != nil || w.model.Patches != nil {
				v.x[j] = w.judge(v, j, stage{name: wiring.Embedded, signal: h})
			}
		}
		if w.coarse == nil {
			continue
		}
		h, _, err := w.coarse.embed(w.model, in)
		if err != nil {
			return err
		}
		w.whole = append(w.whole, stage{signal: h})
	}
	return nil
}

// judgeBlock judges block i, its weights in b, in case j.
func (w *walk) judgeBlock(b *reference.Block, i, j int) error {
	names := blockNames(w.model, i)
	var shared tensor.Array
	for _, v := range w.leaders() {
		squares := shared
		stages, h, err := v.noise.attend(b, names, v.input(j), w.at[j], &squares)
		if err != nil {
			return err
		}
		for _, s := range stages {
			w.judgeBoth(v, j, s)
		}
		if v.row.Pass { // what a wrong value gives must not become another's measure
			shared = squares
		}
		if b.MLP == nil {
			v.separate()
			continue
		}
		if v.lost == nil { // the second half on the engine's own value of the first
			h = v.input(j)
		}
		y, err := v.noise.mlp(b.MLP, h)
		if err != nil {
			return err
		}
		w.judgeBoth(v, j, stage{names.output, y, stages[len(stages)-1].ends})
		v.separate()
	}
	if w.coarse != nil {
		if err := w.carry(b, names, j, &shared); err != nil {
			return err
		}
	}
	if !w.chain {
		return nil
	}
	var err error
	w.truth[j], err = b.Forward(w.truth[j], w.at[j])
	return err
}

// carry takes the noise of the whole model through a block.
func (w *walk) carry(b *reference.Block, names stageNames, j int, squares *tensor.Array) error {
	stages, y, err := w.coarse.attend(b, names, w.whole[j].signal, w.at[j], squares)
	if err == nil && b.MLP != nil {
		y, err = w.coarse.mlp(b.MLP, y)
	}
	if err != nil {
		return err
	}
	w.whole[j] = stage{names.output, y, w.whole[j].or(stages[len(stages)-1].ends)}
	return nil
}

// judgeEnd is what stands behind the blocks, and the end of the truth.
func (w *walk) judgeEnd() error {
	name := wiring.OutputName(w.model)
	for j, c := range w.run.cases {
		if len(w.run.want) == j {
			y, err := w.model.Finish(w.truth[j])
			if err != nil {
				return fmt.Errorf("engine %s: %s: %w", Reference, c.id, err)
			}
			w.run.want = append(w.run.want, map[string]tensor.Array{name: y})
		}
		if !hasTail(w.model) {
			continue
		}
		for _, v := range w.leaders() {
			y, err := v.noise.finish(w.model, v.input(j))
			if err != nil {
				return err
			}
			w.judgeBoth(v, j, stage{name: name, signal: y})
		}
		if w.coarse != nil {
			y, err := w.coarse.finish(w.model, w.whole[j].signal)
			if err != nil {
				return err
			}
			w.whole[j] = stage{name, y, w.whole[j].ends}
		}
	}
	return nil
}

// input is what an engine put into the block at hand. A twin's differs by what its errors were so far: as if that were noise.
func (v *rival) input(j int) signal {
	s := v.noise.shown(v.x[j])
	if v.twin != nil && !v.parted {
		for i, x := range v.twin.x[j].Data {
			off := x - s.value.Data[i]
			s.variance[i] += off * off
		}
	}
	return s
}

// leaders are the engines that are judged on their own: all that are left but for twins.
func (w *walk) leaders() []*rival {
	var list []*rival
	for _, v := range w.rivals {
		if v.lost == nil && !v.led {
			list = append(list, v)
		}
	}
	return list
}

// separate lets a twin go its own way.
func (v *rival) separate() {
	if v.parted && v.twin != nil {
		v.twin.led, v.twin = false, nil
	}
}

// judgeBoth judges an engine and its twin. They part where the twin is lost, wrong, or need not be right: from there on it
// would say nothing of what the other put in.
func (w *walk) judgeBoth(v *rival, j int, s stage) {
	v.x[j] = w.judge(v, j, s)
	if v.twin == nil {
		return
	}
	v.twin.x[j] = w.judge(v.twin, j, s)
	v.parted = v.parted || v.twin.lost != nil || v.lost != nil || !v.row.Pass || s.finiteOnly
}

// judge holds a value against its truth and returns what the engine goes on with.
func (w *walk) judge(v *rival, j int, s stage) tensor.Array {
	if v.lost != nil {
		return s.value
	}
	got := v.values[j][s.name]
	if got == nil {
		v.lost = fmt.Errorf("there is no value %q", s.name)
		return s.value
	}
	l := s.limit()
	l.finiteOnly = l.finiteOnly && (v.engine == Portable || v.bodies)
	passed := v.row.Pass
	v.row.addTensor(v.describe(w.run.cases[j], s.name), got, s.value, l)
	if passed && !v.row.Pass {
		v.row.Located = s.name
	}
	if !tensor.SameShape(got.Shape, s.value.Shape) {
		v.lost = fmt.Errorf("value %q has another shape", s.name)
		return s.value
	}
	return got.Array()
}

// conclude judges the model as it is, in one piece and with no value shown, where that was not what ran: it is that which
// others will run. Its tolerance is that of all noise carried from the start to the end.
func (w *walk) conclude(ctx context.Context, v *rival) error {
	if v.lost != nil && len(w.parts) > 1 {
		v.row.fail("%v", v.lost)
		return nil
	}
	if v.lost != nil {
		w.run.note("%s: blocks cannot be judged one by one: %v", v.engine, v.lost)
	}
	name := wiring.OutputName(w.model)
	outs := v.values
	asItIs := len(w.parts) == 1 && (v.engine != Native || v.lost != nil)
	if asItIs {
		var err error
		if outs, err = w.runWhole(ctx, v); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			v.row.fail("%v", err)
			return nil
		}
	}
	total := Result{Pass: true}
	for j, c := range w.run.cases {
		want, problem := w.run.expect(j, name)
		if problem != "" {
			v.row.fail("%s: %s", c.id, problem)
			continue
		}
		if j >= len(outs) || outs[j][name] == nil {
			v.row.fail("%s: the engine gave no output %q", c.id, name)
			continue
		}
		l, judged := w.wholeLimit(j, want)
		if !judged && v.lost != nil {
			v.row.fail("%s: neither blocks nor the whole can be judged", c.id)
		}
		l.finiteOnly = l.finiteOnly && (v.engine == Portable || v.bodies)
		total.addTensor(v.describe(c, "in one piece"), outs[j][name], want, l)
	}
	v.row.MaxAbs, v.row.MaxRel = max(v.row.MaxAbs, total.MaxAbs), max(v.row.MaxRel, total.MaxRel)
	if !v.bodies {
		v.row.MaxAbs, v.row.MaxRel = total.MaxAbs, total.MaxRel
	}
	v.row.Cases += total.Cases
	if !total.Pass {
		v.row.fail("%s", total.Problem)
	}
	return nil
}

// wholeLimit is the tolerance of the whole model, where there is one.
func (w *walk) wholeLimit(j int, want tensor.Array) (l limit, judged bool) {
	if j < len(w.whole) && !w.whole[j].steep {
		return w.whole[j].limit(), true
	}
	return unjudged(want), false
}

func (w *walk) runWhole(ctx context.Context, v *rival) (outs []map[string]*tensor.Tensor, err error) {
	p, err := w.run.engines.load(v.engine, w.s.loadable())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, c := range w.run.cases {
		out, calls, err := p.runCase(ctx, c, c.inputs, v.bodies)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.id, err)
		}
		outs = append(outs, out)
		if v.engine == Kernel {
			v.row.countCalls(c.id, calls, w.s.nodes())
		}
	}
	return outs, nil
}
