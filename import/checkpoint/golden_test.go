package checkpoint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// sameAs compares a file with the arrays that the library which wrote it saw in it.
func sameAs(t *testing.T, path, expect string) *File {
	t.Helper()
	want, err := npy.ReadNPZ(expect)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var names []string
	for name := range want {
		names = append(names, strings.ReplaceAll(name, "__", "/"))
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(slices.Values(f.Names()))); diff != "" {
		t.Fatalf("names (-want +got):\n%s", diff)
	}
	for name, w := range want {
		name = strings.ReplaceAll(name, "__", "/")
		got, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		info, ok := f.Info(name)
		if diff := cmp.Diff(Info{Name: name, DType: got.DType, Shape: got.Shape}, info); !ok || diff != "" {
			t.Errorf("Info(%q) differs from the tensor:\n%s", name, diff)
		}
		if got.DType != w.DType && (got.DType == tensor.Float16 || got.DType == tensor.BFloat16) {
			if got, err = got.Cast(tensor.Float32); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("tensor %q (-want +got):\n%s", name, diff)
		}
	}
	return f
}

// TestOwnFiles reads the files of testdata: see its README.md.
func TestOwnFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.npz")
	if err != nil || len(files) < 12 {
		t.Fatal(len(files), err)
	}
	for _, expect := range files {
		stem := strings.TrimSuffix(expect, ".npz")
		t.Run(filepath.Base(stem), func(t *testing.T) {
			found, _ := filepath.Glob(stem + ".[cps]*")
			if len(found) != 1 {
				t.Fatalf("%q: want one checkpoint", found)
			}
			f := sameAs(t, found[0], expect)
			want := PyTorchZip
			switch {
			case strings.HasSuffix(stem, "legacy"):
				want = PyTorchLegacy
			case strings.HasSuffix(found[0], ".safetensors"):
				want = Safetensors
			}
			if f.Kind() != want {
				t.Errorf("kind %s, want %s", f.Kind(), want)
			}
		})
	}
}

func TestOwnFiles_order(t *testing.T) {
	f, err := Open("testdata/list.pt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if diff := cmp.Diff([]string{"0", "1/0", "1/1/0"}, f.Names()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOwnFiles_metadata(t *testing.T) {
	for _, c := range []struct {
		file string
		want map[string]string
	}{
		{"testdata/weights.safetensors", map[string]string{"format": "pt", "note": "été"}},
		{"testdata/state_dict.pt", map[string]string{}},
		{"testdata/training.ckpt", map[string]string{
			"epoch": "3", "history/0": "1.5", "history/1/0": "2", "history/1/1": "3", "size/0": "4", "size/1": "3",
			"hyper_parameters/name": "aft — été", "hyper_parameters/dropout": "0.25", "hyper_parameters/causal": "true",
			"hyper_parameters/seed":          "1180591620717411303424", // 2^70
			"hyper_parameters/milestones/10": "2", "hyper_parameters/milestones/20": "1",
			"optimizer/param_groups/0/lr": "0.5", "optimizer/param_groups/0/betas/0": "0.9",
			"optimizer/param_groups/0/betas/1": "0.999", "optimizer/param_groups/0/eps": "1e-08",
			"optimizer/param_groups/0/weight_decay": "0", "optimizer/param_groups/0/amsgrad": "false",
			"optimizer/param_groups/0/maximize": "false", "optimizer/param_groups/0/capturable": "false",
			"optimizer/param_groups/0/differentiable": "false", "optimizer/param_groups/0/fused": "false",
			"optimizer/param_groups/0/params/0": "0", "optimizer/param_groups/0/params/1": "1",
			"optimizer/param_groups/0/params/2": "2", "optimizer/param_groups/0/params/3": "3",
		}},
	} {
		f, err := Open(c.file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, f.Metadata()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.file, diff)
		}
		f.Close()
	}
}

func TestOwnFiles_module(t *testing.T) {
	refused(t, "testdata/module.pt", `record "module/data.pkl", byte 2`,
		`global "torch.nn.modules.container Sequential"`, "save model.state_dict()")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestGolden reads the group "formats" of the shared golden set: what torch.save of PyTorch 1.13 wrote, and damaged or
// hostile files; and opens the checkpoints of the other groups.
func TestGolden(t *testing.T) {
	dir := goldentest.Shared(t, "golden")
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Cases []struct {
			ID, Group, Variant string
			Files              struct{ Checkpoint, Expect string }
			Tensors            map[string]struct {
				Shape []int
				DType string
			}
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	refusals := map[string][]string{
		"truncated-zip":    {"no end record"},
		"truncated-legacy": {"storage", "left in the file"},
		"calls-function":   {`record "archive/data.pkl", byte 169`, `global "builtins print"`, "nothing was run"},
		"whole-module":     {`global "torch.nn.modules.container Sequential"`, "state_dict"},
		"empty":            {"0 bytes"},
		"not-a-checkpoint": {"Git LFS pointer"},
	}
	ran := 0
	for _, c := range manifest.Cases {
		if c.Files.Checkpoint == "" {
			continue
		}
		ran++
		path := filepath.Join(dir, c.Files.Checkpoint)
		t.Run(c.ID, func(t *testing.T) {
			if c.Variant == "negative" {
				if len(refusals[c.ID]) == 0 {
					t.Fatal("no expectation for this file")
				}
				refused(t, path, refusals[c.ID]...)
				return
			}
			if c.Files.Expect == "" {
				if f, err := readAll(path); err != nil || len(f.Names()) < 4 {
					t.Fatal(err)
				}
				return
			}
			f := sameAs(t, path, filepath.Join(dir, c.Files.Expect))
			if len(c.Tensors) != len(f.Names()) {
				t.Errorf("%d tensors, want %d", len(f.Names()), len(c.Tensors))
			}
			for name, want := range c.Tensors {
				info, _ := f.Info(name)
				if info.DType.String() != want.DType || !slices.Equal(info.Shape, want.Shape) {
					t.Errorf("%q is %s %v, want %s %v", name, info.DType, info.Shape, want.DType, want.Shape)
				}
			}
		})
	}
	if ran < 70 {
		t.Errorf("only %d files", ran)
	}
}
