package dialect

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Global is what a config says about a whole model.
type Global struct {
	Eps       *float64  // of every LayerNorm
	ImageSize *[2]int   // height, width
	Mean, Std []float64 // of the pixels, as parts of 255, by channel
	Labels    []string  // of the logits
}

// globalKeys are the keys of a config.json, ours first, then those of the Hugging Face layout.
func globalKeys() []globalKey {
	return []globalKey{
		{[]string{"eps", "layer_norm_eps", "layer_norm_epsilon"}, "a number",
			func(g *Global, data []byte) error { return json.Unmarshal(data, &g.Eps) }},
		{[]string{"image_size"}, "a whole number, or two [h, w]", readImageSize},
		{[]string{"mean", "image_mean"}, "a list of numbers",
			func(g *Global, data []byte) error { return readNumbers(&g.Mean, data) }},
		{[]string{"std", "image_std"}, "a list of numbers",
			func(g *Global, data []byte) error { return readNumbers(&g.Std, data) }},
		{[]string{"do_normalize"}, "true or false", readNormalize},
		{[]string{"labels"}, "a list of texts, or a text of a label a line", readLabels},
		{[]string{"id2label"}, `an object {"0": "label", ...}`, readLabelsByNumber},
	}
}

// globalKey is one fact under the names it goes by.
type globalKey struct {
	names []string
	want  string
	read  func(g *Global, data []byte) error
}

// parseGlobal reads the keys of a config.json that are about the whole model; others are left alone.
func parseGlobal(data []byte) (Global, error) {
	var g Global
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return g, fmt.Errorf("not a JSON object: %w", err)
	}
	for _, key := range globalKeys() {
		for _, name := range key.names {
			text, ok := object[name]
			if !ok || string(text) == "null" {
				continue
			}
			if err := key.read(&g, text); err != nil {
				return g, fmt.Errorf("key %s: want %s", quote(name), key.want)
			}
			break
		}
	}
	return g, g.check()
}

// readNumbers takes no null for a number, as json would for 0.
func readNumbers(to *[]float64, data []byte) error {
	var numbers []*float64
	if err := json.Unmarshal(data, &numbers); err != nil {
		return err
	}
	list := make([]float64, len(numbers))
	for i, v := range numbers {
		if v == nil {
			return fmt.Errorf("number %d is null", i)
		}
		list[i] = *v
	}
	*to = list
	return nil
}

func readImageSize(g *Global, data []byte) error {
	var side int
	if json.Unmarshal(data, &side) == nil {
		g.ImageSize = &[2]int{side, side}
		return nil
	}
	var sides []int
	if err := json.Unmarshal(data, &sides); err != nil || len(sides) != 2 {
		return errors.New("no size")
	}
	g.ImageSize = &[2]int{sides[0], sides[1]}
	return nil
}

// readNormalize drops a mean and a std that are there but not to be used.
func readNormalize(g *Global, data []byte) error {
	var does bool
	err := json.Unmarshal(data, &does)
	if !does {
		g.Mean, g.Std = nil, nil
	}
	return err
}

func readLabels(g *Global, data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		g.Labels = strings.Split(text, "\n")
		return nil
	}
	return json.Unmarshal(data, &g.Labels)
}

// readLabelsByNumber gives way to labels in a list.
func readLabelsByNumber(g *Global, data []byte) error {
	var byNumber map[string]string
	if err := json.Unmarshal(data, &byNumber); err != nil || g.Labels != nil {
		return err
	}
	g.Labels = make([]string, len(byNumber))
	for number, label := range byNumber {
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= len(g.Labels) || strconv.Itoa(i) != number {
			return fmt.Errorf("number %q", number)
		}
		g.Labels[i] = label
	}
	return nil
}

// set stores one scalar of the config inside a checkpoint; keys that are not of the whole model are left alone.
func (g *Global) set(path []string, text string) error {
	lists := map[string]*[]float64{"mean": &g.Mean, "std": &g.Std}
	name := path[0]
	switch {
	case len(path) == 1 && name == "labels":
		g.Labels = strings.Split(text, "\n")
	case len(path) == 1 && name == "eps":
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("a number")
		}
		g.Eps = &v
	case len(path) == 2 && name == "image_size":
		v, err := strconv.Atoi(text)
		if err != nil || path[1] != "0" && path[1] != "1" {
			return errors.New("two whole numbers")
		}
		if g.ImageSize == nil {
			g.ImageSize = new([2]int)
		}
		g.ImageSize[path[1][0]-'0'] = v
	case len(path) == 2 && lists[name] != nil:
		v, err := strconv.ParseFloat(text, 64)
		i, err2 := strconv.Atoi(path[1])
		if err != nil || err2 != nil || i < 0 || i >= mostChannels {
			return errors.New("numbers")
		}
		list := lists[name]
		for len(*list) <= i {
			*list = append(*list, math.NaN()) // which check refuses, where no other key fills it
		}
		(*list)[i] = v
	}
	return nil
}

// mostChannels bounds the lists that a hostile key could make long.
const mostChannels = 64

func (g *Global) check() error {
	if g.Eps != nil && (!(*g.Eps >= 0) || math.IsInf(*g.Eps, 1)) {
		return fmt.Errorf("eps is %v, want a number >= 0", *g.Eps)
	}
	if s := g.ImageSize; s != nil && (s[0] < 1 || s[1] < 1 || s[0] > 1<<20 || s[1] > 1<<20) {
		return fmt.Errorf("image_size is [%d, %d], want two sizes of 1..%d", s[0], s[1], 1<<20)
	}
	for _, v := range g.Mean {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("mean holds %v, want numbers", v)
		}
	}
	for _, v := range g.Std {
		if !(v > 0) || math.IsInf(v, 1) {
			return fmt.Errorf("std holds %v, want numbers above 0", v)
		}
	}
	for i, label := range g.Labels {
		if strings.Contains(label, "\n") {
			return fmt.Errorf("label %d is %s, want one line", i, quote(label))
		}
	}
	return nil
}

// Over fills what g leaves open from another config.
func (g Global) Over(other Global) Global {
	if g.Eps == nil {
		g.Eps = other.Eps
	}
	if g.ImageSize == nil {
		g.ImageSize = other.ImageSize
	}
	if g.Mean == nil {
		g.Mean = other.Mean
	}
	if g.Std == nil {
		g.Std = other.Std
	}
	if g.Labels == nil {
		g.Labels = other.Labels
	}
	return g
}

// global is what the config beside the file says, else that in the file.
func (s *settings) global() Global {
	var g Global
	if s.config != nil {
		g = s.config.Global
	}
	if s.stored != nil {
		g = g.Over(s.stored.Global)
	}
	return g
}
