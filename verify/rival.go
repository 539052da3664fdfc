package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// rival is an engine on its way through a model.
type rival struct {
	engine Engine
	bodies bool   // native, with the function bodies in the nodes' place
	twin   *rival // the bodies, as long as they are judged along with native
	led    bool   // it is a twin
	parted bool   // from its twin, after the block at hand
	row    *Result
	blocks *Result    // what the blocks add to: row, or with a given tolerance something that decides nothing
	given  *Tolerance // of the output
	noise  noise
	values []map[string]*tensor.Tensor // by case: what it gave in the part at hand
	x      []tensor.Array              // by case: what it put into the block at hand
	log    *layerLog
	lost   error // why its blocks cannot be told apart
}

func (v *rival) describe(c *modelCase, of string) string {
	id := c.id
	if v.bodies {
		id += ", bodies"
	}
	return id + ", " + of
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

// runRival runs the cases. In front of a part stands what the engine gave at the end of the one before, in the model's type.
func (w *walk) runRival(ctx context.Context, v *rival, p *program, from string) error {
	before := v.values
	v.values, v.x = nil, nil
	for i, c := range w.run.cases {
		inputs := c.inputs
		if from != "" {
			if before[i][from] == nil {
				return fmt.Errorf("there is no value %q", from)
			}
			x, err := before[i][from].Cast(w.s.dtype)
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
	v.parted = v.parted || v.twin.lost != nil || v.lost != nil || !v.blocks.Pass || s.finiteOnly
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
	l.by = w.run.options.Statistic
	id := v.describe(w.run.cases[j], s.name)
	layer := Result{Pass: true}
	layer.addTensor(id, got, s.value, l)
	if v.blocks.Pass && !layer.Pass {
		v.blocks.Located = s.name
		w.noteFailing(v, j, s.name, s.value)
	}
	v.blocks.absorb(&layer)
	of := v.log.at(s.name, w.block)
	of.Pass = of.Pass && layer.Pass
	if !tensor.SameShape(got.Shape, s.value.Shape) {
		v.lost = fmt.Errorf("value %q has another shape", s.name)
		return s.value
	}
	value := got.Array()
	of.Own.add(value.Data, s.value, l)
	return value
}
