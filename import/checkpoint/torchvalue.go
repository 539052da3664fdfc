package checkpoint

import (
	"fmt"
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The functions a pickle may call, after torch/_utils.py, torch/_tensor.py and collections. Arguments are checked one by one:
// what PyTorch would ignore is ignored, what it would act on is either done or refused.

// rebuildTensor is _rebuild_tensor(storage, storage_offset, size, stride).
func rebuildTensor(m *machine, args tuple) (any, error) {
	if err := argCount(args, 4, 4); err != nil {
		return nil, err
	}
	return m.newTensor(args, tensor.Invalid)
}

// rebuildTensorV2 is _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata=None).
func rebuildTensorV2(m *machine, args tuple) (any, error) {
	if err := argCount(args, 6, 7); err != nil {
		return nil, err
	}
	if len(args) == 7 {
		if err := checkTensorMetadata(args[6]); err != nil {
			return nil, err
		}
	}
	return m.newTensor(args, tensor.Invalid)
}

// rebuildTensorV3 is _rebuild_tensor_v3(storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype,
// metadata=None), where the storage is untyped.
func rebuildTensorV3(m *machine, args tuple) (any, error) {
	if err := argCount(args, 7, 8); err != nil {
		return nil, err
	}
	if len(args) == 8 {
		if err := checkTensorMetadata(args[7]); err != nil {
			return nil, err
		}
	}
	g, ok := args[6].(*global)
	if !ok || !g.isDType {
		return nil, &Error{Found: typeName(args[6]) + " as dtype", Allowed: "torch.float32 or the like"}
	}
	if g.dtype == tensor.Invalid {
		return nil, &Error{Found: "element type " + g.element, Allowed: readableTypes()}
	}
	return m.newTensor(args, g.dtype)
}

// rebuildParameter is _rebuild_parameter(data, requires_grad, backward_hooks).
func rebuildParameter(_ *machine, args tuple) (any, error) {
	return firstTensor(args, 3)
}

// rebuildParameterWithState is _rebuild_parameter_with_state(data, requires_grad, backward_hooks, state); the state is
// Python attributes.
func rebuildParameterWithState(_ *machine, args tuple) (any, error) {
	return firstTensor(args, 4)
}

func firstTensor(args tuple, n int) (any, error) {
	if err := argCount(args, n, n); err != nil {
		return nil, err
	}
	v, ok := args[0].(*view)
	if !ok {
		return nil, &Error{Found: typeName(args[0]) + " as data", Allowed: "a tensor"}
	}
	return v, nil
}

// rebuildFromType is _rebuild_from_type_v2(func, type, args, state): a tensor with Python attributes, or of a subclass.
func rebuildFromType(m *machine, args tuple) (any, error) {
	if err := argCount(args, 4, 4); err != nil {
		return nil, err
	}
	f, ok := args[0].(*global)
	if !ok || f.module != "torch._utils" || f.call == nil {
		return nil, &Error{Found: typeName(args[0]) + " as rebuilder", Allowed: "a function of torch._utils"}
	}
	if class, ok := args[1].(*global); !ok || !class.isClass {
		return nil, &Error{Found: typeName(args[1]) + " as type", Allowed: "torch.Tensor or Parameter"}
	}
	inner, ok := args[2].(tuple)
	if !ok {
		return nil, &Error{Found: typeName(args[2]) + " as arguments", Allowed: "a tuple"}
	}
	return f.call(m, inner)
}

func argCount(args tuple, least, most int) error {
	if len(args) >= least && len(args) <= most {
		return nil
	}
	allowed := fmt.Sprint(least)
	if most > least {
		allowed = fmt.Sprintf("%d to %d", least, most)
	}
	return &Error{Found: fmt.Sprintf("%d arguments", len(args)), Allowed: allowed}
}

// checkTensorMetadata accepts a tensor's metadata when it asks for nothing: {"conj": True} and {"neg": True} would change
// the values.
func checkTensorMetadata(v any) error {
	switch v := v.(type) {
	case none:
		return nil
	case *dict:
		for i := range v.entries {
			if v.entries[i].value != any(false) {
				return &Error{Found: "a tensor with the lazy operation " + quote(v.entries[i].key),
					Allowed: "plain tensors: save x.clone()"}
			}
		}
		return nil
	}
	return &Error{Found: typeName(v) + " as tensor metadata", Allowed: "a dict or None"}
}

// newTensor makes the view of the first four arguments. A dtype other than Invalid reinterprets an untyped storage.
func (m *machine) newTensor(args tuple, dtype tensor.DType) (any, error) {
	s, ok := args[0].(*storage)
	if !ok {
		return nil, &Error{Found: typeName(args[0]) + " as storage", Allowed: "a storage"}
	}
	spec := viewSpec{dtype: s.dtype, numel: s.numel}
	if dtype != tensor.Invalid {
		if s.dtype != tensor.Uint8 || s.numel%dtype.Size() != 0 {
			return nil, &Error{Found: fmt.Sprintf("a storage of %d %s elements for a %s tensor", s.numel, s.dtype, dtype),
				Allowed: "an untyped storage of whole elements"}
		}
		spec.dtype, spec.numel = dtype, s.numel/dtype.Size()
	}
	var err error
	if spec.offset, err = intArg(args[1], "storage offset"); err != nil {
		return nil, err
	}
	if spec.shape, err = m.intsArg(args[2], "size"); err != nil {
		return nil, err
	}
	if spec.strides, err = m.intsArg(args[3], "stride"); err != nil {
		return nil, err
	}
	if err := m.budget.charge(viewBytes); err != nil {
		return nil, err
	}
	v, err := newView(s.block, spec)
	if err != nil {
		return nil, named(err, "storage "+quote(s.key))
	}
	if most := 4*m.fileSize + m.lim.expand; v.bytes > int64(s.numel)*int64(s.dtype.Size()) && v.bytes > most {
		return nil, &Error{Name: "storage " + quote(s.key),
			Found:   fmt.Sprintf("a view of %d bytes through repeated elements", v.bytes),
			Allowed: fmt.Sprintf("at most %d, 4 x the file's size plus a few MiB", most)}
	}
	return v, nil
}

func intArg(v any, what string) (int, error) {
	n, ok := v.(int64)
	if !ok {
		return 0, &Error{Found: typeName(v) + " as " + what, Allowed: "an int of at most 64 bits"}
	}
	if n < 0 || n > math.MaxInt {
		return 0, &Error{Found: fmt.Sprintf("%s %d", what, n), Allowed: fmt.Sprintf("0 to %d", math.MaxInt)}
	}
	return int(n), nil
}

func (m *machine) intsArg(v any, what string) ([]int, error) {
	t, ok := v.(tuple)
	if !ok {
		return nil, &Error{Found: typeName(v) + " as " + what, Allowed: "a tuple of ints"}
	}
	if len(t) > m.lim.rank {
		return nil, &Error{Found: fmt.Sprintf("%s with %d dimensions", what, len(t)),
			Allowed: fmt.Sprintf("at most %d", m.lim.rank)}
	}
	if err := m.budget.charge(int64(8 * len(t))); err != nil {
		return nil, err
	}
	out := make([]int, len(t))
	for i, v := range t {
		n, err := intArg(v, what)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// opPersistent resolves a storage: ("storage", class, key, location, numel), in legacy files with view metadata behind.
// Where the tensor lived does not matter.
func (m *machine) opPersistent(string) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	id, ok := v.(tuple)
	if !ok {
		return &Error{Found: typeName(v) + " as persistent id", Allowed: "a tuple that names a storage"}
	}
	if len(id) < 5 || len(id) > 6 {
		return &Error{Found: fmt.Sprintf("a persistent id of %d values", len(id)), Allowed: "5, or 6 in legacy files"}
	}
	if id[0] != any("storage") {
		return &Error{Found: "a persistent id that is no storage",
			Allowed: `("storage", class, key, location, size): save model.state_dict()`}
	}
	sid := storageID{}
	if sid.class, ok = id[1].(*global); !ok || !sid.class.isStorage {
		return &Error{Found: typeName(id[1]) + " as storage class", Allowed: "torch.FloatStorage or the like"}
	}
	if sid.key, ok = id[2].(string); !ok {
		return &Error{Found: typeName(id[2]) + " as storage key", Allowed: "a str"}
	}
	if _, ok = id[3].(string); !ok {
		return &Error{Name: "storage " + quote(sid.key), Found: typeName(id[3]) + " as location", Allowed: "a str"}
	}
	if sid.class.dtype == tensor.Invalid {
		return &Error{Name: "storage " + quote(sid.key), Found: "element type " + sid.class.element,
			Allowed: readableTypes()}
	}
	if sid.numel, err = intArg(id[4], "size"); err != nil {
		return named(err, "storage "+quote(sid.key))
	}
	if len(id) == 6 {
		sid.view = id[5]
	}
	s, err := m.storage(sid)
	if err != nil {
		return named(err, "storage "+quote(sid.key))
	}
	return m.push(s)
}

// newSize is torch.Size((2, 3)).
func newSize(_ *machine, args tuple) (any, error) {
	if len(args) == 1 {
		if t, ok := args[0].(tuple); ok {
			return t, nil
		}
	}
	return nil, &Error{Found: fmt.Sprintf("%d arguments", len(args)), Allowed: "one tuple"}
}

// newOrderedDict is OrderedDict(), or OrderedDict([(key, value), ...]) as Python 2 wrote it.
func newOrderedDict(m *machine, args tuple) (any, error) {
	if err := argCount(args, 0, 1); err != nil {
		return nil, err
	}
	if err := m.budget.charge(dictBytes); err != nil {
		return nil, err
	}
	d := &dict{ordered: true}
	if len(args) == 0 {
		return d, nil
	}
	pairs, ok := args[0].(*list)
	if !ok {
		return nil, &Error{Found: typeName(args[0]) + " as argument", Allowed: "a list of pairs"}
	}
	if err := m.push(d); err != nil {
		return nil, err
	}
	for _, p := range pairs.items {
		key, value, ok := asPair(p)
		if !ok {
			return nil, &Error{Found: typeName(p) + " as key and value", Allowed: "a pair"}
		}
		if err := m.setItems([]any{key, value}); err != nil {
			return nil, err
		}
	}
	return m.pop()
}

func asPair(v any) (key, value any, ok bool) {
	switch v := v.(type) {
	case tuple:
		if len(v) == 2 {
			return v[0], v[1], true
		}
	case *list:
		if len(v.items) == 2 {
			return v.items[0], v.items[1], true
		}
	}
	return nil, nil, false
}

// newCounter is collections.Counter({...}), which schedulers keep.
func newCounter(_ *machine, args tuple) (any, error) {
	if len(args) == 1 {
		if d, ok := args[0].(*dict); ok {
			return d, nil
		}
	}
	return nil, &Error{Found: fmt.Sprintf("%d arguments", len(args)), Allowed: "one dict"}
}

// newSet is set([...]) or frozenset([...]).
func newSet(_ *machine, args tuple) (any, error) {
	if err := argCount(args, 0, 1); err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return set{}, nil
	}
	l, ok := args[0].(*list)
	if !ok {
		return nil, &Error{Found: typeName(args[0]) + " as argument", Allowed: "a list"}
	}
	return set{}, checkElements(l.items)
}

// newOpaque makes a value that nothing looks into; its arguments must be plain.
func newOpaque(kind string) func(*machine, tuple) (any, error) {
	return func(_ *machine, args tuple) (any, error) {
		if err := argCount(args, 0, 2); err != nil {
			return nil, err
		}
		return opaque(kind), checkElements(args)
	}
}
