package dialect_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// FuzzRecognise builds files out of text, a line "name dim dim ..." a tensor: whatever stands in a file, the answer is a
// sound model or an error of this package.
func FuzzRecognise(f *testing.F) {
	for _, lines := range [][]string{
		rish("wbias 3 3"), labml("pos_bias 2 2", "local_mask 2 2"), xmu(), comvex("u 3 2", "v 3 2"), nid(3, "w 3 4", "gamma 3", "beta 3"),
		su(3, "position_bias 3 1 3 3", "position_gain 3 1 1 1", "position_offset 3 1 1 1"),
		concat(prefixed("a/0.", own(6, "w 6 6")), prefixed("a/1.", own(6, "u 0 2", "v_t 0 2"))),
		ownText(), ownImage(), ownClassified(), suText(), suImage(), prefixed("module._orig_mod.", ownText()),
		without(ownText(), "head.weight"), append(ownBlocks(6), "norm.bias 6"),
	} {
		for _, variant := range []string{"", "full", "local", "conv"} {
			f.Add(strings.Join(lines, "\n"), variant, 2)
		}
	}
	f.Fuzz(func(t *testing.T, text, variant string, window int) {
		src := &source{tensors: map[string]*tensor.Tensor{}}
		for _, line := range strings.Split(text, "\n") {
			name, dims, _ := strings.Cut(line, " ")
			shape := []int{}
			for _, d := range strings.Fields(dims) {
				n, err := strconv.Atoi(d)
				if err != nil || n < 0 || n > 64 || len(shape) == 4 {
					return
				}
				shape = append(shape, n)
			}
			x, err := tensor.New(tensor.Float32, shape)
			if err != nil || x.Len() > 4096 || src.tensors[name] != nil {
				return
			}
			src.put(name, x)
		}
		causal := true
		r, err := dialect.Recognise(dialect.Input{
			Source: src, Options: dialect.Options{Variant: variant, Window: window, Causal: &causal},
		})
		var flag *dialect.FlagError
		var bad *dialect.Error
		switch {
		case err == nil:
			if err := r.Model.Check(); err != nil {
				t.Errorf("a model that does not hold together: %v", err)
			}
		case !errors.As(err, &flag) && !errors.As(err, &bad):
			t.Errorf("got %v, want a FlagError or an Error", err)
		}
	})
}

// FuzzParseConfig: any text is a config or an error.
func FuzzParseConfig(f *testing.F) {
	f.Add(`{"variant": "local", "window": 3, "grid": [1, 2], "layers": [{"causal": true}]}`)
	f.Add(`{"layers": 3}`)
	f.Add(`{"eps": 1e-6, "image_size": [4, 6], "image_mean": [0.5], "std": [1], "labels": "a\nb", "id2label": {"0": "a"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := dialect.ParseConfig([]byte(text)); (c == nil) == (err == nil) {
			t.Errorf("got %v and error %v, want one of them", c, err)
		}
	})
}

// FuzzMetadataConfig: any two keys of a checkpoint's own config give a config whose lists are no longer than their keys allow,
// or an error.
func FuzzMetadataConfig(f *testing.F) {
	f.Add("config/image_size/0", "4", "config/image_size/1", "6")
	f.Add("mean.63", "0.5", "std.0", "nan")
	f.Add("layers.1.window", "3", "labels", "a\nb")
	f.Fuzz(func(t *testing.T, key, value, key2, value2 string) {
		c, err := dialect.MetadataConfig(map[string]string{key: value, key2: value2})
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and error %v, want one of them", c, err)
		}
		if err == nil && (len(c.Layers) > 2 || len(c.Global.Mean) > 64 || len(c.Global.Std) > 64) {
			t.Errorf("two keys make %d layers, %d means and %d stds", len(c.Layers), len(c.Global.Mean), len(c.Global.Std))
		}
	})
}
