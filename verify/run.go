package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// RunOptions say how Run runs.
type RunOptions struct {
	Open    Opener // nil: ort.Open with its defaults
	Threads int
	Wide    bool   // native: floating-point outputs stay float64, unrounded
	Dir     string // the folder of the model's external data; "" for none
}

// Run runs a model once on one engine: kernel, portable or native. Native needs no ONNX Runtime.
func Run(ctx context.Context, e Engine, model []byte, in map[string]*tensor.Tensor, o RunOptions) (
	out map[string]*tensor.Tensor, err error) {
	if e == Reference {
		return nil, fmt.Errorf("engine %s: runs layers and operators, not models", e)
	}
	if e == Native {
		graph, err := onnxgraph.Decode(model, onnxgraph.Options{Dir: o.Dir})
		if err != nil {
			return nil, err
		}
		return graph.Run(ctx, in, onnxgraph.RunOptions{Wide: o.Wide})
	}
	options := Options{Open: o.Open}
	runtime, err := options.opener()(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, runtime.Close()) }()
	set := &engineSet{runtime: runtime, threads: o.Threads}
	proto, err := onnxpb.Decode(model)
	if err != nil {
		return nil, err
	}
	p, err := set.load(e, &loadable{model, proto, o.Dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	out, _, err = p.run(ctx, in)
	return out, err
}
