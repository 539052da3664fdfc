package ops

import (
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

func testBuilder() *builder {
	return newBuilder(aftSimple(), BodySpec{Opset: 17, DType: tensor.Float32})
}

// TestSize_known: arithmetic on known sizes is done here and leaves no nodes.
func TestSize_known(t *testing.T) {
	b := testBuilder()
	seven, three := fixed(7), fixed(3)
	for _, c := range []struct {
		name string
		got  size
		want int64
	}{
		{"plus", b.plus(seven, three), 10},
		{"minus", b.minus(three, seven), -4},
		{"negative", b.negative(three), -3},
		{"times", b.times(seven, three), 21},
		{"least", b.least(seven, three), 3},
		{"most", b.most(seven, three), 7},
		{"quotient", b.quotient(seven, three), 2},
		{"quotient by 0 counts as by 1", b.quotient(seven, fixed(0)), 7},
		{"blocks", b.blocks(seven, three), 3},
		{"blocks that fit", b.blocks(fixed(6), three), 2},
		{"root", b.root(fixed(35)), 5},
		{"choose", b.choose(b.less(three, seven), three, seven), 3},
		{"choose the other", b.choose(b.equal(three, seven), three, seven), 7},
		{"require", b.require(b.less(three, seven), seven), 7},
		{"require what does not hold", b.require(b.less(seven, three), seven), refused},
	} {
		if !c.got.known || c.got.value != c.want {
			t.Errorf("%s: is %+v, want %d", c.name, c.got, c.want)
		}
	}
	if len(b.nodes) != 0 {
		t.Errorf("%d nodes were added, the first is %v", len(b.nodes), b.nodes[0])
	}
}

func TestCond_table(t *testing.T) {
	b := testBuilder()
	open := b.less(b.dim("Q", 0), fixed(9))
	yes, no := cond{known: true, value: true}, cond{known: true}
	for _, c := range []struct {
		name      string
		got, want cond
	}{
		{"and of nothing", b.and(), yes},
		{"yes and yes", b.and(yes, yes), yes},
		{"yes and no", b.and(yes, no), no},
		{"no and yes", b.and(no, yes), no},
		{"open and yes", b.and(open, yes), open},
		{"yes and open", b.and(yes, open), open},
		{"open and no", b.and(open, no), no},
		{"no and open", b.and(no, open), no},
		{"or of no and yes", b.or(no, yes), yes},
		{"or of no and no", b.or(no, no), no},
		{"or of yes and no", b.or(yes, no), yes},
		{"or of open and yes", b.or(open, yes), yes},
		{"or of yes and open", b.or(yes, open), yes},
		{"or of open and no", b.or(open, no), open},
		{"or of no and open", b.or(no, open), open},
		{"not", b.not(yes), no},
	} {
		if c.got != c.want {
			t.Errorf("%s: is %+v, want %+v", c.name, c.got, c.want)
		}
	}
	if both := b.and(open, b.less(b.dim("Q", 1), fixed(9))); both.known {
		t.Errorf("and of two open conditions is %+v", both)
	}
}

// TestBuilder_once: equal nodes are one node, different constants are not.
func TestBuilder_once(t *testing.T) {
	b := testBuilder()
	if x, y := b.exp("Q"), b.exp("Q"); x != y {
		t.Errorf("two nodes for one exp: %q, %q", x, y)
	}
	different := []string{b.ints(1), b.ints(1, 1), b.integer(1), b.real(1), b.real(0), b.ints(0)}
	seen := map[string]bool{}
	for _, name := range different {
		if seen[name] {
			t.Errorf("%q stands for different constants", name)
		}
		seen[name] = true
	}
	if got := b.vector(fixed(2), fixed(3)); got != b.ints(2, 3) {
		t.Errorf("a vector of known sizes is %q, want one constant", got)
	}
}
