package fuse

import (
	"context"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// surrounded is AFT-simple between operators whose form opsets 10 to 13 changed.
const surrounded = `
	Dropout v -> vd ratio=0.5
	Unsqueeze vd -> v4 axes=1
	Squeeze v4 -> v3 axes=1
	Slice v3 -> v2 starts=0 ends=6 axes=2
	Pad v2 -> vp pads=0,0,0,0,0,0
	Clip vp -> vc min=-2 max=2
	Softmax q -> qs axis=-1
	Split qs -> qa axis=2 split=6
	Exp k -> ek
	Mul ek vc -> ekv
	ReduceSum ekv -> num axes=1 keepdims=1
	ReduceSum ek -> den axes=1 keepdims=1
	Div num den -> r
	Sigmoid qa -> g
	Mul g r -> y0
	TopK y0 -> y k=6 axis=2`

func TestRaise(t *testing.T) {
	f := &formulation{nodes: surrounded}
	in := [probes]Inputs{f.inputs(t, tensor.Float32, 2, 5), f.inputs(t, tensor.Float32, 3, 7)}
	m := again(t, f.model(t, 9, tensor.Float32))
	r, err := Fuse(context.Background(), m, Options{Probes: in})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Fusions) != 1 || r.Fusions[0].Op != "AFTSimple" {
		t.Fatalf("fused %+v, missed %+v", r.Fusions, r.Misses)
	}
	fused := again(t, r.Model)
	if o := r.Model.OpsetImport[0]; o.GetVersion() != 13 {
		t.Errorf("opset %d, want 13", o.GetVersion())
	}
	for _, in := range in {
		want, got := runWide(t, m, in)["y"], runWide(t, fused, in)["y"]
		if d := farthestOf(got.Float64s(), want.Float64s()); !(d <= 1e-6) {
			t.Errorf("differs by %g", d)
		}
	}
}

func TestRaise_refused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*onnxpb.NodeProto)
		says   string
	}{
		"softmax over several axes": {func(n *onnxpb.NodeProto) {
			if n.OpType == "Softmax" {
				n.Attribute[0] = onnxpb.IntAttr("axis", 1)
			}
		}, "runs over several axes from 1 on"},
		"an operator that is not known": {func(n *onnxpb.NodeProto) {
			if n.OpType == "TopK" {
				n.OpType, n.Attribute = "Upsample", nil
			}
		}, "Upsample cannot be raised to 13"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &formulation{nodes: surrounded}
			p := f.model(t, 9, tensor.Float32)
			for _, n := range p.Graph.Node {
				test.change(n)
			}
			in := [probes]Inputs{f.inputs(t, tensor.Float32, 2, 5), f.inputs(t, tensor.Float32, 3, 7)}
			_, err := Fuse(context.Background(), again(t, p), Options{Probes: in})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
}
