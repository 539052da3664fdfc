package verify

import (
	"math"
	"math/rand/v2"
	"path"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Range says what seeded numbers of some inputs are drawn from, evenly: Low to High, of integers both included.
type Range struct {
	Input     string // a name, or a pattern of package path; "" is all inputs but masks, grids and states
	Low, High float64
}

// drawn is the range that an input's numbers come from.
func (s *InputSizes) drawn(input string) (of Range, given bool) {
	for _, r := range s.Ranges {
		if matched, err := path.Match(r.Input, input); r.Input == "" || err == nil && matched {
			of, given = r, true
		}
	}
	return of, given
}

// draw takes a number from a range.
func (r Range) draw(rng *rand.Rand, dtype tensor.DType) float64 {
	if dtype.IsFloat() {
		return r.Low + (r.High-r.Low)*rng.Float64()
	}
	low := math.Ceil(r.Low)
	return low + math.Floor(rng.Float64()*(math.Floor(r.High)-low+1))
}
