package importer

import (
	"crypto/sha256"
	"encoding/hex"
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
	SHA256  string       // of the file, hexadecimal
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

// Load reads a model, but not its weights: those are read when they are needed, until the Source is closed.
func Load(path string, o Options) (*reference.Model, *Source, error) {
	head, sum, err := scan(path)
	if err != nil {
		return nil, nil, err
	}
	src := &Source{Path: path, SHA256: sum}
	if looksLikeONNX(head) {
		m, err := loadONNX(path, o, src)
		if err != nil {
			return nil, nil, err
		}
		return m, src, nil
	}
	m, err := loadCheckpoint(path, o, src)
	if err != nil {
		return nil, nil, err
	}
	return m, src, nil
}

func loadCheckpoint(path string, o Options, src *Source) (_ *reference.Model, err error) {
	file, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	config, err := configBeside(path)
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
	src.Format, src.Dialect, src.DType, src.Notes = string(file.Kind()), res.Dialect, res.DType, res.Notes
	src.file = file
	return res.Model, nil
}

const (
	headLen   = 16
	maxConfig = 1 << 20
)

// scan returns the first bytes of a file and the SHA-256 of all of it. What is no regular file is left to the checkpoint
// reader to refuse: opening a FIFO here would wait for a writer.
func scan(path string) (head []byte, sum string, err error) {
	stat, err := os.Stat(path)
	if err != nil || !stat.Mode().IsRegular() {
		f, err := checkpoint.Open(path)
		if err == nil {
			f.Close()
			err = &Error{File: path, Found: "changed while it was read"}
		}
		return nil, "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, "", &Error{File: path, Found: err.Error(), Allowed: "a readable file"}
	}
	defer f.Close()
	hash := sha256.New()
	head = make([]byte, headLen)
	n, err := io.ReadFull(f, head)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	head = head[:n]
	if err == nil {
		hash.Write(head)
		_, err = io.Copy(hash, f)
	}
	if err != nil {
		return nil, "", &Error{File: path, Found: err.Error(), Allowed: "a readable file"}
	}
	return head, hex.EncodeToString(hash.Sum(nil)), nil
}

// configBeside reads config.json in the file's folder; nil when there is none.
func configBeside(path string) (*dialect.Config, error) {
	name := filepath.Join(filepath.Dir(path), "config.json")
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
