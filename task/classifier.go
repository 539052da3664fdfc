package task

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops/wiring"
)

// ImageFacts are what a model wants of a picture and its ports do not say.
type ImageFacts struct {
	Size      [2]int    // height and width; zero: any
	Patch     int       // of which sides are multiples; 0: not known
	Mean, Std []float64 // x = (v - Mean) / Std by channel, v in 0..1; nil: 0 and 1
	Labels    []string  // of the classes; nil: they have numbers alone
}

// Classifier is a model that names what a picture shows, pixel_values (batch, channels, height, width) -> logits (batch,
// classes).
type Classifier struct {
	dtype    tensor.DType
	channels int
	facts    ImageFacts
}

// NewClassifier checks that a model is one, and takes pictures of one or three channels.
func NewClassifier(p Ports, facts ImageFacts) (*Classifier, error) {
	const what = "an image model"
	in, err := p.takes(wiring.ImageInput, what)
	if err != nil {
		return nil, err
	}
	out, err := p.gives(wiring.HeadOutput, what, 2)
	if err != nil {
		return nil, err
	}
	if !in.DType.IsFloat() || len(in.Dims) != 4 {
		return nil, fmt.Errorf("input %q is %s of rank %d, want numbers of rank 4", in.Name, in.DType, len(in.Dims))
	}
	c := &Classifier{dtype: in.DType, channels: in.size(1), facts: facts}
	if c.channels != 1 && c.channels != 3 {
		return nil, fmt.Errorf("takes %d channels, want 1 (grey) or 3 (red, green, blue)", c.channels)
	}
	if n := in.size(0); n >= 0 && n != 1 {
		return nil, fmt.Errorf("input %q has a fixed batch of %d, want 1 or one that is left open", in.Name, n)
	}
	if fixed := [2]int{in.size(2), in.size(3)}; fixed[0] >= 0 && fixed[1] >= 0 {
		if facts.Size != [2]int{} && facts.Size != fixed {
			return nil, fmt.Errorf("takes %d x %d pixels, but states an image size of %d x %d", fixed[0], fixed[1],
				facts.Size[0], facts.Size[1])
		}
		c.facts.Size = fixed
	}
	if n := out.size(1); facts.Labels != nil && n >= 0 && n != len(facts.Labels) {
		return nil, fmt.Errorf("has %d labels, want %d, one a class", len(facts.Labels), n)
	}
	return c, c.checkFacts()
}

func (c *Classifier) checkFacts() error {
	for _, v := range []struct {
		name   string
		values []float64
	}{{"mean", c.facts.Mean}, {"std", c.facts.Std}} {
		if v.values != nil && len(v.values) != c.channels {
			return fmt.Errorf("%s has %d values, want %d, one a channel", v.name, len(v.values), c.channels)
		}
	}
	if slices.ContainsFunc(c.facts.Std, func(v float64) bool { return !(v > 0) }) {
		return fmt.Errorf("std holds %v, want numbers above 0", c.facts.Std)
	}
	return nil
}

// Size is the height and width that pictures are brought to; zero: the model takes any.
func (c *Classifier) Size() [2]int { return c.facts.Size }

// maxSize is how many pixels a model is given at most: time and memory grow with them.
const maxSize = 1 << 22

// ErrTooLarge says that a model would be given more pixels than is sensible.
var ErrTooLarge = errors.New("too many pixels for a model")

// SizeFor is the height and width that a picture of this height and width is brought to: the model's, or the picture's own,
// each side rounded to the nearest multiple of the patch.
func (c *Classifier) SizeFor(height, width int) ([2]int, error) {
	size := c.facts.Size
	if size == [2]int{} {
		patch := max(1, c.facts.Patch)
		size = [2]int{nearest(height, patch), nearest(width, patch)}
	}
	return size, checkSize(size)
}

func checkSize(size [2]int) error {
	if size[0] < 1 || size[1] < 1 {
		return fmt.Errorf("cannot make %d x %d pixels", size[0], size[1])
	}
	if size[0] > maxSize/size[1] {
		return fmt.Errorf("%w: %d x %d, want at most %d in all", ErrTooLarge, size[0], size[1], maxSize)
	}
	return nil
}

// nearest is the multiple of p, at least p, that is nearest to n.
func nearest(n, p int) int { return max(p, (n+p/2)/p*p) }

// Pixels makes pixel_values (1, channels, height, width) of a picture: the largest part around its middle that has the size's
// shape, scaled to the size (bilinear; all pixels count where it shrinks), transparent parts on white, grey by the weights of
// BT.601 where there is one channel, and then (v - mean) / std.
func (c *Classifier) Pixels(picture image.Image, size [2]int) (*tensor.Tensor, error) {
	if err := checkSize(size); err != nil {
		return nil, err
	}
	var values []float64
	part := centred(picture.Bounds(), size[0], size[1])
	for i, channel := range scaled(picture, part, c.channels, size[0], size[1]) {
		mean, std := 0.0, 1.0
		if c.facts.Mean != nil {
			mean = c.facts.Mean[i]
		}
		if c.facts.Std != nil {
			std = c.facts.Std[i]
		}
		for _, v := range channel {
			values = append(values, (v-mean)/std)
		}
	}
	return tensor.FromFloat64s(c.dtype, []int{1, c.channels, size[0], size[1]}, values)
}

// Class is one thing that a picture may show.
type Class struct {
	Index       int
	Label       string // "" where it has none
	Logit       float64
	Probability float64 // softmax of the logits, in float64
}

// Classify gives all classes, the most probable first; among equals the lower index.
func (c *Classifier) Classify(ctx context.Context, run Runner, pixels *tensor.Tensor) ([]Class, error) {
	out, err := run.Run(ctx, map[string]*tensor.Tensor{wiring.ImageInput: pixels})
	if err != nil {
		return nil, err
	}
	t := out[wiring.HeadOutput]
	if t == nil || len(t.Shape) != 2 || t.Shape[0] != 1 || t.Shape[1] < 1 {
		return nil, fmt.Errorf("the run gave %v as %q, want one row of logits", t, wiring.HeadOutput)
	}
	if n := t.Shape[1]; c.facts.Labels != nil && n != len(c.facts.Labels) {
		return nil, fmt.Errorf("the run gave %d logits, want %d, one a label", n, len(c.facts.Labels))
	}
	return c.rank(t.Float64s())
}

func (c *Classifier) rank(logits []float64) ([]Class, error) {
	largest := slices.Max(logits) // NaN if one is
	if math.IsNaN(largest) || math.IsInf(largest, 0) {
		return nil, fmt.Errorf("the largest logit is %v", largest)
	}
	classes, sum := make([]Class, len(logits)), 0.0
	for i, v := range logits {
		classes[i] = Class{Index: i, Logit: v, Probability: math.Exp(v - largest)}
		sum += classes[i].Probability
		if c.facts.Labels != nil {
			classes[i].Label = c.facts.Labels[i]
		}
	}
	for i := range classes {
		classes[i].Probability /= sum
	}
	slices.SortStableFunc(classes, func(a, b Class) int { return cmp.Compare(b.Logit, a.Logit) })
	return classes, nil
}
