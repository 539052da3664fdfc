package bench

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// AFT-conv as the paper's eq. 6 and 8 have it: a convolution with exp(w)-1 beside the sum of everything.

// extra adds exp(w)-1, each kernel `times` times in a row, with that shape.
func (g *graph) extra(name string, w []float32, taps, times int, shape ...int) string {
	var out []float32
	for i := 0; i < len(w); i += taps {
		for range times {
			for _, x := range w[i : i+taps] {
				out = append(out, float32(math.Exp(float64(x))-1))
			}
		}
	}
	return g.constant(name, &tensor.Tensor{DType: tensor.Float32, Shape: shape, Data: floatBytes(out)})
}

// keyExponentials makes ek (B,T,H) = exp(k - max k) and ekt, (B,H,T).
func (g *graph) keyExponentials() {
	g.node("ReduceMax", "km", []string{"k"}, onnxpb.IntsAttr("axes", 1), onnxpb.IntAttr("keepdims", 1))
	g.node("Sub", "ks", []string{"k", "km"})
	g.node("Exp", "ek", []string{"ks"})
	g.node("Transpose", "ekt", []string{"ek"}, onnxpb.IntsAttr("perm", 0, 2, 1))
}

// total adds the sum of everything to a convolution over axis 2: running where causal.
func (g *graph) total(c Case, out, of, conv string) {
	if c.Causal {
		g.node("CumSum", out+"_all", []string{of, g.integer(out+"_axis", 2)})
	} else {
		g.node("ReduceSum", out+"_all", []string{of, g.ints(out+"_axis", 2)}, onnxpb.IntAttr("keepdims", 1))
	}
	g.node("Add", out, []string{conv, out + "_all"})
}

func (g *graph) conv1d(c Case, out, of, kernel string, group int) {
	left := int64(c.left())
	g.node("Conv", out, []string{of, kernel}, onnxpb.IntAttr("group", int64(group)),
		onnxpb.IntsAttr("pads", left, int64(c.Window)-1-left), onnxpb.IntsAttr("kernel_shape", int64(c.Window)))
}

// denominator makes den (B,H,T).
func (g *graph) denominator(c Case, w []float32) {
	g.conv1d(c, "den_conv", "ekt", g.extra("ew", w, c.Window, 1, c.Heads, 1, c.Window), c.Heads)
	g.total(c, "den", "ekt", "den_conv")
}

// convHeads convolves the channels of a head as a batch: (B*D/H, H, T), group H.
func (g *graph) convHeads(c Case, w []float32) {
	b, t, h, e := int64(c.B), int64(c.T), int64(c.Heads), int64(c.D/c.Heads)
	g.keyExponentials()
	g.denominator(c, w)
	g.node("Reshape", "v4", []string{"v", g.ints("bthe", b, t, h, e)})
	g.node("Unsqueeze", "ek4", []string{"ek", g.ints("u3", 3)})
	g.node("Mul", "f4", []string{"v4", "ek4"})
	g.node("Transpose", "ft", []string{"f4"}, onnxpb.IntsAttr("perm", 0, 3, 2, 1))
	g.node("Reshape", "f", []string{"ft", g.ints("beht", b*e, h, t)})
	g.conv1d(c, "num_conv", "f", "ew", c.Heads)
	g.total(c, "num", "f", "num_conv")
	g.node("Reshape", "num4", []string{"num", g.ints("b_e_h_t", b, e, h, t)})
	g.node("Unsqueeze", "den4", []string{"den", g.ints("u1", 1)})
	g.node("Div", "r4", []string{"num4", "den4"})
	g.node("Transpose", "rt", []string{"r4"}, onnxpb.IntsAttr("perm", 0, 3, 2, 1))
	g.node("Reshape", "r", []string{"rt", g.ints("btd", b, t, h*e)})
	g.node("Sigmoid", "sq", []string{"q"})
	g.node("Mul", "y", []string{"sq", "r"})
}

// convChannels repeats the kernels: (B, D, T), group D.
func (g *graph) convChannels(c Case, w []float32) {
	b, t, h, e := int64(c.B), int64(c.T), int64(c.Heads), int64(c.D/c.Heads)
	g.keyExponentials()
	g.denominator(c, w)
	g.node("Transpose", "vt", []string{"v"}, onnxpb.IntsAttr("perm", 0, 2, 1))
	g.node("Reshape", "vt4", []string{"vt", g.ints("bhet", b, h, e, t)})
	g.node("Unsqueeze", "ekt4", []string{"ekt", g.ints("u2", 2)})
	g.node("Mul", "f4", []string{"vt4", "ekt4"})
	g.node("Reshape", "f", []string{"f4", g.ints("bdt", b, h*e, t)})
	g.conv1d(c, "num_conv", "f", g.extra("ew_d", w, c.Window, c.D/c.Heads, c.D, 1, c.Window), c.D)
	g.total(c, "num", "f", "num_conv")
	g.node("Reshape", "num4", []string{"num", "bhet"})
	g.node("Unsqueeze", "den4", []string{"den", "u2"})
	g.node("Div", "r4", []string{"num4", "den4"})
	g.node("Reshape", "rt", []string{"r4", "bdt"})
	g.node("Transpose", "r", []string{"rt"}, onnxpb.IntsAttr("perm", 0, 2, 1))
	g.node("Sigmoid", "sq", []string{"q"})
	g.node("Mul", "y", []string{"sq", "r"})
}

// convGrid is depth-wise over the grid, H = D.
func (g *graph) convGrid(c Case, w []float32) {
	pad, k := int64(c.Kernel/2), int64(c.Kernel)
	kernel := g.extra("ew", w, c.Kernel*c.Kernel, 1, c.D, 1, c.Kernel, c.Kernel)
	grid, flat := g.ints("bdhw", int64(c.B), int64(c.D), int64(c.Grid[0]), int64(c.Grid[1])), g.ints("bdt", int64(c.B), int64(c.D), int64(c.T))
	axes := g.ints("axes", 2, 3)
	g.exponentials()
	for _, sum := range [][2]string{{"den", "ek"}, {"num", "ekv"}} {
		out, of := sum[0], sum[1]
		g.node("Transpose", of+"_t", []string{of}, onnxpb.IntsAttr("perm", 0, 2, 1))
		g.node("Reshape", of+"_g", []string{of + "_t", grid})
		g.node("Conv", of+"_conv", []string{of + "_g", kernel}, onnxpb.IntAttr("group", int64(c.D)),
			onnxpb.IntsAttr("pads", pad, pad, pad, pad), onnxpb.IntsAttr("kernel_shape", k, k))
		g.node("ReduceSum", of+"_all", []string{of + "_g", axes}, onnxpb.IntAttr("keepdims", 1))
		g.node("Add", out, []string{of + "_conv", of + "_all"})
	}
	g.node("Div", "rg", []string{"num", "den"})
	g.node("Reshape", "rt", []string{"rg", flat})
	g.node("Transpose", "r", []string{"rt"}, onnxpb.IntsAttr("perm", 0, 2, 1))
	g.node("Sigmoid", "sq", []string{"q"})
	g.node("Mul", "y", []string{"sq", "r"})
}
