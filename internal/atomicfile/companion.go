package atomicfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Companion is a file that belongs to another one, its owner, which refers to it by name: a model's weights. The name
// contains a hash of the content, so that an owner never meets other content than it was written for. It is in place
// before its owner is, and stays locked until the owner is committed or discarded: another process does not remove it.
//
// A process that is killed before the owner has its name leaves the companion; the next Commit of that owner with Force
// removes it. The methods of a nil Companion do nothing. It is not safe for concurrent use.
type Companion struct {
	owner   string // the path of the file it belongs to
	path    string
	lock    *os.File // nil where there are no locks, and after release
	created bool     // by this process, so that Discard removes it
}

// companionSuffix and companionHash, the number of hexadecimal digits, make up a companion's name: OWNER-HASH.data.
const (
	companionSuffix = ".data"
	companionHash   = 16
	companionStem   = 200 // bytes of the owner's name at most: file systems allow 255 in all
)

// StageCompanion writes a companion of the file that will be owner, in its folder, and puts it in place as soon as it is
// complete. A file of that name and content that is there already is used as it is. When write writes nothing there is no
// file; the result then only makes the owner's Commit remove those it had before.
//
// Errors: those of StageFunc; a file of that name that holds something else, unless o.Force replaces it.
func StageCompanion(owner string, o Options, write func(w io.Writer) error) (*Companion, error) {
	return stageCompanion(owner, o, write, operatingSystem())
}

func stageCompanion(owner string, o Options, write func(w io.Writer) error, sys system) (*Companion, error) {
	if _, err := checkTarget(owner, o); err != nil {
		return nil, err
	}
	sum := &summed{hash: sha256.New()}
	shown := filepath.Join(filepath.Dir(owner), companionStemOf(owner)+"-*"+companionSuffix)
	temp, err := writeTemp(shown, 0, func(w io.Writer) error {
		sum.to = w
		return write(sum)
	}, sys)
	if err != nil {
		return nil, err
	}
	c := &Companion{owner: owner, lock: temp.lock}
	if sum.size == 0 {
		c.release()
		return c, removeTemp(temp.name)
	}
	if c.lock != nil {
		lockShared(c.lock) // from now on others may use the file too
	}
	c.path = filepath.Join(filepath.Dir(owner), companionName(owner, sum.hash.Sum(nil)))
	if err := c.place(temp.name, o, sys); err != nil {
		c.release()
		return nil, errors.Join(err, removeTemp(temp.name))
	}
	if err := syncDirectory(filepath.Dir(owner)); err != nil {
		return nil, errors.Join(fmt.Errorf("%q: its directory could not be flushed to the disk: %w", c.path, cause(err)),
			c.Discard())
	}
	return c, nil
}

// summed hashes and counts what it passes on.
type summed struct {
	to   io.Writer
	hash hash.Hash
	size int64
}

func (s *summed) Write(data []byte) (int, error) {
	n, err := s.to.Write(data)
	s.hash.Write(data[:n])
	s.size += int64(n)
	return n, err
}

// companionStemOf is the part of a companion's name that says whose it is. It is valid in a file that names it: UTF-8,
// without what separates folders, drives or streams anywhere.
func companionStemOf(owner string) string {
	stem := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(`/\:`, r) {
			return '_'
		}
		return r
	}, filepath.Base(owner))
	for len(stem) > companionStem {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	return stem
}

func companionName(owner string, sum []byte) string {
	return companionStemOf(owner) + "-" + hex.EncodeToString(sum)[:companionHash] + companionSuffix
}

// place gives the temporary file its name, or takes the file of that name and content instead.
func (c *Companion) place(temp string, o Options, sys system) error {
	for try := 0; ; try++ {
		err := os.Link(temp, c.path)
		if err == nil {
			c.created = true
			return os.Remove(temp)
		}
		if !errors.Is(err, fs.ErrExist) && !isThere(c.path) { // no hard links here
			if err := sys.replace(temp, c.path); err != nil {
				return fmt.Errorf("%q: cannot rename %q to it: %w", c.path, temp, cause(err))
			}
			c.created = true
			return nil
		}
		switch same, err := c.adopt(temp); {
		case err != nil && (try == 9 || !errors.Is(err, fs.ErrNotExist)):
			return fmt.Errorf("%q: %w", c.path, cause(err))
		case err != nil:
			continue // another process took it back meanwhile
		case same:
			return os.Remove(temp)
		case !o.Force:
			return fmt.Errorf("%q: %w, with other content than its name says", c.path, ErrExists)
		}
		if err := sys.replace(temp, c.path); err != nil {
			return fmt.Errorf("%q: cannot rename %q to it: %w", c.path, temp, cause(err))
		}
		c.created = true
		return nil
	}
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// adopt makes the existing file the companion if it is a regular file that holds what temp does, and locks it.
func (c *Companion) adopt(temp string) (bool, error) {
	info, err := os.Lstat(c.path)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, errors.New("is not a regular file")
	}
	f, err := os.Open(c.path)
	if err != nil {
		return false, err
	}
	locked := lockShared(f)
	same, err := sameContent(f, temp)
	if now, gone := os.Stat(c.path); err == nil && same && (gone != nil || !os.SameFile(info, now)) {
		err = fs.ErrNotExist // removed or replaced before the lock was there
	}
	if err != nil || !same {
		f.Close()
		return false, err
	}
	c.release()
	if c.lock = f; !locked {
		c.release()
	}
	return true, nil
}

func sameContent(f *os.File, path string) (bool, error) {
	other, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer other.Close()
	a, b := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, err := io.ReadFull(f, a)
		m, otherErr := io.ReadFull(other, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if err == nil && otherErr == nil {
			continue
		}
		for _, err := range []error{err, otherErr} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		return true, nil
	}
}

// Name is the companion's name in the folder of its owner, "" for none.
func (c *Companion) Name() string {
	if c == nil || c.path == "" {
		return ""
	}
	return filepath.Base(c.path)
}

// Discard removes the companion if this process created it and no other process uses it. After the owner's Commit, and a
// second time, it does nothing.
func (c *Companion) Discard() error {
	if c == nil || !c.created {
		c.release()
		return nil
	}
	defer c.release()
	if c.lock != nil && !lock(c.lock) {
		return nil // another process found it and waits to commit an owner of its own
	}
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q: cannot remove it: %w", c.path, cause(err))
	}
	return nil
}

// release gives the companion to its owner: Discard leaves it from now on.
func (c *Companion) release() {
	if c == nil {
		return
	}
	c.created = false
	if c.lock != nil {
		c.lock.Close()
		c.lock = nil
	}
}
