package reference

import (
	"fmt"
	"math"
)

// Gate is what is done to Q before it multiplies the ratio of sums. The values are those of the ONNX attribute "gate".
type Gate int

// The gates; GateSigmoid is the paper's default.
const (
	GateSigmoid  Gate = iota // Y = sigmoid(Q) * ratio
	GateTanh                 // Y = tanh(Q) * ratio
	GateIdentity             // Y = Q * ratio
	GateAbsent               // Y = ratio; Q gives only the shape
)

// String returns "sigmoid", "tanh", "identity" or "absent".
func (g Gate) String() string {
	switch g {
	case GateSigmoid:
		return "sigmoid"
	case GateTanh:
		return "tanh"
	case GateIdentity:
		return "identity"
	case GateAbsent:
		return "absent"
	default:
		return fmt.Sprintf("gate(%d)", int(g))
	}
}

func (g Gate) valid() bool { return g >= GateSigmoid && g <= GateAbsent }

// times returns gate(q) * ratio.
func (g Gate) times(q, ratio float64) float64 {
	switch g {
	case GateTanh:
		return math.Tanh(q) * ratio
	case GateIdentity:
		return q * ratio
	case GateAbsent:
		return ratio
	default:
		return sigmoid(q) * ratio
	}
}

// sigmoid is 1/(1+exp(-q)), in the form whose exponential cannot overflow.
func sigmoid(q float64) float64 {
	if q < 0 {
		e := math.Exp(q)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-q))
}
