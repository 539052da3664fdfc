package bench

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/ops"
)

// Case is one operator at one size, with the default gate. Its name says all of it:
//
//	AFTLocal/s32/causal/T1024         window s of AFTLocal, taps s of AFTConv1D
//	AFTConv1D/h8/s16/causal/T1024     heads
//	AFTConv2D/k15/14x14/D384/B16      kernel of k x k taps, grid (T is its size); as many heads as channels
//	AFTFull/T197/D384/B16
//
// B is 1 and D is 512 where the name does not say.
type Case struct {
	Op      string
	B, T, D int
	Window  int // s of AFTLocal; taps of AFTConv1D
	Heads   int // H of the convolutions
	Kernel  int // k of AFTConv2D
	Grid    [2]int
	Causal  bool
}

// Name is the case's name.
func (c Case) Name() string {
	parts := []string{c.Op}
	if c.Op == "AFTConv1D" {
		parts = append(parts, fmt.Sprintf("h%d", c.Heads))
	}
	if c.Window > 0 {
		parts = append(parts, fmt.Sprintf("s%d", c.Window))
	}
	if c.Kernel > 0 {
		parts = append(parts, fmt.Sprintf("k%d", c.Kernel))
	}
	if c.Causal {
		parts = append(parts, "causal")
	}
	if c.Op == "AFTConv2D" {
		parts = append(parts, fmt.Sprintf("%dx%d", c.Grid[0], c.Grid[1]))
	} else {
		parts = append(parts, fmt.Sprintf("T%d", c.T))
	}
	if c.D != 512 {
		parts = append(parts, fmt.Sprintf("D%d", c.D))
	}
	if c.B != 1 {
		parts = append(parts, fmt.Sprintf("B%d", c.B))
	}
	return strings.Join(parts, "/")
}

// series is what a case has in common with the same at other lengths.
func (c Case) series() string {
	c.T = 0
	return strings.Replace(c.Name(), "/T0", "", 1)
}

// Parse reads a name. Errors say which part is wrong and what is allowed.
func Parse(name string) (Case, error) {
	parts := strings.Split(name, "/")
	c := Case{Op: parts[0], B: 1, D: 512}
	if _, ok := ops.Lookup(c.Op); !ok {
		return c, fmt.Errorf("case %q: no operator %q", name, c.Op)
	}
	numbers := map[byte]*int{'B': &c.B, 'T': &c.T, 'D': &c.D, 's': &c.Window, 'h': &c.Heads, 'k': &c.Kernel}
	for _, part := range parts[1:] {
		if part == "causal" {
			c.Causal = true
			continue
		}
		if h, w, ok := strings.Cut(part, "x"); ok {
			rows, err1 := strconv.Atoi(h)
			columns, err2 := strconv.Atoi(w)
			if err1 != nil || err2 != nil || min(rows, columns) < 1 || max(rows, columns) > 1<<10 {
				return c, fmt.Errorf("case %q: %q: want a grid such as 14x14, of 1 to %d rows and columns", name, part, 1<<10)
			}
			c.Grid = [2]int{rows, columns}
			continue
		}
		if part == "" || numbers[part[0]] == nil {
			return c, fmt.Errorf("case %q: %q is none of causal, T1024, D512, B1, s32, h8, k15, 14x14", name, part)
		}
		n, err := strconv.Atoi(part[1:])
		if err != nil || n < 1 || n > 1<<20 {
			return c, fmt.Errorf("case %q: %q: want a number from 1 to %d", name, part, 1<<20)
		}
		*numbers[part[0]] = n
	}
	return c.complete(name)
}

// complete fills in what follows from the rest and refuses what is missing or not the operator's.
func (c Case) complete(name string) (Case, error) {
	if c.Op == "AFTConv2D" {
		if c.T == 0 {
			c.T = c.Grid[0] * c.Grid[1]
		}
		if c.Heads == 0 {
			c.Heads = c.D
		}
	}
	conv2d, conv1d := c.Op == "AFTConv2D", c.Op == "AFTConv1D"
	for _, want := range []struct {
		ok   bool
		text string
	}{
		{c.T > 0 && c.T <= 1<<20, "positions, such as T1024 (AFTConv2D: a grid, such as 14x14)"},
		{(c.Window > 0) == (c.Op == "AFTLocal" || conv1d), "s with AFTLocal and AFTConv1D, and with these alone"},
		{(c.Heads > 0) == (conv1d || conv2d), "heads with AFTConv1D, and with it alone"},
		{(c.Kernel > 0) == conv2d && (c.Grid != [2]int{}) == conv2d, "k and a grid with AFTConv2D, and with it alone"},
		{!conv2d || c.Grid[0]*c.Grid[1] == c.T && c.Heads == c.D && c.Kernel%2 == 1, "T of the grid's size, H = D and an odd k"},
		{c.Heads == 0 || c.D%c.Heads == 0, "heads that divide D"},
		{c.B*c.T <= 1<<28/c.D, "at most 2^28 elements"},
	} {
		if !want.ok {
			return c, fmt.Errorf("case %q: want %s", name, want.text)
		}
	}
	return c, nil
}

// sources is S, which for these cases is T.
func (c Case) attrs() ops.Attrs {
	a := ops.Attrs{"causal": {0}, "gate": {ops.GateSigmoid}}
	if c.Causal {
		a["causal"][0] = 1
	}
	switch c.Op {
	case "AFTLocal":
		a["window"] = []int64{int64(c.Window)}
	case "AFTConv1D":
		a["pad_left"] = []int64{int64(c.left())}
	case "AFTConv2D":
		a["pads"] = []int64{int64(c.Kernel / 2), int64(c.Kernel / 2)}
	}
	return a
}

// left is how many taps of AFTConv1D come before the position.
func (c Case) left() int {
	if c.Causal {
		return c.Window - 1
	}
	return (c.Window - 1) / 2
}

// bias is the shape of W; nil: there is none.
func (c Case) bias() []int {
	switch c.Op {
	case "AFTFull":
		return []int{c.T, c.T}
	case "AFTLocal":
		if c.Causal {
			return []int{c.T, c.Window}
		}
		return []int{c.T, 2*c.Window - 1}
	case "AFTConv1D":
		return []int{c.Heads, c.Window}
	case "AFTConv2D":
		return []int{c.Heads, c.Kernel, c.Kernel}
	default:
		return nil
	}
}

// keys is the last dimension of K.
func (c Case) keys() int {
	if c.Heads > 0 {
		return c.Heads
	}
	return c.D
}

// products is how many multiply-adds of exp(K+W) with V and with 1 the sums take, where the operator has a product at all.
func (c Case) products() float64 {
	pairs := 0.0
	switch c.Op {
	case "AFTFull":
		pairs = float64(c.T) * float64(c.T)
		if c.Causal {
			pairs = float64(c.T) * float64(c.T+1) / 2
		}
	case "AFTLocal", "AFTConv1D":
		pairs = float64(c.T) * float64(min(c.bias()[1], c.T))
	case "AFTConv2D":
		reach := func(n int) float64 { // pairs along one axis
			sum := 0
			for x := range n {
				sum += min(n, x+c.Kernel/2+1) - max(0, x-c.Kernel/2)
			}
			return float64(sum)
		}
		pairs = reach(c.Grid[0]) * reach(c.Grid[1])
	}
	return 2 * float64(c.B) * pairs * float64(c.D)
}

// bytes is what must be read and written once, W left out.
func (c Case) bytes() float64 {
	return 4 * float64(c.B) * float64(c.T) * float64(3*c.D+c.keys())
}

// exponentials is how many the operator cannot do without: of K, and one a gate.
func (c Case) exponentials() float64 { return float64(c.B) * float64(c.T) * float64(c.D+c.keys()) }

// lengths are those whose growth is plotted.
func lengths() []int { return []int{256, 1024, 4096, 16384} }

// families are the cases without a length.
func families() []Case {
	return []Case{
		{Op: "AFTSimple"}, {Op: "AFTSimple", Causal: true},
		{Op: "AFTLocal", Window: 32, Causal: true}, {Op: "AFTLocal", Window: 256, Causal: true}, {Op: "AFTLocal", Window: 32},
		{Op: "AFTConv1D", Heads: 8, Window: 16, Causal: true},
		{Op: "AFTFull"}, {Op: "AFTFull", Causal: true},
	}
}

// Cases are those that are measured where none is named: lengths 256 to 4096, and the sizes of the paper's image models.
func Cases() []Case {
	var all []Case
	for _, family := range families() {
		for _, t := range lengths() {
			if c := family.at(t); t <= 4096 && t > c.Window {
				all = append(all, c)
			}
		}
	}
	return append(all, Case{Op: "AFTFull", B: 16, T: 197, D: 384},
		Case{Op: "AFTConv2D", B: 16, T: 196, D: 384, Heads: 384, Kernel: 15, Grid: [2]int{14, 14}})
}

func (c Case) at(t int) Case {
	c.B, c.T, c.D = 1, t, 512
	return c
}

// Long are the cases of 16384 positions, where W or its dense form does not take a gigabyte.
func Long() []Case {
	var all []Case
	for _, family := range families() {
		if family.Op != "AFTFull" {
			all = append(all, family.at(16384))
		}
	}
	return all
}

// Select finds the cases that names or patterns (as of path.Match, and a pattern that matches the beginning of a name) mean,
// among those of all; other names are read by Parse. The order is that of all, then that of the names.
func Select(names []string, all []Case) ([]Case, error) {
	var extra []Case
	chosen := make([]bool, len(all))
	for _, name := range names {
		found := false
		for i, c := range all {
			if matches(name, c.Name()) {
				chosen[i], found = true, true
			}
		}
		if found {
			continue
		}
		c, err := Parse(name)
		if err != nil {
			return nil, err
		}
		extra = append(extra, c)
	}
	var list []Case
	for i, c := range all {
		if chosen[i] {
			list = append(list, c)
		}
	}
	return slices.Concat(list, extra), nil
}

func matches(pattern, name string) bool {
	if pattern == name {
		return true
	}
	// A star stands for slashes too: AFTLocal* means all of AFTLocal.
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	ok, err := path.Match(flat(pattern), flat(name))
	return err == nil && ok
}
