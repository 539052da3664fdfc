package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/atomicfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/verify"
)

// checkNewFolder refuses a folder that holds something: nothing of others is overwritten.
func checkNewFolder(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return inputError(path, err)
	case len(entries) > 0:
		return usagef("%q: holds files, want a new or an empty folder", path)
	}
	return nil
}

// reproduce writes a bundle of the first failure. Where there is nothing to write it says why: the verdict is another thing.
func (a *app) reproduce(path string, o *verify.Options, r *verify.Report, dir string) error {
	b, err := verify.Reproduce(a.ctx, path, *o, r)
	a.stepsDone()
	if a.ctx.Err() != nil {
		return err
	}
	if err != nil {
		a.say("%q: not written: %v", dir, err)
		return nil
	}
	if err := writeBundle(dir, b); err != nil {
		return err
	}
	of := "the whole model"
	if b.Layer != "" {
		of = "the layer that gives " + printable(b.Layer)
	}
	a.say("%q: %s, on %s", dir, of, printable(b.Case))
	a.say("hint: aftonnx verify %s --inputs %s --against %s", shellQuote(filepath.Join(dir, "model.onnx")),
		shellQuote(filepath.Join(dir, dataSet)), shellQuote(filepath.Join(dir, dataSet)))
	return nil
}

// dataSet is the folder that ONNX's test runners look for beside a model.
const dataSet = "test_data_set_0"

// writeBundle writes model.onnx, test_data_set_0 and report.json.
func writeBundle(dir string, b *verify.Bundle) error {
	report, err := json.MarshalIndent(b.Report, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"model.onnx": b.Model, "report.json": append(report, '\n')}
	for kind, list := range map[string][]verify.NamedTensor{"input": b.Inputs, "output": b.Outputs} {
		for i, t := range list {
			data, err := proto.Marshal(onnxpb.TensorToProto(t.Name, t.Value))
			if err != nil {
				return fmt.Errorf("%s %q: %w", kind, t.Name, err)
			}
			files[filepath.Join(dataSet, fmt.Sprintf("%s_%d.pb", kind, i))] = data
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, dataSet), 0o777); err != nil {
		return outputError(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := atomicfile.Write(filepath.Join(dir, name), atomicfile.Options{}, files[name]); err != nil {
			return outputError(err)
		}
	}
	return nil
}

// readOutputs reads what --against names: the model's outputs of an .npz file, a folder of .npy files or a test data set. What
// else is there, the inputs say, is left out.
func readOutputs(path string, m *modelPorts) (map[string]*tensor.Tensor, error) {
	var order []string
	for _, v := range m.outputs {
		order = append(order, v.Name)
	}
	all, err := readAll(path, arrayFolder{"output", order})
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(all))
	maps.DeleteFunc(all, func(name string, _ *tensor.Tensor) bool { return !slices.Contains(order, name) })
	if len(all) == 0 {
		return nil, usagef("%q: holds %s, and none of the outputs %s", path, quoteAll(names), quoteAll(order))
	}
	return all, nil
}
