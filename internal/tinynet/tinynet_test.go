package tinynet_test

import (
	"math"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tinynet"
)

// The probabilities that the costs stand for add up to 1.
func TestCost(t *testing.T) {
	for _, before := range []byte{0, 'a', 0xff} {
		sum := 0.0
		for b := range 256 {
			sum += math.Exp2(-tinynet.Cost(before, byte(b)))
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Errorf("after %#02x: %v", before, sum)
		}
	}
}
