package dialect_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/import/dialect"
)

// replaced puts a line in place of the one of the same tensor.
func replaced(lines []string, line string) []string {
	name, _, _ := strings.Cut(line, " ")
	return append(without(lines, name), line)
}

// TestNetworkErrors lists whole models that are refused: a part that is missing, of another shape, in one block alone, or
// of no use is named.
func TestNetworkErrors(t *testing.T) {
	cases := []struct {
		name  string
		lines []string
		texts []string
	}{
		{"no norm1 in the second block", without(ownText(), "layers.1.norm1.weight", "layers.1.norm1.bias"),
			[]string{`has "layers.1.norm1.weight" in some blocks and not in others`}},
		{"no norm1 in the first block", without(ownText(), "layers.0.norm1.weight", "layers.0.norm1.bias"),
			[]string{`has "layers.1.norm1.weight" in some blocks and not in others`}},
		{"no MLP in the second block", without(ownText(), "layers.1.norm2.weight", "layers.1.norm2.bias", "layers.1.fc1.weight",
			"layers.1.fc1.bias", "layers.1.fc2.weight", "layers.1.fc2.bias"), []string{`has "layers.1.fc1.weight" in some blocks`}},
		{"no MLP in the first block", without(ownText(), "layers.0.norm2.weight", "layers.0.norm2.bias", "layers.0.fc1.weight",
			"layers.0.fc1.bias", "layers.0.fc2.weight", "layers.0.fc2.bias"), []string{`has "layers.1.fc1.weight" in some blocks`}},
		{"half an MLP", without(ownText(), "layers.0.fc2.weight"), []string{`lacks "layers.0.fc2.weight"`}},
		{"an MLP without its norm", without(ownText(), "layers.1.norm2.weight", "layers.1.norm2.bias"), []string{`lacks "layers.1.norm2.weight"`}},
		{"a bias of an MLP alone", without(ownText(), "layers.0.norm2.weight", "layers.0.norm2.bias", "layers.0.fc1.weight",
			"layers.0.fc2.weight", "layers.0.fc2.bias"), []string{"lacks", `"layers.0.norm2.weight"`}},
		{"a norm's bias alone", without(ownText(), "layers.1.norm1.weight", "layers.0.norm1.weight", "layers.0.norm1.bias"),
			[]string{`lacks "layers.1.norm1.weight"`}},
		{"the final norm's bias alone", without(ownText(), "norm.weight"), []string{`"norm.bias"`}},
		{"a head's bias alone", without(ownImage(), "head.weight"), []string{`"head.bias"`, "stands alone"}},
		{"an image without a head", without(ownImage(), "head.weight", "head.bias"), []string{"head: is missing"}},
		{"positions of nothing", append(ownBlocks(6, "u 9 4", "v_t 9 4"), "positions.weight 9 6"), []string{`"positions.weight"`, "stands alone"}},
		{"a class token of nothing", append(ownBlocks(6, "u 9 4", "v_t 9 4"), "class_token 6"), []string{`"class_token"`, "stands alone"}},
		{"a class token of a text", append(ownText(), "class_token 6"), []string{`no place`, `"class_token"`}},
		{"a patch bias of a text", append(ownText(), "patch.bias 6"), []string{`no place`, `"patch.bias"`}},
		{"text and image", append(ownText(), "patch.weight 6 3 2 2"), []string{"embeddings of tokens and of patches"}},
		{"positions of a text, in an image", append(suImage(), "pos_emb.weight 4 6"), []string{"no place", `"pos_emb.weight"`}},
		{"two heads", append(suText(), "head.weight 4 6"), []string{"several heads", `"lm_head"`, `"head"`}},
		{"bias of another head", append(suText(), "head.bias 4"), []string{`"head.bias"`, "stands alone"}},
		{"a stray", append(ownText(), "rotary.weight 3"), []string{"more than AFT layers", `"rotary.weight"`}},
		{"a stray in a block", append(ownText(), "layers.1.norm3.weight 6"), []string{`"norm3.weight"`, "layer 1"}},
		{"a stray in a block of another naming", append(suText(), "blocks.1.norm3.weight 6"), []string{`"blocks.1.norm3.weight"`}},
		{"parts of a block that is not there", append(ownText(), "layers.2.norm1.weight 6"), []string{`"layers.2.norm1.weight"`}},
		{"a buffer", append(ownText(), "norm.num_batches_tracked"), []string{`"norm.num_batches_tracked"`}},
		{"layers of one naming in the other's model", concat([]string{"token_emb.weight 11 6"}, prefixed("blocks.0.aft.", own(6, "w 9 9"))),
			[]string{"layers are named as aftonnx", "around them as su"}},
		{"another prefix around", concat(prefixed("module.", ownText()), []string{"embed.weight 11 6"}), []string{`"embed.weight"`}},
		{"an embedding of rank 3", replaced(ownText(), "embed.weight 2 11 6"), []string{`tensor "embed.weight"`, "(2,11,6)"}},
		{"an embedding of other channels", replaced(without(ownText(), "positions.weight"), "embed.weight 11 5"), []string{"embed.weight", "5 columns"}},
		{"positions of other channels", replaced(ownText(), "positions.weight 9 5"), []string{"positions.weight", "(9,5)"}},
		{"no positions at all", replaced(ownText(), "positions.weight 0 6"), []string{"positions.weight", "(0,6)"}},
		{"a norm of other channels", replaced(replaced(ownText(), "layers.1.norm1.weight 5"), "layers.1.norm1.bias 5"), []string{"layer 1", "norm1.weight", "5 values"}},
		{"a norm's bias of other channels", replaced(ownText(), "norm.bias 5"), []string{`tensor "norm.bias"`, "(5)", "(6)"}},
		{"a norm of rank 2", replaced(ownText(), "norm.weight 6 1"), []string{`tensor "norm.weight"`, "(6,1)", "one dimension"}},
		{"an MLP that does not come back", replaced(replaced(ownText(), "layers.0.fc2.weight 5 24"), "layers.0.fc2.bias 5"), []string{"layer 0", "fc2.weight", "5 rows"}},
		{"an MLP of rank 1", replaced(ownText(), "layers.0.fc1.weight 24"), []string{`tensor "layers.0.fc1.weight"`, "(24)"}},
		{"a head of other channels", replaced(ownText(), "head.weight 11 5"), []string{"head.weight", "5 columns"}},
		{"an integer head", replaced(ownText(), "head.weight 11 6 int8"), []string{`tensor "head.weight"`, "int8"}},
		{"an embedding of integers", replaced(ownText(), "embed.weight 11 6 int64"), []string{`tensor "embed.weight"`, "int64"}},
		{"oblong patches", replaced(ownImage(), "patch.weight 6 3 2 4"), []string{`tensor "patch.weight"`, "(6,3,2,4)"}},
		{"patches of nothing", replaced(ownImage(), "patch.weight 6 3 0 0"), []string{`tensor "patch.weight"`, "(6,3,0,0)"}},
		{"a class token of other channels", replaced(ownClassified(), "class_token 5"), []string{`tensor "class_token"`, "(5)"}},
		{"a class token on a grid", append(ownImage(), "class_token 6"), []string{"class_token", "grid"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := localConfig(t)
			switch {
			case strings.HasPrefix(c.lines[0], "patch.") && strings.Contains(strings.Join(c.lines, "\n"), "gamma"):
				config = stored(t, "variant", "conv", "causal", "false")
			case strings.HasPrefix(c.lines[0], "patch."):
				config = stored(t, "variant", "full", "causal", "false")
			}
			_, err := dialect.Recognise(dialect.Input{File: "x.pt", Source: file(t, c.lines...), Stored: config})
			var bad *dialect.Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want an Error", err)
			}
			for _, text := range append(c.texts, `"x.pt": `) {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("got %q, want %q in it", err, text)
				}
			}
		})
	}
}
