package preset

import (
	"fmt"
	"strconv"
)

// Config is what the names and shapes of the tensors do not say, as a checkpoint's metadata has it: variant, causal, window
// and heads of every layer; eps; for images also image_size, and mean and std by which pixels of 0..1 are normalised.
func (p *Preset) Config() map[string]string {
	c := map[string]string{
		"variant": string(p.Variant), "causal": strconv.FormatBool(p.Causal()), "eps": "1e-05",
	}
	if p.Window > 0 {
		c["window"] = strconv.Itoa(p.Window)
	}
	if p.Heads > 0 {
		c["heads"] = strconv.Itoa(p.Heads)
	}
	if p.Task != Images {
		return c
	}
	c["eps"] = "1e-06"
	set := func(key string, values ...string) {
		for i, v := range values {
			c[fmt.Sprintf("%s.%d", key, i)] = v
		}
	}
	size := strconv.Itoa(p.ImageSize)
	set("image_size", size, size)
	set("mean", "0.485", "0.456", "0.406") // over ImageNet's training images, as torchvision and DeiT have them
	set("std", "0.229", "0.224", "0.225")
	return c
}
