package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
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

// readTensor reads an array from a .npy file, a TensorProto .pb file, or an .npz file that holds no other.
func readTensor(path string) (*tensor.Tensor, error) {
	extension := strings.ToLower(filepath.Ext(path))
	if extension == ".pb" {
		_, t, err := readProto(path)
		return t, err
	}
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	if extension != ".npz" && !isZip(path) {
		t, err := npy.ReadFile(path)
		return t, inputError(path, err)
	}
	arrays, err := npy.ReadNPZ(path)
	if err != nil {
		return nil, inputError(path, err)
	}
	names := slices.Sorted(maps.Keys(arrays))
	if len(names) != 1 {
		return nil, usagef("%q: holds %d arrays (%s), want one", path, len(names), quoteAll(names)).
			hint("give the whole file with --inputs %s", shellQuote(path))
	}
	return arrays[names[0]], nil
}

// isZip reports whether a file begins as a zip archive does.
func isZip(path string) bool { return beginsWith(path, "PK\x03\x04") }

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, ", ")
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
	if errors.Is(err, fs.ErrNotExist) {
		return inputf("%q: no such file", path)
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
// wanted, where they have none. What --inputs holds beyond these is left out with a note: often it is the outputs. The
// names left out come second; where nothing is left, that is an error.
func (a *app) readInputs(single []string, all string, order []string) (given map[string]*tensor.Tensor, out []string, err error) {
	given = map[string]*tensor.Tensor{}
	if all != "" {
		if given, err = readAll(all, arrayFolder{"input", order}); err != nil {
			return nil, nil, err
		}
		names := slices.Sorted(maps.Keys(given))
		out = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(order, n) })
		if len(out) == len(names) {
			return nil, nil, usagef("%q: holds %s, and none of the inputs %s", all, cmp.Or(quoteAll(names), "nothing"), quoteAll(order))
		}
		for _, name := range out {
			a.say("note: %q holds %q, which is no input: left out", all, name)
			delete(given, name)
		}
	}
	seen := map[string]bool{}
	for _, s := range single {
		name, path, err := assignment("input", s)
		if err != nil {
			return nil, nil, err
		}
		if seen[name] {
			return nil, nil, usagef("--input %q: %q is given twice", s, name)
		}
		seen[name] = true
		if name == "grid" && isGrid(path) {
			given[name], err = gridTensor(s, path)
		} else {
			given[name], err = readTensor(path)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return given, out, nil
}

// isGrid tells the grid itself, H,W or HxW, from the name of a file.
func isGrid(s string) bool {
	_, ok := gridOf(s)
	return ok || strings.Trim(s, "0123456789,") == ""
}

func gridTensor(flag, s string) (*tensor.Tensor, error) {
	grid, ok := gridOf(s)
	if !ok {
		return nil, usagef("--input %q: want two positive numbers, grid=H,W", flag)
	}
	return tensor.FromInt64s([]int{2}, []int64{int64(grid[0]), int64(grid[1])})
}

// arrayFolder says what of a test data set is read: "input" or "output", and the names that files without one have.
type arrayFolder struct {
	kind  string
	order []string
}

func readAll(path string, want arrayFolder) (map[string]*tensor.Tensor, error) {
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
	if err := readDataSet(path, entries, want, given); err != nil {
		return nil, err
	}
	if len(given) == 0 {
		return nil, inputf("%q: holds no %ss, want NAME.npy or %[2]s_0.pb, %[2]s_1.pb, ...", path, want.kind)
	}
	return given, nil
}

var dataSetFile = regexp.MustCompile(`^(input|output)_(\d+)\.pb$`)

// readDataSet reads input_N.pb, or output_N.pb, in the order of N.
func readDataSet(dir string, entries []os.DirEntry, want arrayFolder, given map[string]*tensor.Tensor) error {
	type member struct {
		n    int
		file string
	}
	var members []member
	for _, e := range entries {
		if m := dataSetFile.FindStringSubmatch(e.Name()); m != nil && m[1] == want.kind {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				return inputf("%q: %q is no number of an %s", dir, m[2], want.kind)
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
			if m.n >= len(want.order) {
				return inputf("%q: has no name, and the model has %d %ss", path, len(want.order), want.kind)
			}
			name = want.order[m.n]
		}
		if given[name] != nil {
			return inputf("%q: holds %q, which another file of the folder holds too", path, name)
		}
		given[name] = t
	}
	return nil
}

// modelPorts are the names that a model's inputs and outputs have, with the types of the inputs.
type modelPorts struct {
	path     string
	inputs   []onnxgraph.Value
	outputs  []onnxgraph.Value
	optional string // an input that is listed, but that not every model of the kind has
}

// modelInputs reads the inputs of a model, which has to have them, in its types. Where an input is missing, what --inputs
// holds under an unknown name may be meant for it, unless it is an output.
func (a *app) modelInputs(m *modelPorts, single []string, all string) (map[string]*tensor.Tensor, error) {
	var order []string
	for _, v := range m.inputs {
		order = append(order, v.Name)
	}
	given, out, err := a.readInputs(single, all, order)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.Index(order, name)
		if i < 0 {
			return nil, usagef("%q: has no input %q", m.path, name).hint("%s", nearest("inputs", name, order))
		}
		if given[name], err = a.castInput(name, given[name], m.inputs[i].DType); err != nil {
			return nil, err
		}
	}
	for _, name := range out {
		if slices.ContainsFunc(m.outputs, func(v onnxgraph.Value) bool { return v.Name == name }) {
			continue
		}
		for _, want := range order {
			if given[want] == nil && want != m.optional {
				return nil, usagef("%q: input %q is missing, and %q of %q is unknown", m.path, want, name, all).
					hint("rename it, or leave it out: an input that is not given is random")
			}
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
