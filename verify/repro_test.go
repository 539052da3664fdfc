package verify

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// lateFault is a model, and one of which a position bias of the fifth position is wrong in the second layer.
func lateFault(t *testing.T) (good, bad string) {
	p := exported(t, newMaker(t).language(), export.Options{})
	return writeModel(t, p), writeModel(t, edit(t, p, "layers.1.w", func(w []float64) { w[4*3+1] += 0.5 }))
}

// A failure is made small: the layer that differs first, on the shortest sequence that shows it; and what is written fails alone.
func TestReproduce(t *testing.T) {
	good, bad := lateFault(t)
	o := Options{Other: bad, Engines: []Engine{Native}}
	r, err := Model(t.Context(), good, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Reproduce(t.Context(), good, o, r)
	if err != nil {
		t.Fatal(err)
	}
	if b.Engine != Native || b.Layer != "layers.1.aft" || b.Report.Pass || !strings.HasPrefix(b.Case, "input_ids (1,5)") {
		t.Errorf("%s, %q, %q", b.Engine, b.Layer, b.Case)
	}
	if len(b.Inputs) != 1 || b.Inputs[0].Name != "layers.0.y" || !slices.Equal(b.Inputs[0].Value.Shape, []int{1, 5, testDim}) {
		t.Errorf("inputs %+v", b.Inputs)
	}
	r = verifyBundle(t, b)
	if row := find(t, r, "stored layers.1.aft", Native); row.Pass || row.Worst.Index[1] != 4 {
		t.Errorf("the bundle: pass %v, %+v", row.Pass, row.Worst)
	}
}

func verifyBundle(t *testing.T, b *Bundle) *Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, b.Model, 0o666); err != nil {
		t.Fatal(err)
	}
	o := Options{Inputs: map[string]*tensor.Tensor{}, Against: map[string]*tensor.Tensor{}, Engines: []Engine{Native}}
	for _, v := range b.Inputs {
		o.Inputs[v.Name] = v.Value
	}
	for _, v := range b.Outputs {
		o.Against[v.Name] = v.Value
	}
	r, err := Model(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A wrong function body fails the engines that run it, in the layer that it stands in, and can be reproduced.
func TestReproduce_body(t *testing.T) {
	needRuntime(t)
	p := proto.CloneOf(exported(t, newMaker(t).language(), export.Options{}))
	for _, f := range p.GetFunctions() {
		if f.GetDomain() != ops.Domain {
			continue
		}
		for _, n := range f.GetNode() {
			if n.GetOpType() == "Sigmoid" {
				n.OpType = "Tanh"
			}
		}
	}
	path := writeModel(t, p)
	r, err := Model(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for e, pass := range map[Engine]bool{Kernel: true, Portable: false, Native: false} {
		if row := find(t, r, "logits", e); row.Pass != pass || !pass && row.Located != "layers.0.aft" {
			t.Errorf("%s: pass %v, located %q", e, row.Pass, row.Located)
		}
	}
	b, err := Reproduce(t.Context(), path, Options{}, r)
	if err != nil {
		t.Fatal(err)
	}
	if b.Engine != Portable || b.Layer != "layers.0.aft" || b.Inputs[0].Name != "embedded" || !strings.HasPrefix(b.Case, "input_ids (1,1)") {
		t.Errorf("%s, %q, %q, %+v", b.Engine, b.Layer, b.Case, b.Inputs)
	}
}

// Somebody else's model is reproduced whole, and a report that passes not at all.
func TestReproduce_whole(t *testing.T) {
	good, bad := lateFault(t)
	for i, path := range []*string{&good, &bad} {
		data, err := os.ReadFile(*path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := onnxpb.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		p.ProducerName = "somebody"
		if *path = writeModel(t, p); i == 0 {
			if _, err := Reproduce(t.Context(), *path, Options{}, &Report{Pass: true}); err != ErrNothingToReproduce {
				t.Errorf("nothing: %v", err)
			}
		}
	}
	o := Options{Other: bad, Engines: []Engine{Native}, Sequence: 12, Batch: 1}
	r, err := Model(t.Context(), good, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Reproduce(t.Context(), good, o, r)
	if err != nil {
		t.Fatal(err)
	}
	if b.Layer != "" || !strings.HasPrefix(b.Case, "input_ids (1,5)") || len(b.Outputs) != 1 {
		t.Errorf("%q, %q, %d outputs", b.Layer, b.Case, len(b.Outputs))
	}
	if row := find(t, verifyBundle(t, b), "stored logits", Native); row.Pass {
		t.Error("the bundle passes")
	}
}
