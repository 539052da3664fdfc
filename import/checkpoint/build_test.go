package checkpoint

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// Builders for files no library would write. Everything is explicit: a test changes one thing and leaves the rest correct.

func u16(v int) string { return string(binary.LittleEndian.AppendUint16(nil, uint16(v))) }
func u32(v int) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(v))) }
func u64(v uint64) string {
	return string(binary.LittleEndian.AppendUint64(nil, v))
}

// record is one file of an archive. The hooks change the finished headers.
type record struct {
	name, data string
	deflate    bool
	streamed   bool // sizes and checksum follow the content, as PyTorch writes them
	extra      string
	central    func(h []byte) []byte
	local      func(h []byte) []byte
	descriptor func(d []byte) []byte
}

type archive struct {
	prefix  string // in front of the first header; offsets count it
	records []record
	middle  string // between the last record and the directory
	comment string
	trailer string
	end     func(e []byte) []byte
	zip64   bool
	end64   func(e []byte) []byte
}

func (a archive) bytes() []byte {
	var out, dir bytes.Buffer
	out.WriteString(a.prefix)
	for _, r := range a.records {
		off := out.Len()
		content, method := r.data, 0
		if r.deflate {
			var z bytes.Buffer
			w, _ := flate.NewWriter(&z, flate.BestCompression)
			w.Write([]byte(r.data))
			w.Close()
			content, method = z.String(), methodDeflate
		}
		flags, crc := 0x800, int(crc32.ChecksumIEEE([]byte(r.data)))
		sizes := u32(crc) + u32(len(content)) + u32(len(r.data))
		localSizes := sizes
		if r.streamed {
			flags |= flagDescriptor
			localSizes = u32(0) + u32(0) + u32(0)
		}
		h := []byte(localSig + u16(20) + u16(flags) + u16(method) + u16(0) + u16(0) + localSizes +
			u16(len(r.name)) + u16(len(r.extra)) + r.name + r.extra)
		c := []byte(centralSig + u16(20) + u16(20) + u16(flags) + u16(method) + u16(0) + u16(0) + sizes +
			u16(len(r.name)) + u16(0) + u16(0) + u16(0) + u16(0) + u32(0) + u32(off) + r.name)
		d := []byte(nil)
		if r.streamed {
			d = []byte(descriptorSig + sizes)
		}
		for _, hook := range []struct {
			bytes  *[]byte
			change func([]byte) []byte
		}{{&h, r.local}, {&c, r.central}, {&d, r.descriptor}} {
			if hook.change != nil {
				*hook.bytes = hook.change(*hook.bytes)
			}
		}
		out.Write(h)
		out.WriteString(content)
		out.Write(d)
		dir.Write(c)
	}
	out.WriteString(a.middle)
	start := out.Len()
	out.Write(dir.Bytes())
	n := len(a.records)
	if a.zip64 {
		at := out.Len()
		e := []byte(end64Sig + u64(end64Len-12) + u16(45) + u16(45) + u32(0) + u32(0) + u64(uint64(n)) + u64(uint64(n)) +
			u64(uint64(dir.Len())) + u64(uint64(start)))
		if a.end64 != nil {
			e = a.end64(e)
		}
		out.Write(e)
		out.WriteString(end64LocatorSig + u32(0) + u64(uint64(at)) + u32(1))
	}
	e := []byte(endSig + u16(0) + u16(0) + u16(n) + u16(n) + u32(dir.Len()) + u32(start) + u16(len(a.comment)) + a.comment)
	if a.end != nil {
		e = a.end(e)
	}
	out.Write(e)
	out.WriteString(a.trailer)
	return out.Bytes()
}

// put overwrites bytes of a header from off on.
func put(off int, s string) func([]byte) []byte {
	return func(h []byte) []byte {
		copy(h[off:], s)
		return h
	}
}

// stored is a storage's key and bytes.
type stored struct{ key, data string }

// torchArchive is what torch.save writes around a pickle.
func torchArchive(pickle string, storages ...stored) archive {
	a := archive{records: []record{{name: "archive/data.pkl", data: pickle, streamed: true, extra: "FB" + u16(3) + "ZZZ"}}}
	for _, s := range storages {
		a.records = append(a.records, record{name: "archive/data/" + s.key, data: s.data, streamed: len(s.data) > 0})
	}
	a.records = append(a.records, record{name: "archive/version", data: "3\n", streamed: true})
	return a
}

// torchFile is an archive with one storage of 6 floats, 0 to 5, under the key "0".
func torchFile(pickle string) []byte { return torchArchive(pickle, sixFloats()).bytes() }

func sixFloats() stored { return stored{"0", floats(0, 1, 2, 3, 4, 5)} }

func floats(values ...float32) string {
	b := &bytes.Buffer{}
	binary.Write(b, binary.LittleEndian, values)
	return b.String()
}

// Pickle opcodes as text, protocol 2 as torch.save writes it.

func pickled(parts ...string) string { return "\x80\x02" + strings.Join(parts, "") + "." }

func pStr(s string) string { return "X" + u32(len(s)) + s }

func pInt(v int64) string {
	if v == int64(int32(v)) {
		return "J" + u32(int(int32(v)))
	}
	return "\x8a\x08" + u64(uint64(v))
}

func pTuple(parts ...string) string { return "(" + strings.Join(parts, "") + "t" }

func pInts(values ...int64) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = pInt(v)
	}
	return pTuple(parts...)
}

func pGlobal(module, name string) string { return "c" + module + "\n" + name + "\n" }

func pDict(keysAndValues ...string) string { return "}(" + strings.Join(keysAndValues, "") + "u" }

func pStorage(class, key string, numel int64) string {
	return pTuple(pStr("storage"), pGlobal("torch", class), pStr(key), pStr("cpu"), pInt(numel)) + "Q"
}

// pCall is a call through REDUCE.
func pCall(module, name string, arguments ...string) string {
	return pGlobal(module, name) + pTuple(arguments...) + "R"
}

// pPid is the tuple of a persistent id of a FloatStorage, from its key on.
func pPid(rest ...string) string {
	return pTuple(pStr("storage"), pGlobal("torch", "FloatStorage"), strings.Join(rest, ""))
}

const pOrderedDict = "ccollections\nOrderedDict\n)R"

// pTensor is _rebuild_tensor_v2 of a storage.
func pTensor(storage string, offset int64, size, stride string) string {
	return pGlobal("torch._utils", "_rebuild_tensor_v2") +
		pTuple(storage, pInt(offset), size, stride, "\x89", pOrderedDict) + "R"
}

// pSix is the 6-element tensor of torchFile.
func pSix() string { return pTensor(pStorage("FloatStorage", "0", 6), 0, pInts(6), pInts(1)) }

// safetensorsFile puts the length in front of a header.
func safetensorsFile(header, data string) []byte {
	return []byte(u64(uint64(len(header))) + header + data)
}

// entry describes one float32 tensor of n elements in a safetensors header.
func stEntry(name string, begin, n int) string {
	return fmt.Sprintf(`%s:{"dtype":"F32","shape":[%d],"data_offsets":[%d,%d]}`, name, n, begin, begin+4*n)
}

func sourceOf(data []byte) source { return source{r: bytes.NewReader(data), size: int64(len(data))} }
