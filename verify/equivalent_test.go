package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/import/onnxgraph/fuse"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/ort"
)

const fusible = "../testdata/fuse"

// fused is a model and what it was fused to.
func fused(t *testing.T, file string) ([]byte, *fuse.Result) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fusible, file))
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnxgraph.Decode(data, onnxgraph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	probes, err := ProbeInputs(t.Context(), m, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := fuse.Fuse(t.Context(), m, fuse.Options{Probes: probes})
	if err != nil {
		t.Fatal(err)
	}
	return data, r
}

func equivalent(t *testing.T, original []byte, p *onnxpb.ModelProto) *Equivalence {
	t.Helper()
	open := func(ctx context.Context) (*ort.Runtime, error) { return ort.Open(ctx, ort.Options{}) }
	e, err := Equivalent(t.Context(), original, p, EquivalentOptions{Open: open, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What PyTorch's exporter makes of AFT in a dozen formulations: see testdata/make_fuse.py.
func TestFusedModelsAreEquivalent(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(fusible, "fuse.json"))
	if err != nil {
		t.Fatal(err)
	}
	var models []struct {
		Model string
		Finds []string
	}
	if err := json.Unmarshal(data, &models); err != nil || len(models) < 10 {
		t.Fatalf("%d models, %v", len(models), err)
	}
	for _, m := range models {
		t.Run(m.Model, func(t *testing.T) {
			original, r := fused(t, m.Model)
			found := []string{}
			for _, f := range r.Fusions {
				found = append(found, f.Op)
			}
			if !slices.Equal(found, m.Finds) {
				t.Fatalf("fused %v, want %v; missed %+v", found, m.Finds, r.Misses)
			}
			if len(found) == 0 {
				return
			}
			needRuntime(t)
			if e := equivalent(t, original, r.Model); !e.Pass() || len(e.Cases) < 4 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A rewritten model that computes something else must not pass: a bias, an attribute, a function body.
//
// Rule O15 of docs/hostile.md.
func TestEquivalent_planted(t *testing.T) {
	needRuntime(t)
	for name, plant := range map[string]func(*onnxpb.ModelProto){
		"bias": func(p *onnxpb.ModelProto) {
			for _, w := range p.Graph.Initializer {
				if strings.HasSuffix(w.GetName(), "/W") {
					w.RawData = append(bytes.Clone(w.RawData[4:]), w.RawData[:4]...)
				}
			}
		},
		"attribute": func(p *onnxpb.ModelProto) {
			for _, n := range p.Graph.Node {
				for _, a := range n.Attribute {
					if n.Domain != "" && a.Name == "causal" {
						one := int64(1)
						a.I = &one
					}
				}
			}
		},
		"body": func(p *onnxpb.ModelProto) {
			for _, n := range p.Functions[0].Node {
				if n.OpType == "Sigmoid" {
					n.OpType = "Tanh"
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			original, r := fused(t, "full-dynamic-17.onnx")
			plant(r.Model)
			e := equivalent(t, original, r.Model)
			if e.Pass() {
				t.Errorf("passed: %+v", e)
			}
			for _, row := range e.Rows {
				// a body is written for the attributes that its calls have: only what reads the node sees another one
				bad := name == "bias" || (name == "body") == (row.Engine == Portable)
				if bad == row.Pass {
					t.Errorf("%s: pass = %v, problem %q", row.Engine, row.Pass, row.Problem)
				}
			}
		})
	}
}
