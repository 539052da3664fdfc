package dialect

import (
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// wrappers are the parts of names that torch.compile, FSDP and activation checkpointing put around a module's own; they say
// nothing about it.
func wrappers() []string {
	return []string{"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."}
}

// unwrap gives a source whose names are without wrappers. Two names that differ in nothing else are refused.
func unwrap(file string, s Source) (Source, error) {
	u := &unwrapped{Source: s, stored: map[string]string{}}
	wrapped := false
	for _, name := range s.Names() {
		plain := name
		for _, w := range wrappers() {
			plain = strings.ReplaceAll(plain, w, "")
		}
		wrapped = wrapped || plain != name
		if other, twice := u.stored[plain]; twice && other != name {
			return nil, &Error{File: file, Found: "has " + quote(other) + " and " + quote(name), Allowed: "one of them"}
		}
		u.stored[plain] = name
		u.names = append(u.names, plain)
	}
	if !wrapped {
		return s, nil
	}
	return u, nil
}

type unwrapped struct {
	Source
	names  []string
	stored map[string]string // as the file has them, by plain name
}

func (u *unwrapped) Names() []string { return u.names }

func (u *unwrapped) Tensor(name string) (*tensor.Tensor, error) {
	return u.Source.Tensor(u.stored[name])
}

func (u *unwrapped) Weight(name string) (tensor.Weight, error) {
	return u.Source.Weight(u.stored[name])
}
