package task_test

import (
	"errors"
	"image"
	"image/color"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/task"
)

// imagePorts are those of an image model of ours.
func imagePorts(channels int) task.Ports {
	b := onnxpb.Dynamic("batch")
	return task.Ports{
		Inputs: []task.Port{{Name: "pixel_values", DType: tensor.Float64,
			Dims: []onnxpb.Dim{b, onnxpb.Fixed(channels), onnxpb.Dynamic("height"), onnxpb.Dynamic("width")}}},
		Outputs: []task.Port{{Name: "logits", DType: tensor.Float64, Dims: []onnxpb.Dim{b, onnxpb.Fixed(3)}}},
	}
}

func newClassifier(t testing.TB, channels int, facts task.ImageFacts) *task.Classifier {
	t.Helper()
	c, err := task.NewClassifier(imagePorts(channels), facts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewClassifier(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(p *task.Ports, f *task.ImageFacts)
	}{
		{"ours", "", func(*task.Ports, *task.ImageFacts) {}},
		{"labels", "", func(_ *task.Ports, f *task.ImageFacts) { f.Labels = []string{"a", "b", "c"} }},
		{"fixed size", "", func(p *task.Ports, f *task.ImageFacts) {
			p.Inputs[0].Dims[2], p.Inputs[0].Dims[3], f.Size = onnxpb.Fixed(4), onnxpb.Fixed(6), [2]int{4, 6}
		}},
		{"text", `takes "input_ids", want "pixel_values"`, func(p *task.Ports, _ *task.ImageFacts) { p.Inputs[0].Name = "input_ids" }},
		{"no logits", `gives "y"`, func(p *task.Ports, _ *task.ImageFacts) { p.Outputs[0].Name = "y" }},
		{"logits of rank 3", "want numbers of rank 2", func(p *task.Ports, _ *task.ImageFacts) {
			p.Outputs[0].Dims = append(p.Outputs[0].Dims, onnxpb.Fixed(1))
		}},
		{"integers", "want numbers of rank 4", func(p *task.Ports, _ *task.ImageFacts) { p.Inputs[0].DType = tensor.Uint8 }},
		{"no shape", "want numbers of rank 4", func(p *task.Ports, _ *task.ImageFacts) { p.Inputs[0].Dims = nil }},
		{"four channels", "takes 4 channels", func(p *task.Ports, _ *task.ImageFacts) { p.Inputs[0].Dims[1] = onnxpb.Fixed(4) }},
		{"any channels", "takes -1 channels", func(p *task.Ports, _ *task.ImageFacts) { p.Inputs[0].Dims[1] = onnxpb.Dynamic("c") }},
		{"fixed batch", "a fixed batch of 8", func(p *task.Ports, _ *task.ImageFacts) { p.Inputs[0].Dims[0] = onnxpb.Fixed(8) }},
		{"two sizes", "takes 4 x 6 pixels, but states an image size of 6 x 4", func(p *task.Ports, f *task.ImageFacts) {
			p.Inputs[0].Dims[2], p.Inputs[0].Dims[3], f.Size = onnxpb.Fixed(4), onnxpb.Fixed(6), [2]int{6, 4}
		}},
		{"few labels", "has 2 labels, want 3", func(_ *task.Ports, f *task.ImageFacts) { f.Labels = []string{"a", "b"} }},
		{"means", "mean has 1 values, want 3", func(_ *task.Ports, f *task.ImageFacts) { f.Mean = []float64{0} }},
		{"std 0", "want numbers above 0", func(_ *task.Ports, f *task.ImageFacts) { f.Std = []float64{1, 0, 1} }},
		{"std NaN", "want numbers above 0", func(_ *task.Ports, f *task.ImageFacts) { f.Std = []float64{1, math.NaN(), 1} }},
	} {
		p, f := imagePorts(3), task.ImageFacts{}
		c.change(&p, &f)
		_, err := task.NewClassifier(p, f)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A picture goes to the model's size, or keeps its own up to the patch's multiples.
func TestSizeFor(t *testing.T) {
	for _, c := range []struct {
		facts         task.ImageFacts
		height, width int
		want          [2]int
	}{
		{task.ImageFacts{Size: [2]int{32, 48}, Patch: 16}, 500, 20, [2]int{32, 48}},
		{task.ImageFacts{Patch: 16}, 64, 48, [2]int{64, 48}},
		{task.ImageFacts{Patch: 16}, 71, 72, [2]int{64, 80}},
		{task.ImageFacts{Patch: 16}, 1, 100, [2]int{16, 96}},
		{task.ImageFacts{}, 71, 33, [2]int{71, 33}},
	} {
		got, err := newClassifier(t, 3, c.facts).SizeFor(c.height, c.width)
		if err != nil || got != c.want {
			t.Errorf("%+v, %d x %d: %v, %v, want %v", c.facts, c.height, c.width, got, err, c.want)
		}
	}
	for _, facts := range []task.ImageFacts{{Patch: 16}, {Size: [2]int{1 << 20, 1 << 20}}, {Patch: math.MaxInt32}} {
		if size, err := newClassifier(t, 3, facts).SizeFor(4096, 4096); !errors.Is(err, task.ErrTooLarge) {
			t.Errorf("%+v: %v, %v", facts, size, err)
		}
	}
}

// pixels is what a picture becomes, as numbers.
func pixels(t *testing.T, c *task.Classifier, p image.Image, height, width int) []float64 {
	t.Helper()
	x, err := c.Pixels(p, [2]int{height, width})
	if err != nil {
		t.Fatal(err)
	}
	return x.Float64s()
}

// A picture of the right size loses nothing: (v/255 - mean) / std of every byte, by channel.
func TestPixels_exact(t *testing.T) {
	p := image.NewNRGBA(image.Rect(5, 7, 7, 8)) // the origin does not matter
	p.SetNRGBA(5, 7, color.NRGBA{10, 20, 30, 255})
	p.SetNRGBA(6, 7, color.NRGBA{0, 255, 128, 255})
	c := newClassifier(t, 3, task.ImageFacts{Mean: []float64{0.5, 0, 0.25}, Std: []float64{0.5, 1, 2}})
	want := []float64{(10./255 - 0.5) / 0.5, -1, 20. / 255, 1, (30./255 - 0.25) / 2, (128./255 - 0.25) / 2}
	for i, got := range pixels(t, c, p, 1, 2) {
		if math.Abs(got-want[i]) > 1e-15 { // rounding of the three steps
			t.Errorf("number %d is %v, want %v", i, got, want[i])
		}
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for i, v := range pixels(t, newClassifier(t, 1, task.ImageFacts{}), grey(16, 16, all...), 16, 16) {
		if v != float64(i)/255 {
			t.Errorf("grey %d became %v", i, v)
		}
	}
}

// Grey is 0.299 R + 0.587 G + 0.114 B to the three digits of BT.601; what is transparent lies on white.
func TestPixels_colours(t *testing.T) {
	p := image.NewNRGBA(image.Rect(0, 0, 5, 1))
	for x, c := range []color.NRGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {0, 0, 0, 0}, {0, 0, 0, 51}} {
		p.SetNRGBA(x, 0, c)
	}
	for i, want := range []float64{0.299, 0.587, 0.114, 1, 0.8} {
		if got := pixels(t, newClassifier(t, 1, task.ImageFacts{}), p, 1, 5)[i]; math.Abs(got-want) > 5e-5 {
			t.Errorf("pixel %d is %v, want %v", i, got, want)
		}
	}
	if got := pixels(t, newClassifier(t, 3, task.ImageFacts{}), p, 1, 5)[3]; got != 1 {
		t.Errorf("transparent is %v", got)
	}
}

// By the rule of the triangle: to half the length, an inner pixel is made of (1,3,3,1)/8 of the old ones; to twice, of
// (1,3)/4. At the edges what is outside does not count. Rows and columns follow one rule.
func TestPixels_scaled(t *testing.T) {
	v := []float64{0, 51. / 255, 1, 102. / 255, 0, 204. / 255}
	for _, k := range []struct {
		old, want []float64
	}{
		{v, []float64{(3*v[0] + 3*v[1] + v[2]) / 7, (v[1] + 3*v[2] + 3*v[3] + v[4]) / 8, (v[3] + 3*v[4] + 3*v[5]) / 7}},
		{v[:2], []float64{v[0], (3*v[0] + v[1]) / 4, (v[0] + 3*v[1]) / 4, v[1]}},
		{v[2:3], []float64{1, 1, 1, 1, 1}},
		{v, v},
	} {
		before, after := len(k.old), len(k.want)
		down, across := grey(before, before), grey(before, before)
		for i := range before * before {
			down.Pix[i], across.Pix[i] = byte(255*k.old[i/before]+0.5), byte(255*k.old[i%before]+0.5)
		}
		c := newClassifier(t, 1, task.ImageFacts{})
		for i, got := range pixels(t, c, down, after, after) {
			if math.Abs(got-k.want[i/after]) > 1e-15 {
				t.Errorf("%d to %d rows: pixel %d is %v, want %v", before, after, i, got, k.want[i/after])
			}
		}
		for i, got := range pixels(t, c, across, after, after) {
			if math.Abs(got-k.want[i%after]) > 1e-15 {
				t.Errorf("%d to %d columns: pixel %d is %v, want %v", before, after, i, got, k.want[i%after])
			}
		}
	}
}

// What is left of a picture of another shape is its middle.
func TestPixels_centred(t *testing.T) {
	row := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	c := newClassifier(t, 1, task.ImageFacts{Mean: []float64{0}, Std: []float64{1. / 255}})
	for _, k := range []struct {
		p             image.Image
		height, width int
		want          []float64
	}{
		{grey(8, 1, row...), 1, 2, []float64{4, 5}},
		{grey(8, 1, row...), 1, 3, []float64{3, 4, 5}},
		{grey(1, 8, row...), 2, 1, []float64{4, 5}},
		{grey(4, 2, row...), 2, 2, []float64{2, 3, 6, 7}},
		{grey(2, 4, row...), 2, 2, []float64{3, 4, 5, 6}},
		{grey(8, 1, row...), 2, 2, []float64{4, 4, 4, 4}},
	} {
		got := pixels(t, c, k.p, k.height, k.width)
		for i := range k.want {
			if math.Abs(got[i]-k.want[i]) > 1e-12 {
				t.Errorf("%v to %d x %d: %v, want %v", k.p.Bounds(), k.height, k.width, got, k.want)
				break
			}
		}
	}
	for _, size := range [][2]int{{0, 1}, {1, -1}, {1 << 12, 1 << 12}} {
		if _, err := c.Pixels(grey(1, 1, 0), size); err == nil {
			t.Errorf("made %v pixels", size)
		}
	}
}

// A few wide pixels stand for a picture of many: memory is bounded by the new size.
func TestPixels_large(t *testing.T) {
	if testing.Short() {
		t.Skip("16 million pixels")
	}
	c := newClassifier(t, 1, task.ImageFacts{})
	p := image.NewUniform(color.Gray{51})
	got := pixels(t, c, cropped{p, image.Rect(0, 0, 4096, 4096)}, 2, 2)
	for _, v := range got {
		if math.Abs(v-0.2) > 1e-12 {
			t.Errorf("got %v", got)
		}
	}
}

// cropped is a part of a picture without end.
type cropped struct {
	image.Image
	bounds image.Rectangle
}

func (c cropped) Bounds() image.Rectangle { return c.bounds }

// softmax(1, 3, 1) = (1, e^2, 1) / (2 + e^2); of equals the lower class comes first.
func TestClassify(t *testing.T) {
	logits := func(d tensor.DType, v ...float64) fixed {
		y, err := tensor.FromFloat64s(d, []int{1, len(v)}, v)
		if err != nil {
			t.Fatal(err)
		}
		return fixed{"logits": y}
	}
	c := newClassifier(t, 1, task.ImageFacts{Labels: []string{"a", "b", "c"}})
	x, err := c.Pixels(grey(1, 1, 0), [2]int{1, 1})
	if err != nil {
		t.Fatal(err)
	}
	sum := 2 + math.Exp(2)
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float64, tensor.Float16} {
		got, err := c.Classify(t.Context(), logits(d, 1, 3, 1), x)
		want := []task.Class{{1, "b", 3, math.Exp(2) / sum}, {0, "a", 1, 1 / sum}, {2, "c", 1, 1 / sum}}
		if err != nil || len(got) != 3 {
			t.Fatalf("%v, %v", got, err)
		}
		for i := range want {
			if math.Abs(got[i].Probability-want[i].Probability) > 1e-15 {
				t.Errorf("%s: %v, want %v", d, got, want)
			}
			got[i].Probability = want[i].Probability
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", d, got, want)
		}
	}
	for _, v := range [][]float64{{1, math.NaN(), 1}, {math.Inf(1), 0, 0}, {math.Inf(-1), math.Inf(-1), math.Inf(-1)}, {1, 2}} {
		if got, err := c.Classify(t.Context(), logits(tensor.Float64, v...), x); err == nil {
			t.Errorf("logits %v give %v", v, got)
		}
	}
	if _, err := c.Classify(t.Context(), fixed{}, x); err == nil {
		t.Error("no logits are no error")
	}
	free := newClassifier(t, 1, task.ImageFacts{})
	got, err := free.Classify(t.Context(), logits(tensor.Float64, 0, math.Inf(-1)), x)
	if err != nil || got[0].Label != "" || got[0].Probability != 1 || got[1].Probability != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
