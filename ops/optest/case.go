package optest

import (
	"fmt"
	"path/filepath"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// Case is one call of an operator with its truth.
type Case struct {
	ID     string
	Op     string
	Attrs  ops.Attrs
	Inputs []*tensor.Tensor // in the order of the declaration
	Y      tensor.Array     // the truth, float64, from the inputs as stored
	Stored tensor.DType     // what the truth's inputs are exact in; a narrower engine has no use for the case
	// Tolerance bounds |got - Y| for an engine of the stored type.
	Tolerance float64
	// Wide marks data that leaves a range of exp(80) between the largest and the smallest term of a batch entry: a
	// function body must stay finite there, but need not meet the tolerance (the operator set, "Bodies").
	Wide bool
}

// Golden reads the project's own cases: dir is the folder of testdata/golden.
func Golden(dir string) ([]Case, error) {
	var manifest struct {
		Cases []struct {
			ID        string             `json:"id"`
			Op        string             `json:"op"`
			Attrs     map[string][]int64 `json:"attrs"`
			Inputs    []string           `json:"inputs"`
			File      string             `json:"file"`
			Tolerance float64            `json:"tolerance"`
			Portable  string             `json:"portable"`
		} `json:"cases"`
	}
	if err := goldentest.ReadJSON(filepath.Join(dir, "manifest.json"), &manifest); err != nil {
		return nil, err
	}
	var cases []Case
	for _, m := range manifest.Cases {
		arrays, err := npy.ReadNPZ(filepath.Join(dir, m.File))
		if err != nil {
			return nil, err
		}
		y, ok := arrays["Y"]
		if !ok {
			return nil, fmt.Errorf("%s: holds no Y", m.File)
		}
		c := Case{ID: m.ID, Op: m.Op, Attrs: m.Attrs, Y: y.Array(), Tolerance: m.Tolerance, Wide: m.Portable == "finite"}
		for _, name := range m.Inputs {
			in, ok := arrays[name]
			if !ok {
				return nil, fmt.Errorf("%s: holds no %s", m.File, name)
			}
			c.Inputs = append(c.Inputs, in)
		}
		if len(c.Inputs) == 0 {
			return nil, fmt.Errorf("%s: lists no inputs", m.ID)
		}
		c.Stored = c.Inputs[0].DType
		cases = append(cases, c)
	}
	return cases, nil
}
