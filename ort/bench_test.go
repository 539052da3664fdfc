//go:build cgo

package ort_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// What a run costs beside its operators: a sum of one element, and the copy of a large output.
func BenchmarkRun(b *testing.B) {
	rt := open(b)
	s := load(b, rt, binaryOp("Add", tensor.Float32, "n"), ort.SessionOptions{Threads: 1})
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, n := range []int{1, 1 << 20} {
		in := map[string]*ort.Tensor{"x": ramp(b, tensor.Float32, 0, n), "y": ramp(b, tensor.Float32, 1, n)}
		for name, ctx := range map[string]context.Context{"": context.Background(), "/cancellable": cancellable} {
			b.Run(fmt.Sprintf("%d%s", n, name), func(b *testing.B) {
				for b.Loop() {
					if _, err := s.Run(ctx, in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		out := map[string]*ort.Tensor{"z": ramp(b, tensor.Float32, 0, n)}
		b.Run(fmt.Sprintf("%d/into", n), func(b *testing.B) {
			for b.Loop() {
				if err := s.RunInto(context.Background(), in, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSimple(b *testing.B) {
	rt := open(b)
	s := load(b, rt, simple(tensor.Float32), ort.SessionOptions{Threads: 1})
	in := qkv(b, tensor.Float32, 1, 64, 64)
	for b.Loop() {
		if _, err := s.Run(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}

// What a token costs beside its operators: a state in one part, and in as many as twelve layers of AFT-local have.
func BenchmarkDecoder(b *testing.B) {
	rt := open(b)
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, pieces := range []int{1, 60} {
		d, err := ort.NewDecoder(load(b, rt, counts(tensor.Float32, pieces), ort.SessionOptions{Threads: 1}), ort.DecoderOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for name, ctx := range map[string]context.Context{"": context.Background(), "/cancellable": cancellable} {
			b.Run(fmt.Sprintf("%d%s", pieces, name), func(b *testing.B) {
				b.ReportAllocs()
				tokens := [][]int64{{1}}
				for b.Loop() {
					if _, err := d.Step(ctx, tokens); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
