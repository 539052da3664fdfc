package checkpoint

import (
	"math/big"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// What a pickle can hold. Besides the types below: bool, int64, *big.Int, float64, string, *global, *storage, and *view for
// a tensor.
type (
	none struct{}

	// opaque stands for values that carry nothing of use here: bytes, devices. The text is the kind, for errors.
	opaque string

	tuple []any

	list struct {
		items []any
		open  bool // being walked: meeting it again is a cycle
	}

	// dict keeps the order of insertion. Keys are strings; integers are kept as their decimal form.
	dict struct {
		entries []dictEntry
		ordered bool // a collections.OrderedDict, which may carry attributes
		checked bool // for duplicate keys
		open    bool
	}

	dictEntry struct {
		key   string
		value any
	}

	// set keeps nothing: sets have no order that could name a tensor.
	set struct{}
)

func entryKey(e *dictEntry) string { return e.key }

// Bytes that values take, for the budget.
const (
	anyBytes   = 16
	boxBytes   = 16 // a string's header or a number behind an interface
	sliceBytes = 24
	entryBytes = 16 + anyBytes
	listBytes  = 32
	dictBytes  = 32
	viewBytes  = 80
)

// storage is a run of elements that tensors are views of.
type storage struct {
	key   string
	dtype tensor.DType
	numel int
	block *block
}

// typeName names a value's type for an error.
func typeName(v any) string {
	switch v := v.(type) {
	case none:
		return "None"
	case bool:
		return "a bool"
	case int64, *big.Int:
		return "an int"
	case float64:
		return "a float"
	case string:
		return "a str"
	case opaque:
		return string(v)
	case tuple:
		return "a tuple"
	case *list:
		return "a list"
	case *dict:
		return "a dict"
	case set:
		return "a set"
	case *storage:
		return "a storage"
	case *view:
		return "a tensor"
	case *global:
		return "the global " + quote(v.String())
	}
	return "a value"
}
