package reference

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Variant is which operator a layer has.
type Variant string

// The variants.
const (
	Full   Variant = "full"
	Simple Variant = "simple"
	Local  Variant = "local"
	Conv1D Variant = "conv1d"
	Conv2D Variant = "conv2d"
)

// Op is the operator's ONNX name, empty for an unknown variant.
func (v Variant) Op() string {
	switch v {
	case Full:
		return "AFTFull"
	case Simple:
		return "AFTSimple"
	case Local:
		return "AFTLocal"
	case Conv1D:
		return "AFTConv1D"
	case Conv2D:
		return "AFTConv2D"
	default:
		return ""
	}
}

// Layer is an operator between projections:
//
//	Y = Out(op(Q(x), K(x), V(x), W))
//
// Q and V give the hidden channels, K as many, or one a head for a convolution. Without Out, Y is the operator's output.
type Layer struct {
	Variant Variant
	Options
	Window  int    // Local
	PadLeft int    // Conv1D
	Pads    [2]int // Conv2D
	Grid    [2]int // Conv2D; zero: given at run time

	Q, K, V Linear
	Out     *Linear
	W       Weight // folded, as the operator takes it; empty for Simple
}

// In is the number of channels of x.
func (l *Layer) In() int { return l.Q.In() }

// Hidden is the number of channels of Q and V.
func (l *Layer) Hidden() int { return l.Q.Out() }

// OutDim is the number of channels of Y.
func (l *Layer) OutDim() int {
	if l.Out != nil {
		return l.Out.Out()
	}
	return l.Hidden()
}

// Heads is H of a convolution, 0 for the others.
func (l *Layer) Heads() int {
	if l.Variant == Conv1D || l.Variant == Conv2D {
		return l.K.Out()
	}
	return 0
}

// MaxLen is the longest sequence that W has biases for, 0 when any length will do.
func (l *Layer) MaxLen() int {
	switch {
	case l.W.Rank() != 2:
		return 0
	case l.Variant == Full:
		return min(l.W.Shape()[0], l.W.Shape()[1])
	case l.Variant == Local:
		return l.W.Shape()[0]
	default:
		return 0
	}
}

// Attrs are the attributes of the layer's ONNX node.
func (l *Layer) Attrs() map[string][]int64 {
	attrs := map[string][]int64{"causal": {0}, "gate": {int64(l.Gate)}}
	if l.Causal {
		attrs["causal"][0] = 1
	}
	switch l.Variant {
	case Local:
		attrs["window"] = []int64{int64(l.Window)}
	case Conv1D:
		attrs["pad_left"] = []int64{int64(l.PadLeft)}
	case Conv2D:
		attrs["pads"] = []int64{int64(l.Pads[0]), int64(l.Pads[1])}
	}
	return attrs
}

// Check holds the layer's parts against each other; the error names the part.
func (l *Layer) Check() error {
	if l.Variant.Op() == "" {
		return fmt.Errorf("variant %q: unknown, want full, simple, local, conv1d or conv2d", string(l.Variant))
	}
	if !l.Gate.valid() {
		return fmt.Errorf("gate: is %d, want 0 (sigmoid), 1 (tanh), 2 (identity) or 3 (absent)", int(l.Gate))
	}
	if err := l.checkProjections(); err != nil {
		return err
	}
	return l.checkBias()
}

func (l *Layer) checkProjections() error {
	keys, why := l.Hidden(), "as q"
	if l.Heads() > 0 {
		keys, why = l.K.Out(), "one a head"
	}
	for _, p := range []struct {
		name    string
		linear  Linear
		in, out int
		why     string
	}{
		{"q", l.Q, l.In(), l.Hidden(), "as itself"},
		{"k", l.K, l.In(), keys, why},
		{"v", l.V, l.In(), l.Hidden(), "as q"},
	} {
		if err := p.linear.Check(); err != nil {
			return fmt.Errorf("%s.%w", p.name, err)
		}
		if p.linear.In() != p.in || p.linear.Out() != p.out {
			return fmt.Errorf("%s.weight: has shape %s, want (%d,%d), %s", p.name,
				tensor.FormatShape(p.linear.Weight.Shape()), p.out, p.in, p.why)
		}
	}
	if h := l.Heads(); h > 0 && l.Hidden()%h != 0 {
		return fmt.Errorf("k.weight: has %d heads, want a divisor of the %d hidden channels", h, l.Hidden())
	}
	if l.Out == nil {
		return nil
	}
	if err := l.Out.Check(); err != nil {
		return fmt.Errorf("out.%w", err)
	}
	if l.Out.In() != l.Hidden() {
		return fmt.Errorf("out.weight: has shape %s, want %d columns, the hidden channels",
			tensor.FormatShape(l.Out.Weight.Shape()), l.Hidden())
	}
	return nil
}

func (l *Layer) checkBias() error {
	rank := map[Variant]int{Full: 2, Local: 2, Conv1D: 2, Conv2D: 3}[l.Variant]
	if l.Variant == Simple {
		if !l.W.Empty() {
			return fmt.Errorf("w: has shape %s, want none for variant \"simple\"", tensor.FormatShape(l.W.Shape()))
		}
		return nil
	}
	if err := checkWeight(l.W, rank); err != nil {
		return fmt.Errorf("w: %w", err)
	}
	shape := tensor.FormatShape(l.W.Shape())
	switch l.Variant {
	case Local:
		return l.checkWindow(shape)
	case Conv1D, Conv2D:
		return l.checkTaps(shape)
	default:
		return nil
	}
}

func (l *Layer) checkWindow(shape string) error {
	if l.Window < 1 || l.Window > math.MaxInt32 {
		return fmt.Errorf("window: is %d, want 1..%d (the paper's s; 0 is variant \"simple\")", l.Window, math.MaxInt32)
	}
	if want := l.Window; l.Causal && l.W.Shape()[1] != want {
		return fmt.Errorf("w: has shape %s, want window = %d columns", shape, want)
	}
	if want := 2*l.Window - 1; !l.Causal && l.W.Shape()[1] != want {
		return fmt.Errorf("w: has shape %s, want 2*window-1 = %d columns", shape, want)
	}
	return nil
}

func (l *Layer) checkTaps(shape string) error {
	if l.W.Shape()[0] != l.Heads() {
		return fmt.Errorf("w: has shape %s, want %d rows, one a head as k has", shape, l.Heads())
	}
	if l.Variant == Conv1D {
		if taps := l.W.Shape()[1]; l.PadLeft < 0 || l.PadLeft >= taps {
			return fmt.Errorf("pad_left: is %d, want 0..%d (a tap of w)", l.PadLeft, taps-1)
		}
		return nil
	}
	for axis, pad := range l.Pads {
		if taps := l.W.Shape()[1+axis]; pad < 0 || pad >= taps {
			return fmt.Errorf("pads: is (%d,%d), want 0..%d at place %d (a tap of w)", l.Pads[0], l.Pads[1], taps-1, axis)
		}
	}
	if g := l.Grid; g != [2]int{} && (g[0] < 1 || g[1] < 1) {
		return fmt.Errorf("grid: is (%d,%d), want two sizes of at least 1, or none", g[0], g[1])
	}
	return nil
}

// Places say what a layer cannot see in the numbers of its input.
type Places struct {
	Grid [2]int // rows and columns that the positions lie on; for Conv2D without a grid of its own, others ignore it
	Mask Array  // (B,T): where it is 0, no position takes the place for a source (its key is -inf); empty: all are sources
}

// Forward computes y (B,T,OutDim) from x (B,T,In). Conv2D takes its grid from the layer, or from the caller when the layer
// has none; the others ignore it.
func (l *Layer) Forward(x Array, at Places) (Array, error) {
	if err := l.Check(); err != nil {
		return Array{}, err
	}
	if err := checkArray(x, 3); err != nil {
		return Array{}, fmt.Errorf("x: %w", err)
	}
	if longest := l.MaxLen(); longest > 0 && x.Shape[1] > longest {
		return Array{}, fmt.Errorf("x: has %d positions, but w has biases for %d", x.Shape[1], longest)
	}
	var qkv [3]Array
	for i, p := range []Linear{l.Q, l.K, l.V} {
		var err error
		if qkv[i], err = p.Forward(x); err != nil {
			return Array{}, fmt.Errorf("%c: %w", "qkv"[i], err)
		}
	}
	if err := removeSources(qkv[1], at.Mask); err != nil {
		return Array{}, err
	}
	y, err := l.attend(qkv[0], qkv[1], qkv[2], at.Grid)
	if err != nil || l.Out == nil {
		return y, err
	}
	if y, err = l.Out.Forward(y); err != nil {
		return Array{}, fmt.Errorf("out: %w", err)
	}
	return y, nil
}

// removeSources sets the keys k (B,T,H) to -inf where mask (B,T) is 0.
func removeSources(k, mask Array) error {
	if mask.Empty() {
		return nil
	}
	if err := checkArray(mask, 2); err != nil {
		return fmt.Errorf("mask: %w", err)
	}
	if mask.Shape[0] != k.Shape[0] || mask.Shape[1] != k.Shape[1] {
		return fmt.Errorf("mask: has shape %s, want (%d,%d) as x", tensor.FormatShape(mask.Shape), k.Shape[0], k.Shape[1])
	}
	heads := k.Shape[2]
	for i, keep := range mask.Data {
		if keep == 0 {
			for h := range heads {
				k.Data[i*heads+h] = math.Inf(-1)
			}
		}
	}
	return nil
}

func (l *Layer) attend(q, k, v Array, grid [2]int) (Array, error) {
	w, err := l.W.Array()
	if err != nil {
		return Array{}, fmt.Errorf("w: %w", err)
	}
	switch l.Variant {
	case Full:
		return AFTFull(q, k, v, w, l.Options)
	case Simple:
		return AFTSimple(q, k, v, l.Options)
	case Local:
		return AFTLocal(q, k, v, w, LocalOptions{l.Options, l.Window})
	case Conv1D:
		return AFTConv1D(q, k, v, w, Conv1DOptions{l.Options, l.PadLeft})
	default:
		if l.Grid != [2]int{} {
			if grid != [2]int{} && grid != l.Grid {
				return Array{}, fmt.Errorf("grid: is (%d,%d), but the layer's is (%d,%d)", grid[0], grid[1], l.Grid[0], l.Grid[1])
			}
			grid = l.Grid
		}
		return AFTConv2D(q, k, v, w, Conv2DOptions{l.Options, grid, l.Pads})
	}
}
