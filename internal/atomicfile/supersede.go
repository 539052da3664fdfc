package atomicfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxOwner is the size up to which files are searched for the names of companions.
const maxOwner = 64 << 20

// supersede removes the companions of an owner that it does not refer to: those it had before, and the one that it was committed
// with if another process has committed it since. It is a courtesy, and stays on the safe side: those that another process is
// about to use are locked and stay, as do all where there are no locks; so does one that another file of the owner's kind may
// refer to, since the owner may have been copied or renamed.
func supersede(owner string) {
	dir := filepath.Dir(owner)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var old, siblings []string
	for _, e := range entries {
		switch name := e.Name(); {
		case isCompanion(name, companionStemOf(owner)):
			if !refers(owner, name) {
				old = append(old, name)
			}
		case name != filepath.Base(owner) && filepath.Ext(name) == filepath.Ext(owner):
			siblings = append(siblings, name)
		}
	}
	for _, name := range siblings {
		if len(old) == 0 {
			return
		}
		content, ok := readOwner(filepath.Join(dir, name))
		if !ok {
			return
		}
		old = slices.DeleteFunc(old, func(companion string) bool { return bytes.Contains(content, []byte(companion)) })
	}
	for _, name := range old {
		// Whoever commits an owner with this one has it locked until that is done: while it is ours, what the owner says holds.
		removeUnlocked(filepath.Join(dir, name), 0, func() bool { return !refers(owner, name) })
	}
}

// refers reports whether an owner's content has a companion's name in it, or cannot be read.
func refers(owner, name string) bool {
	f, err := os.Open(owner)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	const piece = 1 << 20
	buffer := make([]byte, 0, piece+len(name))
	for {
		n, err := io.ReadFull(f, buffer[len(buffer):len(buffer)+piece])
		if buffer = buffer[:len(buffer)+n]; bytes.Contains(buffer, []byte(name)) {
			return true
		}
		if err != nil {
			return err != io.EOF && err != io.ErrUnexpectedEOF
		}
		buffer = append(buffer[:0], buffer[len(buffer)-len(name)+1:]...) // a name may lie across two pieces
	}
}

// readOwner reads what may be an owner; false when it cannot be read or is too large. What is no file refers to nothing.
func readOwner(path string) (content []byte, ok bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, err == nil
	}
	if info.Size() > maxOwner {
		return nil, false
	}
	content, err = os.ReadFile(path)
	return content, err == nil
}

func isCompanion(name, stem string) bool {
	sum, hasPrefix := strings.CutPrefix(name, stem+"-")
	sum, hasSuffix := strings.CutSuffix(sum, companionSuffix)
	return hasPrefix && hasSuffix && len(sum) == companionHash && isHex(sum)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
