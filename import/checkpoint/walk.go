package checkpoint

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// walker names the tensors of an unpickled value by their place in it.
type walker struct {
	lim    limits
	budget *budget
	file   int64 // size

	path       []step
	visits     int
	mostVisits int
	bytes      int64 // of all tensors found
	index      index
}

// step is one part of a name: a key, or a position when key is empty and isKey false.
type step struct {
	key      string
	position int
	isKey    bool
}

const longList = 64 // the scalars of longer lists are data, not parameters: left out of the metadata

// flatten finds every tensor under root. Containers may be shared, but not contain themselves, and two tensors may not end
// up with one name.
func flatten(root any, pickleLen int, fileSize int64, lim limits, b *budget) (*index, error) {
	w := &walker{lim: lim, budget: b, file: fileSize,
		mostVisits: min(lim.visits+lim.perByte*pickleLen, lim.ops)}
	if err := w.walk(root); err != nil {
		return nil, named(err, "value "+quote(w.name()))
	}
	if len(w.index.tensors) == 0 {
		return nil, &Error{Found: typeName(root) + " without any tensor in it",
			Allowed: "a tensor, or a container of tensors"}
	}
	if err := b.charge(int64(8 * (len(w.index.tensors) + len(w.index.metadata)))); err != nil {
		return nil, err
	}
	if i, _, dup := duplicate(w.index.tensors, sortedBy(w.index.tensors, tensorName), tensorName); dup {
		return nil, w.clash("tensor", w.index.tensors[i].name)
	}
	if i, _, dup := duplicate(w.index.metadata, sortedBy(w.index.metadata, pairKey), pairKey); dup {
		return nil, w.clash("value", w.index.metadata[i].key)
	}
	return &w.index, nil
}

func (w *walker) clash(what, name string) error {
	return &Error{Name: what + " " + quote(name), Found: "two of that name, one of them nested", Allowed: "unique names"}
}

func (w *walker) walk(v any) error {
	if w.visits++; w.visits > w.mostVisits {
		return &Error{Found: fmt.Sprintf("more than %d values, counting shared ones each time", w.mostVisits),
			Allowed: "fewer"}
	}
	if len(w.path) > w.lim.depth {
		return &Error{Found: fmt.Sprintf("containers nested more than %d deep", w.lim.depth),
			Allowed: fmt.Sprintf("at most %d", w.lim.depth)}
	}
	switch v := v.(type) {
	case *view:
		return w.addTensor(v)
	case *dict:
		return w.walkDict(v)
	case *list:
		if v.open {
			return errCycle()
		}
		v.open = true
		defer func() { v.open = false }()
		return w.walkItems(v.items)
	case tuple:
		return w.walkItems(v)
	default:
		return w.addScalar(v)
	}
}

func errCycle() error {
	return &Error{Found: "a container that contains itself", Allowed: "a tree"}
}

func (w *walker) walkDict(d *dict) error {
	if d.open {
		return errCycle()
	}
	d.open = true
	defer func() { d.open = false }()
	if !d.checked {
		if err := w.budget.charge(int64(4 * len(d.entries))); err != nil {
			return err
		}
		if i, _, dup := duplicate(d.entries, sortedBy(d.entries, entryKey), entryKey); dup {
			return &Error{Name: "key " + quote(d.entries[i].key), Found: "two entries of that key", Allowed: "unique keys"}
		}
		d.checked = true
	}
	for i := range d.entries {
		if err := w.enter(step{key: d.entries[i].key, isKey: true}, d.entries[i].value); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) walkItems(items []any) error {
	long := len(items) > longList
	for i, v := range items {
		switch v.(type) {
		case *view, *dict, *list, tuple:
		default:
			if long {
				continue
			}
		}
		if err := w.enter(step{position: i}, v); err != nil {
			return err
		}
	}
	return nil
}

// enter walks one child. The path keeps the child's step when it fails, for the error's name.
func (w *walker) enter(s step, v any) error {
	w.path = append(w.path, s)
	if err := w.walk(v); err != nil {
		return err
	}
	w.path = w.path[:len(w.path)-1]
	return nil
}

// name joins the path: "model/wbias", "1/0", "" for the root itself.
func (w *walker) name() string {
	var b strings.Builder
	b.Grow(w.nameLen())
	for i, s := range w.path {
		if i > 0 {
			b.WriteByte('/')
		}
		if s.isKey {
			b.WriteString(s.key)
		} else {
			var digits [20]byte
			b.Write(strconv.AppendInt(digits[:0], int64(s.position), 10))
		}
	}
	return b.String()
}

// nameLen is the length of name, without making it.
func (w *walker) nameLen() int {
	n := max(0, len(w.path)-1)
	for _, s := range w.path {
		n += len(s.key)
		if s.isKey {
			continue
		}
		for n++; s.position >= 10; s.position /= 10 {
			n++
		}
	}
	return n
}

func (w *walker) addTensor(v *view) error {
	if len(w.index.tensors) == w.lim.tensors {
		return &Error{Found: fmt.Sprintf("more than %d tensors", w.lim.tensors),
			Allowed: fmt.Sprintf("at most %d", w.lim.tensors)}
	}
	n := w.nameLen()
	if n > w.lim.nameBytes {
		return &Error{Found: fmt.Sprintf("a name of %d bytes", n),
			Allowed: fmt.Sprintf("at most %d", w.lim.nameBytes)}
	}
	if most := 32*w.file + w.lim.total; v.bytes > most-w.bytes {
		return &Error{Found: fmt.Sprintf("tensors of more than %d bytes, counting shared ones each time", most),
			Allowed: "32 x the file's size plus 1 GiB"}
	}
	w.bytes += v.bytes
	if err := w.budget.charge(int64(n)); err != nil {
		return err
	}
	var err error
	if w.index.tensors, err = grow(w.budget, w.index.tensors, 1, namedBytes); err == nil {
		w.index.tensors = append(w.index.tensors, namedTensor{name: w.name(), view: v})
	}
	return err
}

// addScalar keeps what could be a hyper-parameter; anything else that is no tensor is passed over.
func (w *walker) addScalar(v any) error {
	text, ok := "", true
	switch v := v.(type) {
	case string:
		text, ok = v, len(v) <= w.lim.metaBytes
	case bool:
		text = strconv.FormatBool(v)
	case int64:
		text = strconv.FormatInt(v, 10)
	case *big.Int:
		text = v.String()
	case float64:
		text = strconv.FormatFloat(v, 'g', -1, 64)
	default:
		ok = false
	}
	n := w.nameLen()
	if !ok || len(w.index.metadata) == w.lim.metadata || n > w.lim.nameBytes {
		return nil
	}
	if err := w.budget.charge(int64(n + 32)); err != nil {
		return err
	}
	var err error
	if w.index.metadata, err = grow(w.budget, w.index.metadata, 1, pairBytes); err == nil {
		w.index.metadata = append(w.index.metadata, pair{w.name(), text})
	}
	return err
}
