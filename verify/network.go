package verify

import (
	"context"
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
// what that engine gave at the end of the part before, judged and dropped.
type walk struct {
	run    *modelRun
	s      *subject
	model  *reference.Model // the truth
	parts  []part
	rivals []*rival
	truth  []tensor.Array // by case: what the reference puts into the block at hand
	at     []reference.Places
	block  int     // the one at hand: -1 is what stands before the first, as many as there are what stands behind the last
	coarse *noise  // that of the whole model, for the engines that round; nil: it is not carried
	whole  []stage // by case: the block at hand with all noise that was carried to it
	label  string  // tells a second model's rows apart
	own    bool    // the first model: what its truth is like is of interest
}

// part is some blocks, first to end-1.
type part struct{ first, end int }

// byBlocks is compare for a model whose reference is known.
func (r *modelRun) byBlocks(ctx context.Context, s *subject, label string) ([]Result, error) {
	w := &walk{run: r, s: s, model: r.truth.stored, parts: r.options.parts(r.truth), label: label, own: s == r.truth}
	if w.own {
		r.report.PreFlight = &PreFlight{}
	}
	rows := w.enter()
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
	for _, v := range w.rivals {
		for _, l := range v.log.list {
			l.Other = !w.own
			r.report.Layers = append(r.report.Layers, *l)
		}
	}
	return list, nil
}

// enter makes the rows, one an engine, and the rivals that share them.
func (w *walk) enter() (rows []*Result) {
	r := w.run
	for _, e := range r.engines.list {
		if reason := r.idle(w.s, e); reason != "" {
			if e == Kernel {
				r.note("%s%s %s", w.label, e, reason)
			}
			continue
		}
		n := r.noiseOf(w.s, e)
		name := wiring.OutputName(w.model)
		row := &Result{Name: w.label + name, Kind: KindOutput, Engine: e, DType: w.s.dtype.String(),
			Pass: true, Derived: n.String() + "; block by block on the engine's own values; the error is the whole model's"}
		if len(w.parts) > 1 {
			row.Derived += fmt.Sprintf("; in %d parts", len(w.parts))
		}
		v := &rival{engine: e, row: row, blocks: row, noise: n, log: newLayerLog(e, false)}
		if t, given := r.options.tolerance(name); given { // then the blocks are shown, and decide nothing
			v.blocks, v.given = &Result{Pass: true}, &t
			row.Derived = t.String()
		}
		rows, w.rivals = append(rows, row), append(w.rivals, v)
		if e == Native && len(w.s.graph.Proto().GetFunctions()) > 0 {
			v.twin = &rival{engine: e, row: row, blocks: v.blocks, given: v.given, noise: n, bodies: true, led: true, log: newLayerLog(e, true)}
			w.rivals = append(w.rivals, v.twin)
		}
		if e != Native {
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

// judgePart holds the values of a part against the truth, and carries the truth and the noise to its end.
func (w *walk) judgePart(ctx context.Context, p part) error {
	if p.first == 0 {
		w.block = -1
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
		w.block = i
		for j := range w.run.cases {
			if err := w.judgeBlock(b, j); err != nil {
				return w.run.unfit(fmt.Errorf("engine %s: %s: layer %d: %w", Reference, w.run.cases[j].id, i, err))
			}
		}
	}
	if p.end < len(w.model.Blocks) {
		return nil
	}
	w.block = p.end
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
			if w.hasStem() {
				v.x[j] = w.judge(v, j, stage{name: wiring.Embedded, signal: h})
			}
		}
		if w.coarse != nil {
			h, _, err := w.coarse.embed(w.model, in)
			if err != nil {
				return err
			}
			w.whole = append(w.whole, stage{signal: h})
		}
		if w.hasStem() {
			w.accumulate(wiring.Embedded, j, value)
		}
		w.seeTruth(wiring.Embedded, value)
	}
	return nil
}

// hasStem reports whether anything stands before the first block.
func (w *walk) hasStem() bool { return w.model.Tokens != nil || w.model.Patches != nil }

// seeTruth shows the pre-flight a value of the model.
func (w *walk) seeTruth(name string, value tensor.Array) {
	if w.own {
		w.run.report.PreFlight.Float16.see(name, value.Data)
	}
}

// judgeBlock judges the block at hand, its weights in b, in case j.
func (w *walk) judgeBlock(b *reference.Block, j int) error {
	names := blockNames(w.model, w.block)
	half, err := b.Attend(w.truth[j], w.at[j]) // which says whether the block takes what goes into it
	if err != nil {
		return err
	}
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
		if v.blocks.Pass { // what a wrong value gives must not become another's measure
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
	return w.advance(b, names.output, j, half)
}

// advance takes the truth, half of which is there, through the block at hand.
func (w *walk) advance(b *reference.Block, output string, j int, half tensor.Array) (err error) {
	if w.own {
		if err := w.run.report.PreFlight.seeBlock(b, w.block, w.truth[j], half, w.at[j]); err != nil {
			return err
		}
	}
	w.truth[j] = half
	if b.MLP != nil {
		if w.truth[j], err = b.MLP.Forward(half); err != nil {
			return err
		}
	}
	w.seeTruth(output, w.truth[j])
	w.accumulate(output, j, w.truth[j])
	return nil
}

// accumulate notes how far the engines have come off the truth.
func (w *walk) accumulate(name string, j int, truth tensor.Array) {
	for _, v := range w.rivals {
		if v.lost != nil || len(v.x[j].Data) != len(truth.Data) {
			continue
		}
		of := v.log.at(name, w.block)
		if of.Accumulated == nil {
			of.Accumulated = &Deviation{}
		}
		l := unjudged(truth)
		if v.engine != Native {
			l, _ = w.wholeLimit(j, truth)
		}
		of.Accumulated.add(v.x[j].Data, truth, l)
	}
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
		want := w.run.want[j][name]
		if !hasTail(w.model) {
			continue
		}
		w.seeTruth(name, want)
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
		w.accumulate(name, j, want)
	}
	return nil
}
