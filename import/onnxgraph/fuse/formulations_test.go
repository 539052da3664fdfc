package fuse

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// formulation is a way to write AFT, one node a line: "Op in in -> out attribute=value". q, k and v are inputs (batch,
// sequence, 6), m a mask of 1 and 0 (batch, sequence); w is a bias (9,9), band one that is 0 where |t-s| >= 3, past 0 where
// s > t and -Inf elsewhere, lower 1 where s <= t and 0 elsewhere; the constants have names that say what they hold.
type formulation struct {
	name  string
	nodes string
	op    string // "" where nothing may be found
	attrs ops.Attrs
	say   string // part of a note, or of the reason
}

func attrs(pairs ...any) ops.Attrs {
	a := ops.Attrs{}
	for i := 0; i < len(pairs); i += 2 {
		switch v := pairs[i+1].(type) {
		case int:
			a[pairs[i].(string)] = []int64{int64(v)}
		case []int64:
			a[pairs[i].(string)] = v
		}
	}
	return a
}

// slicedTo makes a bias as long as the sequence: what PyTorch writes for w[:T, :T].
func slicedTo(w string) string {
	return `
		Shape k -> shape_` + w + `
		Gather shape_` + w + ` one -> len_` + w + `
		Unsqueeze len_` + w + ` axis0 -> end_` + w + `
		Concat end_` + w + ` end_` + w + ` -> ends_` + w + ` axis=0
		Slice ` + w + ` zeros2 ends_` + w + ` axes01 -> ` + w + `t`
}

func formulations() []formulation {
	full, sum := slicedTo("w"), `
		Exp k -> ek
		Mul ek v -> ekv`
	return []formulation{
		{"exp and matmul", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> r
			Sigmoid q -> g
			Mul g r -> y`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"the gate before the division", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			Sigmoid q -> g
			Mul num g -> gn
			MatMul ew ek -> den
			Div gn den -> y`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"reciprocal, tanh gate", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Reciprocal den -> rd
			Mul num rd -> r
			Tanh q -> g
			Mul g r -> y`, "AFTFull", attrs("causal", 0, "gate", 1), ""},
		{"no gate", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> y`, "AFTFull", attrs("causal", 0, "gate", 3), ""},
		{"softmax over pairs and channels", full + `
			Unsqueeze k axis1 -> k4
			Unsqueeze wt axes03 -> w4
			Add k4 w4 -> a
			Softmax a -> p axis=2
			Unsqueeze v axis1 -> v4
			Mul p v4 -> pv
			ReduceSum pv axis2 -> r keepdims=0
			Sigmoid q -> g
			Mul g r -> y`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"exp over pairs and channels, a maximum taken off", full + `
			Unsqueeze k axis1 -> k4
			Unsqueeze wt axes03 -> w4
			Add k4 w4 -> a
			ReduceMax a -> top axes=2 keepdims=1
			Sub a top -> b
			Exp b -> e
			Unsqueeze v axis1 -> v4
			Mul e v4 -> ev
			ReduceSum ev axis2 -> num keepdims=0
			ReduceSum e axis2 -> den keepdims=0
			Div num den -> r
			Sigmoid q -> g
			Mul r g -> y`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"einsum", full + `
			Exp k -> ek
			Exp wt -> ew
			Einsum ew ek v -> num equation=ts,bsd,bsd->btd
			Einsum ew ek -> den equation=ts,bsd->btd
			Div num den -> r
			Sigmoid q -> g
			Mul g r -> y`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"einsum with dots", full + sum + `
			Exp wt -> ew
			Einsum ew ekv -> num equation=ts,...sd->...td
			Einsum ew ek -> den equation=ts,...sd->...td
			Div num den -> y`, "AFTFull", attrs("causal", 0, "gate", 3), ""},
		{"channels first", full + `
			Transpose k -> kt perm=0,2,1
			Transpose v -> vt perm=0,2,1
			Exp kt -> ek
			Mul vt ek -> ekv
			Exp wt -> ew
			Transpose ew -> ewt perm=1,0
			MatMul ekv ewt -> num
			MatMul ek ewt -> den
			Div num den -> r
			Transpose r -> rt perm=0,2,1
			Sigmoid q -> g
			Mul g rt -> y`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"sequence first, maxima of keys and biases apart", full + `
			Transpose k -> ks perm=1,0,2
			Transpose v -> vs perm=1,0,2
			ReduceMax ks -> km axes=0
			Sub ks km -> kd
			Exp kd -> ek
			ReduceMax wt -> wm axes=1
			Sub wt wm -> wd
			Exp wd -> ew
			Mul ek vs -> ekv
			Einsum ew ekv -> num equation=ij,jbd->ibd
			Einsum ew ek -> den equation=ij,jbd->ibd
			Transpose q -> qs perm=1,0,2
			Sigmoid qs -> g
			Mul g num -> gn
			Div gn den -> ys
			Transpose ys -> y perm=1,0,2`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"numerator and denominator in one product", full + `
			Exp k -> ek
			Exp wt -> ew
			Mul ek v -> ekv
			MatMul ew ekv -> num
			MatMul ew ek -> den0
			Add den0 tiny -> den
			Div num den -> r
			Sigmoid q -> g
			Mul g r -> y`, "AFTFull", attrs("causal", 0, "gate", 0), "keeps the denominator from 0"},
		{"a clipped denominator", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den0
			Clip den0 tiny -> den
			Div num den -> y`, "AFTFull", attrs("causal", 0, "gate", 3), "keeps the denominator from 0"},
		{"a sigmoid of exponentials", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> r
			Neg q -> nq
			Exp nq -> enq
			Add enq onef -> d
			Reciprocal d -> g
			Mul g r -> y`, "AFTFull", attrs("causal", 0, "gate", 0), ""},
		{"factorised biases", `
			Transpose vv -> vt perm=1,0
			MatMul uu vt -> w` + full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> y`, "AFTFull", attrs("causal", 0, "gate", 3), ""},
		{"exp of the bias folded by an optimiser", slicedTo("expw") + sum + `
			MatMul expwt ekv -> num
			MatMul expwt ek -> den
			Div num den -> y`, "AFTFull", attrs("causal", 0, "gate", 3), ""},
		{"keys masked by a product", full + `
			Exp k -> ek0
			Unsqueeze m axis2 -> m3
			Mul ek0 m3 -> ek
			Mul ek v -> ekv
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> y`, "AFTFull", attrs("causal", 0, "gate", 3), ""},
		{"causal by -Inf", slicedTo("w") + slicedTo("past") + sum + `
			Add wt pastt -> wp
			Exp wp -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> y`, "AFTFull", attrs("causal", 1, "gate", 3), ""},
		{"causal by a triangle of ones", slicedTo("w") + sum + `
			Exp wt -> ew0
			Trilu ew0 -> ew upper=0
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> r
			Sigmoid q -> g
			Mul g r -> y`, "AFTFull", attrs("causal", 1, "gate", 0), ""},

		{"simple", `
			Softmax k -> p axis=1
			Mul p v -> pv
			ReduceSum pv axis1 -> r keepdims=1
			Sigmoid q -> g
			Mul g r -> y`, "AFTSimple", attrs("causal", 0, "gate", 0), ""},
		{"simple by means", sum + `
			ReduceMean ekv -> num axes=1
			ReduceMean ek -> den axes=1
			Div num den -> r
			Sigmoid q -> g
			Mul g r -> y`, "AFTSimple", attrs("causal", 0, "gate", 0), ""},
		{"simple in logarithms", `
			ReduceLogSumExp k -> l axes=1
			Sub k l -> d
			Exp d -> p
			Einsum p v -> r equation=bsd,bsd->bd
			Unsqueeze r axis1 -> r3
			Sigmoid q -> g
			Mul g r3 -> y`, "AFTSimple", attrs("causal", 0, "gate", 0), ""},
		{"simple, keys hidden by Where", `
			Cast m -> b0 to=9
			Unsqueeze b0 axis2 -> b
			Where b k minusinf -> km
			Softmax km -> p axis=1
			Mul p v -> pv
			ReduceSum pv axis1 -> r keepdims=1
			Sigmoid q -> g
			Mul g r -> y`, "AFTSimple", attrs("causal", 0, "gate", 0), ""},
		{"running sums", sum + `
			CumSum ekv one -> num
			CumSum ek one -> den
			Div num den -> r
			Sigmoid q -> g
			Mul g r -> y`, "AFTSimple", attrs("causal", 1, "gate", 0), ""},
		{"a triangle of ones", sum + slicedTo("lower") + `
			MatMul lowert ekv -> num
			MatMul lowert ek -> den
			Div num den -> y`, "AFTSimple", attrs("causal", 1, "gate", 3), ""},
		{"simple by heads", `
			Reshape k heads -> k4
			Transpose k4 -> kh perm=0,2,1,3
			Reshape v heads -> v4
			Transpose v4 -> vh perm=0,2,1,3
			Softmax kh -> p axis=2
			Mul p vh -> pv
			ReduceSum pv axis2 -> r keepdims=1
			Reshape q heads -> q4
			Transpose q4 -> qh perm=0,2,1,3
			Sigmoid qh -> g
			Mul g r -> yh
			Transpose yh -> yt perm=0,2,1,3
			Reshape yt merged -> y`, "AFTSimple", attrs("causal", 0, "gate", 0), ""},

		{"local", slicedTo("band") + sum + `
			Exp bandt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> r
			Sigmoid q -> g
			Mul g r -> y`, "AFTLocal", attrs("causal", 0, "gate", 0, "window", 3), ""},
		{"local, causal, a maximum taken off", slicedTo("band") + slicedTo("past") + `
			Add bandt pastt -> wb
			ReduceMax wb -> wm axes=1
			Sub wb wm -> wd
			Exp wd -> ew
			ReduceMax k -> km axes=1
			Sub k km -> kd
			Exp kd -> ek
			Mul ek v -> ekv
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> y`, "AFTLocal", attrs("causal", 1, "gate", 3, "window", 3), ""},
		{"local as a sum and what a band adds", slicedTo("band") + sum + `
			Exp bandt -> ew
			Sub ew onef -> ew1
			MatMul ew1 ekv -> n1
			MatMul ew1 ek -> d1
			ReduceSum ekv axis1 -> n2 keepdims=1
			ReduceSum ek axis1 -> d2 keepdims=1
			Add n1 n2 -> num
			Add d2 d1 -> den
			Div num den -> y`, "AFTLocal", attrs("causal", 0, "gate", 3, "window", 3), ""},

		{"conv: running sums and a causal convolution", `
			Exp kk -> ek
			Unsqueeze ek axis3 -> ek4
			Reshape v heads -> v4
			Mul ek4 v4 -> ekv
			Transpose ekv -> ekvt perm=0,2,3,1
			Reshape ekvt rows -> ekvr
			Transpose ek -> ekt perm=0,2,1
			Conv ekvr taps6 -> nl0 group=6 pads=2,2
			Slice nl0 zero1 cut axis2 -> nl
			Conv ekt taps -> dl0 group=3 pads=2,2
			Slice dl0 zero1 cut axis2 -> dl
			CumSum ekvr two -> ng
			CumSum ekt two -> dg
			Add nl ng -> num0
			Add dl dg -> den0
			Reshape num0 split -> num
			Unsqueeze den0 axis2 -> den
			Div num den -> r
			Transpose r -> rt perm=0,3,1,2
			Reshape rt merged -> r3
			Sigmoid q -> g
			Mul g r3 -> y`, "AFTConv1D", attrs("causal", 1, "gate", 0, "pad_left", 2), ""},
		{"conv: sums and a centred convolution behind a Pad", `
			ReduceMax kk -> km axes=1
			Sub kk km -> kd
			Exp kd -> ek
			Unsqueeze ek axis3 -> ek4
			Reshape v heads -> v4
			Mul ek4 v4 -> ekv
			Transpose ekv -> ekvt perm=0,2,3,1
			Reshape ekvt rows -> ekvr
			Transpose ek -> ekt perm=0,2,1
			Pad ekvr pads3 -> ekvp
			Conv ekvp taps6 -> nl group=6
			Conv ekt taps -> dl group=3 pads=1,1
			ReduceSum ekvr axis2 -> ng keepdims=1
			ReduceSum ekt axis2 -> dg keepdims=1
			Add nl ng -> num0
			Add dl dg -> den0
			Reshape num0 split -> num
			Unsqueeze den0 axis2 -> den
			Div num den -> r
			Transpose r -> rt perm=0,3,1,2
			Reshape rt merged -> r3
			Sigmoid q -> g
			Mul g r3 -> y`, "AFTConv1D", attrs("causal", 0, "gate", 0, "pad_left", 1), ""},

		{"attention by dot products", `
			Transpose k -> kt perm=0,2,1
			MatMul q kt -> a
			Softmax a -> p axis=-1
			MatMul p v -> y`, "", nil, "bias of query and source also depends on the batch"},
		{"another weight in the denominator", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			ReduceSum ek axis1 -> den keepdims=1
			Div num den -> y`, "", nil, "weigh the sources differently"},
		{"half the ratio", full + sum + `
			Exp wt -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den0
			Mul den0 twof -> den
			Div num den -> y`, "", nil, "multiplied by 0.5"},
		{"a band that masks", slicedTo("hidden") + sum + `
			Exp hiddent -> ew
			MatMul ew ekv -> num
			MatMul ew ek -> den
			Div num den -> y`, "AFTFull", attrs("causal", 0, "gate", 3), ""},
		{"no values", `
			Exp k -> ek
			CumSum ek one -> den
			CumSum ek one -> num
			Div num den -> r
			Mul q r -> y`, "", nil, ""},
	}
}

func TestFormulations(t *testing.T) {
	for _, f := range formulations() {
		for _, opset := range f.opsets() {
			t.Run(fmt.Sprintf("%s/%d", f.name, opset), func(t *testing.T) { f.check(t, opset, tensor.Float32) })
		}
		t.Run(f.name+"/double", func(t *testing.T) { f.check(t, 17, tensor.Float64) })
		t.Run(f.name+"/half", func(t *testing.T) { f.check(t, 17, tensor.Float16) })
	}
}

// opsets are those that the operators of the formulation are in.
func (f *formulation) opsets() []int64 {
	if strings.Contains(f.nodes, "Trilu") { // since 14
		return []int64{14, 17, 18, 21}
	}
	return []int64{13, 17, 18, 21}
}

func (f *formulation) check(t *testing.T, opset int64, dtype tensor.DType) {
	m := again(t, f.model(t, opset, dtype))
	in := [probes]Inputs{f.inputs(t, dtype, 2, 5), f.inputs(t, dtype, 3, 7)}
	r, err := Fuse(context.Background(), m, Options{Probes: in})
	if err != nil {
		t.Fatal(err)
	}
	if f.op == "" {
		if len(r.Fusions) > 0 {
			t.Fatalf("fused %+v", r.Fusions)
		}
		if f.say != "" && (len(r.Misses) != 1 || !strings.Contains(r.Misses[0].Reason, f.say)) {
			t.Errorf("missed %+v, want %q", r.Misses, f.say)
		}
		return
	}
	if len(r.Fusions) != 1 || r.Fusions[0].Op != f.op || !r.Fusions[0].Attrs.Equal(f.attrs) {
		t.Fatalf("fused %+v, missed %+v, want %s %v", r.Fusions, r.Misses, f.op, f.attrs)
	}
	if notes := strings.Join(r.Fusions[0].Notes, "; "); f.say == "" != (notes == "") || !strings.Contains(notes, f.say) {
		t.Errorf("notes %q, want %q", notes, f.say)
	}
	allowed := 1e-6
	if dtype == tensor.Float16 { // a bias that is computed anew is rounded to 11 bits
		allowed = 2e-3
	}
	fused := again(t, r.Model)
	for _, in := range append(in[:], f.inputs(t, dtype, 1, 9)) {
		want, got := runWide(t, m, in)["y"], runWide(t, fused, in)["y"]
		if d := farthestOf(got.Float64s(), want.Float64s()); !tensor.SameShape(got.Shape, want.Shape) || !(d <= allowed) {
			t.Errorf("differs by %g", d)
		}
	}
}
