package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/infer"
	"github.com/aftonnx/aftonnx/ops"
	"github.com/aftonnx/aftonnx/verify"
)

// inferFlags say which model is run and on what: for the verbs that use a model instead of judging it.
type inferFlags struct {
	runtime runtimeFlags
	source  importFlags
}

func (o *inferFlags) add(f *pflag.FlagSet) {
	o.source.add(f)
	o.runtime.add(f)
}

// enginesHelp is what the engines are, for the help of these verbs.
const enginesHelp = `Engines: kernel (ONNX Runtime with the ai.aft kernels), portable (ONNX Runtime, function bodies instead of kernels),
native (Go alone, float64: needs no ONNX Runtime), reference (the paper's loops in float64: slow).`

// openInference opens a checkpoint, which is exported in memory, or an ONNX model.
func (a *app) openInference(cmd *cobra.Command, path string, o *inferFlags) (*infer.Model, error) {
	source, err := o.source.options(cmd.Flags())
	if err := errors.Join(o.runtime.check(), err); err != nil {
		return nil, err
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	f.close()
	if f.checkpoint == nil {
		if err := refuseSource(cmd.Flags(), path); err != nil {
			return nil, err
		}
		return infer.OpenONNX(path)
	}
	m, err := infer.OpenCheckpoint(path, infer.Options{Import: source, Export: export.Options{Version: version()}})
	if err != nil {
		return nil, err
	}
	for _, note := range m.Notes {
		a.say("note: %s", note)
	}
	return m, nil
}

// refuseSource refuses the flags that say how a checkpoint is read.
func refuseSource(f *pflag.FlagSet, path string) (err error) {
	f.Visit(func(flag *pflag.Flag) {
		if slices.Contains([]string{"variant", "causal", "window", "heads", "grid"}, flag.Name) {
			err = usagef("%q: --%s has no effect: the file is a model, not a checkpoint", path, flag.Name)
		}
	})
	return err
}

// load puts a model into an engine.
func (a *app) load(m *infer.Model, e verify.Engine, o *inferFlags) (*infer.Session, error) {
	s, err := m.Load(a.ctx, e, infer.LoadOptions{Open: o.runtime.opener(a), Threads: o.runtime.threads})
	if err != nil {
		if inputCode(err) == exitRuntime {
			return nil, (&failure{code: exitRuntime, err: err}).hint("--engine native runs models without ONNX Runtime")
		}
		return nil, a.engineError(e, err)
	}
	if e == verify.Kernel && !slices.ContainsFunc(m.Graph.Proto().GetGraph().GetNode(), ofAFT) {
		a.say("note: the model has no nodes of %s: no kernel has a part in it", ops.Domain)
	}
	return s, nil
}

// engineError makes an engine's refusal of a model an input failure.
func (a *app) engineError(e verify.Engine, err error) error {
	var judged *failure
	if err == nil || errors.As(err, &judged) || inputCode(err) != 0 || a.ctx.Err() != nil {
		return err
	}
	return inputf("engine %s: %w", e, err)
}
