package reference

import (
	"errors"
	"fmt"
)

// Model is a stack of layers, L_n(...L_1(x)), with nothing in between.
type Model struct {
	Layers []Layer
}

// Check checks every layer and that each takes what the one before it gives.
func (m *Model) Check() error {
	if len(m.Layers) == 0 {
		return errors.New("has no layers")
	}
	for i := range m.Layers {
		l := &m.Layers[i]
		if err := l.Check(); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		if i > 0 && l.In() != m.Layers[i-1].OutDim() {
			return fmt.Errorf("layer %d: takes %d channels, but layer %d gives %d", i, l.In(), i-1, m.Layers[i-1].OutDim())
		}
	}
	return nil
}

// MaxLen is the longest sequence that all layers have biases for, 0 when any length will do.
func (m *Model) MaxLen() int {
	shortest := 0
	for i := range m.Layers {
		if n := m.Layers[i].MaxLen(); n > 0 && (shortest == 0 || n < shortest) {
			shortest = n
		}
	}
	return shortest
}

// NeedsGrid reports whether a layer takes its grid at run time.
func (m *Model) NeedsGrid() bool {
	for i := range m.Layers {
		if l := &m.Layers[i]; l.Variant == Conv2D && l.Grid == [2]int{} {
			return true
		}
	}
	return false
}

// Forward computes y (B,T,OutDim of the last layer) from x (B,T,In of the first). grid is for the layers that take theirs at
// run time; without such layers it may be zero.
func (m *Model) Forward(x Array, grid [2]int) (Array, error) {
	if err := m.Check(); err != nil {
		return Array{}, err
	}
	for i := range m.Layers {
		var err error
		if x, err = m.Layers[i].Forward(x, grid); err != nil {
			return Array{}, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return x, nil
}
