package dialect_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

var errDisk = errors.New("input/output error")

// faulty is a file of which one tensor cannot be had: it is not found, or its elements cannot be read.
type faulty struct {
	*source
	name string
	late bool
}

func (f faulty) Tensor(name string) (*tensor.Tensor, error) {
	if name == f.name {
		return nil, errDisk
	}
	return f.source.Tensor(name)
}

func (f faulty) Weight(name string) (tensor.Weight, error) {
	w, err := f.source.Weight(name)
	if err != nil || name != f.name {
		return w, err
	}
	if !f.late {
		return tensor.Weight{}, errDisk
	}
	return tensor.NewWeight(tensor.WeightOptions{Shape: w.Shape(), DType: w.DType(),
		Parts: func(func(*tensor.Tensor) error) error { return errDisk }}), nil
}

// readAll reads what Recognise left in the file.
func readAll(m *reference.Model) error {
	linear := func(l *reference.Linear) reference.Weight {
		if l == nil {
			return reference.Weight{}
		}
		return l.Weight
	}
	all := []reference.Weight{linear(m.Head)}
	for i := range m.Blocks {
		b := &m.Blocks[i]
		all = append(all, b.Q.Weight, b.K.Weight, b.V.Weight, b.W, linear(b.Out))
		if b.MLP != nil {
			all = append(all, b.MLP.Up.Weight, b.MLP.Down.Weight)
		}
	}
	if m.Tokens != nil {
		all = append(all, m.Tokens.Weight, m.Tokens.Positions)
	}
	if m.Patches != nil {
		all = append(all, m.Patches.Weight, m.Patches.Positions)
	}
	for _, w := range all {
		if _, err := w.Array(); err != nil {
			return err
		}
	}
	return nil
}

// Whichever tensor a broken disk takes, it is the disk's error that comes out, at once or when the weight is read: no tensor is
// taken for missing.
func TestRecognise_faults(t *testing.T) {
	full := stored(t, "variant", "full", "causal", "false")
	for name, c := range map[string]struct {
		lines  []string
		stored *dialect.Config
		o      dialect.Options
	}{
		"table":               {rish("wbias 9 9"), nil, dialect.Options{}},
		"band of a table":     {rish("wbias 9 9"), nil, dialect.Options{Variant: "local", Window: 3}},
		"mask":                {prefixed("_orig_mod.", labml("pos_bias 1 1", "local_mask 1 1")), nil, dialect.Options{Causal: ptr(true)}},
		"factors":             {comvex("u 9 4", "v 9 4"), nil, dialect.Options{}},
		"kernel":              {nid(3, "w 3 4", "gamma 3", "beta 3"), nil, dialect.Options{}},
		"text of ours":        {ownText(), localConfig(t), dialect.Options{}},
		"tied, with a bias":   {append(without(ownText(), "head.weight"), "head.bias 11"), localConfig(t), dialect.Options{}},
		"image with a class":  {ownClassified(), full, dialect.Options{}},
		"image of a grid":     {suImage(), nil, dialect.Options{}},
		"text of another one": {suText(), nil, dialect.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			whole := file(t, c.lines...)
			for _, tensorName := range slices.Concat([]string{""}, whole.names) {
				for _, late := range []bool{false, true} {
					r, err := dialect.Recognise(dialect.Input{Source: faulty{whole, tensorName, late}, Stored: c.stored, Options: c.o})
					if err == nil && late {
						err = readAll(r.Model)
					}
					if tensorName == "" && err != nil {
						t.Fatal(err)
					}
					if tensorName != "" && !errors.Is(err, errDisk) {
						t.Errorf("%s, when it is read %t: error %v", tensorName, late, err)
					}
				}
			}
		})
	}
}
