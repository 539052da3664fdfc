package verify

import (
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// weightMap makes other weights of a model's.
type weightMap struct {
	weight func(tensor.Weight) (tensor.Weight, error)
	vector func([]float64) ([]float64, error)
	eps    func(float64) float64
}

// model is m with other weights; it shares nothing that could be changed.
func (f weightMap) model(m *reference.Model) (*reference.Model, error) {
	out, err := *m, error(nil)
	if m.Tokens != nil {
		tokens := *m.Tokens
		out.Tokens = &tokens
		if err = f.weights(&tokens.Weight, &tokens.Positions); err != nil {
			return nil, err
		}
	}
	if m.Patches != nil {
		patches := *m.Patches
		out.Patches = &patches
		if err = f.weights(&patches.Weight, &patches.Positions); err != nil {
			return nil, err
		}
		if err = f.vectors(&patches.Bias, &patches.ClassToken); err != nil {
			return nil, err
		}
	}
	out.Blocks = make([]reference.Block, len(m.Blocks))
	for i := range m.Blocks {
		b, err := f.block(&m.Blocks[i])
		if err != nil {
			return nil, err
		}
		out.Blocks[i] = *b
	}
	if out.Norm, err = f.norm(m.Norm); err != nil {
		return nil, err
	}
	out.Head, err = f.linear(m.Head)
	return &out, err
}

func (f weightMap) block(b *reference.Block) (*reference.Block, error) {
	out, err := *b, error(nil)
	if out.Norm, err = f.norm(b.Norm); err != nil {
		return nil, err
	}
	for _, p := range []struct{ from, to *reference.Linear }{{&b.Q, &out.Q}, {&b.K, &out.K}, {&b.V, &out.V}} {
		l, err := f.linear(p.from)
		if err != nil {
			return nil, err
		}
		*p.to = *l
	}
	if out.Out, err = f.linear(b.Out); err != nil {
		return nil, err
	}
	if err := f.weights(&out.W); err != nil || b.MLP == nil {
		return &out, err
	}
	norm, err1 := f.norm(&b.MLP.Norm)
	up, err2 := f.linear(&b.MLP.Up)
	down, err3 := f.linear(&b.MLP.Down)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, err
		}
	}
	out.MLP = &reference.MLP{Norm: *norm, Up: *up, Down: *down}
	return &out, nil
}

func (f weightMap) linear(l *reference.Linear) (*reference.Linear, error) {
	if l == nil {
		return nil, nil
	}
	out := *l
	if err := f.weights(&out.Weight); err != nil {
		return nil, err
	}
	return &out, f.vectors(&out.Bias)
}

func (f weightMap) norm(n *reference.LayerNorm) (*reference.LayerNorm, error) {
	if n == nil {
		return nil, nil
	}
	out := *n
	out.Eps = f.eps(n.Eps)
	return &out, f.vectors(&out.Gain, &out.Bias)
}

func (f weightMap) weights(list ...*tensor.Weight) error {
	for _, w := range list {
		if w.Empty() {
			continue
		}
		var err error
		if *w, err = f.weight(*w); err != nil {
			return err
		}
	}
	return nil
}

func (f weightMap) vectors(list ...*[]float64) error {
	for _, v := range list {
		if *v == nil {
			continue
		}
		var err error
		if *v, err = f.vector(*v); err != nil {
			return err
		}
	}
	return nil
}

// roundModel is the model that an exporter should have written: every weight rounded once, whenever it is read. What is
// added to a variance is an attribute of a node, and those are float32.
func roundModel(exact *reference.Model, dtype tensor.DType) (*reference.Model, error) {
	return weightMap{
		weight: func(w tensor.Weight) (tensor.Weight, error) { return roundWeight(w, dtype), nil },
		vector: func(v []float64) ([]float64, error) {
			t, err := tensor.FromFloat64s(dtype, []int{len(v)}, v)
			if err != nil {
				return nil, err
			}
			return t.Float64s(), nil
		},
		eps: func(eps float64) float64 { return float64(float32(eps)) },
	}.model(exact)
}

func roundWeight(w tensor.Weight, dtype tensor.DType) tensor.Weight {
	if w.DType() == dtype {
		return w
	}
	parts := func(yield func(*tensor.Tensor) error) error {
		return w.Parts(func(part *tensor.Tensor) error {
			rounded, err := part.Cast(dtype)
			if err != nil {
				return err
			}
			return yield(rounded)
		})
	}
	return tensor.NewWeight(tensor.WeightOptions{Shape: w.Shape(), DType: dtype, Parts: parts})
}

// holdBlock is a block with its weights in memory, for all who need them in turn.
func holdBlock(b *reference.Block) (*reference.Block, error) {
	return weightMap{
		weight: func(w tensor.Weight) (tensor.Weight, error) {
			a, err := w.Array()
			return tensor.Hold(a), err
		},
		vector: func(v []float64) ([]float64, error) { return v, nil },
		eps:    func(eps float64) float64 { return eps },
	}.block(b)
}
