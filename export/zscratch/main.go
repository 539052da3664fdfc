package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

type spec struct {
	Out, Op, DType  string
	Attrs           ops.Attrs
	Opset           int
	Flatten, Double bool
	Generic         bool
	Heads, Channels int
}

func main() {
	var specs []spec
	if err := json.NewDecoder(os.Stdin).Decode(&specs); err != nil {
		panic(err)
	}
	for _, s := range specs {
		d, ok := ops.Lookup(s.Op)
		if !ok {
			panic(s.Op)
		}
		dt, _ := tensor.ParseDType(s.DType)
		ins := []ops.Input{{}, {Shape: []int{1, 1, s.Heads}}, {Shape: []int{1, 1, s.Channels}}}
		m, err := export.Operator(d, s.Attrs, ins, export.Options{DType: dt, Opset: s.Opset, Flatten: s.Flatten, DoublePortable: s.Double})
		if err != nil {
			panic(fmt.Sprint(s, err))
		}
		if s.Generic {
			f, err := d.Function(ops.BodySpec{Opset: s.Opset, DType: dt, Double: s.Double, Heads: s.Heads, Channels: s.Channels})
			if err != nil {
				panic(err)
			}
			m.Functions[0] = f
		}
		data, err := onnxpb.Encode(m)
		if err != nil {
			panic(err)
		}
		if err := os.WriteFile(s.Out, data, 0o644); err != nil {
			panic(err)
		}
	}
}
