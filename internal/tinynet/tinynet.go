package tinynet

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/bits"

	"github.com/aftonnx/aftonnx/internal/safetensors"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// slope is how steep the language model's logits are.
const slope = 0.5

// Cost is what the language model "lm" makes of a byte after another, in bits. A byte is embedded as its bits, +1 or -1,
// and their complements: 16 numbers of mean 0 and variance 1, which the last norm divides by sqrt(1 + eps). The head's row for
// a byte is slope times the code of the one before it. So a logit is slope (16 - 4 d), d the number of bits in which the
// byte before it differs from the one seen, and the sum of all exponentials is e^(16 slope) (1 + e^(-4 slope))^8.
func Cost(before, b byte) float64 {
	s := 4 * slope / math.Sqrt(1+1e-5)
	d := float64(bits.OnesCount8((b - 1) ^ before))
	return 8*math.Log2(1+math.Exp(-s)) + d*s*math.Log2E
}

func code(b byte) []float64 {
	row := make([]float64, 16)
	for i := range 8 {
		row[i] = 2*float64(b>>i&1) - 1
		row[8+i] = -row[i]
	}
	return row
}

// network collects the tensors of a network.
type network struct {
	tensors []safetensors.Tensor
	config  map[string]string
}

// add adds a tensor, made by index.
func (m *network) add(name string, value func(i int) float64, shape ...int) {
	n := 1
	for _, d := range shape {
		n *= d
	}
	a := tensor.Array{Shape: shape, Data: make([]float64, n)}
	for i := range a.Data {
		a.Data[i] = value(i)
	}
	m.tensors = append(m.tensors, safetensors.Tensor{Name: name, DType: tensor.Float32, Weight: tensor.Hold(a)})
}

func zero(int) float64 { return 0 }
func one(int) float64  { return 1 }

// some are numbers without a pattern that matters.
func some(i int) float64 { return math.Sin(float64(3*i + 1)) }

// block adds a block of dim channels whose layer gives nothing but what out lets through.
func (m *network) block(dim, keys int, out func(int) float64) {
	m.add("layers.0.norm1.weight", one, dim)
	m.add("layers.0.norm1.bias", zero, dim)
	m.add("layers.0.q.weight", some, dim, dim)
	m.add("layers.0.k.weight", some, keys, dim)
	m.add("layers.0.v.weight", some, dim, dim)
	m.add("layers.0.out.weight", out, dim, dim)
	m.add("layers.0.norm2.weight", one, dim)
	m.add("layers.0.norm2.bias", zero, dim)
	m.add("layers.0.fc1.weight", some, 4*dim, dim)
	m.add("layers.0.fc1.bias", zero, 4*dim)
	m.add("layers.0.fc2.weight", zero, dim, 4*dim)
	m.add("layers.0.fc2.bias", zero, dim)
	m.add("norm.weight", one, dim)
	m.add("norm.bias", zero, dim)
}

// successor expects every byte to be one more than the last; it reaches 16 bytes.
func successor(tokens int, causal string, out func(int) float64) *network {
	m := &network{config: map[string]string{
		"layers.0.variant": "local", "layers.0.window": "2", "layers.0.causal": causal,
	}}
	m.add("embed.weight", func(i int) float64 { return code(byte(i / 16))[i%16] }, tokens, 16)
	m.add("positions.weight", zero, 16, 16)
	m.block(16, 16, out)
	m.add("layers.0.w", some, 16, 16)
	m.add("head.weight", func(i int) float64 { return slope * code(byte(i/16) - 1)[i%16] }, tokens, 16)
	return m
}

// endless looks at all bytes so far, of any number: it has no positions.
func endless() *network {
	m := &network{config: map[string]string{"layers.0.variant": "simple", "layers.0.causal": "true"}}
	m.add("embed.weight", func(i int) float64 { return code(byte(i / 16))[i%16] }, 256, 16)
	m.block(16, 16, some)
	m.add("head.weight", func(i int) float64 { return slope * code(byte(i/16) - 1)[i%16] }, 256, 16)
	return m
}

// brightness tells bright from dark: two channels hold m and -m, m the mean of a patch of 2 x 2 pixels in -1..1, and the last
// norm makes their signs of them, divided by sqrt(1 + eps/m^2). A picture of one colour, white or black, has m = 1 or -1, and
// the logits 2 m and -2 m.
func brightness(channels int) *network {
	m := &network{config: map[string]string{"layers.0.variant": "conv", "layers.0.causal": "false"}}
	m.add("patch.weight", func(i int) float64 { return float64(1-2*(i/(4*channels))) / 4 / float64(channels) }, 2, channels, 2, 2)
	m.add("patch.bias", zero, 2)
	m.block(2, 1, zero)
	m.add("layers.0.w", some, 1, 3, 3)
	m.add("layers.0.gamma", one, 1)
	m.add("layers.0.beta", zero, 1)
	m.add("head.weight", func(i int) float64 { return []float64{2, 0, -2, 0}[i] }, 2, 2)
	m.add("head.bias", zero, 2)
	return m
}

func (m *network) with(keysAndValues ...string) *network {
	for i := 0; i < len(keysAndValues); i += 2 {
		m.config[keysAndValues[i]] = keysAndValues[i+1]
	}
	return m
}

// Probability is that of the right class of "shades", "any-size" and, for white, "as-it-is", on a picture of one colour: of the
// logits 2 m and -2 m, m = 1 / sqrt(1 + eps).
func Probability() float64 { return 1 / (1 + math.Exp(-4/math.Sqrt(1+1e-5))) }

// Checkpoints are safetensors files by name:
//
//	lm         the language model that Cost is about
//	words      one of 100 tokens, which are no bytes
//	sees-all   one that is not causal
//	endless    one whose bytes depend on all before them, however many
//	shades     tells "bright" from "dark" in pictures of 4 x 4 grey pixels
//	any-size   the same for colours and any size, without labels
//	as-it-is   the same for grey and any size, pixels not normalised
//	four-inks  one that takes four channels
func Checkpoints() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, m := range map[string]*network{
		"lm":       successor(256, "true", zero),
		"words":    successor(100, "true", zero),
		"sees-all": successor(256, "false", some),
		"endless":  endless(),
		"shades": brightness(1).with("mean.0", "0.5", "std.0", "0.5", "labels", "bright\ndark",
			"image_size.0", "4", "image_size.1", "4"),
		"any-size": brightness(3).with("mean.0", "0.5", "mean.1", "0.5", "mean.2", "0.5",
			"std.0", "0.5", "std.1", "0.5", "std.2", "0.5"),
		"as-it-is":  brightness(1),
		"four-inks": brightness(4),
	} {
		var file bytes.Buffer
		if err := safetensors.Write(&file, m.config, m.tensors); err != nil {
			return nil, err
		}
		files[name] = file.Bytes()
	}
	return files, nil
}

// Pictures are PNG files by name: white, black and clear of 4 x 4 pixels, and wide, which is white, of 9 rows of 31.
func Pictures() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, p := range map[string]image.Image{
		"white": filled(4, 4, color.White), "black": filled(4, 4, color.Black), "clear": filled(4, 4, color.Transparent),
		"wide": filled(31, 9, color.White),
	} {
		var file bytes.Buffer
		if err := png.Encode(&file, p); err != nil {
			return nil, err
		}
		files[name] = file.Bytes()
	}
	return files, nil
}

func filled(width, height int, c color.Color) image.Image {
	p := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		p.Set(i%width, i/width, c)
	}
	return p
}
