package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// readTensor reads an array from a .npy file or a TensorProto .pb file.
func readTensor(path string) (*tensor.Tensor, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".pb":
		_, t, err := readProto(path)
		return t, err
	case ".npz":
		return nil, usagef("%q: holds several arrays, want one", path).
			hint("give the whole file with --inputs %s", shellQuote(path))
	}
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	t, err := npy.ReadFile(path)
	return t, inputError(path, err)
}

// checkRegular refuses what would block or never end: FIFOs and devices.
func checkRegular(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return inputError(path, err)
	}
	if !info.Mode().IsRegular() {
		return inputf("%q: is not a regular file", path)
	}
	return nil
}

func readProto(path string) (string, *tensor.Tensor, error) {
	if err := checkRegular(path); err != nil {
		return "", nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", nil, inputError(path, err)
	}
	name, t, err := onnxpb.DecodeTensor(data)
	var e *onnxpb.Error
	if errors.As(err, &e) {
		e.File = path
	}
	return name, t, err
}

// inputError makes every failure to read an input an input failure (exit code 3).
func inputError(path string, err error) error {
	if err == nil {
		return nil
	}
	var p *os.PathError
	if errors.As(err, &p) {
		return inputf("%q: %w", path, p.Err)
	}
	return inputf("%w", err)
}

// assignment splits "name=value".
func assignment(flag, s string) (string, string, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" || value == "" {
		return "", "", usagef("--%s %q: want name=%s", flag, s, map[string]string{"input": "file.npy", "attr": "number"}[flag])
	}
	return name, value, nil
}

// readInputs reads what --input and --inputs name. --inputs is a .npz file or a folder of .npy files or of a test data
// set; an --input overrides it. The names of a test data set come from its tensors, or from order, the names that are
// wanted, where they have none. What --inputs holds beyond these is left out with a note: often it is the outputs.
func (a *app) readInputs(single []string, all string, order []string) (map[string]*tensor.Tensor, error) {
	given := map[string]*tensor.Tensor{}
	if all != "" {
		var err error
		if given, err = readAll(all, order); err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if !slices.Contains(order, name) {
				a.say("note: %q holds %q, which is no input: left out", all, name)
				delete(given, name)
			}
		}
	}
	seen := map[string]bool{}
	for _, s := range single {
		name, path, err := assignment("input", s)
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, usagef("--input %q: %q is given twice", s, name)
		}
		seen[name] = true
		if given[name], err = readTensor(path); err != nil {
			return nil, err
		}
	}
	return given, nil
}

func readAll(path string, order []string) (map[string]*tensor.Tensor, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, inputError(path, err)
	}
	if !info.IsDir() {
		if err := checkRegular(path); err != nil {
			return nil, err
		}
		arrays, err := npy.ReadNPZ(path)
		return arrays, inputError(path, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, inputError(path, err)
	}
	given := map[string]*tensor.Tensor{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".npy"); ok {
			if given[name], err = readTensor(filepath.Join(path, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	if err := readDataSet(path, entries, order, given); err != nil {
		return nil, err
	}
	if len(given) == 0 {
		return nil, inputf("%q: holds no inputs, want NAME.npy or input_0.pb, input_1.pb, ...", path)
	}
	return given, nil
}

var dataSetInput = regexp.MustCompile(`^input_(\d+)\.pb$`)

// readDataSet reads input_N.pb in the order of N.
func readDataSet(dir string, entries []os.DirEntry, order []string, given map[string]*tensor.Tensor) error {
	type member struct {
		n    int
		file string
	}
	var members []member
	for _, e := range entries {
		if m := dataSetInput.FindStringSubmatch(e.Name()); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return inputf("%q: %q is no number of an input", dir, m[1])
			}
			members = append(members, member{n, e.Name()})
		}
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.n, b.n) })
	for _, m := range members {
		path := filepath.Join(dir, m.file)
		name, t, err := readProto(path)
		if err != nil {
			return err
		}
		if name == "" {
			if m.n >= len(order) {
				return inputf("%q: has no name, and the model has %d inputs", path, len(order))
			}
			name = order[m.n]
		}
		if given[name] != nil {
			return inputf("%q: holds %q, which another file of the folder holds too", path, name)
		}
		given[name] = t
	}
	return nil
}

// modelInputs reads the inputs of a model, which has to have them, in its types.
func (a *app) modelInputs(path string, declared []onnxgraph.Value, single []string, all string) (
	map[string]*tensor.Tensor, error) {
	var order []string
	for _, v := range declared {
		order = append(order, v.Name)
	}
	given, err := a.readInputs(single, all, order)
	if err != nil {
		return nil, err
	}
	for name, t := range given {
		i := slices.Index(order, name)
		if i < 0 {
			return nil, usagef("%q: has no input %q", path, name).hint("%s", nearest("inputs", name, order))
		}
		if given[name], err = a.castInput(name, t, declared[i].DType); err != nil {
			return nil, err
		}
	}
	return given, nil
}

// castInput makes a floating-point array of the type that is wanted; numpy's default is float64, few models' is. It says
// so when digits are lost. Anything else has to fit as it is.
func (a *app) castInput(name string, t *tensor.Tensor, want tensor.DType) (*tensor.Tensor, error) {
	if t.DType == want || !t.DType.IsFloat() || !want.IsFloat() {
		return t, nil
	}
	cast, err := t.Cast(want)
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", name, err)
	}
	for i := range t.Len() {
		if got, was := cast.At(i), t.At(i); got != was && (got == got || was == was) {
			a.say("note: input %q is rounded from %s to %s", name, t.DType, want)
			break
		}
	}
	return cast, nil
}
