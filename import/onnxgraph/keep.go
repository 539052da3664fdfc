package onnxgraph

import "sync"

// kept are values that depend on constants alone, by name: initialisers as float64, and what nodes make of them, such as a
// transposed weight. They are made by the first run that needs them. A run that watches values, or is given some, has nothing to
// do with them.
type kept struct {
	mu     sync.Mutex
	values map[string]*value
	room   int64 // the elements that may still be kept
}

// keptElements bounds what a model keeps, at 8 bytes each (256 MiB): weights of larger models are widened by every run anew.
const keptElements = 1 << 25

// snapshot is what is kept at present.
func (k *kept) snapshot() map[string]*value {
	k.mu.Lock()
	defer k.mu.Unlock()
	values := make(map[string]*value, len(k.values))
	for name, v := range k.values {
		values[name] = v
	}
	return values
}

// add keeps a value, as long as there is room.
func (k *kept) add(name string, v *value) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := int64(v.len())
	if _, ok := k.values[name]; ok || n > k.room {
		return
	}
	if k.values == nil {
		k.values = map[string]*value{}
	}
	k.values[name], k.room = v, k.room-n
}

// keeps reports whether this run uses and adds to what the model keeps.
func (e *execution) keeps() bool {
	return e.options.Watch == nil && e.options.Replace == nil && len(e.options.Given) == 0 && len(e.options.Hollow) == 0
}

// constantInputs reports whether a node's operands are constants, or were made of constants and kept.
func (e *execution) constantInputs(s step) bool {
	if len(s.inputs) == 0 {
		return false // a Constant is read as fast as it is kept
	}
	for _, name := range s.inputs {
		if name != "" && !e.model.consts[name].isHeld() && e.kept[name] == nil {
			return false
		}
	}
	return true
}
