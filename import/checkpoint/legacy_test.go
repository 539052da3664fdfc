package checkpoint

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// legacyFile is what torch.save wrote before 1.6, in parts that tests replace.
type legacyFile struct{ magic, version, info, object, keys, data string }

func sixLegacy() legacyFile {
	return legacyFile{
		magic:   pickled("\x8a\x0a" + legacyMagic),
		version: pickled("M\xe9\x03"),
		info: pickled(pDict(pStr("protocol_version"), "M\xe9\x03", pStr("little_endian"), "\x88",
			pStr("type_sizes"), "}")),
		object: pickled(pDict(pStr("w"), pSix())),
		keys:   pickled("](", pStr("0"), "e"),
		data:   u64(6) + floats(0, 1, 2, 3, 4, 5),
	}
}

func (f legacyFile) bytes() []byte {
	return []byte(f.magic + f.version + f.info + f.object + f.keys + f.data)
}

// legacyStorage has the sixth value of a persistent id, the view.
func legacyStorage(class, key string, numel int64, view string) string {
	return pTuple(pStr("storage"), pGlobal("torch", class), pStr(key), pStr("cpu"), pInt(numel), view) + "Q"
}

func TestLegacy_accepted(t *testing.T) {
	two := sixLegacy()
	two.object = pickled("](", pTensor(legacyStorage("ByteStorage", "b", 2, "N"), 0, pInts(2), pInts(1)),
		pTensor(legacyStorage("FloatStorage", "a", 1, "N"), 0, pInts(1), pInts(1)), "e")
	two.keys = pickled("](", pStr("a"), pStr("b"), "e")
	two.data = u64(1) + floats(2.5) + u64(2) + "\x07\x09"
	protocol4 := sixLegacy()
	protocol4.magic = "\x80\x04\x95" + u64(13) + protocol4.magic[2:]
	for _, c := range []struct {
		name string
		file legacyFile
		want arrays
	}{
		{"one storage", sixLegacy(), arrays{"w": {0, 1, 2, 3, 4, 5}}},
		{"storages in the order of the keys", two, arrays{"0": {7, 9}, "1": {2.5}}},
		{"magic number in protocol 4", protocol4, arrays{"w": {0, 1, 2, 3, 4, 5}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := accepted(t, c.file.bytes())
			got := arrays{}
			for _, name := range f.Names() {
				got[name] = values(t, f, name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || f.Kind() != PyTorchLegacy {
				t.Errorf("%s (-want +got):\n%s", f.Kind(), diff)
			}
		})
	}
}

func TestLegacy_refused(t *testing.T) {
	change := func(f func(l *legacyFile)) legacyFile {
		l := sixLegacy()
		f(&l)
		return l
	}
	for _, c := range []struct {
		name string
		file legacyFile
		want []string
	}{
		{"another protocol version", change(func(l *legacyFile) { l.version = pickled("M\xea\x03") }),
			[]string{"protocol version", "1001"}},
		{"protocol version is a text", change(func(l *legacyFile) { l.version = pickled(pStr("1001")) }),
			[]string{"protocol version", "a str"}},
		{"big-endian", change(func(l *legacyFile) { l.info = pickled(pDict(pStr("little_endian"), "\x89")) }),
			[]string{"system info", "little-endian"}},
		{"no system info", change(func(l *legacyFile) { l.info = pickled("N") }), []string{"system info"}},
		{"a call in the system info", change(func(l *legacyFile) { l.info = pickled(pOrderedDict) }),
			[]string{"system info, byte 2", `global "collections OrderedDict"`}},
		{"a call of anything", change(func(l *legacyFile) {
			l.object = pickled(pGlobal("os", "system"),
				pTuple(pStr("id")), "R")
		}),
			[]string{"object, byte 2", `global "os system"`}},
		{"whole module", change(func(l *legacyFile) {
			l.object = pickled(pTuple(pStr("module"), pGlobal("torch.nn", "Linear"), "NN"), "Q")
		}), []string{`global "torch.nn Linear"`}},
		{"whole module, as torch saves it", change(func(l *legacyFile) {
			l.object = pickled(pGlobal("torch.nn.modules.linear", "Linear"), ")\x81}b")
		}), []string{"object, byte 2", `global "torch.nn.modules.linear Linear"`, "state_dict"}},
		{"unknown opcode", change(func(l *legacyFile) { l.object = "\x80\x02\xf0." }), []string{"object", "opcode 0xf0"}},
		{"endless text", change(func(l *legacyFile) { l.object = "\x80\x02X\xff\xff\xff\xff" }),
			[]string{"object", "4294967295 bytes"}},
		{"text beyond the file", change(func(l *legacyFile) { l.object = "\x80\x02X\xff\xff\x00\x00" }),
			[]string{"object", "the end of the file"}},
		{"a line without an end", change(func(l *legacyFile) { l.object, l.keys, l.data = "\x80\x02cos", "", "" }),
			[]string{"object", "the end of the file"}},
		{"cut in a length", change(func(l *legacyFile) { l.object, l.keys, l.data = "\x80\x02X\x01", "", "" }),
			[]string{"object", "the end of the file"}},
		{"no keys", change(func(l *legacyFile) { l.keys = pickled("]"); l.data = "" }),
			[]string{"storage keys", "0 keys", "1, one for each storage"}},
		{"keys in a tuple", change(func(l *legacyFile) { l.keys = pickled(pTuple(pStr("0"))) }),
			[]string{"storage keys", "a tuple"}},
		{"a key nobody uses", change(func(l *legacyFile) { l.keys = pickled("](", pStr("0"), pStr("1"), "e") }),
			[]string{`storage "1"`, "does not use"}},
		{"a key twice", change(func(l *legacyFile) { l.keys = pickled("](", pStr("0"), pStr("0"), "e") }),
			[]string{`storage "0"`, "a second mention"}},
		{"another number of elements", change(func(l *legacyFile) { l.data = u64(5) + l.data[8:] }),
			[]string{`storage "0"`, "5 elements", "6, as in the object"}},
		{"cut in a storage", change(func(l *legacyFile) { l.data = l.data[:20] }),
			[]string{`storage "0"`, "20 bytes left", "32 for 6 elements"}},
		{"bytes behind", change(func(l *legacyFile) { l.data += "x" }), []string{"1 bytes after the last storage"}},
		{"more elements than the file has bytes", change(func(l *legacyFile) {
			l.object = pickled(pTensor(legacyStorage("FloatStorage", "0", 1<<40, "N"), 0, pInts(1), pInts(1)))
		}), []string{`storage "0"`, "1099511627776 elements"}},
		{"view of a storage", change(func(l *legacyFile) {
			l.object = pickled(pTensor(legacyStorage("FloatStorage", "0", 6, pTuple(pStr("1"), "K\x00", "K\x01")),
				0, pInts(1), pInts(1)))
		}), []string{`storage "0"`, "a storage that is a view", "torch >= 1.6"}},
		{"no tensor", change(func(l *legacyFile) { l.object, l.keys, l.data = pickled("}"), pickled("]"), "" }),
			[]string{"object", "a dict without any tensor"}},
	} {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, c.file.bytes(), c.want...) })
	}
	t.Run("many small opcodes", func(t *testing.T) {
		l := sixLegacy()
		l.object = pickled("](", strings.Repeat("K\x01", 1<<20), "e\xf0")
		refusedBytes(t, l.bytes(), "object", "opcode 0xf0")
	})
}
