package dialect_test

import (
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/import/dialect"
)

// TestWrappers: what torch.compile and FSDP put into names does not hide a model.
func TestWrappers(t *testing.T) {
	for _, prefix := range []string{
		"_orig_mod.layers.0.", "module._orig_mod.layers.0.", "layers.0._orig_mod.",
		"model/_fsdp_wrapped_module.layers.0._checkpoint_wrapped_module.",
	} {
		r, err := dialect.Recognise(dialect.Input{Source: file(t, prefixed(prefix, xmu())...)})
		if err != nil {
			t.Errorf("%s: %v", prefix, err)
		} else if w, err := r.Model.Blocks[0].Q.Weight.Array(); err != nil || len(w.Data) == 0 {
			t.Errorf("%s: weights %v, %v", prefix, w, err)
		}
	}
	both := concat(xmu(), prefixed("_orig_mod.", xmu()[:1]))
	if _, err := dialect.Recognise(dialect.Input{Source: file(t, both...)}); err == nil || !strings.Contains(err.Error(), "one of them") {
		t.Errorf("a name with and without a wrapper: %v", err)
	}
}
