package preset

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"

	"github.com/aftonnx/aftonnx/internal/safetensors"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Init says which weights a model starts with.
type Init string

const (
	// Paper is how the paper and DeiT start. Norms then only normalise, biases of linear maps are 0, and so are gamma and beta:
	// an AFT-conv begins as AFT-simple, and a wrong kernel would show in nothing that it computes.
	Paper Init = "paper"
	// Scattered moves whatever Paper sets to a constant away from it, as training would. It is the start for tests.
	Scattered Init = "scattered"
)

// Rule is where the elements of a tensor come from.
type Rule struct {
	Kind  Kind
	Mean  float64
	Scale float64 // Normal: the standard deviation; Uniform: the largest distance from Mean
}

// Kind is a distribution.
type Kind string

// The distributions of a Rule.
const (
	Constant Kind = "constant"
	Normal   Kind = "normal"
	Uniform  Kind = "uniform"
)

func constant(v float64) Rule    { return Rule{Constant, v, 0} }
func normal(std float64) Rule    { return Rule{Normal, 0, std} }
func uniform(bound float64) Rule { return Rule{Uniform, 0, bound} }

// scatter is the standard deviation of what Scattered moves.
const scatter = 0.2

// Options say which weights a model gets.
type Options struct {
	Seed  uint64
	Init  Init
	DType tensor.DType // of the elements: one of the floating-point types
}

// Write writes the model as a safetensors file that any machine writes with the same bytes. It holds one piece of one tensor
// at a time. The metadata is that of Config, and preset, seed and init.
func Write(w io.Writer, p *Preset, o Options) error {
	metadata := map[string]string{"preset": p.Name, "seed": fmt.Sprint(o.Seed), "init": string(o.Init)}
	maps.Copy(metadata, p.Config())
	var tensors []safetensors.Tensor
	for _, t := range p.Tensors() {
		tensors = append(tensors, safetensors.Tensor{Name: t.Name, Weight: t.Weight(o)})
	}
	return safetensors.Write(w, metadata, tensors)
}

// Weight is the tensor with seeded elements. They depend on seed, init, name and shape alone, not on other tensors, and
// not on the machine: nothing but sums of integers and single roundings goes into them.
func (t *Tensor) Weight(o Options) tensor.Weight {
	rule := t.Rule
	if o.Init == Scattered && rule.Kind == Constant {
		rule.Kind, rule.Scale = Normal, scatter
	}
	parts := func(yield func(*tensor.Tensor) error) error {
		left, err := tensor.NumElements(t.Shape)
		if err != nil {
			return err
		}
		source := t.source(o.Seed)
		values := make([]float64, min(left, pieceElements))
		for left > 0 {
			values = values[:min(left, len(values))]
			for i := range values {
				values[i] = rule.draw(source)
			}
			part, err := tensor.FromFloat64s(o.DType, []int{len(values)}, values)
			if err != nil {
				return err
			}
			if err := yield(part); err != nil {
				return err
			}
			left -= len(values)
		}
		return nil
	}
	return tensor.NewWeight(tensor.WeightOptions{Shape: t.Shape, DType: o.DType, Parts: parts})
}

// pieceElements is how many elements are drawn at once.
const pieceElements = 1 << 15

// source is the tensor's own stream of random numbers.
func (t *Tensor) source(seed uint64) *rand.PCG {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(t.Name), seed))
	return rand.NewPCG(binary.LittleEndian.Uint64(sum[:8]), binary.LittleEndian.Uint64(sum[8:16]))
}

// draw takes the next element. The conversion keeps a compiler from fusing product and sum, which would round otherwise.
func (r Rule) draw(source *rand.PCG) float64 {
	switch r.Kind {
	case Normal:
		return float64(r.Scale*standardNormal(source)) + r.Mean
	case Uniform:
		return float64(r.Scale*(float64(int64(source.Uint64())>>10)/(1<<53))) + r.Mean
	}
	return r.Mean
}

// standardNormal has mean 0 and variance 1: the sum of twelve independent uniform numbers less its mean. Each is one of the
// 2^16 numbers (j+1/2)/2^16, of variance 1/12 - 2^-32/12. It is normal but for tails that end at 6 and an excess kurtosis of
// -0.1. What rand.NormFloat64 gives is closer to normal, but goes through math.Exp, whose last bits differ between machines.
func standardNormal(source *rand.PCG) float64 {
	sum := int64(0)
	for range 3 {
		x := source.Uint64()
		sum += int64(x&0xffff + x>>16&0xffff + x>>32&0xffff + x>>48)
	}
	return float64(2*sum-12*0xffff) / (1 << 17)
}
