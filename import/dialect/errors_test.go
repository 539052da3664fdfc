package dialect_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/dialect"
)

// TestFlagErrors lists everything that has to be said on the command line, or must not be.
func TestFlagErrors(t *testing.T) {
	conv := su(3, "position_bias 3 1 3 3", "position_gain 3 1 1 1", "position_offset 3 1 1 1")
	cases := []struct {
		name    string
		lines   []string
		o       dialect.Options
		missing []string
		given   string
		text    string
	}{
		{"rish local without window", rish("wbias 9 9"), dialect.Options{Variant: "local"}, []string{"--window"}, "", "|t-t'| < S"},
		{"su local", su(6, "position_bias 9 9"), dialect.Options{Variant: "local"}, []string{"--window"}, "",
			"local_window_size + 1"},
		{"su low rank", su(6, "position_u 9 4", "position_v 9 4"), dialect.Options{}, []string{"--window", "--causal"}, "",
			"--causal or --causal=false"},
		{"nid factors", nid(6, "pos_bias_u 9 4", "pos_bias_v 9 4"), dialect.Options{}, []string{"--variant"}, "",
			"--variant full or --variant local --window S"},
		{"own without config", own(6, "w 9 9"), dialect.Options{}, []string{"--variant", "--causal"}, "", "--variant full"},
		{"own as square as a kernel", own(6, "w 6 6"), dialect.Options{Causal: ptr(true)}, []string{"--variant"}, "", "--variant conv"},
		{"comvex simple", comvex(), dialect.Options{}, []string{"--variant"}, "", "never sums over positions"},
		{"no such variant", rish("wbias 9 9"), dialect.Options{Variant: "fast"}, nil, "--variant", `"fast"`},
		{"biases that simple would drop", rish("wbias 9 9"), dialect.Options{Variant: "simple"}, nil, "--variant", "full or local"},
		{"no biases for full", rish(), dialect.Options{Variant: "full"}, nil, "--variant", "no position biases"},
		{"a kernel is not local", conv, dialect.Options{Variant: "local", Window: 3}, nil, "--variant", "conv"},
		{"negative window", rish("wbias 9 9"), dialect.Options{Variant: "local", Window: -2}, nil, "--window", "at least 1"},
		{"window without local", rish("wbias 9 9"), dialect.Options{Window: 3}, nil, "--window", "no effect"},
		{"heads without conv", rish(), dialect.Options{Heads: 2}, nil, "--heads", "no effect"},
		{"grid without conv", rish(), dialect.Options{Grid: [2]int{2, 2}}, nil, "--grid", "no effect"},
		{"grid for a sequence", nid(3, "w 3 4", "gamma 3", "beta 3"), dialect.Options{Grid: [2]int{2, 2}}, nil, "--grid", "no effect"},
		{"other heads", conv, dialect.Options{Heads: 6}, nil, "--heads", "has 3 rows"},
		{"half a grid", conv, dialect.Options{Grid: [2]int{4, 0}}, nil, "--grid", "at least 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := dialect.Recognise(dialect.Input{File: "x.pt", Source: file(t, c.lines...), Options: c.o})
			var flag *dialect.FlagError
			if !errors.As(err, &flag) {
				t.Fatalf("got %v, want a FlagError", err)
			}
			missing, given := c.missing, []string(nil)
			if c.given != "" {
				given = []string{c.given}
			}
			if diff := cmp.Diff([][]string{missing, given}, [][]string{flag.Flags, flag.Given}); diff != "" {
				t.Errorf("missing and given (-want +got):\n%s", diff)
			}
			if text := flag.Error(); !strings.Contains(text, c.text) || !strings.HasPrefix(text, `"x.pt": `) {
				t.Errorf("got %q, want the file and %q", text, c.text)
			}
		})
	}
}

func TestLabmlNeedsCausal(t *testing.T) {
	_, err := dialect.Recognise(dialect.Input{Source: file(t, labml("pos_bias 1 1", "local_mask 1 1 bool")...)})
	var flag *dialect.FlagError
	if !errors.As(err, &flag) || cmp.Diff(flag.Flags, []string{"--causal"}) != "" {
		t.Errorf("got %v, want a FlagError about --causal", err)
	}
}

func TestMaskAndWindowDisagree(t *testing.T) {
	src := maskFile(t, 5, 1, func(t, s int) bool { return max(t-s, s-t) < 2 })
	_, err := dialect.Recognise(dialect.Input{Source: src, Options: dialect.Options{Window: 3, Causal: ptr(true)}})
	var flag *dialect.FlagError
	if !errors.As(err, &flag) || !strings.Contains(flag.Error(), "that of 2") {
		t.Errorf("got %v, want a FlagError saying that the mask is that of 2", err)
	}
}

// TestErrors lists files that are refused: nothing in them may be dropped or guessed.
// Rule E11 of docs/hostile.md.
func TestErrors(t *testing.T) {
	full := rish("wbias 9 9")
	many := make([]string, 25)
	for i := range many {
		many[i] = fmt.Sprintf("extra%02d.weight 1", i)
	}
	cases := []struct {
		name  string
		lines []string
		texts []string
	}{
		{"nothing", nil, []string{"no tensors"}},
		{"no layer", []string{"conv1.weight 3 3"}, []string{"no AFT layer", `"conv1.weight"`, "rish: to_q.weight"}},
		{"a bare tensor", []string{"_empty_ 3 3"}, []string{"no AFT layer"}},
		{"RWKV", []string{"blocks.0.att.time_decay 4", "blocks.0.att.key.weight 4 4"}, []string{"RWKV", "blocks.0.att.time_decay"}},
		{"a language model", concat([]string{"token_emb.weight 9 6"}, prefixed("blocks.0.aft.", full), []string{"norm.weight 6"}),
			[]string{"layers are named as rish, what stands around them as su"}},
		{"25 strays", concat(many, prefixed("aft.", full)), []string{`"extra19.weight"`, "and 5 more"}},
		{"a stray in the layer", concat(full, []string{"scale 6"}), []string{`layer (rish)`, `no part of such a layer: "scale"`}},
		{"a stray beside a nested layer", concat(prefixed("model/aft.", full), []string{"model/head.weight 2 6"}), []string{`"model/head.weight"`}},
		{"another model beside", concat(prefixed("encoder/", full), []string{"head/weight 2 6", "head/fc.weight 2 6"}),
			[]string{"more than AFT layers", `"head/fc.weight"`}},
		{"a projection missing", full[:3], []string{"lacks", `"to_v.weight"`, `"project.weight"`}},
		{"a mask missing", labml("pos_bias 5 5"), []string{"lacks", `"local_mask"`}},
		{"beta missing", nid(3, "w 3 4", "gamma 3"), []string{"gamma"}},
		{"two namings", concat(prefixed("layers.0.", full), prefixed("layers.1.", xmu())), []string{"rish", "xmu", "one naming"}},
		{"two places", concat(prefixed("ema/", full), prefixed("model/", full)), []string{"several places", `"ema/"`, `"model/"`}},
		{"two levels of numbers", concat(prefixed("a.0.b.0.", full), prefixed("a.0.b.1.", full), prefixed("a.1.b.0.", full)), []string{"several places"}},
		{"a gap", concat(prefixed("0.", full), prefixed("2.", full)), []string{"no layer 1", `"2."`}},
		{"does not start at 0", concat(prefixed("1.", full), prefixed("2.", full)), []string{"no layer 0"}},
		{"comvex conv", comvex("w 2 1 3 3", "w_norm.weight 1"), []string{"ComVEX AFTConv"}},
		{"su masked conv", su(6, "relative_bias 5"), []string{"masks everything outside"}},
		{"integer weights", append(xmu()[:2:2], "fc_v.weight 6 6 int8"), []string{`tensor "fc_v.weight"`, "int8"}},
		{"a weight of rank 1", append(xmu()[:2:2], "fc_v.weight 6"), []string{"(6)", "(out,in)"}},
		{"a bias too long", append(xmu(), "fc_v.bias 7"), []string{`tensor "fc_v.bias"`, "(7)", "(6)"}},
		{"keys too few", su(3, "position_bias 9 9"), []string{`tensor "to_k.weight"`, "has 3 rows"}},
		{"heads that do not divide", nid(4, "w 4 4", "gamma 4", "beta 4"), []string{"4 rows", "divisor of 6"}},
		{"a table that is not square", rish("wbias 9 8"), []string{`tensor "wbias"`, "(9,8)", "square"}},
		{"factors that differ", comvex("u 9 4", "v 9 3"), []string{`tensor "v"`, "(9,3)"}},
		{"a kernel for other heads", nid(3, "w 2 4", "gamma 2", "beta 2"), []string{`tensor "w"`, "(2,4)"}},
		{"a kernel of no taps", nid(3, "w 3 0", "gamma 3", "beta 3"), []string{"at least one tap"}},
		{"gamma too long", nid(3, "w 3 4", "gamma 5", "beta 3"), []string{`tensor "gamma"`, "(5)"}},
		{"a kernel of one dimension", nid(3, "w 3", "gamma 3", "beta 3"), []string{`tensor "w"`, "(3)", "(h,s), (h,kh,kw) or (h,1,kh,kw)"}},
		{"a kernel of one tap", nid(3, "w 3 1", "gamma 3", "beta 3"), []string{"layer (nid)", "kernel", "want at least 2 taps"}},
		{"factors of one dimension", comvex("u 9", "v 9"), []string{`tensor "u"`, "(9)", "(N,R)"}},
		{"an output projection of rank 1", append(rish()[:3:3], "project.weight 6"), []string{`tensor "project.weight"`, "(6)", "(out,in)"}},
		{"layers that do not fit", concat(prefixed("0.", xmu()), prefixed("1.", linears("fc_q 4 4", "fc_k 4 4", "fc_v 4 4"))), []string{"4", "6"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := dialect.Recognise(dialect.Input{File: "x.pt", Source: file(t, c.lines...)})
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

// TestErrors_local: the table and the mask of a layer whose window is known.
func TestErrors_local(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		o     dialect.Options
		want  string
	}{
		{"a table that is not square", rish("wbias 9 8"), dialect.Options{Variant: "local", Window: 3}, `tensor "wbias": has shape (9,8), want a square table`},
		{"a masked table that is not square", labml("pos_bias 9 8", "local_mask 9 8"), dialect.Options{}, `tensor "pos_bias": has shape (9,8), want a square table`},
		{"a mask of another shape", labml("pos_bias 5 5", "local_mask 5 4"), dialect.Options{}, `tensor "local_mask": has shape (5,4), want (5,5)`},
	} {
		c.o.Causal = ptr(true)
		_, err := dialect.Recognise(dialect.Input{File: "x.pt", Source: file(t, c.lines...), Options: c.o})
		var bad *dialect.Error
		if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), `"x.pt": `+c.want) {
			t.Errorf("%s: got %v, want an Error that says %q", c.name, err, c.want)
		}
	}
}

// A layer that flags describe is not causal unless they say so, and a note says that; without any flag it is asked for.
func TestCausal_absent(t *testing.T) {
	src := file(t, su(6, "position_bias 9 9")...)
	res, err := dialect.Recognise(dialect.Input{File: "x.pt", Source: src, Options: dialect.Options{Variant: "local", Window: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Model.Blocks[0].Causal {
		t.Error("the layer is causal")
	}
	if notes := strings.Join(res.Notes, "\n"); !strings.Contains(notes, "--causal is not given") {
		t.Errorf("the notes %q do not say that --causal is missing", notes)
	}
}
