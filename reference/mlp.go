package reference

import (
	"fmt"
	"math"
)

// MLP is what follows a layer in a block: h + Down(gelu(Up(Norm(h)))).
type MLP struct {
	Norm     LayerNorm
	Up, Down Linear
}

// Check holds the parts against each other; the error names the part as checkpoints do.
func (m *MLP) Check() error {
	if err := m.Norm.Check(); err != nil {
		return fmt.Errorf("norm2.%w", err)
	}
	if err := m.Up.Check(); err != nil {
		return fmt.Errorf("fc1.%w", err)
	}
	if err := m.Down.Check(); err != nil {
		return fmt.Errorf("fc2.%w", err)
	}
	dim := m.Norm.Dim()
	switch {
	case m.Up.In() != dim:
		return fmt.Errorf("fc1.weight: has %d columns, want %d, the channels", m.Up.In(), dim)
	case m.Down.In() != m.Up.Out():
		return fmt.Errorf("fc2.weight: has %d columns, want %d as fc1.weight has rows", m.Down.In(), m.Up.Out())
	case m.Down.Out() != dim:
		return fmt.Errorf("fc2.weight: has %d rows, want %d, the channels", m.Down.Out(), dim)
	}
	return nil
}

// Forward maps h (B,T,dim) to the same shape.
func (m *MLP) Forward(h Array) (Array, error) {
	x, err := m.Norm.Forward(h)
	if err != nil {
		return x, fmt.Errorf("norm2: %w", err)
	}
	if x, err = m.Up.Forward(x); err != nil {
		return x, fmt.Errorf("fc1: %w", err)
	}
	for i, v := range x.Data {
		x.Data[i] = gelu(v)
	}
	if x, err = m.Down.Forward(x); err != nil {
		return x, fmt.Errorf("fc2: %w", err)
	}
	return addTo(h, x), nil
}

// gelu is x times the standard normal distribution at x (Hendrycks and Gimpel 2016, arXiv:1606.08415), in the form that
// keeps its digits for negative x.
func gelu(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return 0.5 * x * math.Erfc(-x/math.Sqrt2)
}

// addTo adds a to b, in the memory of b; both have one shape.
func addTo(a, b Array) Array {
	for i, v := range a.Data {
		b.Data[i] += v
	}
	return b
}
