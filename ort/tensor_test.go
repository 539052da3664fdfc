package ort_test

import (
	"math"
	"slices"
	"testing"

	"github.com/aftonnx/aftonnx/ort"
)

func roundTrip[E ort.Element](t *testing.T, dtype ort.DType, values ...E) {
	t.Helper()
	x, err := ort.NewTensor([]int{len(values)}, values)
	if err != nil {
		t.Fatal(err)
	}
	if x.DType != dtype || len(x.Data) != len(values)*dtype.Size() {
		t.Errorf("%v became %s in %d bytes, want %s", values, x.DType, len(x.Data), dtype)
	}
	got, err := ort.Values[E](x)
	if err != nil || !slices.Equal(got, values) {
		t.Errorf("%s: got %v (%v), want %v", dtype, got, err, values)
	}
}

func TestTensor_roundTrip(t *testing.T) {
	roundTrip(t, ort.Float32, 0, -1.5, math.MaxFloat32, float32(math.Inf(-1)))
	roundTrip(t, ort.Float64, 0, -1.5, math.MaxFloat64, 5e-324)
	roundTrip[int8](t, ort.Int8, -128, 127)
	roundTrip[int16](t, ort.Int16, -32768, 32767)
	roundTrip[int32](t, ort.Int32, math.MinInt32, math.MaxInt32)
	roundTrip[int64](t, ort.Int64, math.MinInt64, math.MaxInt64)
	roundTrip[uint8](t, ort.Uint8, 0, 255)
	roundTrip[uint16](t, ort.Uint16, 0, 65535)
	roundTrip[uint32](t, ort.Uint32, 0, math.MaxUint32)
	roundTrip[uint64](t, ort.Uint64, 0, math.MaxUint64)
	roundTrip(t, ort.Bool, true, false)
}

func TestTensor_refuses(t *testing.T) {
	if _, err := ort.NewTensor([]int{2, 2}, []float32{1, 2, 3}); err == nil {
		t.Error("three values fill a shape of four")
	}
	if _, err := ort.NewTensor([]int{-1}, []float32{}); err == nil {
		t.Error("a dimension of -1 passes")
	}
	x, err := ort.NewTensor(nil, []float32{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ort.Values[float64](x); err == nil {
		t.Error("a float32 tensor gives float64 values")
	}
	if _, err := ort.Values[float32](&ort.Tensor{DType: ort.Float32, Shape: []int{2}, Data: make([]byte, 7)}); err == nil {
		t.Error("seven bytes give two float32 values")
	}
}

// NewRounded rounds once: 1 + 2^-11 + 2^-40 lies above the middle of two float16 numbers, though float32 cannot tell.
func TestNewRounded(t *testing.T) {
	x, err := ort.NewRounded(ort.Float16, []int{1}, []float64{1 + 0x1p-11 + 0x1p-40})
	if err != nil {
		t.Fatal(err)
	}
	if got := x.Float64s()[0]; got != 1+0x1p-10 {
		t.Errorf("got %v, want %v", got, 1+0x1p-10)
	}
}
