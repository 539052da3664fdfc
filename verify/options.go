package verify

import (
	"context"
	"fmt"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/reference"
)

// Options say what to verify with. The zero value runs every engine on seeded inputs of a size chosen by cost.
type Options struct {
	Engines  []Engine // nil: all
	Seed     uint64
	Threads  int    // of ONNX Runtime; 0: it decides, and Operators takes 1
	Open     Opener // nil: ort.Open with its defaults
	Progress func(string)

	Optimization ort.Optimization // how far ONNX Runtime rewrites graphs

	// For Operators alone.
	Quick bool // one small size of ordinary numbers instead of all

	// For Model alone.
	Batch    int                       // 0: 2
	Sequence int                       // 0: as long as a short check may take, at most 64
	Grid     [2]int                    // zero: chosen, where the model takes one
	Full     bool                      // also one run of the kernels against the bodies at the model's full length
	Inputs   map[string]*tensor.Tensor // instead of seeded ones
	Ranges   []Range                   // of seeded ones; the last that is about an input holds
	Against  map[string]*tensor.Tensor // outputs that were stored before, for Inputs: the engines are held against them too
	Import   importer.Options          // how to read a checkpoint
	Export   export.Options            // how to export a checkpoint
	Source   *reference.Model          // what an exported file was made from, before its weights were rounded
	Other    string                    // another model to hold against the same truth

	Tolerances []Tolerance // of outputs, instead of what is derived; the last that is about an output holds
	Statistic  Statistic   // which error of a value decides

	// PartBytes is how many bytes of stored weights are loaded at once: a larger model is verified in parts of some blocks
	// each, and one of up to four times as much is loaded whole for Full. 0: 256 MiB.
	PartBytes int64
}

func (o *Options) opener() Opener {
	if o.Open != nil {
		return o.Open
	}
	return func(ctx context.Context) (*ort.Runtime, error) { return ort.Open(ctx, ort.Options{}) }
}

func (o *Options) progress(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}
