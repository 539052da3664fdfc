package dialect_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/reference"
)

func TestParseConfig(t *testing.T) {
	cases := []struct {
		text string
		want *dialect.Config
		err  string
	}{
		{`{}`, &dialect.Config{}, ""},
		{`{"hidden_size": 768, "layers": 12}`, &dialect.Config{}, ""},
		{`{"variant": "local", "causal": false, "window": 3, "heads": 2, "grid": [4, 7], "gate": "tanh"}`,
			&dialect.Config{Facts: dialect.Facts{Variant: ptr("local"), Causal: ptr(false), Window: ptr(3), Heads: ptr(2),
				Grid: &[2]int{4, 7}, Gate: ptr("tanh")}}, ""},
		{`{"causal": true, "layers": [{"window": 3}, {}]}`,
			&dialect.Config{Facts: dialect.Facts{Causal: ptr(true)}, Layers: []dialect.Facts{{Window: ptr(3)}, {}}}, ""},
		{`{"window": "three"}`, nil, `"window": is a string, want a whole number`},
		{`{"causal": 1}`, nil, `"causal"`},
		{`{"grid": 4}`, nil, `"grid"`},
		{`{"layers": [{"window": "x"}]}`, nil, "layers"},
		{`[1]`, nil, "not a JSON object"},
		{`{`, nil, "not a JSON object"},
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
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestMetadataConfig(t *testing.T) {
	cases := []struct {
		name     string
		metadata map[string]string
		want     *dialect.Config
		err      string
	}{
		{"none", map[string]string{"format": "pt", "epoch": "3", "config/lr": "0.1"}, &dialect.Config{}, ""},
		{"a dict", map[string]string{"config/variant": "local", "config/causal": "true", "config/window": "3"},
			&dialect.Config{Facts: dialect.Facts{Variant: ptr("local"), Causal: ptr(true), Window: ptr(3)}}, ""},
		{"Python's way to write", map[string]string{"config/causal": "False"},
			&dialect.Config{Facts: dialect.Facts{Causal: ptr(false)}}, ""},
		{"layers", map[string]string{"config/layers/1/variant": "conv", "config/layers/1/grid/1": "7", "config/layers/1/grid/0": "4"},
			&dialect.Config{Layers: []dialect.Facts{{}, {Variant: ptr("conv"), Grid: &[2]int{4, 7}}}}, ""},
		{"safetensors", map[string]string{"causal": "true", "layers.0.window": "5"},
			&dialect.Config{Facts: dialect.Facts{Causal: ptr(true)}, Layers: []dialect.Facts{{Window: ptr(5)}}}, ""},
		{"layer number out of all proportion", map[string]string{"config/layers/999999999/window": "3"}, &dialect.Config{}, ""},
		{"no number", map[string]string{"config/window": "wide"}, nil, `"config/window"`},
		{"a grid of three", map[string]string{"config/grid/2": "4"}, nil, `"config/grid/2": is "4", want two whole numbers`},
		{"a wide grid", map[string]string{"grid.0": "wide"}, nil, `"grid.0": is "wide", want two whole numbers`},
		{"no truth", map[string]string{"config/causal": "perhaps"}, nil, "true or false"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := dialect.MetadataConfig(c.metadata)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPrecedence: the command line wins over config.json, which wins over the file's own config; a layer's own entry wins
// over the one for all layers.
func TestPrecedence(t *testing.T) {
	window := func(s int) *dialect.Config { return &dialect.Config{Facts: dialect.Facts{Window: ptr(s)}} }
	base := dialect.Facts{Variant: ptr("local"), Causal: ptr(false), Window: ptr(2)}
	stored := &dialect.Config{Facts: base, Layers: []dialect.Facts{{}, {Window: ptr(3)}}}
	lines := concat(prefixed("layers.0.", own(6, "w 9 9")), prefixed("layers.1.", own(6, "w 9 9")))
	cases := []struct {
		name   string
		o      dialect.Options
		config *dialect.Config
		want   [2]int
	}{
		{"stored", dialect.Options{}, nil, [2]int{2, 3}},
		{"config.json", dialect.Options{}, window(4), [2]int{4, 4}},
		{"flag", dialect.Options{Window: 5}, window(4), [2]int{5, 5}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, err := dialect.Recognise(dialect.Input{Source: file(t, lines...), Options: c.o, Config: c.config, Stored: stored})
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]int{r.Model.Blocks[0].Window, r.Model.Blocks[1].Window}; got != c.want {
				t.Errorf("windows %v, want %v", got, c.want)
			}
		})
	}
}

// TestStoredConfigIsOurs: another implementation's config inside its checkpoint may mean something else by "window".
func TestStoredConfigIsOurs(t *testing.T) {
	stored := &dialect.Config{Facts: dialect.Facts{Variant: ptr("local"), Window: ptr(3)}}
	r, err := dialect.Recognise(dialect.Input{Source: file(t, rish("wbias 9 9")...), Stored: stored})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Model.Blocks[0].Variant; v != reference.Full {
		t.Errorf("variant %s, want %s", v, reference.Full)
	}
}

func TestConfigSettlesGateAndPadding(t *testing.T) {
	config := &dialect.Config{Facts: dialect.Facts{Gate: ptr("tanh"), PadLeft: ptr(0), Pads: &[2]int{0, 2}, Causal: ptr(false)}}
	r, err := dialect.Recognise(dialect.Input{Source: file(t, own(3, "w 3 5")...), Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if l := r.Model.Blocks[0]; l.Gate != reference.GateTanh || l.PadLeft != 0 {
		t.Errorf("got gate %s and pad_left %d, want tanh and 0", l.Gate, l.PadLeft)
	}
	r, err = dialect.Recognise(dialect.Input{Source: file(t, own(3, "w 3 3 3")...), Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if l := r.Model.Blocks[0]; l.Pads != [2]int{0, 2} {
		t.Errorf("got pads %v, want [0 2]", l.Pads)
	}
	_, err = dialect.Recognise(dialect.Input{Source: file(t, own(3, "w 3 3 2")...),
		Config: &dialect.Config{Facts: dialect.Facts{Pads: &[2]int{2, 2}, Causal: ptr(false)}}})
	if err == nil || !strings.Contains(err.Error(), "config.json: pads is [2, 2], want 0..2 and 0..1") {
		t.Errorf("pads beyond the kernel: got %v", err)
	}
	for name, bad := range map[string]dialect.Facts{
		"gate":     {Gate: ptr("relu"), Causal: ptr(false)},
		"pad_left": {PadLeft: ptr(5), Causal: ptr(false)},
	} {
		_, err := dialect.Recognise(dialect.Input{Source: file(t, own(3, "w 3 5")...), Config: &dialect.Config{Facts: bad}})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%s: got %v, want an error that names it and config.json", name, err)
		}
	}
}
