package bench

import (
	"context"
	"fmt"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// FusedModel is a model of another exporter and what it was fused to.
type FusedModel struct {
	Name            string
	Original, Fused []byte
	Dir             string // the folder of the original's external data
	Inputs          map[string]*tensor.Tensor
	Output          string // the output that is compared
}

// measureFused measures the fused model, with kernels and with function bodies, beside the original, the graph that a user has.
func measureFused(ctx context.Context, rt *ort.Runtime, m FusedModel, o Options) ([]Row, error) {
	var list []*runner
	defer func() {
		for _, r := range list {
			r.close()
		}
	}()
	for _, engine := range []Engine{Kernel, Portable, User} {
		model, options := m.Fused, ort.SessionOptions{Threads: o.Threads, NoKernels: engine != Kernel, NoSpinning: !o.Spinning}
		if engine == User {
			model, options.Dir = m.Original, m.Dir
		}
		s, err := rt.LoadBytes(model, options)
		if err != nil {
			return nil, err
		}
		list = append(list, &runner{close: func() { s.Close() }})
		out, err := s.Run(ctx, m.Inputs) // for the shapes
		if err != nil {
			return nil, err
		}
		y := out[m.Output]
		r := list[len(list)-1]
		r.row, r.y = Row{Case: m.Name, Engine: engine, DType: y.DType.String()}, y
		r.run = func(ctx context.Context) error { return s.RunInto(ctx, m.Inputs, out) }
	}
	if err := interleave(ctx, list, o.Plan); err != nil {
		return nil, err
	}
	var rows []Row
	for _, r := range list {
		if err := checkAgainst(r.y, list[2].y, largestOutput(list[2].y)); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMismatch, r.row.Engine, err)
		}
		rows = append(rows, r.complete(list[0]))
	}
	return rows, nil
}
