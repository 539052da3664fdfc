package importer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// Options are the command line's answers to what a checkpoint does not say. The zero value of a field means: not given.
type Options = dialect.Options

// FlagError says that a flag is missing or contradicts the file.
type FlagError = dialect.FlagError

// Error says that a file cannot be read as AFT layers. A file that is no sound checkpoint at all is a *checkpoint.Error.
type Error = dialect.Error

// Source is where a model came from.
type Source struct {
	Path    string
	Format  string       // "pytorch-zip", "pytorch-legacy", "safetensors" or "onnx"
	Dialect string       // who names tensors like that
	SHA256  string       // of the file, or of all files of a checkpoint in shards; hexadecimal
	DType   tensor.DType // the widest floating-point type among the weights
	Notes   []string     // what was assumed, and what was left unread

	file *checkpoint.File // that the model's weights are read from
}

// Close closes the file that the model's weights are read from: they cannot be read any more.
func (s *Source) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Load reads a model, but not its weights: those are read when they are needed, until the Source is closed. The path is a
// checkpoint's (a file, the index of its shards, or the directory that holds them) or that of an exported model.
func Load(path string, o Options) (*reference.Model, *Source, error) {
	src := &Source{Path: path}
	load := loadCheckpoint
	if isONNX(path) {
		load = loadONNX
	}
	m, err := load(path, o, src)
	if err != nil {
		return nil, nil, err
	}
	return m, src, nil
}

func loadCheckpoint(path string, o Options, src *Source) (*reference.Model, error) {
	file, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	m, err := recognise(file, path, o, src)
	if err != nil {
		file.Close()
		return nil, err
	}
	src.file = file
	return m, nil
}

func recognise(file *checkpoint.File, path string, o Options, src *Source) (*reference.Model, error) {
	config, err := configBeside(file.Dir())
	if err != nil {
		return nil, err
	}
	stored, err := dialect.MetadataConfig(file.Metadata())
	if err != nil {
		return nil, &Error{File: path, Found: err.Error()}
	}
	res, err := dialect.Recognise(dialect.Input{File: path, Source: file, Options: o, Config: config, Stored: stored})
	if err != nil {
		return nil, err
	}
	if src.SHA256, err = file.SHA256(); err != nil {
		return nil, err
	}
	src.Format, src.Dialect, src.DType = string(file.Kind()), res.Dialect, res.DType
	src.Notes = append(file.Notes(), res.Notes...)
	return res.Model, nil
}

const (
	headLen   = 16
	maxConfig = 1 << 20
)

// isONNX looks at the first bytes of a file. What is no regular file is left to the checkpoint reader: opening a FIFO here
// would wait for a writer. So is what cannot be read: the checkpoint reader says why.
func isONNX(path string) bool {
	if stat, err := os.Stat(path); err != nil || !stat.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, headLen)
	n, err := io.ReadFull(f, head)
	return (err == nil || err == io.EOF || err == io.ErrUnexpectedEOF) && looksLikeONNX(head[:n])
}

// configBeside reads config.json in a folder, and what the preprocessor_config.json of the Hugging Face layout adds to it;
// nil when there is neither.
func configBeside(dir string) (*dialect.Config, error) {
	config, err := readConfig(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	images, err := readConfig(filepath.Join(dir, "preprocessor_config.json"))
	if err != nil {
		return nil, err
	}
	if images != nil {
		if config == nil {
			config = &dialect.Config{}
		}
		config.Global = config.Global.Over(dialect.Global{Mean: images.Global.Mean, Std: images.Global.Std})
	}
	return config, nil
}

// readConfig reads one file; nil when it does not exist.
func readConfig(name string) (*dialect.Config, error) {
	stat, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && (!stat.Mode().IsRegular() || stat.Size() > maxConfig) {
		return nil, &Error{File: name, Found: "no regular file of at most 1 MiB"}
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, &Error{File: name, Found: err.Error(), Allowed: "a readable file"}
	}
	config, err := dialect.ParseConfig(data)
	if err != nil {
		return nil, &Error{File: name, Found: err.Error()}
	}
	return config, nil
}
