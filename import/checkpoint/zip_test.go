package checkpoint

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sixArchive is a good file; tests change one thing in it.
func sixArchive() archive { return torchArchive(pickled(pSix()), sixFloats()) }

// with gives a good file in which the record of that name was changed.
func with(name string, change func(r *record)) archive {
	a := sixArchive()
	for i := range a.records {
		if a.records[i].name == name {
			change(&a.records[i])
			return a
		}
	}
	panic("no record " + name)
}

const sixRecord = "archive/data/0"

func TestZip_accepted(t *testing.T) {
	renamed := func(prefix string) archive {
		a := sixArchive()
		for i := range a.records {
			a.records[i].name = prefix + strings.TrimPrefix(a.records[i].name, "archive/")
		}
		return a
	}
	more := func(records ...record) archive {
		a := sixArchive()
		a.records = append(a.records, records...)
		return a
	}
	for _, c := range []struct {
		name string
		a    archive
	}{
		{"as torch 1.13 writes it", sixArchive()},
		{"as torch 2.10 writes it", more(
			record{name: "archive/.format_version", data: "1", streamed: true},
			record{name: "archive/.storage_alignment", data: "64", streamed: true},
			record{name: "archive/byteorder", data: "little", streamed: true},
			record{name: "archive/.data/serialization_id", data: "0546423458434574231800007895460213457689",
				streamed: true})},
		{"version in .data", with("archive/version", func(r *record) { r.name = "archive/.data/version" })},
		{"another folder", renamed("my model/")},
		{"a folder in a folder", renamed("a/b/")},
		{"no folder", renamed("")},
		{"P8 a record in another folder", more(record{name: "evil/data/0", data: floats(9, 9, 9, 9, 9, 9)})},
		{"P8 the other one first", archive{records: append([]record{{name: "evil/data/0", data: floats(9, 9, 9, 9,
			9, 9)}}, sixArchive().records...)}},
		{"folders as entries", more(record{name: "archive/"}, record{name: "archive/data/"})},
		{"comment", archive{records: sixArchive().records, comment: "made by hand"}},
		{"longest comment", archive{records: sixArchive().records, comment: strings.Repeat("c", math.MaxUint16)}},
		{"zip64 end record", archive{records: sixArchive().records, zip64: true}},
		{"zip64 end record alone has the numbers", archive{records: sixArchive().records, zip64: true,
			end: put(8, u16(0xffff)+u16(0xffff)+"\xff\xff\xff\xff"+"\xff\xff\xff\xff")}},
		{"P10 deflated storage", with(sixRecord, func(r *record) { r.deflate, r.streamed = true, false })},
		{"P10 deflated pickle", with("archive/data.pkl", func(r *record) { r.deflate = true })},
		{"descriptor without signature", with(sixRecord,
			func(r *record) { r.descriptor = func(d []byte) []byte { return d[4:] } })},
		{"descriptor with 64-bit sizes", with(sixRecord, func(r *record) {
			r.descriptor = func(d []byte) []byte { return []byte(string(d[:8]) + u64(24) + u64(24)) }
		})},
		{"64-bit sizes in both headers", with(sixRecord, func(r *record) {
			r.streamed = false
			wide := u16(extraZip64) + u16(16) + u64(24) + u64(24)
			r.local = func(h []byte) []byte {
				return append(put(28, u16(len(wide)))(put(18, "\xff\xff\xff\xff\xff\xff\xff\xff")(h)), wide...)
			}
			r.central = func(h []byte) []byte {
				return append(put(30, u16(len(wide)))(put(20, "\xff\xff\xff\xff\xff\xff\xff\xff")(h)), wide...)
			}
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := accepted(t, c.a.bytes())
			if diff := cmp.Diff([]float64{0, 1, 2, 3, 4, 5}, values(t, f, "")); diff != "" || f.Kind() != PyTorchZip {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

type archiveCase struct {
	name string
	a    archive
	want []string
}

func TestZip_refused(t *testing.T) {
	for _, c := range refusedArchives() {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, c.a.bytes(), c.want...) })
	}
}

// refusedArchives is the archive half of series P of the hostile inputs.
func refusedArchives() []archiveCase {
	both := func(name string, at int, s string) archive { // in the directory and in the local header
		return with(name, func(r *record) {
			r.streamed = false
			r.central = put(at, s)
			r.local = put(at-2, s)
		})
	}
	central := func(off int, s string) archive { return with(sixRecord, func(r *record) { r.central = put(off, s) }) }
	local := func(off int, s string) archive {
		return with(sixRecord, func(r *record) { r.streamed, r.local = false, put(off, s) })
	}
	named := func(name string) archive {
		a := sixArchive()
		a.records = append(a.records, record{name: name, data: "x"})
		return a
	}
	whole := func(change func(a *archive)) archive {
		a := sixArchive()
		change(&a)
		return a
	}
	hidden := archive{records: []record{{name: "inside", data: "x"}}}.bytes()
	half := pickled(pTensor(pStorage("FloatStorage", "0", 5), 0, pInts(5), pInts(1)))
	return []archiveCase{
		{"P24 half an element", torchArchive(half, stored{"0", floats(0, 1, 2, 3, 4) + "abc"}),
			[]string{`storage "0"`, "5 elements of float32", `the 23 bytes of record "archive/data/0"`}},
		{"P6 no data.pkl", archive{records: []record{{name: "a/b", data: "x"}}},
			[]string{"zip directory", "without data.pkl"}},
		{"P6 npz", archive{records: []record{{name: "a.npy", data: "x"}}}, []string{"numpy .npz"}},
		{"P6 no records", archive{}, []string{"without data.pkl"}},
		{"P4 TorchScript", named("archive/constants.pkl"),
			[]string{`record "archive/constants.pkl"`, "TorchScript", "state_dict"}},
		{"P4 TorchScript code", named("archive/code/__torch__.py"), []string{"TorchScript"}},
		{"P7 two pickles", named("other/data.pkl"),
			[]string{`record "other/data.pkl"`, "a second data.pkl", `"archive/data.pkl"`}},
		{"P7 one name twice", named("archive/data/0"), []string{`record "archive/data/0"`, "two entries of that name"}},
		{"P9 absolute", named("/etc/passwd"), []string{`record "/etc/passwd"`, "absolute"}},
		{"P9 parent", named("archive/../../x"), []string{`record "archive/../../x"`, `".."`}},
		{"P9 parent at the start", named("../x"), []string{`".."`}},
		{"P9 dot", named("archive/./x"), []string{`"."`}},
		{"P9 empty part", named("archive//x"), []string{"an empty"}},
		{"P9 empty", named(""), []string{"an empty name"}},
		{"P9 backslash", named(`archive\data\0`), []string{"backslash"}},
		{"P9 NUL", named("archive/data.pkl\x00.txt"), []string{"NUL"}},
		{"P9 not UTF-8", named("archive/\xff"), []string{"UTF-8"}},
		{"P9 escapes in the message", named("/\x1b[31m\n"), []string{`\x1b[31m\n`}},
		{"P10 ratio", with(sixRecord, func(r *record) {
			r.deflate, r.streamed, r.data = true, false,
				strings.Repeat("\x00", 1<<20)
		}),
			[]string{`record "archive/data/0"`, "1048576 bytes compressed to", "a ratio of at most 200"}},
		{"P11 size of 2^40 in the directory", with(sixRecord, func(r *record) {
			r.central = func(h []byte) []byte {
				wide := u16(extraZip64) + u16(8) + u64(1<<40)
				return append(put(30, u16(len(wide)))(put(24, "\xff\xff\xff\xff")(h)), wide...)
			}
		}), []string{"stored content of 24 bytes with a size of 1099511627776"}},
		{"P11 both sizes 2^40", with(sixRecord, func(r *record) {
			r.central = func(h []byte) []byte {
				wide := u16(extraZip64) + u16(16) + u64(1<<40) + u64(1<<40)
				return append(put(30, u16(len(wide)))(put(20, "\xff\xff\xff\xff\xff\xff\xff\xff")(h)), wide...)
			}
		}), []string{"1099511627776 bytes of content"}},
		{"P11 size over 2^63", with(sixRecord, func(r *record) {
			r.central = func(h []byte) []byte {
				wide := u16(extraZip64) + u16(8) + u64(math.MaxUint64)
				return append(put(30, u16(len(wide)))(put(24, "\xff\xff\xff\xff")(h)), wide...)
			}
		}), []string{"18446744073709551615"}},
		{"P11 short zip64 field", with(sixRecord, func(r *record) {
			r.central = func(h []byte) []byte {
				wide := u16(extraZip64) + u16(4) + u32(1)
				return append(put(30, u16(len(wide)))(put(24, "\xff\xff\xff\xff")(h)), wide...)
			}
		}), []string{"too short"}},
		{"zip64 field twice", with(sixRecord, func(r *record) {
			r.central = func(h []byte) []byte {
				wide := u16(extraZip64) + u16(0) + u16(extraZip64) + u16(0)
				return append(put(30, u16(len(wide)))(h), wide...)
			}
		}), []string{"two extra fields 1"}},
		{"extra field beyond its entry", with(sixRecord, func(r *record) {
			r.central = func(h []byte) []byte { return append(put(30, u16(4))(h), u16(7)+u16(9)...) }
		}), []string{"an extra field of 9 bytes"}},
		{"P12 name", local(30, "archive/data/1"),
			[]string{`name "archive/data/1" in the local header`, `"archive/data/0"`}},
		{"P12 name length", local(26, u16(13)), []string{"in the local header"}},
		{"P12 size", local(22, u32(23)), []string{"size 23 in the local header", "allowed 24"}},
		{"P12 compressed size", local(18, u32(25)), []string{"compressed size 25 in the local header"}},
		{"P12 checksum", local(14, u32(7)), []string{"checksum 00000007 in the local header"}},
		{"P12 method", local(8, u16(8)), []string{"method 8 in the local header", "allowed 0"}},
		{"P12 flags", local(6, u16(0x808)), []string{"flags 0x808 in the local header"}},
		{"P12 encrypted", both(sixRecord, 8, u16(0x801)), []string{"encrypted"}},
		{"P12 encrypted in the directory alone", central(8, u16(0x809)), []string{"encrypted"}},
		{"P12 encrypted locally alone", local(6, u16(0x801)), []string{"flags 0x801 in the local header"}},
		{"P12 method 12", both(sixRecord, 10, u16(12)), []string{"compression method 12"}},
		{"P12 descriptor's checksum", with(sixRecord, func(r *record) { r.descriptor = put(4, u32(1)) }),
			[]string{"a descriptor with the directory's checksum"}},
		{"P12 descriptor's size", with(sixRecord, func(r *record) { r.descriptor = put(12, u32(1)) }),
			[]string{"a descriptor with"}},
		{"P12 no descriptor", with(sixRecord, func(r *record) { r.descriptor = func([]byte) []byte { return nil } }),
			[]string{"a descriptor with"}},
		{"P12 not a local header", local(0, "PK\x05\x04"), []string{"bytes 50 4b 05 04", "a local header"}},
		{"P13 an entry inside another", archive{records: []record{
			{name: "outside", data: string(hidden[:40])},
			{name: "inside", data: "x", central: put(42, u32(localLen+len("outside")))},
		}}, []string{`record "inside"`, "inside another record"}},
		{"P13 two entries, one header", archive{records: []record{
			{name: "archive/data/a", data: "x"},
			{name: "archive/data/b", data: "x", central: put(42, u32(0)), local: func([]byte) []byte { return nil }},
		}}, []string{"inside another record"}},
		{"P13 into the directory", central(20, u32(1000)+u32(1000)), []string{`record "archive/data/0"`}},
		{"header at the end of the file", central(42, u32(400)), []string{`record "archive/data/0"`}},
		{"header beyond the file", central(42, u32(4000)), []string{"reaches into the directory"}},
		{"P16 prefix", whole(func(a *archive) { a.prefix = "#!/bin/sh\nexit\n" }), []string{"a script"}},
		{"P16 prefix that looks like a zip", whole(func(a *archive) { a.prefix = localSig + "        " }),
			[]string{"byte 0", "nothing in front of the archive"}},
		{"P16 prefix without counting it", whole(func(a *archive) {
			a.prefix = localSig + "        "
			a.end = func(e []byte) []byte { return put(16, u32(int(le32(e, 16))-12))(e) }
		}), []string{"zip directory", "put in front of the archive"}},
		{"P16 bytes behind", whole(func(a *archive) { a.trailer = "MZ program" }),
			[]string{"10 bytes after the end record"}},
		{"P16 comment that holds an end record", whole(func(a *archive) {
			a.comment = endSig + strings.Repeat("\x00", 18)
		}), []string{"a directory of 0 bytes at byte 0"}},
		{"bytes between records and directory", whole(func(a *archive) {
			a.middle = "hidden"
			a.end = func(e []byte) []byte { return put(16, u32(int(le32(e, 16))-6))(e) }
		}), []string{"zip directory"}},
		{"several disks", whole(func(a *archive) { a.end = put(4, u16(1)) }), []string{"several parts"}},
		{"several disks in an entry", central(34, u16(1)), []string{"disk 1"}},
		{"more entries than there are", whole(func(a *archive) { a.end = put(8, u16(9)+u16(9)) }),
			[]string{"9 entries in"}},
		{"one entry more", whole(func(a *archive) {
			a.records = append(a.records, record{name: "archive/long name long name long name long name long name",
				data: "x"})
			a.end = put(8, u16(5)+u16(5))
		}), []string{"4 entries", "5, as the end record says"}},
		{"fewer entries", whole(func(a *archive) { a.end = put(8, u16(2)+u16(2)) }), []string{"more than 2 entries"}},
		{"directory entry cut", central(28, u16(1000)), []string{"an entry of 1046 bytes"}},
		{"zip64 record at another place", whole(func(a *archive) { a.zip64, a.end64 = true, put(0, "PK\x06\x05") }),
			[]string{"no zip64 end record"}},
		{"zip64 record disagrees", whole(func(a *archive) { a.zip64, a.end = true, put(8, u16(2)+u16(2)) }),
			[]string{"disagree"}},
		{"zip64 entries 2^63", whole(func(a *archive) {
			a.zip64, a.end64 = true, put(24, u64(1<<63)+u64(1<<63))
			a.end = put(8, u16(0xffff)+u16(0xffff))
		}), []string{"9223372036854775808 entries", "1000000"}},
		{"zip64 directory of 2^62 bytes", whole(func(a *archive) {
			a.zip64, a.end64 = true, put(40, u64(1<<62))
			a.end = put(12, "\xff\xff\xff\xff")
		}), []string{"a directory of 4611686018427387904 bytes"}},
		{"zip64 directory of -1 bytes", whole(func(a *archive) {
			a.zip64, a.end64 = true, put(40, u64(math.MaxUint64))
			a.end = put(12, "\xff\xff\xff\xff")
		}), []string{"a directory of -1 bytes"}},
		{"P40 byte order of the middle", withRecord("archive/byteorder", "middle"),
			[]string{`record "archive/byteorder"`, `"middle"`, `"little" or "big"`}},
		{"P40 byte order of 1 MB", withRecord("archive/byteorder", strings.Repeat("l", 1<<20)),
			[]string{"1048576 bytes", "at most 32"}},
		{"P40 version 999", with("archive/version", func(r *record) { r.data = "999\n" }),
			[]string{`record "archive/version"`, `version "999\n"`, "1 to 10"}},
		{"P40 version 0", with("archive/version", func(r *record) { r.data = "0" }), []string{`version "0"`}},
		{"P40 version text", with("archive/version", func(r *record) { r.data = "three" }), []string{`version "three"`}},
		{"P40 no version", with("archive/version", func(r *record) { r.name = "archive/versions" }),
			[]string{`record "archive/version"`, "no such record"}},
		{"P40 version of 1 MB", with("archive/version", func(r *record) { r.data = strings.Repeat("3", 1<<20) }),
			[]string{"1048576 bytes"}},
	}
}

func withRecord(name, data string) archive {
	a := sixArchive()
	a.records = append(a.records, record{name: name, data: data})
	return a
}

// TestZip_damagedContent: what only reading a record can find. The index of such a file is fine.
func TestZip_damagedContent(t *testing.T) {
	crc := func(name string) archive {
		return with(name, func(r *record) {
			r.streamed = false
			r.central, r.local = put(16, u32(0x1234)), put(14, u32(0x1234))
		})
	}
	part := pickled(pTensor(pStorage("FloatStorage", "0", 6), 1, pInts(2), pInts(1)))
	lying := func(size int, data string) archive {
		return with(sixRecord, func(r *record) {
			r.data, r.deflate, r.streamed = data, true, false
			r.central, r.local = put(24, u32(size)), put(22, u32(size))
		})
	}
	for _, c := range []struct {
		name string
		a    archive
		want []string
	}{
		{"P14 checksum of a storage", crc(sixRecord),
			[]string{`record "archive/data/0": tensor ""`, "checksum", "00001234"}},
		{"P14 checksum of the pickle", crc("archive/data.pkl"), []string{`record "archive/data.pkl"`, "checksum"}},
		{"P14 checksum of the version", crc("archive/version"), []string{`record "archive/version"`, "checksum"}},
		{"P14 no checksum", with(sixRecord, func(r *record) {
			r.streamed = false
			r.central, r.local = put(16, u32(0)), put(14, u32(0))
		}), []string{"checksum", "has none at all"}},
		{"P14 checksum of a storage read in part", func() archive {
			a := crc(sixRecord)
			a.records[0].data = part
			return a
		}(), []string{`record "archive/data/0"`, "checksum"}},
		{"deflate data cut", with(sixRecord, func(r *record) {
			r.deflate, r.streamed = true, false
			r.central, r.local = put(20, u32(10)), put(18, u32(10))
		}), []string{`record "archive/data/0"`, "compressed data that breaks off"}},
		{"P10 more than the directory says", lying(24, strings.Repeat("abcdefgh", 1000)),
			[]string{"holds 25 bytes or more", "allowed 24"}},
		{"P10 less than the directory says", lying(24, "short"), []string{"holds 5 bytes", "allowed 24"}},
	} {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, c.a.bytes(), c.want...) })
	}
	t.Run("P10 sum of the sizes", func(t *testing.T) {
		a := sixArchive()
		for i := range 64 {
			a.records = append(a.records, record{name: fmt.Sprintf("archive/data/z%d", i),
				data: strings.Repeat("abcdefghijklmnop\x00", 15_000), deflate: true})
		}
		for i := range a.records[3:] {
			r := &a.records[3+i]
			r.central, r.local = put(24, u32(120_000)), put(22, u32(120_000)) // a ratio under 200, of which there are many
		}
		refusedBytes(t, a.bytes(), "zip directory", "4 x the file's size")
	})
}

// TestZip_large: rules P15 and P17, sizes that a test can only reach with holes or lowered limits.
func TestZip_large(t *testing.T) {
	t.Run("P15 entries", func(t *testing.T) {
		a := sixArchive()
		for i := range 60_000 {
			a.records = append(a.records, record{name: fmt.Sprint(i)})
		}
		data := a.bytes()
		if f := accepted(t, data); len(f.Names()) != 1 {
			t.Error("a file with many records is read wrongly")
		}
		lim := defaultLimits()
		lim.entries = 60_000
		if _, err := newFile(sourceOf(data), lim); err == nil || !strings.Contains(err.Error(),
			"60003 entries, allowed at most 60000") {
			t.Errorf("got %v", err)
		}
		refusedBytes(t, append(data, 0), "1 bytes after the end record")
	})
	t.Run("P17 pickle", func(t *testing.T) {
		const size = 1 << 30
		grown := func(h []byte, at int) []byte { return put(at, u32(size)+u32(size))(h) }
		head := archive{records: []record{{name: "archive/data.pkl", local: func(h []byte) []byte {
			return grown(h,
				18)
		}}}}.bytes()[:localLen+16]
		tail := archive{records: []record{{name: "archive/data.pkl",
			central: func(h []byte) []byte { return grown(h, 20) }}, {name: "archive/version", data: "3",
			central: func(h []byte) []byte { return put(42, u32(size+localLen+16))(h) }}},
			end: func(e []byte) []byte { return put(16, u32(int(le32(e, 16))+size))(e) }}.bytes()[localLen+16:]
		path := filepath.Join(t.TempDir(), "x.pt")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for off, s := range map[int64][]byte{0: head, localLen + 16 + size: tail} {
			if _, err := file.WriteAt(s, off); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, path, `record "archive/data.pkl"`, "a pickle of 1073741824 bytes", "268435456")
	})
}

// TestZip_noChecksums: torch.save can be told to leave the checksums out. That is a file, and said; one checksum missing
// among others is damage (P14).
func TestZip_noChecksums(t *testing.T) {
	a := sixArchive()
	for i := range a.records {
		a.records[i].central = put(16, u32(0))
		a.records[i].descriptor = put(4, u32(0))
	}
	f := accepted(t, a.bytes())
	if diff := cmp.Diff([]float64{0, 1, 2, 3, 4, 5}, values(t, f, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if notes := f.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "no checksums") {
		t.Errorf("notes %q", notes)
	}
	if n := checkWeights(t, f); n != 1 {
		t.Errorf("%d origins", n)
	}
	a.records[1].deflate, a.records[1].data = true, a.records[1].data+"more"
	a.records[1].central = func(h []byte) []byte { return put(24, u32(24))(put(16, u32(0))(h)) }
	a.records[1].descriptor = func(d []byte) []byte { return put(12, u32(24))(put(4, u32(0))(d)) }
	refusedBytes(t, a.bytes(), `record "archive/data/0"`, "a compressed record that holds 25 bytes or more")
	if notes := accepted(t, sixArchive().bytes()).Notes(); len(notes) != 0 {
		t.Errorf("with checksums: notes %q", notes)
	}
}
