package checkpoint

import (
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// globalName is what a pickle calls a class or function: a module and a name in it, compared byte by byte.
type globalName struct{ module, name string }

func (g globalName) String() string { return g.module + " " + g.name }

// global is one row of the list of names that a pickle may use. A name is only ever a key of that list.
type global struct {
	globalName
	call func(m *machine, args tuple) (any, error) // for REDUCE; nil: not callable

	isStorage bool         // a storage class, for persistent ids
	isDType   bool         // torch.float32 and the like
	dtype     tensor.DType // of either; Invalid: an element type that cannot be read
	element   string       // PyTorch's name of that type
	isClass   bool         // torch.Tensor or Parameter: what a subclass's rebuilder may name
}

// torchType ties PyTorch's three names of an element type together.
type torchType struct {
	element string // torch.float32
	storage string // torch.FloatStorage; empty where there is none
	dtype   tensor.DType
}

// torchTypes are the element types of PyTorch up to 2.10; those without a dtype here cannot be read.
func torchTypes() []torchType {
	return []torchType{
		{"float32", "FloatStorage", tensor.Float32}, {"float64", "DoubleStorage", tensor.Float64},
		{"float16", "HalfStorage", tensor.Float16}, {"bfloat16", "BFloat16Storage", tensor.BFloat16},
		{"int8", "CharStorage", tensor.Int8}, {"int16", "ShortStorage", tensor.Int16},
		{"int32", "IntStorage", tensor.Int32}, {"int64", "LongStorage", tensor.Int64},
		{"uint8", "ByteStorage", tensor.Uint8}, {"bool", "BoolStorage", tensor.Bool},
		{"uint16", "", tensor.Uint16}, {"uint32", "", tensor.Uint32}, {"uint64", "", tensor.Uint64},
		{"complex32", "", 0}, {"complex64", "ComplexFloatStorage", 0}, {"complex128", "ComplexDoubleStorage", 0},
		{"qint8", "QInt8Storage", 0}, {"quint8", "QUInt8Storage", 0}, {"qint32", "QInt32Storage", 0},
		{"quint4x2", "QUInt4x2Storage", 0}, {"quint2x4", "QUInt2x4Storage", 0},
		{"float8_e4m3fn", "", 0}, {"float8_e5m2", "", 0}, {"float8_e4m3fnuz", "", 0}, {"float8_e5m2fnuz", "", 0},
		{"float8_e8m0fnu", "", 0}, {"float4_e2m1fn_x2", "", 0},
	}
}

// readableTypes lists the element types that can be read, for errors.
func readableTypes() string {
	var names []string
	for _, t := range torchTypes() {
		if t.dtype != tensor.Invalid {
			names = append(names, t.element)
		}
	}
	return strings.Join(names, ", ")
}

// newGlobals is the list. Its functions build values of this package from values of this package.
func newGlobals() map[globalName]*global {
	table := map[globalName]*global{}
	add := func(module, name string, g global) {
		g.globalName = globalName{module, name}
		table[g.globalName] = &g
	}
	for _, t := range torchTypes() {
		add("torch", t.element, global{isDType: true, dtype: t.dtype, element: t.element})
		if t.storage != "" {
			add("torch", t.storage, global{isStorage: true, dtype: t.dtype, element: t.element})
		}
	}
	untyped := global{isStorage: true, dtype: tensor.Uint8, element: "uint8"}
	typed := global{isStorage: true, element: "an unnamed type"}
	for _, module := range []string{"torch", "torch.storage"} {
		add(module, "UntypedStorage", untyped)
		add(module, "TypedStorage", typed)
	}
	add("torch.storage", "_UntypedStorage", untyped) // torch 1.11 and 1.12
	add("torch.storage", "_TypedStorage", typed)

	add("torch._utils", "_rebuild_tensor", global{call: rebuildTensor})
	add("torch._utils", "_rebuild_tensor_v2", global{call: rebuildTensorV2})
	add("torch._utils", "_rebuild_tensor_v3", global{call: rebuildTensorV3})
	add("torch._utils", "_rebuild_parameter", global{call: rebuildParameter})
	add("torch._utils", "_rebuild_parameter_with_state", global{call: rebuildParameterWithState})
	add("torch._tensor", "_rebuild_from_type_v2", global{call: rebuildFromType})
	add("torch", "Tensor", global{isClass: true})
	add("torch.nn.parameter", "Parameter", global{isClass: true})
	add("torch", "Size", global{call: newSize})
	add("torch", "device", global{call: newOpaque("a device")})

	add("collections", "OrderedDict", global{call: newOrderedDict})
	add("collections", "Counter", global{call: newCounter})
	add("_codecs", "encode", global{call: newOpaque("bytes")}) // bytes in protocol 2
	add("builtins", "set", global{call: newSet})
	add("builtins", "frozenset", global{call: newSet})
	add("builtins", "bytearray", global{call: newOpaque("bytes")})
	return table
}

// otherLayout names what the rebuilder of a tensor that is not dense would make; empty for any other name.
func otherLayout(g globalName) string {
	if g.module != "torch._utils" {
		return ""
	}
	switch g.name {
	case "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor":
		return "a sparse tensor"
	case "_rebuild_qtensor":
		return "a quantised tensor"
	case "_rebuild_nested_tensor":
		return "a nested tensor"
	case "_rebuild_meta_tensor_no_storage":
		return "a tensor without data (device meta)"
	}
	return ""
}

// pushGlobal looks a name up. What is not on the list ends the reading. Protocol 2 writes the module builtins by the name
// it had in Python 2.
func (m *machine) pushGlobal(name globalName) error {
	if name.module == "__builtin__" {
		name.module = "builtins"
	}
	if g, ok := m.globals[name]; ok {
		return m.push(g)
	}
	e := &Error{Name: "global " + quote(name.String()), Found: "a class or function that is not allowed (nothing was run)",
		Allowed: "tensors, numbers, texts and plain containers: save model.state_dict() and nothing else"}
	if what := otherLayout(name); what != "" {
		e.Found, e.Allowed = what, "dense tensors of "+readableTypes()
	}
	return e
}
