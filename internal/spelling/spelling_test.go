package spelling

import (
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"AFTFul", "AFTFull", 1}, {"AFTConv2D", "AFTConv1D", 1},
		{"kitten", "sitting", 3}, // two replaced, one inserted
		{"ab", "ba", 2},          // no transpositions
		{strings.Repeat("a", 1<<20), strings.Repeat("b", 1<<20), 64},
	} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%.10q, %.10q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
