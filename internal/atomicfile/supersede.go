package atomicfile

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxOwner is the size up to which files are searched for the names of companions.
const maxOwner = 64 << 20

// supersede removes the owner's other companions: the owner refers to them no longer. It is a courtesy, and stays on the
// safe side: those that another process has just put in place are locked and stay, as do all where there are no locks; so
// does one that another file of the owner's kind may refer to, since the owner may have been copied or renamed.
func (c *Companion) supersede() {
	if c == nil {
		return
	}
	dir := filepath.Dir(c.owner)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var old, siblings []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name != c.Name() && isCompanion(name, companionStemOf(c.owner)):
			old = append(old, name)
		case name != filepath.Base(c.owner) && filepath.Ext(name) == filepath.Ext(c.owner):
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
		removeUnlocked(filepath.Join(dir, name), 0)
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
