package atomicfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// ErrExists is what Stage and Commit wrap when the target exists and Force is not set.
var ErrExists = errors.New("already exists")

// Options say what Stage may do.
type Options struct {
	Force bool // replace an existing target

	// Companion is the file that the target's content refers to, nil for none. Discard and a failed Commit take it back;
	// a Commit with Force removes the companions that the target had before.
	Companion *Companion
}

// Staged is a complete file under a temporary name, to be committed or discarded. It is not safe for concurrent use.
type Staged struct {
	path      string   // the target
	temp      string   // the temporary file, "" once committed or discarded
	lock      *os.File // holds the lock that tells other processes that temp is in use; nil where there are no locks
	force     bool
	companion *Companion
	replace   func(from, to string) error
}

// system is what can fail outside this program; tests put failures in its place.
type system struct {
	write   func(f *os.File, data []byte) error
	sync    func(f *os.File) error
	replace func(from, to string) error
}

func operatingSystem() system {
	return system{
		write: func(f *os.File, data []byte) error {
			_, err := f.Write(data)
			return err
		},
		sync:    (*os.File).Sync,
		replace: os.Rename,
	}
}

// Stage writes data to a temporary file beside path and brings it to the disk. The file gets the permissions of the
// regular file it will replace, else those of a new one.
//
// Errors: the target is a directory, FIFO, device or socket, is read-only, or exists and Force is not set (ErrExists);
// its directory does not exist or cannot be written; the disk is full. Nothing stays behind then; a companion does, for
// the caller to discard.
func Stage(path string, o Options, data []byte) (*Staged, error) {
	return stage(path, o, data, operatingSystem())
}

// StageFunc is Stage for content that is written piece by piece: by write, whose error it returns as it is.
func StageFunc(path string, o Options, write func(w io.Writer) error) (*Staged, error) {
	return stageFunc(path, o, write, operatingSystem())
}

// Write stages data and commits it.
func Write(path string, o Options, data []byte) error {
	s, err := Stage(path, o, data)
	if err != nil {
		return err
	}
	return s.Commit()
}

func stage(path string, o Options, data []byte, sys system) (*Staged, error) {
	return stageFunc(path, o, func(w io.Writer) error { _, err := w.Write(data); return err }, sys)
}

func stageFunc(path string, o Options, write func(w io.Writer) error, sys system) (*Staged, error) {
	mode, err := checkTarget(path, o)
	if err != nil {
		return nil, err
	}
	f, err := writeTemp(path, mode, write, sys)
	if err != nil {
		return nil, err
	}
	return &Staged{path: path, temp: f.name, lock: f.lock, force: o.Force, companion: o.Companion, replace: sys.replace}, nil
}

// temporary is a complete file that has no name of its own yet. Whoever has one renames or removes it.
type temporary struct {
	name string
	lock *os.File // nil where there are no locks
}

// writeTemp writes a temporary file beside path; errors name path.
func writeTemp(path string, mode fs.FileMode, write func(w io.Writer) error, sys system) (*temporary, error) {
	sweep(filepath.Dir(path))
	f, err := createTemp(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%q: cannot create a temporary file beside it: %w", path, cause(err))
	}
	done := false
	defer func() { // also runs when a writer panics
		if !done {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	locked := lock(f)
	if err := fill(&target{file: f, path: path, sys: sys}, mode, write); err != nil {
		return nil, err
	}
	t := &temporary{name: f.Name()}
	if locked {
		t.lock = f
	} else if err := f.Close(); err != nil {
		return nil, fmt.Errorf("%q: cannot write: %w", path, cause(err))
	}
	done = true
	return t, nil
}

// target is a temporary file being written under the name that errors call it. An error stays: no later write hides it.
type target struct {
	file *os.File
	path string
	sys  system
	err  error
}

func (t *target) Write(data []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	if t.fail(t.sys.write(t.file, data)) != nil {
		return 0, t.err
	}
	return len(data), nil
}

func (t *target) fail(err error) error {
	if err != nil {
		t.err = fmt.Errorf("%q: cannot write: %w", t.path, cause(err))
	}
	return t.err
}

// checkTarget refuses what must not be replaced and returns the permissions to give the new file, 0 for the default.
// A symbolic link may be replaced whatever it points at: the link, never its target.
func checkTarget(path string, o Options) (fs.FileMode, error) {
	if base := filepath.Base(path); path == "" || os.IsPathSeparator(path[len(path)-1]) || base == "." || base == ".." {
		return 0, fmt.Errorf("%q: is not a file name", path)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, checkDirectory(path)
	case err != nil:
		return 0, fmt.Errorf("%q: %w", path, cause(err))
	case info.Mode()&fs.ModeSymlink != 0 && !o.Force, info.Mode().IsRegular() && !o.Force:
		return 0, fmt.Errorf("%q: %w", path, ErrExists)
	case info.Mode()&fs.ModeSymlink != 0:
		return 0, nil
	case info.IsDir():
		return 0, fmt.Errorf("%q: is a directory, want a file name", path)
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("%q: is not a regular file (%s), refusing to replace it", path, info.Mode().Type())
	case info.Mode().Perm()&0o200 == 0:
		return 0, fmt.Errorf("%q: is read-only (%s)", path, info.Mode().Perm())
	}
	return info.Mode().Perm(), nil
}

func checkDirectory(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("%q: directory %q: %w", path, dir, cause(err))
	}
	if !info.IsDir() {
		return fmt.Errorf("%q: %q is not a directory", path, dir)
	}
	return nil
}

const (
	tempPrefix = ".aftonnx-"
	tempSuffix = ".tmp"
	tempRandom = 16 // hexadecimal digits between the two
)

// createTemp makes a new file in dir. Its name does not contain the target's, which may already be as long as the file
// system allows.
func createTemp(dir string) (*os.File, error) {
	for try := 0; ; try++ {
		var random [tempRandom / 2]byte
		if _, err := rand.Read(random[:]); err != nil {
			return nil, err
		}
		name := filepath.Join(dir, tempPrefix+hex.EncodeToString(random[:])+tempSuffix)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err == nil || !errors.Is(err, fs.ErrExist) || try == 9 {
			return f, err
		}
	}
}

// fill writes, sets the permissions and flushes. An error of the flush is final: a second one may succeed although the
// data is lost.
func fill(t *target, mode fs.FileMode, write func(w io.Writer) error) error {
	if err := write(t); err != nil {
		return err
	}
	if t.err == nil && mode != 0 {
		t.fail(t.file.Chmod(mode))
	}
	if t.err == nil {
		t.fail(t.sys.sync(t.file))
	}
	return t.err
}

// Path is the temporary file's name, "" after Commit or Discard.
func (s *Staged) Path() string { return s.temp }

// Commit gives the file its name. An error before that removes the temporary file; an error after it (the directory
// could not be flushed) says so, and the new file stays.
func (s *Staged) Commit() error {
	if s.temp == "" {
		return fmt.Errorf("%q: already committed or discarded", s.path)
	}
	if err := s.publish(); err != nil {
		return errors.Join(err, s.Discard())
	}
	s.temp = ""
	s.unlock()
	s.companion.release()
	if s.force && s.companion != nil {
		supersede(s.path)
	}
	if err := syncDirectory(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("%q: written, but its directory could not be flushed to the disk: %w", s.path, cause(err))
	}
	return nil
}

// publish renames. Without Force a target that appeared since Stage must survive, so the name is made by a hard link,
// which fails when it is taken; file systems without hard links get a check and a rename.
func (s *Staged) publish() error {
	if !s.force {
		switch err := os.Link(s.temp, s.path); {
		case err == nil:
			return os.Remove(s.temp)
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%q: %w", s.path, ErrExists)
		}
	}
	if _, err := checkTarget(s.path, Options{Force: s.force}); err != nil {
		return err
	}
	if err := s.replace(s.temp, s.path); err != nil {
		return fmt.Errorf("%q: cannot rename %q to it: %w", s.path, s.temp, cause(err))
	}
	return nil
}

// Discard removes the temporary file and takes the companion back. After Commit or Discard it does nothing.
func (s *Staged) Discard() error {
	if s.temp == "" {
		return nil
	}
	temp := s.temp
	s.temp = ""
	s.unlock()
	return errors.Join(removeTemp(temp), s.companion.Discard())
}

func removeTemp(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q: cannot remove the temporary file: %w", name, cause(err))
	}
	return nil
}

// unlock closes the file that holds the lock; its data was flushed before, so an error says nothing about it.
func (s *Staged) unlock() {
	if s.lock != nil {
		s.lock.Close()
		s.lock = nil
	}
}

// syncDirectory makes the new name survive a power cut. Some file systems cannot flush a directory and say EINVAL or
// ENOTSUP; Windows has no such call.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// cause strips operation and path from an error of package os: the messages here name the paths themselves.
func cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
