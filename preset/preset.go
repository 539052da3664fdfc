package preset

import "slices"

// Task is what a model is for, and with it its inputs and outputs.
type Task string

// The tasks of the paper's sections 5.1 to 5.3.
const (
	Pixels Task = "image generation"     // 32 x 32 x 3 sub-pixels, one after another
	Bytes  Task = "language"             // the bytes of a text
	Images Task = "image classification" // patches of an image
)

// Variant is which AFT the layers are; the words of the configuration and of --variant.
type Variant string

// The variants that the paper experiments with.
const (
	Full   Variant = "full"
	Simple Variant = "simple"
	Local  Variant = "local"
	Conv   Variant = "conv" // in two dimensions
)

// Preset is one model. Sizes that its variant does not have are 0.
type Preset struct {
	Name   string
	Source string // where the paper reports this model; empty: it does not
	Task   Task

	Variant   Variant
	Layers    int
	Dim       int // D
	Positions int // T, a class token included; 0: any number, without embeddings of positions
	Window    int // s of AFT-local: biases reach |t-t'| < s
	Rank      int // d': the columns of u and v, eq. 7
	Heads     int // of AFT-conv
	Kernel    int // of AFT-conv: taps in each direction
	ImageSize int // height and width in pixels
}

// What all models of a task share.
const (
	Vocabulary = 256  // tokens
	Classes    = 1000 // of ImageNet
	patchSize  = 16   // pixels in each direction
	channels   = 3
	expansion  = 4 // of the MLP
)

// Causal reports whether a position sees only itself and what comes before it.
func (p *Preset) Causal() bool { return p.Task != Images }

// ClassToken reports whether the image is classified by a token of its own; otherwise by the mean over all positions.
func (p *Preset) ClassToken() bool { return p.Task == Images && p.Variant == Full }

// All are the presets: those of the paper's tables, and AFT-simple at the one size of two that the tables leave out. Where a
// table has AFT-simple as AFT-local with window 0, that is noted as its source too.
func All() []Preset { return slices.Concat(enwik8(), cifar10(), imageNet()) }

func enwik8() []Preset {
	simple := Preset{Task: Bytes, Variant: Simple, Positions: 1024}
	local := Preset{Task: Bytes, Variant: Local, Positions: 1024, Window: 32, Rank: 256}
	return []Preset{
		local.as("enwik8-local-12x512", "table 4", 12, 512),
		local.as("enwik8-local-24x256", "tables 4, 5, 6", 24, 256),
		simple.as("enwik8-simple-12x512", "", 12, 512),
		simple.as("enwik8-simple-24x256", "tables 4, 5", 24, 256),
	}
}

func cifar10() []Preset {
	simple := Preset{Task: Pixels, Variant: Simple, Positions: 32 * 32 * channels}
	local := Preset{Task: Pixels, Variant: Local, Positions: 32 * 32 * channels, Window: 256, Rank: 64}
	return []Preset{
		local.as("cifar10-local-12x512", "table 2", 12, 512),
		local.as("cifar10-local-24x256", "tables 2, 3", 24, 256),
		simple.as("cifar10-simple-12x512", "", 12, 512),
		simple.as("cifar10-simple-24x256", "table 2", 24, 256),
	}
}

// imageNet has the sizes of DeiT: tiny, small and base.
func imageNet() []Preset {
	const tiny, small, base = 192, 384, 768
	full := Preset{Task: Images, Variant: Full, Positions: 1 + 14*14, Rank: 128, ImageSize: 224}
	conv := func(kernel, heads, imageSize int) Preset {
		return Preset{Task: Images, Variant: Conv, Kernel: kernel, Heads: heads, ImageSize: imageSize}
	}
	return []Preset{
		full.as("imagenet-full-tiny", "table 7", 12, tiny),
		full.as("imagenet-full-small", "table 7", 12, small),
		conv(11, 32, 224).as("imagenet-conv-tiny-k11-h32", "table 7", 12, tiny),
		conv(11, 192, 224).as("imagenet-conv-tiny-k11-h192", "table 7", 12, tiny),
		conv(11, 16, 224).as("imagenet-conv-small-k11-h16", "table 7", 12, small),
		conv(11, 384, 224).as("imagenet-conv-small-k11-h384", "table 7", 12, small),
		conv(15, 384, 224).as("imagenet-conv-small-k15-h384", "table 7", 12, small),
		conv(25, 32, 384).as("imagenet-conv-base-k25-h32", "table 8", 12, base),
	}
}

// as is p under that name and of that size.
func (p Preset) as(name, source string, layers, dim int) Preset {
	p.Name, p.Source, p.Layers, p.Dim = name, source, layers, dim
	return p
}

// Lookup finds a preset by its name.
func Lookup(name string) (Preset, bool) {
	all := All()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return all[i], true
}
