package checkpoint

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPickle_accepted(t *testing.T) {
	six := []float64{0, 1, 2, 3, 4, 5}
	view := func(offset int64, size, stride string) string {
		return pTensor(pStorage("FloatStorage", "0", 6), offset, size, stride)
	}
	param := func(name string, args ...string) string { return pGlobal("torch._utils", name) + pTuple(args...) + "R" }
	for _, c := range []struct {
		name, pickle string
		want         arrays
	}{
		{"bare tensor", pickled(pSix()), arrays{"": six}},
		{"dict", pickled(pDict(pStr("w"), pSix(), pStr("n"), "K\x01")), arrays{"w": six}},
		{"int keys", pickled(pDict("K\x07", pSix(), pInt(-1), pSix())), arrays{"7": six, "-1": six}},
		{"nested", pickled(pDict(pStr("a"), "]("+pSix()+pTuple(pSix())+"e")), arrays{"a/0": six, "a/1/0": six}},
		{"empty key", pickled(pDict(pStr(""), pDict(pStr(""), pSix()))), arrays{"/": six}},
		{"P28 one tensor twice", pickled("](", pSix(), "q\x00h\x00e"), arrays{"0": six, "1": six}},
		{"shared container", pickled("](](", pSix(), "eq\x00h\x00e"), arrays{"0/0": six, "1/0": six}},
		{"transposed", pickled(view(0, pInts(3, 2), pInts(1, 3))), arrays{"": {0, 3, 1, 4, 2, 5}}},
		{"expanded", pickled(view(5, pInts(2, 2), pInts(0, 0))), arrays{"": {5, 5, 5, 5}}},
		{"overlapping", pickled(view(1, pInts(3, 3), pInts(1, 1))), arrays{"": {1, 2, 3, 2, 3, 4, 3, 4, 5}}},
		{"scalar", pickled(view(4, ")", ")")), arrays{"": {4}}},
		{"empty at the end", pickled(view(6, pInts(0, 5), pInts(5, 1))), arrays{"": {}}},
		{"stride of a dimension of 1", pickled(view(2, pInts(1, 2), pInts(1<<62, 1))), arrays{"": {2, 3}}},
		{"size in torch.Size", pickled(view(0, pCall("torch", "Size", pInts(6)), pInts(1))), arrays{"": six}},
		{"_rebuild_tensor", pickled(param("_rebuild_tensor", pStorage("FloatStorage", "0", 6), "K\x02", pInts(2),
			pInts(1))), arrays{"": {2, 3}}},
		{"metadata that asks for nothing", pickled(v2WithMetadata(pDict(pStr("conj"), "\x89", pStr("neg"),
			"\x89"))), arrays{"": six}},
		{"metadata None", pickled(v2WithMetadata("N")), arrays{"": six}},
		{"untyped storage as floats", pickled(tensorV3("float32", 24, 6)), arrays{"": six}},
		{"untyped storage as uint16", pickled(tensorV3("uint16", 24, 4)), arrays{"": {0, 0, 0, 0x3f80}}},
		{"untyped storage with metadata", pickled(strings.TrimSuffix(tensorV3("float32", 24, 6), "tR") + "NtR"),
			arrays{"": six}},
		{"empty set", pickled("](", pSix(), pCall("builtins", "set"), "e"), arrays{"0": six}},
		{"parameter", pickled(param("_rebuild_parameter", pSix(), "\x88", pOrderedDict)), arrays{"": six}},
		{"parameter with state", pickled(param("_rebuild_parameter_with_state", pSix(), "\x88", pOrderedDict, "}")),
			arrays{"": six}},
		{"tensor with attributes", pickled(pCall("torch._tensor", "_rebuild_from_type_v2",
			pGlobal("torch._utils", "_rebuild_tensor_v2"), pGlobal("torch", "Tensor"),
			pTuple(pStorage("FloatStorage", "0", 6), "K\x00", pInts(6), pInts(1), "\x89", pOrderedDict),
			pDict(pStr("tag"), "K\x01"))), arrays{"": six}},
		{"P23 another device", pickled(strings.Replace(pSix(), pStr("cpu"), pStr("cuda:9"), 1)), arrays{"": six}},
		{"OrderedDict of pairs", pickled(pGlobal("collections", "OrderedDict") + pTuple("](](", pStr("a"), pSix(),
			"e", pTuple(pStr("b"), pSix()), "e") + "R"), arrays{"a": six, "b": six}},
		{"attributes of an OrderedDict", pickled(pOrderedDict, pStr("w"), pSix(), "s", pDict(pStr("_metadata"),
			pOrderedDict), "b"), arrays{"w": six}},
		{"P31 far memo", pickled("](", pSix(), "r\xff\xff\xff\xffj\xff\xff\xff\xffe"), arrays{"0": six, "1": six}},
		{"memo by order", "\x80\x04](N\x94" + pSix() + "\x94\x88\x94h\x01e.", arrays{"1": six, "3": six}},
		{"memo stored again", pickled("](Nq\x00", pSix(), "q\x00h\x00e"), arrays{"1": six, "2": six}},
		{"Python 2 strings", pickled(pDict("U\x01w", pSix(), "T\x01\x00\x00\x00v", pSix(), pStr("bytes"),
			"U\x01\xff")), arrays{"w": six, "v": six}},
		{"P34 protocol 4 with a frame", "\x80\x04\x95" + u64(uint64(len(pSix())+1)) + pSix() + ".", arrays{"": six}},
		{"P34 protocol 5 with everything", "\x80\x05" + "](" + pSix() + "\x94" + "\x8f\x94(K\x01\x90" +
			"(K\x01\x91" + "C\x01x" + "\x8e" + u64(1) + "x" + "\x96" + u64(1) + "x" +
			"\x8c\x01t" + "\x8d" + u64(1) + "t" + "\x8c\x05torch\x8c\x04Size\x93" + "e.", arrays{"0": six}},
		{"other values", pickled("](", pSix(), pCall("torch", "device", pStr("cuda"), "K\x00"),
			pGlobal("__builtin__", "set"), pTuple("](K\x01e"), "R",
			pCall("_codecs", "encode", pStr("x"), pStr("latin1")), pGlobal("torch", "float8_e5m2"),
			pStorage("FloatStorage", "0", 6), "N", "e"), arrays{"0": six}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := accepted(t, torchFile(c.pickle))
			got := arrays{}
			for _, name := range f.Names() {
				got[name] = values(t, f, name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPickle_metadata(t *testing.T) {
	long := strings.Repeat("x", 1025)
	list := "](" + strings.Repeat("K\x05", 65) + "e"
	f := accepted(t, torchFile(pickled(pDict(pStr("w"), pSix(),
		pStr("long"), pStr(long), pStr("list"), list, pStr("short"), "](K\x05e", pStr("none"), "N",
		pStr("big"), "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x80", pStr("minus"), "\x8a\x02\x00\x80",
		pStr("zero"), "\x8a\x00",
		pStr("float"), "G\xbf\xf8\x00\x00\x00\x00\x00\x00", pStr("true"), "\x88", pStr("text"), pStr("été")))))
	want := map[string]string{
		"short/0": "5", "big": "-2361183241434822606848" /* -2^71 */, "minus": "-32768", "zero": "0",
		"float": "-1.5", "true": "true", "text": "été",
	}
	if diff := cmp.Diff(want, f.Metadata()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.Metadata()["text"] = "changed"
	if f.Metadata()["text"] != "été" {
		t.Error("the caller's map is the file's")
	}
}
