package checkpoint

import (
	"fmt"
	"strings"
	"testing"
)

// pickleCase is a pickle beside one storage of 6 floats, and what its refusal must say.
type pickleCase struct {
	name   string
	pickle string
	want   []string
}

func TestPickle_refused(t *testing.T) {
	for _, c := range refusedPickles() {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, torchFile(c.pickle), c.want...) })
	}
}

// refusedPickles is the pickle half of series P of the hostile inputs. Offsets in the expectations count from the PROTO
// opcode at byte 0.
func refusedPickles() []pickleCase {
	raw := func(s string) string { return "\x80\x02" + s } // without STOP
	tensorWith := func(offset int64, size, stride string) string {
		return pickled(pTensor(pStorage("FloatStorage", "0", 6), offset, size, stride))
	}
	storageWith := func(id string) string { return pickled(pTensor(id, 0, pInts(6), pInts(1))) }
	return []pickleCase{
		{"empty", "", []string{"the end of the pickle"}},
		{"P18 os.system", pickled(pCall("os", "system", pStr("id"))),
			[]string{`record "archive/data.pkl", byte 2`, `global "os system"`, "nothing was run"}},
		{"P18 eval", pickled(pGlobal("__builtin__", "eval")), []string{`global "builtins eval"`}},
		{"P18 builtins.eval", pickled(pGlobal("builtins", "eval")), []string{`global "builtins eval"`}},
		{"P18 torch.hub", pickled(pGlobal("torch.hub", "load")), []string{`global "torch.hub load"`}},
		{"P18 nt.system", pickled(pGlobal("nt", "system")), []string{`global "nt system"`}},
		{"P18 one letter more", pickled(pGlobal("torch._utils", "_rebuild_tensor_v2x")),
			[]string{`global "torch._utils _rebuild_tensor_v2x"`}},
		{"P18 found before the end", raw(pGlobal("os", "system")), []string{`global "os system"`}},
		{"P18 a loader of anything", pickled(pGlobal("torch.storage", "_load_from_bytes")),
			[]string{`global "torch.storage _load_from_bytes"`}},
		{"P18 numpy", pickled(pGlobal("numpy.core.multiarray", "scalar")),
			[]string{`global "numpy.core.multiarray scalar"`, "save model.state_dict()"}},
		{"P19 numbers", "\x80\x04K\x01K\x02\x93.", []string{"opcode STACK_GLOBAL", "an int and an int", "two strs"}},
		{"P19 one text", "\x80\x04\x8c\x05torchK\x02\x93.", []string{"a str and an int"}},
		{"P19 not allowed", "\x80\x04\x8c\x02os\x8c\x06system\x93.", []string{`byte 14`, `global "os system"`}},
		{"P20 NUL", pickled(pGlobal("torch", "FloatStorage\x00")), []string{`global "torch FloatStorage\x00"`}},
		{"P20 case", pickled(pGlobal("torch", "floatstorage")), []string{`global "torch floatstorage"`}},
		{"P20 dots", pickled(pGlobal("torch", "._utils._rebuild_tensor_v2")), []string{"torch ._utils"}},
		{"P20 split elsewhere", "\x80\x04\x8c\x00\x8c\x12torch FloatStorage\x93.",
			[]string{`global " torch FloatStorage"`}},
		{"P20 unicode", pickled(pGlobal("torch", "ＦloatStorage")), []string{"global"}},
		{"P20 no name", raw("ctorch\n"), []string{"opcode GLOBAL", "the end of the pickle"}},
		{"P21 call of a number", pickled("K\x01)R"), []string{"opcode REDUCE", "a call of an int"}},
		{"P21 call of a storage class", pickled(pGlobal("torch", "FloatStorage"), ")R"),
			[]string{`a call of the global "torch FloatStorage"`}},
		{"P21 arguments in a list", pickled(pGlobal("collections", "OrderedDict"), "]R"),
			[]string{`global "collections OrderedDict"`, "a list as arguments"}},
		{"P21 NEWOBJ", pickled(pGlobal("torch", "FloatStorage"), ")\x81"), []string{"opcode NEWOBJ", "do not use"}},
		{"P21 NEWOBJ_EX", "\x80\x04" + pGlobal("torch", "FloatStorage") + ")}\x92.", []string{"opcode NEWOBJ_EX"}},
		{"P21 BUILD on a list", pickled("]}b"), []string{"opcode BUILD", "attributes for a list", "an OrderedDict"}},
		{"P21 BUILD on a dict", pickled("}}b"), []string{"attributes for a dict"}},
		{"P21 BUILD on a tensor", pickled(pSix(), "}b"), []string{"attributes for a tensor"}},
		{"P21 BUILD with a list", pickled(pOrderedDict, "]b"), []string{"a list as attributes"}},
		{"P22 SETITEM on a tensor", pickled(pSix(), pStr("k"), "K\x01s"),
			[]string{"opcode SETITEM", "keys and values for a tensor"}},
		{"P22 SETITEMS on a tensor", pickled(pSix(), "(", pStr("k"), "K\x01u"),
			[]string{"opcode SETITEMS", "keys and values for a tensor"}},
		{"P22 SETITEM on a storage", pickled(pStorage("FloatStorage", "0", 6), "K\x00K\x01s"),
			[]string{"keys and values for a storage"}},
		{"P22 SETITEM on a list", pickled("]K\x00K\x01s"), []string{"keys and values for a list"}},
		{"P22 APPEND to a tensor", pickled(pSix(), "K\x01a"), []string{"opcode APPEND", "items for a tensor"}},
		{"P22 APPENDS to a dict", pickled("}(K\x01e"), []string{"opcode APPENDS", "items for a dict"}},
		{"P22 ADDITEMS to a list", "\x80\x04](K\x01\x90.", []string{"elements for a list"}},
		{"SETITEMS with an odd number", pickled("}(", pStr("k"), "K\x01", pStr("l"), "u"), []string{"3 values"}},
		{"P23 id is a str", pickled(pStr("0"), "Q"), []string{"opcode BINPERSID", "a str as persistent id"}},
		{"P23 id is an int", pickled("K\x01Q"), []string{"an int as persistent id"}},
		{"P23 id of 4", pickled(pPid(pStr("0"), pStr("cpu")), "Q"),
			[]string{"a persistent id of 4 values"}},
		{"P23 id of 0", pickled(")Q"), []string{"a persistent id of 0 values"}},
		{"P23 a module", pickled(pTuple(pStr("module"), pGlobal("torch", "FloatStorage"), pStr("0"), pStr("cpu"),
			"K\x06"), "Q"),
			[]string{"no storage", "state_dict"}},
		{"P23 no class", pickled(pTuple(pStr("storage"), pStr("FloatStorage"), pStr("0"), pStr("cpu"), "K\x06"), "Q"),
			[]string{"a str as storage class"}},
		{"P23 a function as class", pickled(pTuple(pStr("storage"), pGlobal("torch", "Size"), pStr("0"),
			pStr("cpu"), "K\x06"), "Q"),
			[]string{`the global "torch Size" as storage class`}},
		{"P23 key is an int", pickled(pPid("K\x00", pStr("cpu"), "K\x06"), "Q"),
			[]string{"an int as storage key"}},
		{"P23 location is an int", pickled(pPid(pStr("0"), "K\x00", "K\x06"), "Q"),
			[]string{"an int as location"}},
		{"P23 view of a storage", pickled(pPid(pStr("0"), pStr("cpu"), "K\x06", pInts(0, 1)), "Q"),
			[]string{"a storage that is a view"}},
		{"P24 size -1", storageWith(pStorage("FloatStorage", "0", -1)), []string{`storage "0"`, "size -1"}},
		{"P24 size 2^31", storageWith(pStorage("FloatStorage", "0", 1<<31)),
			[]string{`storage "0"`, "2147483648 elements of float32", `the 24 bytes of record "archive/data/0"`}},
		{"P24 size 2^62", storageWith(pStorage("FloatStorage", "0", 1<<62)), []string{"4611686018427387904 elements"}},
		{"P24 size 2^64", storageWith(pPid(pStr("0"), pStr("cpu"), "\x8a\x09"+u64(0)+"\x01") + "Q"),
			[]string{"an int of at most 64 bits"}},
		{"P24 one element less", storageWith(pStorage("FloatStorage", "0", 5)),
			[]string{"5 elements of float32", "24 bytes"}},
		{"P24 one element more", storageWith(pStorage("FloatStorage", "0", 7)), []string{"7 elements"}},
		{"P24 as many bytes, fewer elements", storageWith(pStorage("DoubleStorage", "0", 3)),
			[]string{"shape (6)", "the 3 elements"}},
		{"P24 no record", storageWith(pStorage("FloatStorage", "1", 6)),
			[]string{`storage "1"`, `no record "archive/data/1"`}},
		{"P24 a record elsewhere", storageWith(pStorage("FloatStorage", "../version", 6)),
			[]string{`no record "archive/data/../version"`}},
		{"P25 two types", pickled("(", pSix(), pTensor(pStorage("IntStorage", "0", 6), 0, pInts(6), pInts(1)), "t"),
			[]string{`storage "0"`, "6 elements of int32", "6 of float32, as before"}},
		{"P25 two sizes", pickled("(", pSix(), pTensor(pStorage("FloatStorage", "0", 5), 0, pInts(5), pInts(1)), "t"),
			[]string{"5 elements of float32", "6 of float32"}},
		{"P26 offset -1", tensorWith(-1, pInts(6), pInts(1)),
			[]string{`global "torch._utils _rebuild_tensor_v2"`, "storage offset -1"}},
		{"P26 offset beyond", tensorWith(7, pInts(0), pInts(1)), []string{`storage "0"`, "storage offset 7", "0 to 6"}},
		{"P26 offset 2^63-1", tensorWith(1<<63-1, pInts(2), pInts(1)), []string{"storage offset 9223372036854775807"}},
		{"P26 extent", tensorWith(1, pInts(6), pInts(1)),
			[]string{"shape (6) with strides (1) from element 1", "the 6 elements"}},
		{"P26 extent through strides", tensorWith(0, pInts(2, 2), pInts(5, 1)), []string{"the 6 elements"}},
		{"P26 stride -1", tensorWith(5, pInts(6), pInts(-1)), []string{"stride -1"}},
		{"P26 stride 2^62", tensorWith(0, pInts(2), pInts(1<<62)), []string{"strides (4611686018427387904)"}},
		{"P26 wrapping strides", tensorWith(0, pInts(5, 5), pInts(1<<62, 1<<62)), []string{"the 6 elements"}},
		{"P26 wrapping product", tensorWith(0, pInts(1<<32, 1<<32), pInts(0, 0)),
			[]string{"shape (4294967296,4294967296)"}},
		{"P26 negative size", tensorWith(0, pInts(-6), pInts(1)), []string{"size -6"}},
		{"P26 fewer strides", tensorWith(0, pInts(2, 3), pInts(1)), []string{"1 strides for shape (2,3)"}},
		{"P26 more strides", tensorWith(0, pInts(6), pInts(1, 1)), []string{"2 strides for shape (6)"}},
		{"P26 size in a list", tensorWith(0, "]", pInts(1)), []string{"a list as size"}},
		{"P26 size of floats", tensorWith(0, pTuple("G\x40\x18\x00\x00\x00\x00\x00\x00"), pInts(1)),
			[]string{"a float as size"}},
		{"P26 size of bools", tensorWith(0, pTuple("\x88"), pInts(1)), []string{"a bool as size"}},
		{"P26 rank 17", tensorWith(0, pInts(make([]int64, 17)...), pInts(make([]int64, 17)...)),
			[]string{"size with 17 dimensions", "at most 16"}},
		{"P26 storage is a str", storageWith(pStr("0")), []string{"a str as storage"}},
		{"arguments missing", pickled(pGlobal("torch._utils", "_rebuild_tensor_v2"), ")R"),
			[]string{"0 arguments", "6 to 7"}},
		{"P27 2^40 elements from 1", tensorWith(0, pInts(1<<20, 1<<20), pInts(0, 0)),
			[]string{`storage "0"`, "a view of 4398046511104 bytes through repeated elements"}},
		{"P27 overlapping windows", tensorWith(0, pInts(3, 2, 1<<23), pInts(1, 1, 0)),
			[]string{"through repeated elements"}},
		{"P29 complex", storageWith(pStorage("ComplexFloatStorage", "0", 3)),
			[]string{`storage "0"`, "element type complex64", "float32, float64, float16, bfloat16, int8"}},
		{"P29 quantised storage", storageWith(pStorage("QInt8Storage", "0", 24)), []string{"element type qint8"}},
		{"P29 a storage without a type", storageWith(strings.Replace(pStorage("TypedStorage", "0", 24), "ctorch\n",
			"ctorch.storage\n", 1)),
			[]string{"element type an unnamed type"}},
		{"P29 unknown storage", pickled(pGlobal("torch", "Float8Storage")), []string{`global "torch Float8Storage"`}},
		{"P29 sparse", pickled(pGlobal("torch._utils", "_rebuild_sparse_tensor")),
			[]string{"a sparse tensor", "dense tensors of float32"}},
		{"P29 quantised", pickled(pGlobal("torch._utils", "_rebuild_qtensor")), []string{"a quantised tensor"}},
		{"P29 nested", pickled(pGlobal("torch._utils", "_rebuild_nested_tensor")), []string{"a nested tensor"}},
		{"P29 meta", pickled(pGlobal("torch._utils", "_rebuild_meta_tensor_no_storage")), []string{"without data"}},
		{"P29 float8", pickled(tensorV3("float8_e4m3fn", 24, 24)), []string{"element type float8_e4m3fn", "bool"}},
		{"untyped storage, odd size", pickled(tensorV3("uint16", 23, 11)), []string{`storage "0"`}},
		{"typed storage as another type", pickled(strings.Replace(tensorV3("uint16", 6, 3),
			"ctorch.storage\nUntypedStorage", "ctorch\nFloatStorage", 1)),
			[]string{"a storage of 6 float32 elements for a uint16 tensor"}},
		{"dtype is no dtype", pickled(strings.Replace(tensorV3("uint16", 24, 12), "ctorch\nuint16", "ctorch\nSize", 1)),
			[]string{`the global "torch Size" as dtype`}},
		{"lazy operation on an untyped storage", pickled(strings.TrimSuffix(tensorV3("float32", 24, 6), "tR") +
			pDict(pStr("conj"), "\x88") + "tR"), []string{`the lazy operation "conj"`}},
		{"lazy negation", pickled(v2WithMetadata(pDict(pStr("neg"), "\x88"))),
			[]string{`the lazy operation "neg"`, "x.clone()"}},
		{"metadata is a list", pickled(v2WithMetadata("]")), []string{"a list as tensor metadata"}},
		{"parameter of a number", pickled(pCall("torch._utils", "_rebuild_parameter", "K\x01", "\x88", pOrderedDict)),
			[]string{"an int as data"}},
		{"subclass of another class", pickled(pGlobal("torch._tensor", "_rebuild_from_type_v2"),
			pTuple(pGlobal("torch._utils", "_rebuild_tensor_v2"), pGlobal("torch", "Size"), ")", "}"), "R"),
			[]string{`the global "torch Size" as type`}},
		{"subclass through another function", pickled(pGlobal("torch._tensor", "_rebuild_from_type_v2"),
			pTuple(pGlobal("torch", "Size"), pGlobal("torch", "Tensor"), ")", "}"), "R"),
			[]string{`the global "torch Size" as rebuilder`}},
		{"P30 SETITEMS on nothing", pickled("(K\x00K\x01u"), []string{"opcode SETITEMS", "an empty stack"}},
		{"P30 APPENDS on nothing", pickled("(K\x00e"), []string{"opcode APPENDS", "an empty stack"}},
		{"P30 ADDITEMS on nothing", "\x80\x04(K\x00\x90.", []string{"opcode ADDITEMS", "an empty stack"}},
		{"P37 large int as key", pickled("}\x8a\x09" + u64(0) + "\x01K\x01s"), []string{"an int as a dict key"}},
		{"P31 unknown memo", pickled("h\x05"), []string{"opcode BINGET", "memo entry 5"}},
		{"P31 unknown long memo", pickled("j\xff\xff\xff\xff"), []string{"opcode LONG_BINGET", "memo entry 4294967295"}},
		{"P31 memo fetched before it is stored", pickled("]h\x00q\x00a"), []string{"opcode BINGET", "memo entry 0"}},
		{"P31 two ways to store", "\x80\x04]q\x00\x94.", []string{"opcode MEMOIZE", "both BINPUT and MEMOIZE"}},
		{"P31 two ways to store, the other order", "\x80\x04]\x94q\x00.", []string{"opcode BINPUT",
			"both BINPUT and MEMOIZE"}},
		{"P31 memo 2^32-1, then the next", pickled("]r\xff\xff\xff\xffj\xfe\xff\xff\xff"),
			[]string{"memo entry 4294967294"}},
		{"P32 BINUNICODE 2^32-1", raw("X\xff\xff\xff\xffabc"),
			[]string{"opcode BINUNICODE", "4294967295 bytes", "the 3 that are left"}},
		{"P32 BINUNICODE8 2^62", "\x80\x04\x8d" + u64(1<<62) + "abc",
			[]string{"opcode BINUNICODE8", "4611686018427387904 bytes"}},
		{"P32 BINBYTES8 2^63", "\x80\x04\x8e" + u64(1<<63) + "abc",
			[]string{"opcode BINBYTES8", "9223372036854775808 bytes"}},
		{"P32 BYTEARRAY8 2^64-1", "\x80\x05\x96" + u64(1<<64-1) + "abc",
			[]string{"opcode BYTEARRAY8", "18446744073709551615 bytes"}},
		{"P32 BINBYTES", "\x80\x03B\xff\xff\xff\x7fabc", []string{"opcode BINBYTES"}},
		{"P32 FRAME 2^62", "\x80\x04\x95" + u64(1<<62) + "N.",
			[]string{"opcode FRAME", "a frame of 4611686018427387904 bytes"}},
		{"P32 LONG4 -1", raw("\x8b\xff\xff\xff\xffabc"), []string{"opcode LONG4", "4294967295 bytes"}},
		{"P32 LONG4 1000", raw("\x8b\xe8\x03\x00\x00" + strings.Repeat("\x01", 1000)),
			[]string{"opcode LONG4", "an integer of 1000 bytes", "256"}},
		{"P32 LONG1 cut", raw("\x8a\xffabc"), []string{"opcode LONG1", "255 bytes"}},
		{"P32 argument cut", raw("J\x01"), []string{"opcode BININT", "an argument of 4 bytes", "the 1 that are left"}},
		{"P32 length cut", raw("X\x01"), []string{"opcode BINUNICODE", "an argument of 4 bytes"}},
		{"P32 bad UTF-8", pickled("X\x02\x00\x00\x00\xc0\xaf"), []string{"not UTF-8"}},
		{"P32 surrogate", pickled("X\x03\x00\x00\x00\xed\xa0\x80"), []string{"not UTF-8"}},
		{"P33 no STOP", raw(pSix()), []string{"the end of the pickle", "STOP"}},
		{"P33 two pickles", pickled(pSix()) + pickled("N"), []string{"4 bytes after the end of the pickle"}},
		{"P33 padding", pickled(pSix()) + "\n", []string{"1 bytes after the end of the pickle"}},
		{"P33 STOP on an empty stack", raw("."), []string{"opcode STOP", "an empty stack"}},
		{"P33 STOP with two values", pickled("NN"), []string{"1 more values"}},
		{"P33 STOP over a mark", pickled("(N"), []string{"1 marks"}},
		{"P34 protocol 0", "\x80\x00N.", []string{"opcode PROTO", "pickle protocol 0", "2 to 5"}},
		{"P34 protocol 1", "\x80\x01N.", []string{"pickle protocol 1"}},
		{"P34 protocol 6", "\x80\x06N.", []string{"pickle protocol 6"}},
		{"P34 protocol 255", "\x80\xffN.", []string{"pickle protocol 255"}},
		{"P34 no protocol", "(lp0\n.", []string{"byte 0", "opcode 0x28", "PROTO as the first"}},
		{"P34 protocol twice", pickled("\x80\x02N"), []string{"byte 2", "opcode 0x80"}},
		{"P35 list in itself", pickled("]q\x00h\x00a"), []string{`value "0"`, "contains itself"}},
		{"P35 dict in itself", pickled("}q\x00", pStr("k"), "h\x00s"), []string{`value "k"`, "contains itself"}},
		{"P35 tuple in a list in itself", pickled("]q\x00h\x00\x85a"), []string{`value "0/0"`, "contains itself"}},
		{"P35 far down", pickled("]q\x00", pStr("a"), "a}q\x01", pStr("b"), "h\x00sa"),
			[]string{`value "1/b"`, "contains itself"}},
		{"P36 expansion", pickled(doubled("]", 40)), []string{"counting shared ones each time"}},
		{"P37 list as key", pickled("}]K\x01s"), []string{"opcode SETITEM", "a list as a dict key"}},
		{"P37 tuple as key", pickled("}K\x01\x85K\x01s"), []string{"a tuple as a dict key"}},
		{"P37 None as key", pickled("}NK\x01s"), []string{"None as a dict key"}},
		{"P37 bool as key", pickled("}\x88K\x01s"), []string{"a bool as a dict key"}},
		{"P37 float as key", pickled("}G", strings.Repeat("\x00", 8), "K\x01s"), []string{"a float as a dict key"}},
		{"P37 tensor as key", pickled("}", pSix(), "K\x01s"), []string{"a tensor as a dict key"}},
		{"P38 duplicate key", pickled(pDict(pStr("w"), pSix(), pStr("w"), pSix())), []string{`key "w"`, "two entries"}},
		{"P38 int and text", pickled(pDict(pStr("1"), pSix(), "K\x01", pSix())), []string{`key "1"`, "two entries"}},
		{"P38 name clash", pickled(pDict(pStr("a/b"), pSix(), pStr("a"), pDict(pStr("b"), pSix()))),
			[]string{`tensor "a/b"`, "two of that name"}},
		{"P38 clash of values", pickled(pDict(pStr("w"), pSix(), pStr("a/b"), "K\x01", pStr("a"), pDict(pStr("b"),
			"K\x01"))),
			[]string{`value "a/b"`, "two of that name"}},
		{"P41 unknown opcode", pickled("N\xf0"), []string{"byte 3", "opcode 0xf0", "no opcode"}},
		{"P41 INST", pickled("(ios\nsystem\n"), []string{"opcode INST", "do not use"}},
		{"P41 EXT1", pickled("\x82\x01"), []string{"opcode EXT1"}},
		{"P41 PERSID", pickled("P0\n"), []string{"opcode PERSID"}},
		{"P43 int", pickled("K\x01"), []string{"an int without any tensor"}},
		{"P43 list", pickled("]"), []string{"a list without any tensor"}},
		{"P43 empty dict", pickled("}"), []string{"a dict without any tensor"}},
		{"P43 storage", pickled(pStorage("FloatStorage", "0", 6)), []string{"a storage without any tensor"}},
		{"tensor in a set", pickled(pGlobal("__builtin__", "set"), pTuple("](", pSix(), "e"), "R"),
			[]string{`global "builtins set"`, "a tensor in a set"}},
		{"tensor in a frozenset", "\x80\x04(" + pSix() + "\x91.", []string{"a tensor in a set"}},
		{"OrderedDict of a dict", pickled(pCall("collections", "OrderedDict", "}")),
			[]string{"a dict as argument"}},
		{"OrderedDict of numbers", pickled(pGlobal("collections", "OrderedDict"), pTuple("](K\x01e"), "R"),
			[]string{"an int as key and value"}},
		{"too deep", pickled(strings.Repeat("](", 150), pSix(), strings.Repeat("e", 150)),
			[]string{"nested more than 100 deep"}},
		{"_rebuild_tensor without arguments", pickled(pGlobal("torch._utils", "_rebuild_tensor"), ")R"),
			[]string{"0 arguments", "allowed 4"}},
		{"_rebuild_tensor_v3 without arguments", pickled(pGlobal("torch._utils", "_rebuild_tensor_v3"), ")R"),
			[]string{"0 arguments", "7 to 8"}},
		{"_rebuild_parameter without arguments", pickled(pGlobal("torch._utils", "_rebuild_parameter"), ")R"),
			[]string{"0 arguments", "allowed 3"}},
		{"_rebuild_from_type_v2 without arguments", pickled(pGlobal("torch._tensor", "_rebuild_from_type_v2"), ")R"),
			[]string{"0 arguments", "allowed 4"}},
		{"torch.Size without arguments", pickled(pGlobal("torch", "Size"), ")R"), []string{"0 arguments", "one tuple"}},
		{"Counter of a list", pickled(pGlobal("collections", "Counter"), "]\x85R"), []string{"one dict"}},
		{"set of a tuple", pickled(pGlobal("builtins", "set"), ")\x85R"), []string{"a tuple as argument"}},
		{"set of two", pickled(pGlobal("builtins", "set"), "NN\x86R"), []string{"2 arguments"}},
		{"OrderedDict of two", pickled(pGlobal("collections", "OrderedDict"), "NN\x86R"), []string{"2 arguments"}},
		{"device of three", pickled(pGlobal("torch", "device"), "NNN\x87R"), []string{"3 arguments"}},
		{"tensor as bytes", pickled(pCall("_codecs", "encode", pSix())),
			[]string{`global "_codecs encode"`, "a tensor"}},
		{"subclass with a list", pickled(pCall("torch._tensor", "_rebuild_from_type_v2",
			pGlobal("torch._utils", "_rebuild_tensor_v2"), pGlobal("torch", "Tensor"), "]", "}")),
			[]string{"a list as arguments"}},
	}
}

// doubled nests lists that hold the next one twice, around a value.
func doubled(value string, n int) string {
	return strings.Repeat("](", n) + value + strings.Repeat("q\x00h\x00e", n)
}

// tensorV3 is _rebuild_tensor_v3 of the untyped storage "0" of so many bytes.
func tensorV3(dtype string, bytes, n int64) string {
	storage := strings.Replace(pStorage("UntypedStorage", "0", bytes), "ctorch\n", "ctorch.storage\n", 1)
	return pGlobal("torch._utils", "_rebuild_tensor_v3") +
		pTuple(storage, "K\x00", pInts(n), pInts(1), "\x89", pOrderedDict, pGlobal("torch", dtype)) + "R"
}

func v2WithMetadata(metadata string) string {
	return pGlobal("torch._utils", "_rebuild_tensor_v2") +
		pTuple(pStorage("FloatStorage", "0", 6), "K\x00", pInts(6), pInts(1), "\x89", pOrderedDict, metadata) + "R"
}

// TestPickle_underflow: rule P30, every opcode that needs something on the stack, with less than it needs: nothing, and a value
// that lies under a mark and is not its to take.
func TestPickle_underflow(t *testing.T) {
	argument := map[byte]string{'q': "\x00", 'r': "\x00\x00\x00\x00"}
	for _, code := range []byte("taesub.QRqr\x85\x86\x87\x90\x91\x93\x94") {
		for _, under := range []string{"", "N(", "NN(N"} {
			if under != "" && strings.IndexByte("teu\x90\x91", code) >= 0 { // these take the mark
				continue
			}
			if under == "NN(N" && strings.IndexByte(".qr\x85\x94Q", code) >= 0 { // for these one value is enough
				continue
			}
			t.Run(fmt.Sprintf("%s after %q", opcodes[code].name, under), func(t *testing.T) {
				pickle := "\x80\x04" + under + string([]byte{code}) + argument[code] + "N."
				refusedBytes(t, torchFile(pickle), "opcode "+opcodes[code].name, "on", "stack")
			})
		}
	}
}

// TestPickle_bombs: small files that would like to become large in memory. What they allocate is checked by refused.
func TestPickle_bombs(t *testing.T) {
	const n = 1 << 20
	near, far := &strings.Builder{}, &strings.Builder{}
	for i := range n / 8 {
		near.WriteString("r" + u32(i) + "j" + u32(i))
		far.WriteString("r" + u32(1<<30+i) + "j" + u32(1<<30+i))
	}
	entries := &strings.Builder{}
	for i := range n / 8 {
		entries.WriteString("J" + u32(i) + "N")
	}
	for _, c := range []struct {
		name, pickle string
		want         []string
	}{
		{"lists", pickled(strings.Repeat("]", n)), nil},
		{"deep lists", pickled(strings.Repeat("](", n)), nil},
		{"marks", pickled(strings.Repeat("(", 16*n)), nil},
		{"None", pickled("](" + strings.Repeat("N", n) + "e"), nil},
		{"floats", pickled("](" + strings.Repeat("G\x40\x18\x00\x00\x00\x00\x00\x00", n/4) + "e\xf0"), nil},
		{"empty texts", pickled("](" + strings.Repeat("X\x00\x00\x00\x00", n/4) + "e\xf0"), nil},
		{"big ints", pickled("](" + strings.Repeat("\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01", n/4) + "e\xf0"), nil},
		{"appends", pickled("]" + strings.Repeat("Na", n) + "\xf0"), nil},
		{"tuples", pickled("N" + strings.Repeat("\x85", n) + "\xf0"), nil},
		{"memo by order", "\x80\x04N" + strings.Repeat("\x94", n) + "\xf0", []string{"opcode 0xf0"}},
		{"memo", pickled("N" + near.String() + "\xf0"), nil},
		{"far memo", pickled("N" + far.String() + "\xf0"), []string{"bytes of memory"}},
		{"far memo never stored", pickled(strings.ReplaceAll(far.String(), "r", "j")), []string{"bytes of memory"}},
		{"dict entries", pickled("}(" + entries.String() + "u\xf0"), nil},
		{"dicts", pickled(strings.Repeat("}", n/2) + "\xf0"), nil},
		{"sets", pickled(strings.Repeat("\x8f", n/2) + "\xf0"), nil},
		{"tensors", pickled("](" + pSix() + "q\x00" + strings.Repeat("h\x00", n/8) + "e\xf0"), nil},
		{"doubling", pickled(doubled("]", 90)), []string{"counting shared ones each time"}},
		{"doubling a tensor", pickled(doubled(pSix(), 40)), []string{"bytes of memory"}},
		{"doubling a dict", pickled(strings.Repeat("}("+pStr("a"), 40) + "}" +
			strings.Repeat("q\x00"+pStr("b")+"h\x00u", 40)),
			[]string{"counting shared ones each time"}},
		{"long names", pickled("}" + pStr(strings.Repeat("n", 60_000)) + "](" + pSix() + "q\x00" +
			strings.Repeat("h\x00", 2000) + "es"),
			[]string{"bytes of memory"}},
		{"frames", "\x80\x04" + strings.Repeat("\x95"+u64(0), n/8) + "\xf0", []string{"opcode 0xf0"}},
	} {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, torchFile(c.pickle), c.want...) })
	}
}

// TestPickle_limits lowers the limits that no small file reaches.
func TestPickle_limits(t *testing.T) {
	many := pickled("](", strings.Repeat(pSix(), 10), "e")
	for _, c := range []struct {
		name  string
		lower func(l *limits)
		want  string
	}{
		{"opcodes", func(l *limits) { l.ops = 50 }, "more than 50 opcodes"},
		{"stack", func(l *limits) { l.stack = 9 }, "a stack of more than 9 values"},
		{"pickle", func(l *limits) { l.pickle = 50 }, "at most 50"},
		{"tensors", func(l *limits) { l.tensors = 9 }, "more than 9 tensors"},
		{"all bytes", func(l *limits) { l.total = -32*int64(len(torchFile(many))) + 239 },
			"tensors of more than 239 bytes"},
		{"name", func(l *limits) { l.nameBytes = 0 }, "a name of 1 bytes"},
		{"memory", func(l *limits) { l.slack = -3 * int64(len(torchFile(many))) }, "more than 0 bytes of memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lim := defaultLimits()
			c.lower(&lim)
			_, err := newFile(sourceOf(torchFile(many)), lim)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
