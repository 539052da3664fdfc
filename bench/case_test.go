package bench

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A name says all of a case: reading it gives the case back.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range append(Cases(), Long()...) {
		got, err := Parse(c.Name())
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s (-case +parsed):\n%s", c.Name(), diff)
		}
		if seen[c.Name()] {
			t.Errorf("%s is listed twice", c.Name())
		}
		seen[c.Name()] = true
	}
}

func TestParseRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"AFTOther/T4":                 "no operator",
		"AFTSimple":                   "positions",
		"AFTSimple/T0":                "from 1 to",
		"AFTSimple/T4/q9":             `"q9" is none of`,
		"AFTSimple/T4/":               `"" is none of`,
		"AFTSimple/s3/T4":             "s with AFTLocal",
		"AFTLocal/T4":                 "s with AFTLocal",
		"AFTConv1D/s3/T4":             "heads with AFTConv1D",
		"AFTConv1D/h7/s3/T4":          "heads that divide D",
		"AFTConv2D/k3/T4":             "a grid",
		"AFTConv2D/k4/2x2":            "an odd k",
		"AFTConv2D/k3/-2x-3":          "want a grid",
		"AFTConv2D/k3/2x3junk":        "want a grid",
		"AFTConv2D/k3/2x2/T5":         "T of the grid's size",
		"AFTSimple/T1000000/B1000000": "at most 2^28",
	} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, want)
		}
	}
}

func TestSelect(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  []string
	}{
		{[]string{"AFTFull*D384*"}, []string{"AFTFull/T197/D384/B16"}},
		{[]string{"AFTSimple/T1024", "AFTSimple/T256"}, []string{"AFTSimple/T256", "AFTSimple/T1024"}},
		{[]string{"AFTSimple/T77", "AFTSimple/T1024"}, []string{"AFTSimple/T1024", "AFTSimple/T77"}},
	} {
		list, err := Select(c.names, Cases())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			got = append(got, c.Name())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v selects %v, want %v", c.names, got, c.want)
		}
	}
	if _, err := Select([]string{"AFTFoo*"}, Cases()); err == nil {
		t.Error("a pattern that matches nothing was accepted")
	}
}

// Multiply-adds counted one by one.
func TestProducts(t *testing.T) {
	for name, want := range map[string]float64{
		"AFTFull/T5/D2/B3":             2 * 3 * 25 * 2,
		"AFTFull/causal/T5/D2":         2 * 15 * 2,
		"AFTSimple/T5/D2":              0,
		"AFTLocal/s3/causal/T9/D2":     2 * 9 * 3 * 2,
		"AFTConv2D/k3/2x3/D2/B2":       2 * 2 * (2 + 2) * (2 + 3 + 2) * 2,
		"AFTConv1D/h2/s4/causal/T9/D4": 2 * 9 * 4 * 4,
	} {
		c, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.products(); got != want {
			t.Errorf("%s: %v products, want %v", name, got, want)
		}
	}
}

func TestSelectModels(t *testing.T) {
	models, rest := SelectModels([]string{"enwik8*T1024", "AFTSimple/T256"}, Models())
	if len(models) != 1 || models[0].Name != "enwik8-local-12x512/T1024" || !slices.Equal(rest, []string{"AFTSimple/T256"}) {
		t.Errorf("got %v and %v", models, rest)
	}
}
