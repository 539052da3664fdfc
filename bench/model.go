package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/preset"
)

// Model is a whole network: a preset, and how long its input is.
type Model struct {
	Name      string
	Preset    string
	Positions int // of a language model; the preset's for images
	Batch     int
}

// Models are the networks that are measured with everything else.
func Models() []Model {
	return []Model{
		{"enwik8-local-12x512/T1024", "enwik8-local-12x512", 1024, 1},
		{"enwik8-local-12x512/T4096", "enwik8-local-12x512", 4096, 1},
		{"imagenet-conv-small-k15-h384/B1", "imagenet-conv-small-k15-h384", 0, 1},
	}
}

// SelectModels are the models that a name or pattern means, as Select has them; rest are the names that mean none.
func SelectModels(names []string, all []Model) (models []Model, rest []string) {
	for _, name := range names {
		found := false
		for _, m := range all {
			if matches(name, m.Name) {
				models, found = append(models, m), true
			}
		}
		if !found {
			rest = append(rest, name)
		}
	}
	return models, rest
}

// build writes the model with seeded weights, none of which is a constant, and exports it.
func (m Model) build(dir string) (*preset.Preset, string, error) {
	p, ok := preset.Lookup(m.Preset)
	if !ok {
		return nil, "", fmt.Errorf("no preset %q", m.Preset)
	}
	if m.Positions > 0 {
		p.Positions = m.Positions
	}
	weights := filepath.Join(dir, "model.safetensors")
	file, err := atomicfile.StageFunc(weights, atomicfile.Options{}, func(w io.Writer) error {
		return preset.Write(w, &p, preset.Options{Init: preset.Scattered, DType: tensor.Float32})
	})
	if err == nil {
		err = file.Commit()
	}
	if err != nil {
		return nil, "", err
	}
	model, _, err := importer.Load(weights, importer.Options{})
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, "model.onnx")
	staged, err := export.Stage(path, model, export.Options{}, export.FileOptions{})
	if err != nil {
		return nil, "", err
	}
	return &p, path, staged.Commit()
}

func (m Model) feed(p *preset.Preset) (map[string]*tensor.Tensor, []int, error) {
	if p.Task == preset.Images {
		shape := []int{m.Batch, 3, p.ImageSize, p.ImageSize}
		x, err := tensor.New(tensor.Float32, shape)
		if err != nil {
			return nil, nil, err
		}
		values := make([]float32, x.Len())
		for i := range values {
			values[i] = float32(i%251)/125 - 1
		}
		x.Data = floatBytes(values)
		return map[string]*tensor.Tensor{"pixel_values": x}, []int{m.Batch, preset.Classes}, nil
	}
	tokens := make([]int64, m.Batch*p.Positions)
	for i := range tokens {
		tokens[i] = int64(i*7+i/3) % preset.Vocabulary
	}
	x, err := tensor.FromInt64s([]int{m.Batch, p.Positions}, tokens)
	return map[string]*tensor.Tensor{"input_ids": x}, []int{m.Batch, p.Positions, preset.Vocabulary}, err
}

// measureModel measures the kernels and the function bodies; their outputs must agree.
func measureModel(ctx context.Context, rt *ort.Runtime, m Model, o Options) ([]Row, error) {
	dir, err := os.MkdirTemp("", "aftonnx-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	p, path, err := m.build(dir)
	if err != nil {
		return nil, err
	}
	feed, shape, err := m.feed(p)
	if err != nil {
		return nil, err
	}
	var list []*runner
	defer func() {
		for _, r := range list {
			r.close()
		}
	}()
	for _, engine := range []Engine{Kernel, Portable} {
		s, err := rt.Load(path, ort.SessionOptions{Threads: o.Threads, NoKernels: engine == Portable, NoSpinning: !o.Spinning})
		if err != nil {
			return nil, err
		}
		y, err := tensor.New(tensor.Float32, shape)
		if err != nil {
			return nil, err
		}
		out := map[string]*tensor.Tensor{"logits": y}
		list = append(list, &runner{row: Row{Case: m.Name, Engine: engine, DType: y.DType.String()}, y: y,
			close: func() { s.Close() }, run: func(ctx context.Context) error { return s.RunInto(ctx, feed, out) }})
	}
	if err := interleave(ctx, list, o.Plan); err != nil {
		return nil, err
	}
	if err := checkAgainst(list[1].y, list[0].y, largestOutput(list[0].y)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	return []Row{list[0].complete(list[0]), list[1].complete(list[0])}, nil
}

func largestOutput(t *tensor.Tensor) float64 {
	values := t.Float64s()
	top := 0.0
	for _, v := range values {
		top = max(top, v, -v)
	}
	return top
}
