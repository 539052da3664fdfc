package dialect_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/dialect"
)

// TestParseConfig_global: what a config.json says about the whole model, in our words and in those of the Hugging Face layout.
func TestParseConfig_global(t *testing.T) {
	cases := []struct {
		text string
		want dialect.Global
		err  string
	}{
		{`{"eps": 1e-6}`, dialect.Global{Eps: ptr(1e-6)}, ""},
		{`{"layer_norm_eps": 0}`, dialect.Global{Eps: ptr(0.0)}, ""},
		{`{"layer_norm_epsilon": 0.5, "eps": null}`, dialect.Global{Eps: ptr(0.5)}, ""},
		{`{"layer_norm_eps": 0.5, "eps": 0.25}`, dialect.Global{Eps: ptr(0.25)}, ""},
		{`{"image_size": 224}`, dialect.Global{ImageSize: &[2]int{224, 224}}, ""},
		{`{"image_size": [4, 6]}`, dialect.Global{ImageSize: &[2]int{4, 6}}, ""},
		{`{"mean": [0.5, 0.25, 1], "std": [1, 2, 3]}`, dialect.Global{Mean: []float64{0.5, 0.25, 1}, Std: []float64{1, 2, 3}}, ""},
		{`{"image_mean": [0.5], "image_std": [2]}`, dialect.Global{Mean: []float64{0.5}, Std: []float64{2}}, ""},
		{`{"do_normalize": true, "image_mean": [0.5], "image_std": [2]}`, dialect.Global{Mean: []float64{0.5}, Std: []float64{2}}, ""},
		{`{"do_normalize": false, "image_mean": [0.5], "image_std": [2]}`, dialect.Global{}, ""},
		{`{"labels": ["cat", "dog"]}`, dialect.Global{Labels: []string{"cat", "dog"}}, ""},
		{`{"labels": "cat\ndog"}`, dialect.Global{Labels: []string{"cat", "dog"}}, ""},
		{`{"id2label": {"1": "dog", "0": "cat"}}`, dialect.Global{Labels: []string{"cat", "dog"}}, ""},
		{`{"labels": ["cat", "dog"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}`, dialect.Global{Labels: []string{"cat", "dog"}}, ""},
		{`{"hidden_size": 6, "architectures": ["X"], "image_size": null}`, dialect.Global{}, ""},
		{`{"eps": "small"}`, dialect.Global{}, `key "eps": want a number`},
		{`{"layer_norm_eps": [1]}`, dialect.Global{}, `key "layer_norm_eps": want a number`},
		{`{"eps": -1}`, dialect.Global{}, "eps is -1"},
		{`{"image_size": "224"}`, dialect.Global{}, `key "image_size": want a whole number, or two [h, w]`},
		{`{"image_size": [4]}`, dialect.Global{}, `key "image_size"`},
		{`{"image_size": [4, 6, 3]}`, dialect.Global{}, `key "image_size"`},
		{`{"image_size": 4.5}`, dialect.Global{}, `key "image_size"`},
		{`{"image_size": 0}`, dialect.Global{}, "image_size is [0, 0]"},
		{`{"image_size": [4, -6]}`, dialect.Global{}, "image_size is [4, -6]"},
		{`{"image_size": 100000000}`, dialect.Global{}, "image_size is"},
		{`{"mean": 0.5}`, dialect.Global{}, `key "mean": want a list of numbers`},
		{`{"image_std": ["a"]}`, dialect.Global{}, `key "image_std": want a list of numbers`},
		{`{"mean": [null, 0.5]}`, dialect.Global{}, `key "mean": want a list of numbers`},
		{`{"std": [1, 0]}`, dialect.Global{}, "std holds 0"},
		{`{"do_normalize": "no"}`, dialect.Global{}, `key "do_normalize": want true or false`},
		{`{"labels": 3}`, dialect.Global{}, `key "labels"`},
		{`{"labels": ["cat\ndog"]}`, dialect.Global{}, `label 0 is "cat\ndog"`},
		{`{"id2label": ["cat"]}`, dialect.Global{}, `key "id2label"`},
		{`{"id2label": {"1": "dog", "3": "cat"}}`, dialect.Global{}, `key "id2label"`},
		{`{"id2label": {"one": "dog"}}`, dialect.Global{}, `key "id2label"`},
		{`{"id2label": {"0": "cat", "00": "dog"}}`, dialect.Global{}, `key "id2label"`},
	}
	for _, c := range cases {
		got, err := dialect.ParseConfig([]byte(c.text))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got error %v, want one with %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if diff := cmp.Diff(c.want, got.Global); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.text, diff)
		}
	}
}

// TestMetadataConfig_global: the same from the scalars inside a checkpoint.
func TestMetadataConfig_global(t *testing.T) {
	cases := []struct {
		pairs []string
		want  dialect.Global
		err   string
	}{
		{[]string{"config/eps", "1e-06", "config/image_size/1", "6", "config/image_size/0", "4"},
			dialect.Global{Eps: ptr(1e-6), ImageSize: &[2]int{4, 6}}, ""},
		{[]string{"mean.0", "0.5", "mean.1", "0.25", "std.0", "2", "std.1", "4", "labels", "cat\ndog"},
			dialect.Global{Mean: []float64{0.5, 0.25}, Std: []float64{2, 4}, Labels: []string{"cat", "dog"}}, ""},
		{[]string{"layers.0.eps", "1", "epsilon", "x", "image_size", "224"}, dialect.Global{}, ""},
		{[]string{"eps", "small"}, dialect.Global{}, `key "eps": is "small", want a number`},
		{[]string{"eps", "nan"}, dialect.Global{}, "eps is NaN"},
		{[]string{"config/image_size/2", "4"}, dialect.Global{}, `key "config/image_size/2"`},
		{[]string{"image_size.0", "wide"}, dialect.Global{}, "two whole numbers"},
		{[]string{"image_size.0", "4"}, dialect.Global{}, "image_size is [4, 0]"},
		{[]string{"mean.64", "0"}, dialect.Global{}, `key "mean.64"`},
		{[]string{"mean.-1", "0"}, dialect.Global{}, `key "mean.-1"`},
		{[]string{"mean.0", "nan"}, dialect.Global{}, "mean holds NaN"},
		{[]string{"std.0", "inf"}, dialect.Global{}, "std holds +Inf"},
		{[]string{"std.1", "2"}, dialect.Global{}, "std holds NaN"},
		{[]string{"mean.0", "0.5", "mean.2", "0.5"}, dialect.Global{}, "mean holds NaN"},
		{[]string{"window", "wide", "heads", "few", "eps", "x", "causal", "maybe"}, dialect.Global{}, `key "causal"`}, // the first by name
	}
	for _, c := range cases {
		metadata := map[string]string{}
		for i := 0; i < len(c.pairs); i += 2 {
			metadata[c.pairs[i]] = c.pairs[i+1]
		}
		got, err := dialect.MetadataConfig(metadata)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: got error %v, want one with %q", c.pairs, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", c.pairs, err)
		} else if diff := cmp.Diff(c.want, got.Global); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.pairs, diff)
		}
	}
}

// TestGlobal_used: the config beside a file wins over the one inside; what fits no part of the model is an error that says so.
func TestGlobal_used(t *testing.T) {
	inside := []string{"variant", "full", "causal", "false", "eps", "0.25", "labels", "a\nb\nc\nd", "mean.0", "0.5", "mean.1", "0.5", "mean.2", "0.5"}
	beside := &dialect.Config{Global: dialect.Global{Eps: ptr(0.5), ImageSize: &[2]int{4, 4}}}
	r, err := dialect.Recognise(dialect.Input{Source: file(t, ownClassified()...), Config: beside, Stored: stored(t, inside...)})
	if err != nil {
		t.Fatal(err)
	}
	m := r.Model
	for name, eps := range map[string]float64{"norm1": m.Blocks[1].Norm.Eps, "norm2": m.Blocks[0].MLP.Norm.Eps, "norm": m.Norm.Eps} {
		if eps != 0.5 {
			t.Errorf("%s adds %v, want 0.5", name, eps)
		}
	}
	pixels := m.Patches.Pixels
	if diff := cmp.Diff([]float64{0.5, 0.5, 0.5}, pixels.Mean); diff != "" || pixels.Std != nil || pixels.Size != [2]int{4, 4} {
		t.Errorf("pixels are %+v", pixels)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, m.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	for text, global := range map[string]dialect.Global{
		"mean: has 2 values, want 3":            {Mean: []float64{1, 2}},
		"std: has 0 values":                     {Std: []float64{}},
		"labels: are 1, want 4":                 {Labels: []string{"cat"}},
		"image_size: is 5 x 4, want multiples":  {ImageSize: &[2]int{5, 4}},
		"image_size: (4,8) has 9 positions":     {ImageSize: &[2]int{4, 8}},
		"image_size: (1048576,1048576) has 274": {ImageSize: &[2]int{1 << 20, 1 << 20}},
	} {
		_, err := dialect.Recognise(dialect.Input{Source: file(t, ownClassified()...), Config: &dialect.Config{Global: global},
			Stored: stored(t, "variant", "full", "causal", "false")})
		var bad *dialect.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want an Error with %q", err, text)
		}
	}
}

// TestImageSize_notGiven: positions that make a square say the size; others leave it open.
func TestImageSize_notGiven(t *testing.T) {
	for lines, size := range map[string][2]int{"positions.weight 5 6": {4, 4}, "positions.weight 4 6": {}, "positions.weight 1 6": {}} {
		r, err := dialect.Recognise(dialect.Input{Source: file(t, replaced(ownClassified(), lines)...),
			Stored: stored(t, "variant", "full", "causal", "false")})
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Contains(strings.Join(r.Notes, "\n"), "image_size")
		if got := r.Model.Patches.Pixels.Size; got != size || said != (size != [2]int{}) {
			t.Errorf("%s: size %v, want %v; a note says so: %v", lines, got, size, said)
		}
	}
}
