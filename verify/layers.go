package verify

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Layer is a value inside a model on one engine, over all cases: what a block gave, or a part of one. Values before the
// first block and behind the last are listed too.
type Layer struct {
	Setting string `json:"setting,omitempty"` // what of a sweep it belongs to
	Name    string `json:"name"`              // the value, as the graph calls it
	// Block is counted from 0; -1: before the first, as many as there are: behind the last. Of somebody else's model it is the
	// place of the node that makes the value, of those that a run needs.
	Block  int    `json:"block"`
	Engine Engine `json:"engine"`
	Other  bool   `json:"other,omitempty"` // of the second model, which is held against the first one's truth
	Bodies bool   `json:"bodies"`          // of the native engine: with the function bodies in the nodes' place
	Pass   bool   `json:"pass"`            // whether Own is allowed
	// Own is the error that the layer itself makes: the truth is computed from what the engine put into it.
	Own Deviation `json:"own"`
	// Accumulated is the error of everything up to here: the truth is computed from the inputs of the model. Null inside a
	// block.
	Accumulated *Deviation `json:"accumulated"`
}

// Deviation is how far values are off.
type Deviation struct {
	MaxAbs Number `json:"max_abs"` // largest |got - want|
	MaxRel Number `json:"max_rel"` // the same over max|want| of the value
	RMS    Number `json:"rms"`     // root of the mean of the squares of got - want
	// OfAllowed is the largest error over tolerance; null where no tolerance is known.
	OfAllowed *Number `json:"of_allowed"`

	squares float64
	count   int
}

// add takes the values of a case in.
func (d *Deviation) add(got []float64, want tensor.Array, l limit) {
	largest := largestFinite(want.Data)
	for i, w := range want.Data {
		off := distance(got[i], w)
		d.MaxAbs = max(d.MaxAbs, Number(off))
		if off > 0 {
			d.MaxRel = max(d.MaxRel, Number(off/largest))
		}
		d.squares += off * off
		d.count++
		if l.tolerance != nil && !l.finiteOnly {
			share := Number(excess(got[i], w, l.tolerance[i]))
			if d.OfAllowed == nil || share > *d.OfAllowed {
				d.OfAllowed = &share
			}
		}
	}
	if d.count > 0 {
		d.RMS = Number(math.Sqrt(d.squares / float64(d.count)))
	}
}

// layerLog collects the layers of one engine, in the order in which they are seen first.
type layerLog struct {
	engine Engine
	bodies bool
	list   []*Layer
	found  map[string]*Layer
}

func newLayerLog(e Engine, bodies bool) *layerLog {
	return &layerLog{engine: e, bodies: bodies, found: map[string]*Layer{}}
}

// at is the record of a value.
func (l *layerLog) at(name string, block int) *Layer {
	if r := l.found[name]; r != nil {
		return r
	}
	r := &Layer{Name: name, Block: block, Engine: l.engine, Bodies: l.bodies, Pass: true}
	l.list, l.found[name] = append(l.list, r), r
	return r
}
