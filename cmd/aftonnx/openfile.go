package main

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// modelFile is an input file: a checkpoint, or an ONNX model.
type modelFile struct {
	path       string
	checkpoint *checkpoint.File // nil for a model
	graph      *onnxgraph.Model // nil for a checkpoint
	data       []byte           // the model's bytes
}

// openFile finds out by content what a file is and checks it. Every verb comes through here first, so that a damaged
// file is described in the same words by all of them. A file that is neither kind is judged as what its name promises.
func openFile(path string) (*modelFile, error) {
	c, err := checkpoint.Open(path)
	if err == nil {
		return &modelFile{path: path, checkpoint: c}, nil
	}
	info, statErr := os.Stat(path)
	if errors.Is(statErr, fs.ErrNotExist) {
		return nil, inputf("%q: no such file", path).hint("%s", nearby(path))
	}
	if statErr != nil || !info.Mode().IsRegular() {
		return nil, (&failure{code: exitInput, err: err}).hint("%s", nearby(path))
	}
	isModel := strings.EqualFold(filepath.Ext(path), ".onnx")
	if info.Size() > math.MaxInt32 {
		if isModel {
			return nil, inputf("%q: has %d bytes, want at most %d, the limit of one protobuf message; "+
				"larger weights belong into external data", path, info.Size(), math.MaxInt32)
		}
		return nil, err
	}
	if !isModel && !beginsLikeModel(path) { // a damaged checkpoint of gigabytes need not be read to say so
		return nil, err
	}
	data, readErr := os.ReadFile(path)
	if readErr != nil {
		return nil, err
	}
	graph, graphErr := onnxgraph.Decode(data, onnxgraph.Options{Dir: filepath.Dir(path), File: path})
	if graphErr == nil {
		return &modelFile{path: path, graph: graph, data: data}, nil
	}
	if isModel {
		var e *onnxgraph.Error
		if errors.As(graphErr, &e) {
			e.File = path
		}
		return nil, graphErr
	}
	return nil, err
}

// beginsLikeModel reports whether a file begins with the tag of ir_version, the field that writers of models put first.
func beginsLikeModel(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var first [1]byte
	_, err = f.Read(first[:])
	return err == nil && first[0] == 0x08
}

// nearby advises on a path that is no file: what a folder holds that could be meant, or a file of nearly that name.
func nearby(path string) string {
	dir, name := path, ""
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		dir, name = filepath.Dir(path), filepath.Base(path)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var found []string
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if strings.HasSuffix(e.Name(), ".index.json") {
			ext = ".index.json"
		}
		switch ext {
		case ".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx", ".index.json":
			if e.Type().IsRegular() && (name == "" || similar(name, e.Name())) {
				found = append(found, shellQuote(filepath.Join(dir, e.Name())))
			}
		}
	}
	const most = 3
	if len(found) == 0 || len(found) > most && name != "" {
		return ""
	}
	return "did you mean " + strings.Join(found[:min(len(found), most)], " or ") + "?"
}

// openModel opens a file that must be an ONNX model.
func openModel(path, verb string) (*modelFile, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if f.checkpoint != nil {
		kind := f.checkpoint.Kind()
		f.close()
		return nil, inputf("%q: is a checkpoint (%s), want an ONNX model to %s", path, kind, verb).
			hint("export it first: aftonnx export %s", shellQuote(path))
	}
	return f, nil
}

func (f *modelFile) close() {
	if f.checkpoint != nil {
		f.checkpoint.Close()
	}
}

// files are those that the input is made of: itself, the shards of a checkpoint, the data files of a model.
func (f *modelFile) files() []string {
	if f.checkpoint != nil {
		list := []string{f.checkpoint.Path()}
		for _, name := range f.checkpoint.Shards() {
			list = append(list, filepath.Join(f.checkpoint.Dir(), name))
		}
		return list
	}
	list := []string{f.path}
	for _, location := range onnxpb.DataFiles(f.data) {
		list = append(list, filepath.Join(filepath.Dir(f.path), filepath.FromSlash(location)))
	}
	return list
}

// keep refuses an output that is one of the input's files, by whatever name: once it is replaced, the input is gone.
func (f *modelFile) keep(output string) error {
	out, err := os.Stat(output)
	if err != nil {
		return nil // there is no such file, or staging refuses it with the reason
	}
	for _, name := range f.files() {
		if in, err := os.Stat(name); err == nil && os.SameFile(in, out) {
			return usagef("%q is a file that %q is made of", output, f.path).hint("give another output with -o")
		}
	}
	return nil
}

// shellQuote writes an argument so that a hint can be pasted into a shell, and so that a name cannot drive the terminal.
func shellQuote(s string) string {
	if quoted := strconv.Quote(s); strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) || !utf8.ValidString(s) {
		return "$'" + strings.ReplaceAll(quoted[1:len(quoted)-1], "'", `\'`) + "'"
	}
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=+,@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
