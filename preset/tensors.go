package preset

import (
	"fmt"
	"math"
)

// Tensor is one array of a model, under the name it has in our own checkpoints.
type Tensor struct {
	Name  string
	Shape []int
	Rule  Rule
}

// Tensors lists what a model consists of, from the input to the output:
//
//	language:  embed.weight (V,D), positions.weight (T,D), layers, norm.{weight,bias} (D), head.weight (V,D)
//	images:    patch.weight (D,C,p,p), patch.bias (D), with a class token class_token (D) and positions.weight (T,D), layers,
//	           norm.{weight,bias} (D), head.weight (classes,D), head.bias (classes)
//	layers.n:  norm1.{weight,bias} (D); q, k, v, out with weight (D,D) and bias (D), k (H,D) and (H) in AFT-conv;
//	           u and v_t (T,d'), or w (H,k,k), gamma (H) and beta (H); norm2; fc1 (4D,D), fc2 (D,4D) with biases
func (p *Preset) Tensors() []Tensor {
	var l list
	if p.Task == Images {
		l.patches(p)
	} else {
		l.add("embed.weight", normal(0.02), Vocabulary, p.Dim)
		l.add("positions.weight", normal(0.01), p.Positions, p.Dim)
	}
	for n := range p.Layers {
		l.layer(p, fmt.Sprintf("layers.%d.", n))
	}
	l.norm("norm", p.Dim)
	if p.Task == Images {
		l.linear("head", Classes, p.Dim)
	} else {
		l.add("head.weight", normal(0.02), Vocabulary, p.Dim)
	}
	return l.tensors
}

// Parameters is the number of elements of all tensors.
func (p *Preset) Parameters() int {
	total := 0
	for _, t := range p.Tensors() {
		total += t.Weight(Options{}).Len()
	}
	return total
}

type list struct{ tensors []Tensor }

func (l *list) add(name string, rule Rule, shape ...int) {
	l.tensors = append(l.tensors, Tensor{Name: name, Shape: shape, Rule: rule})
}

// linear starts as in DeiT and GPT-2: a standard deviation of 0.02 and no bias. (DeiT cuts its normal distribution at +-2,
// which is a hundred standard deviations.)
func (l *list) linear(name string, out, in int) {
	l.add(name+".weight", normal(0.02), out, in)
	l.add(name+".bias", constant(0), out)
}

func (l *list) norm(name string, dim int) {
	l.add(name+".weight", constant(1), dim)
	l.add(name+".bias", constant(0), dim)
}

// patches starts as a convolution of PyTorch does, which is what DeiT's code leaves it at: uniform within 1/sqrt(C*p*p).
func (l *list) patches(p *Preset) {
	const inputs = channels * patchSize * patchSize
	bound := 1 / math.Sqrt(inputs)
	l.add("patch.weight", uniform(bound), p.Dim, channels, patchSize, patchSize)
	l.add("patch.bias", uniform(bound), p.Dim)
	if p.ClassToken() {
		l.add("class_token", normal(0.02), p.Dim)
	}
	if p.Positions > 0 {
		l.add("positions.weight", normal(0.02), p.Positions, p.Dim)
	}
}

func (l *list) layer(p *Preset, prefix string) {
	keys := p.Dim
	if p.Variant == Conv {
		keys = p.Heads
	}
	l.norm(prefix+"norm1", p.Dim)
	l.linear(prefix+"q", p.Dim, p.Dim)
	l.linear(prefix+"k", keys, p.Dim)
	l.linear(prefix+"v", p.Dim, p.Dim)
	l.linear(prefix+"out", p.Dim, p.Dim)
	l.biases(p, prefix)
	l.norm(prefix+"norm2", p.Dim)
	l.linear(prefix+"fc1", expansion*p.Dim, p.Dim)
	l.linear(prefix+"fc2", p.Dim, expansion*p.Dim)
}

// biases are those of the positions: equation 7 or equation 8, which scales and shifts w, so that its own scale is nothing.
func (l *list) biases(p *Preset, prefix string) {
	switch p.Variant {
	case Full, Local:
		l.add(prefix+"u", normal(0.1), p.Positions, p.Rank)
		l.add(prefix+"v_t", normal(0.1), p.Positions, p.Rank)
	case Conv:
		l.add(prefix+"w", normal(1), p.Heads, p.Kernel, p.Kernel)
		l.add(prefix+"gamma", constant(0), p.Heads)
		l.add(prefix+"beta", constant(0), p.Heads)
	}
}
