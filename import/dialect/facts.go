package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/reference"
)

// Options are the command line's answers to what names do not say. The zero value of a field means: not given.
type Options struct {
	Variant string // "full", "simple", "local" or "conv"
	Causal  *bool
	Window  int // the paper's s: the bias reaches |t-t'| < s
	Heads   int
	Grid    [2]int // height, width
}

// Facts are the same answers from a config, and those that only a config gives.
type Facts struct {
	Variant *string `json:"variant"`
	Causal  *bool   `json:"causal"`
	Window  *int    `json:"window"`
	Heads   *int    `json:"heads"`
	Grid    *[2]int `json:"grid"`
	Gate    *string `json:"gate"`
	PadLeft *int    `json:"pad_left"`
	Pads    *[2]int `json:"pads"`
}

// Config is what a config.json, or the config inside a checkpoint, says: for every layer, for single layers, and for the
// whole model.
type Config struct {
	Facts
	Layers []Facts
	Global Global
}

func (c *Config) at(layer int) []Facts {
	if c == nil {
		return nil
	}
	if layer < len(c.Layers) {
		return []Facts{c.Layers[layer], c.Facts}
	}
	return []Facts{c.Facts}
}

// ParseConfig reads a config.json: an object with any of the keys variant, causal, window, heads, grid, gate, pad_left and
// pads, and "layers", a list of such objects, for stacks whose layers differ; for whole models also eps (or layer_norm_eps),
// image_size, mean and std (or image_mean, image_std, neither if do_normalize is false), labels or id2label. Other keys are
// other programs' business.
func ParseConfig(data []byte) (*Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c.Facts); err != nil {
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) && typed.Field != "" {
			return nil, fmt.Errorf("key %s: is a %s, want %s", quote(typed.Field), typed.Value, jsonName(typed))
		}
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	var rest struct {
		Layers json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(data, &rest); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	// Elsewhere "layers" is often a number.
	if bytes.HasPrefix(bytes.TrimSpace(rest.Layers), []byte("[")) {
		if err := json.Unmarshal(rest.Layers, &c.Layers); err != nil {
			return nil, fmt.Errorf("key %q: %w", "layers", err)
		}
	}
	var err error
	if c.Global, err = parseGlobal(data); err != nil {
		return nil, err
	}
	return &c, nil
}

func jsonName(e *json.UnmarshalTypeError) string {
	switch e.Type.String() {
	case "bool":
		return "true or false"
	case "int":
		return "a whole number"
	case "string":
		return "a string"
	}
	return "two whole numbers [h, w]"
}

// MetadataConfig reads the config that our own checkpoints carry inside: scalars named "config/window" or
// "config/layers/0/window" (a dict beside the state_dict), or "window" and "layers.0.window" (safetensors metadata).
// A checkpoint without one gives an empty Config.
func MetadataConfig(metadata map[string]string) (*Config, error) {
	c := &Config{}
	for _, key := range slices.Sorted(maps.Keys(metadata)) { // of several errors always the same
		text := metadata[key]
		path := strings.FieldsFunc(strings.TrimPrefix(key, "config/"), func(r rune) bool { return r == '/' || r == '.' })
		facts := &c.Facts
		if len(path) > 2 && path[0] == "layers" {
			n, err := strconv.Atoi(path[1])
			if err != nil || n < 0 || n >= len(metadata) {
				continue
			}
			for len(c.Layers) <= n {
				c.Layers = append(c.Layers, Facts{})
			}
			facts, path = &c.Layers[n], path[2:]
		}
		err := facts.set(path, text)
		if err == nil && facts == &c.Facts && len(path) > 0 {
			err = c.Global.set(path, text)
		}
		if err != nil {
			return nil, fmt.Errorf("config, key %s: is %s, want %w", quote(key), quote(text), err)
		}
	}
	if err := c.Global.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// set stores one scalar; keys that are no fact are ignored. The error says what the value should be.
func (f *Facts) set(path []string, text string) error {
	if len(path) == 0 {
		return nil
	}
	ints := map[string]**int{"window": &f.Window, "heads": &f.Heads, "pad_left": &f.PadLeft}
	pairs := map[string]**[2]int{"grid": &f.Grid, "pads": &f.Pads}
	switch name := path[0]; {
	case len(path) == 1 && name == "variant":
		f.Variant = &text
	case len(path) == 1 && name == "gate":
		f.Gate = &text
	case len(path) == 1 && name == "causal":
		v, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("true or false")
		}
		f.Causal = &v
	case len(path) == 1 && ints[name] != nil:
		v, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("a whole number")
		}
		*ints[name] = &v
	case len(path) == 2 && pairs[name] != nil:
		v, err := strconv.Atoi(text)
		if err != nil || path[1] != "0" && path[1] != "1" {
			return errors.New("two whole numbers")
		}
		if *pairs[name] == nil {
			*pairs[name] = new([2]int)
		}
		(*pairs[name])[path[1][0]-'0'] = v
	}
	return nil
}

// facts gives the flags the shape of the other sources.
func (o Options) facts() Facts {
	var f Facts
	if o.Variant != "" {
		f.Variant = &o.Variant
	}
	f.Causal = o.Causal
	if o.Window != 0 {
		f.Window = &o.Window
	}
	if o.Heads != 0 {
		f.Heads = &o.Heads
	}
	if o.Grid != [2]int{} {
		f.Grid = &o.Grid
	}
	return f
}

// The places a fact can come from, in the order in which they win.
const (
	fromFlag   = "the command line"
	fromConfig = "config.json"
	fromFile   = "the config in the checkpoint"
)

// settings answers questions about facts and remembers which flags were of use.
type settings struct {
	flags  Facts
	config *Config // beside the file; nil: none
	stored *Config // inside the file; nil: none, or not one of ours
	used   map[string]bool
}

// lookup asks the sources in order; flag is the name under which an answer from the command line counts as used.
func lookup[T any](s *settings, layer int, flag string, get func(Facts) *T) (value T, origin string, ok bool) {
	sources := []struct {
		origin string
		facts  []Facts
	}{{fromFlag, []Facts{s.flags}}, {fromConfig, s.config.at(layer)}, {fromFile, s.stored.at(layer)}}
	for _, source := range sources {
		for _, f := range source.facts {
			if v := get(f); v != nil {
				if source.origin == fromFlag {
					s.used[flag] = true
				}
				return *v, source.origin, true
			}
		}
	}
	return value, "", false
}

// described reports whether the command line says anything else about the layer.
func (s *settings) described() bool {
	return s.flags.Variant != nil || s.flags.Window != nil || s.flags.Heads != nil || s.flags.Grid != nil
}

// unused names the flags that were given and of no use to any layer.
func (s *settings) unused() []string {
	var names []string
	given := []struct {
		flag  string
		given bool
	}{{"--variant", s.flags.Variant != nil}, {"--causal", s.flags.Causal != nil}, {"--window", s.flags.Window != nil},
		{"--heads", s.flags.Heads != nil}, {"--grid", s.flags.Grid != nil}}
	for _, f := range given {
		if f.given && !s.used[f.flag] {
			names = append(names, f.flag)
		}
	}
	return names
}

func gateNamed(name string) (reference.Gate, bool) {
	gates := map[string]reference.Gate{"sigmoid": reference.GateSigmoid, "tanh": reference.GateTanh,
		"identity": reference.GateIdentity, "absent": reference.GateAbsent}
	g, ok := gates[name]
	return g, ok
}
