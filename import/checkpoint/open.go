package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// Kind is a file format.
type Kind string

// The formats that can be read.
const (
	PyTorchZip    Kind = "pytorch-zip"    // torch.save since 1.6
	PyTorchLegacy Kind = "pytorch-legacy" // torch.save before 1.6
	Safetensors   Kind = "safetensors"
)

// File is an open checkpoint. Its methods may be called from several goroutines.
type File struct {
	path  string // of the file, or of the index of the shards
	kind  Kind
	files []*dataFile // one, or the shards in the order of the index
	index
	order []int32 // of tensors, by name

	indexSum string // SHA-256 of the index of the shards; empty when there is none
}

// dataFile is one file with tensors in it.
type dataFile struct {
	name   string // of a shard, in the index
	path   string
	src    source
	closer io.Closer
}

// located says of an error in which of its tensors, and in which file, it is.
func (d *dataFile) located(err error, tensorName string) error {
	return inFile(named(err, "tensor "+quote(tensorName)), d.path)
}

// index is what a format's reader finds.
type index struct {
	tensors  []namedTensor // in the order of the file
	metadata []pair
	notes    []string
}

// pair is one text beside the tensors.
type pair struct{ key, value string }

const pairBytes = 2*16 + 2*4 // with its place in two orders

func pairKey(p *pair) string { return p.key }

type namedTensor struct {
	name string
	view *view
	in   *dataFile // set when the file's index has been read
}

const namedBytes = 32

func tensorName(t *namedTensor) string { return t.name }

// Info describes a tensor without reading it.
type Info struct {
	Name  string
	DType tensor.DType
	Shape []int
}

// Open reads and checks a checkpoint's index. The path is that of a file, of an index of shards (*.index.json), or of a
// directory with model.safetensors or pytorch_model.bin, or the index of their shards, in it (see weightsIn). Every
// error is an *Error.
func Open(path string) (*File, error) {
	return open(path, defaultLimits())
}

func open(path string, lim limits) (*File, error) {
	var notes []string
	if stat, err := os.Stat(path); err == nil && stat.IsDir() {
		name, note, err := weightsIn(path)
		if err != nil {
			return nil, inFile(err, path)
		}
		path, notes = filepath.Join(path, name), note
	}
	f, err := openOne(path, lim)
	if err != nil {
		return nil, inFile(err, path)
	}
	f.path, f.notes = path, append(notes, f.notes...)
	return f, nil
}

// openOne opens a file of tensors or an index of such files.
func openOne(path string, lim limits) (*File, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	src := source{r: f, size: size}
	if looksLikeIndex(src) {
		defer f.Close()
		return openShards(path, src, lim)
	}
	c, err := newFile(src, lim)
	if err != nil {
		f.Close()
		return nil, err
	}
	c.files[0].path, c.files[0].closer = path, f
	return c, nil
}

// openRegular opens a regular file and nothing else.
func openRegular(path string) (*os.File, int64, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, 0, systemError(err)
	}
	stat, err := regular(f)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, stat.Size(), nil
}

// regular refuses what is open but no regular file.
func regular(f *os.File) (os.FileInfo, error) {
	stat, err := f.Stat()
	if err != nil {
		return nil, systemError(err)
	}
	if !stat.Mode().IsRegular() {
		return nil, &Error{Found: "a " + fileType(stat.Mode()), Allowed: "a regular file"}
	}
	return stat, nil
}

// systemError keeps the operating system's error, and shows it without the path that *Error shows already.
func systemError(err error) error {
	text := err
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		text = pathErr.Err
	}
	return &Error{Found: text.Error(), Allowed: "a readable file", cause: err}
}

func fileType(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&os.ModeNamedPipe != 0:
		return "named pipe"
	case mode&os.ModeSocket != 0:
		return "socket"
	default:
		return "device"
	}
}

// newFile reads the index with the reader that the content asks for.
func newFile(src source, lim limits) (*File, error) {
	kind, err := sniff(src, lim)
	if err != nil {
		return nil, err
	}
	in := &dataFile{src: src}
	f := &File{kind: kind, files: []*dataFile{in}}
	b := newBudget(src.size, lim)
	var x *index
	switch kind {
	case PyTorchZip:
		x, err = readTorchZip(src, lim, b)
	case PyTorchLegacy:
		x, err = readTorchLegacy(src, lim, b)
	default:
		x, err = readSafetensors(src, lim, b)
	}
	if err != nil {
		return nil, err
	}
	f.index = *x
	for i := range f.tensors {
		f.tensors[i].in = in
	}
	f.order = sortedBy(f.tensors, tensorName)
	return f, nil
}

// Kind is the file's format.
func (f *File) Kind() Kind { return f.kind }

// Path is the file that was opened, which is not what Open was given if that is a directory: then it is the weights or
// the index in it.
func (f *File) Path() string { return f.path }

// Dir is the directory of the weights, in which a config.json may describe the model.
func (f *File) Dir() string { return filepath.Dir(f.path) }

// Notes says what was chosen or left out on the way, one sentence each.
func (f *File) Notes() []string { return slices.Clone(f.notes) }

// Shards lists the names of the files that hold the tensors, as the index first mentions them; nil for a single file.
func (f *File) Shards() []string {
	if f.indexSum == "" {
		return nil
	}
	names := make([]string, len(f.files))
	for i, d := range f.files {
		names[i] = d.name
	}
	return names
}

// Names lists the tensors in the order of the file, or of the index of the shards.
func (f *File) Names() []string {
	names := make([]string, len(f.tensors))
	for i := range f.tensors {
		names[i] = f.tensors[i].name
	}
	return names
}

func (f *File) find(name string) (*namedTensor, error) {
	if i, ok := find(f.tensors, f.order, name, tensorName); ok {
		return &f.tensors[i], nil
	}
	return nil, &Error{File: f.path, Name: "tensor " + quote(name), Found: "no such tensor",
		Allowed: fmt.Sprintf("one of the file's %d", len(f.tensors))}
}

// Info describes a tensor; false when there is none of that name.
func (f *File) Info(name string) (Info, bool) {
	t, err := f.find(name)
	if err != nil {
		return Info{}, false
	}
	return Info{Name: name, DType: t.view.dtype, Shape: append([]int{}, t.view.shape...)}, true
}

// Tensor reads a tensor: dense, row-major, in memory of its own. Views, shared storages and repeated elements are copied out.
func (f *File) Tensor(name string) (*tensor.Tensor, error) {
	t, err := f.find(name)
	if err != nil {
		return nil, err
	}
	x, err := t.view.materialise(t.in.src)
	if err != nil {
		return nil, t.in.located(err, name)
	}
	return x, nil
}

// Metadata gives the texts a file carries beside its tensors: the __metadata__ of safetensors; of a pickle the numbers,
// booleans and short strings in it, named like tensors ("hyper_parameters/name"), the first few thousand of them. Of shards
// it is what none of them contradicts.
func (f *File) Metadata() map[string]string {
	out := make(map[string]string, len(f.metadata))
	for _, p := range f.metadata {
		out[p.key] = p.value
	}
	return out
}

// Close closes the file. Tensors already read stay valid; a Weight that is read from now on gives an error.
func (f *File) Close() error {
	var errs []error
	for _, d := range f.files {
		if d.closer != nil {
			errs = append(errs, d.closer.Close())
		}
	}
	return errors.Join(errs...)
}
