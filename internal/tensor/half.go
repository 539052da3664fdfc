package tensor

import (
	"math"

	"github.com/x448/float16"
)

// roundToFloat16 rounds a float64 once. float16.Fromfloat32(float32(v)) would round twice, which differs for values that
// the first rounding moves onto a tie; rounding to odd first keeps the information a second rounding needs.
func roundToFloat16(v float64) uint16 {
	return float16.Fromfloat32(roundToOdd(v)).Bits()
}

// roundToBFloat16 rounds a float64 once to the upper 16 bits of a float32.
func roundToBFloat16(v float64) uint16 {
	b := math.Float32bits(roundToOdd(v))
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40 // a NaN keeps its sign and stays a NaN
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// roundToOdd rounds to float32; an inexact result gets an odd last bit (Boldo and Melquiond, "Emulation of FMA and
// correctly rounded sums: proved algorithms using rounding to odd", 2008).
func roundToOdd(v float64) float32 {
	f := float32(v)
	if math.IsNaN(v) || float64(f) == v {
		return f
	}
	if math.IsInf(float64(f), 0) {
		if math.IsInf(v, 0) {
			return f
		}
		return float32(math.Copysign(math.MaxFloat32, v))
	}
	b := math.Float32bits(f)
	if math.Abs(float64(f)) > math.Abs(v) {
		b-- // towards zero
	}
	return math.Float32frombits(b | 1)
}
