package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/dialect"
)

// TestPrefixes puts layers where training programs put them; the first weight tells the layers apart.
// Rule P39 of docs/hostile.md.
func TestPrefixes(t *testing.T) {
	full := rish("wbias 3 3")
	stack := func(pattern string, numbers ...int) []string {
		var lines []string
		for _, n := range numbers {
			lines = append(lines, prefixed(fmt.Sprintf(pattern, n), full)...)
		}
		return lines
	}
	cases := []struct {
		name   string
		lines  []string
		layers []string // the prefixes in order
	}{
		{"bare", full, []string{""}},
		{"data parallel", prefixed("module.", full), []string{"module."}},
		{"nested", prefixed("model/", full), []string{"model/"}},
		{"lightning", prefixed("state_dict/layer.", full), []string{"state_dict/layer."}},
		{"one of several", prefixed("layers.3.", full), []string{"layers.3."}},
		{"layers", stack("layers.%d.", 0, 1), []string{"layers.0.", "layers.1."}},
		{"blocks", stack("module.blocks.%d.aft.", 0, 1, 2), []string{"module.blocks.0.aft.", "module.blocks.1.aft.", "module.blocks.2.aft."}},
		{"Sequential", stack("%d.", 0, 1), []string{"0.", "1."}},
		{"a list of dicts", stack("layers/%d/", 0, 1), []string{"layers/0/", "layers/1/"}},
		{"numbers, not text", stack("%d.", 10, 2, 1, 0, 3, 4, 5, 6, 7, 8, 9),
			[]string{"0.", "1.", "2.", "3.", "4.", "5.", "6.", "7.", "8.", "9.", "10."}},
		{"optimiser beside", concat(prefixed("model/", full), []string{"optimizer/state/0/exp_avg 3", "optim/named/to_q.weight 3 3"}), []string{"model/"}},
		{"optimiser beside a flat dict", concat(full, []string{"optimizer/state/0/exp_avg 3", "lr_schedulers/0/x.weight 1"}), []string{""}},
		{"scalars beside", concat(prefixed("model/", full), []string{"step", "loss 1"}), []string{"model/"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			src := file(t, c.lines...)
			r, err := dialect.Recognise(dialect.Input{Source: src})
			if err != nil {
				t.Fatal(err)
			}
			var want, got []float64
			for _, prefix := range c.layers {
				want = append(want, src.tensors[prefix+"to_q.weight"].At(0))
			}
			for _, l := range r.Model.Blocks {
				q, err := l.Q.Weight.Array()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, q.Data[0])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("layers in order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotesSayWhatWasNotRead(t *testing.T) {
	lines := concat(prefixed("model/", rish("wbias 3 3")), []string{"optimizer/state/0/exp_avg 3", "optimizer/state/1/exp_avg 3", "step"})
	r, err := dialect.Recognise(dialect.Input{Source: file(t, lines...)})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(r.Notes, "\n")
	for _, want := range []string{`"optimizer/", "step"`, "AFTLocal needs --variant local"} {
		if !strings.Contains(text, want) {
			t.Errorf("got notes %q, want %q in them", text, want)
		}
	}
}
