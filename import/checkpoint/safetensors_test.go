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

type headerCase struct {
	name   string
	header string
	data   string
	want   []string
}

func TestSafetensors_refused(t *testing.T) {
	for _, c := range refusedHeaders() {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, safetensorsFile(c.header, c.data), c.want...) })
	}
}

// refusedHeaders is series S of the hostile inputs: what a header can get wrong. The limits are the format's, the rest
// follows from "a header describes every byte once".
func refusedHeaders() []headerCase {
	one := func(fields string) string { return `{"w":{` + fields + `}}` }
	const f32 = `"dtype":"F32",`
	return []headerCase{
		{"S7 not UTF-8", "{\"\xff\":1}", "", []string{"header, byte 2", "0xff", "UTF-8"}},
		{"S8 brace only", `{`, "", []string{"header, byte 1", "the end of the header"}},
		{"S8 cut in a key", `{"w`, "", []string{"header, byte 3", "the end of the string"}},
		{"S8 cut in an escape", `{"w\u00`, "", []string{"header, byte 3", "the escape"}},
		{"S8 cut in a tensor", `{"w":{"dtype":"F32","shape":[2],`, "", []string{"header, byte 32", "a key in quotes"}},
		{"S8 cut behind an escape", `{"w\u0041`, "", []string{"header, byte 9", "the end of the string"}},
		{"S8 no colon", `{"w" 1}`, "", []string{"header, byte 5", "a colon"}},
		{"S8 no comma", `{"w":{"dtype":"F32" "shape":[]}}`, "", []string{"header, byte 20",
			"a comma or the end of the object"}},
		{"S8 no comma in an array", `{"w":{"shape":[1 2]}}`, "", []string{"header, byte 17",
			"a comma or the end of the array"}},
		{"S8 number for an array", `{"w":{"shape":1}}`, "", []string{"header, byte 14", "an array of numbers"}},
		{"S8 number for a type", `{"w":{"dtype":1}}`, "", []string{"header, byte 14", "the name of an element type"}},
		{"S9 array", `[]`, "", []string{"header, byte 0", `found "["`, "an object"}},
		{"S9 null", `null`, "", []string{"header, byte 0", `found "n"`, "an object"}},
		{"S9 string", `"x"`, "", []string{"header, byte 0", "an object"}},
		{"S9 null tensor", `{"w":null}`, "", []string{`tensor "w"`, "an object"}},
		{"S10 two values", `{}{}`, "", []string{"header, byte 2", "nothing after"}},
		{"S10 padding of zeros", "{}\x00\x00", "", []string{"header, byte 2", `"\x00"`}},
		{"S10 trailing comma", `{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]},}`, "1234",
			[]string{"header, byte 53", "a key in quotes"}},
		{"S11 deep nesting", `{"__metadata__":{"k":` + strings.Repeat("[", 1_000_000), "",
			[]string{"header, byte 21", "a text in quotes"}},
		{"S11 deep tensor", `{"w":{"shape":` + strings.Repeat("[", 1_000_000), "",
			[]string{"header, byte 15", "a plain decimal number"}},
		{"S12 duplicate tensor", `{` + stEntry(`"a"`, 0, 1) + `,` + stEntry(`"a"`, 4, 1) + `}`, "12345678",
			[]string{`key "a"`, "the first is at byte 1", "header, byte 54"}},
		{"S13 duplicate dtype", one(`"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]`), "1234",
			[]string{`tensor "w"`, "a second dtype"}},
		{"S13 duplicate shape", one(f32 + `"shape":[],"shape":[],"data_offsets":[0,4]`), "1234",
			[]string{"a second shape"}},
		{"S13 duplicate data_offsets", one(f32 + `"shape":[],"data_offsets":[0,4],"data_offsets":[0,4]`), "1234",
			[]string{"a second data_offsets"}},
		{"S14 duplicate metadata key", `{"__metadata__":{"k":"1","k":"2"}}`, "",
			[]string{`key "k"`, "the first is at byte 17"}},
		{"S14 metadata twice", `{"__metadata__":{},"__metadata__":{}}`, "",
			[]string{`key "__metadata__"`, "the first is at byte 1"}},
		{"S15 case", one(`"DTYPE":"F32","shape":[],"data_offsets":[0,4]`), "1234",
			[]string{`the field "DTYPE"`, "dtype, shape, data_offsets"}},
		{"S15 unknown field", one(f32 + `"shape":[],"data_offsets":[0,4],"order":"C"`), "1234",
			[]string{`the field "order"`}},
		{"S16 overlong UTF-8", "{\"a\xc0\xaf\":1}", "", []string{"header, byte 3", "UTF-8"}},
		{"S16 lone high surrogate", `{"\ud800":1}`, "", []string{"header, byte 2", "the escape", "surrogates in pairs"}},
		{"S16 lone low surrogate", `{"\udc00":1}`, "", []string{"the escape"}},
		{"S16 two high surrogates", `{"\ud800\ud800":1}`, "", []string{"the escape"}},
		{"S16 unknown escape", `{"\x41":1}`, "", []string{"the escape"}},
		{"S16 bad hex digit", `{"\u00g0":1}`, "", []string{"the escape"}},
		{"S16 control character", "{\"a\nb\":1}", "", []string{"header, byte 3", "control characters"}},
		{"S16 control character after an escape", "{\"\\ta\nb\":1}", "", []string{"header, byte 5", "control characters"}},
		{"S17 escaped duplicate", `{` + stEntry(`"a"`, 0, 1) + `,` + stEntry(`"\u0061"`, 4, 1) + `}`, "12345678",
			[]string{`key "a"`, "the first is at byte 1"}},
		{"S18 number as metadata", `{"__metadata__":{"k":1}}`, "",
			[]string{`key "__metadata__"`, "header, byte 21", "a text in quotes"}},
		{"S19 trailing space", one(`"dtype":"F32 ","shape":[],"data_offsets":[0,4]`), "1234",
			[]string{`dtype "F32 "`, "F32, F64, F16, BF16"}},
		{"S19 lower case", one(`"dtype":"f32","shape":[],"data_offsets":[0,4]`), "1234", []string{`dtype "f32"`, "BOOL"}},
		{"S19 unknown", one(`"dtype":"F4","shape":[],"data_offsets":[0,4]`), "1234", []string{`dtype "F4"`, "U64, BOOL"}},
		{"S19 float8", one(`"dtype":"F8_E4M3","shape":[],"data_offsets":[0,1]`), "1", []string{`dtype "F8_E4M3"`}},
		{"S20 negative", one(f32 + `"shape":[-1],"data_offsets":[0,4]`), "1234",
			[]string{`the number "-1"`, "plain decimal"}},
		{"S20 fraction", one(f32 + `"shape":[1.5],"data_offsets":[0,4]`), "1234", []string{`the number "1.5"`}},
		{"S20 exponent", one(f32 + `"shape":[1e2],"data_offsets":[0,4]`), "1234", []string{`the number "1e2"`}},
		{"S20 plus", one(f32 + `"shape":[+1],"data_offsets":[0,4]`), "1234", []string{`the number "+1"`}},
		{"S20 leading zero", one(f32 + `"shape":[01],"data_offsets":[0,4]`), "1234", []string{`the number "01"`}},
		{"S20 hexadecimal", one(f32 + `"shape":[0x1],"data_offsets":[0,4]`), "1234", []string{`found "x"`}},
		{"S20 text", one(f32 + `"shape":["2"],"data_offsets":[0,4]`), "1234", []string{`found "\""`, "plain decimal"}},
		{"S20 2^64", one(f32 + `"shape":[18446744073709551616],"data_offsets":[0,4]`), "1234",
			[]string{"at most 9223372036854775807"}},
		{"S20 2^63", one(f32 + `"shape":[9223372036854775808],"data_offsets":[0,4]`), "1234",
			[]string{"at most 9223372036854775807"}},
		{"S20 100 digits", one(f32 + `"shape":[` + strings.Repeat("7", 101) + `],"data_offsets":[0,4]`), "1234",
			[]string{"at most 9223372036854775807", "(101 bytes)"}},
		{"S21 product", one(f32 + `"shape":[2,9223372036854775807],"data_offsets":[0,4]`), "1234",
			[]string{"shape (2,9223372036854775807)"}},
		{"S21 bytes", one(f32 + `"shape":[4611686018427387904],"data_offsets":[0,4]`), "1234", []string{"more than"}},
		{"S22 zero first", one(f32 + `"shape":[0,18446744073709551615],"data_offsets":[0,0]`), "",
			[]string{"at most 9223372036854775807"}},
		{"S22 zero last", one(f32 + `"shape":[18446744073709551615,2,0],"data_offsets":[0,0]`), "",
			[]string{"at most 9223372036854775807"}},
		{"S22 zero and a product", one(f32 + `"shape":[0,4611686018427387904,4],"data_offsets":[0,0]`), "",
			[]string{"more than"}},
		{"S23 rank", one(f32 + `"shape":[` + strings.Repeat("1,", 100_000) + `1],"data_offsets":[0,4]`), "1234",
			[]string{`tensor "w"`, "at most 16"}},
		{"S24 no offsets", one(f32 + `"shape":[],"data_offsets":[]`), "1234", []string{"two data_offsets (0)"}},
		{"S24 one offset", one(f32 + `"shape":[],"data_offsets":[0]`), "1234", []string{"two data_offsets (1)"}},
		{"S24 three offsets", one(f32 + `"shape":[],"data_offsets":[0,4,4]`), "1234", []string{"at most 2"}},
		{"S24 backwards", one(f32 + `"shape":[],"data_offsets":[4,0]`), "1234",
			[]string{"data_offsets [4, 0]", "begin <= end <= 4"}},
		{"S24 negative", one(f32 + `"shape":[],"data_offsets":[-4,0]`), "1234", []string{`the number "-4"`}},
		{"S24 beyond the file", one(f32 + `"shape":[4],"data_offsets":[0,16]`), "1234",
			[]string{"data_offsets [0, 16]", "<= 4"}},
		{"S24 missing dtype", one(`"shape":[],"data_offsets":[0,4]`), "1234", []string{"without its dtype"}},
		{"S24 missing shape", one(f32 + `"data_offsets":[0,4]`), "1234", []string{"all three fields"}},
		{"S25 size", one(f32 + `"shape":[2],"data_offsets":[0,4]`), "1234",
			[]string{"data_offsets [0, 4], 4 bytes", "8 bytes for float32 (2)"}},
		{"S26 overlap", `{` + stEntry(`"a"`, 0, 2) + `,` + stEntry(`"b"`, 4, 1) + `}`, "12345678",
			[]string{`tensor "b"`, "an overlap", `tensor "a" ends at 8`}},
		{"S27 hole", `{` + stEntry(`"a"`, 0, 1) + `,` + stEntry(`"b"`, 8, 1) + `}`, "123456789012",
			[]string{`tensor "b"`, "a hole", `tensor "a" ends at 4`}},
		{"S27 hole in front", `{` + stEntry(`"a"`, 4, 1) + `}`, "12345678", []string{"a hole", "the header ends at 0"}},
		{"S28 trailing bytes", `{` + stEntry(`"a"`, 0, 1) + `}`, "1234PK\x03\x04",
			[]string{"data, byte 4", "4 bytes after the last tensor"}},
		{"S28 no tensor, data", `{}`, "1234", []string{"4 bytes after the last tensor"}},
		{"S29 cut short", `{` + stEntry(`"a"`, 0, 2) + `}`, "123456", []string{`tensor "a"`, "<= 6"}},
		{"S34 long name", `{` + stEntry(`"`+strings.Repeat("n", 1_000_000)+`"`, 0, 1) + `}`, "1234",
			[]string{"a name of 1000000 bytes", "65536"}},
	}
}

func TestSafetensors_length(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       []string
	}{
		{"S1 empty file", "", []string{"0 bytes", "8 bytes"}},
		{"S2 7 bytes", "\x02\x00\x00\x00\x00\x00\x00", []string{"7 bytes"}},
		{"S3 zero", u64(0) + "{}", []string{"0 bytes", "header is empty"}},
		{"S3 zero alone", u64(0), []string{"header is empty"}},
		{"S4 2^64-1", u64(math.MaxUint64) + "{}", []string{"18446744073709551615", "100000000"}},
		{"S4 2^64-1 without a header", u64(math.MaxUint64), []string{"no known format", "100000000"}},
		{"S4 2^63", u64(1<<63) + "{}", []string{"9223372036854775808", "100000000"}},
		{"S6 beyond the file", u64(1000) + "{}", []string{"1000 bytes", "the file's other 2"}},
		{"S6 one byte beyond", u64(3) + "{}", []string{"3 bytes", "the file's other 2"}},
	} {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, []byte(c.data), c.want...) })
	}
}

// TestSafetensors_sparse: rule S5, a header one byte over the limit in a file that has it, made of a hole.
func TestSafetensors_sparse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.safetensors")
	if err := os.WriteFile(path, []byte(u64(100_000_001)), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8+100_000_001); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "100000001 bytes", "at most 100000000")
}

func TestSafetensors_accepted(t *testing.T) {
	scalar := `"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}`
	for _, c := range []struct {
		name, header, data string
		want               arrays
	}{
		{"no tensors", `{}`, "", arrays{}},
		{"S10 padding", " \t\r\n{" + scalar + "} \t\r\n", floats(2), arrays{"s": {2}}},
		{"spaces between tokens",
			"{ \"s\" :\n{ \"data_offsets\" : [ 0 , 4 ] ,\t\"shape\" : [ ] , \"dtype\" : \"F32\" } }", floats(2),
			arrays{"s": {2}}},
		{"S30 two empty tensors at one place", `{` + stEntry(`"a"`, 0, 0) + `,` + stEntry(`"b"`, 0, 0) + `,` +
			scalar + `,` + stEntry(`"c"`, 4, 0) + `}`,
			floats(3), arrays{"a": {}, "b": {}, "c": {}, "s": {3}}},
		{"S31 scalar", `{` + scalar + `}`, floats(-1), arrays{"s": {-1}}},
		{"S32 odd header length", `{` + scalar + `}   `, floats(7), arrays{"s": {7}}},
		{"not in the order of the data", `{` + stEntry(`"b"`, 4, 1) + `,` + stEntry(`"a"`, 0, 1) + `}`, floats(1, 2),
			arrays{"a": {1}, "b": {2}}},
		{"S34 names nobody would choose", `{` + stEntry(`"\u0000\n\u001b[31m"`, 0, 1) + `,` +
			stEntry(`"../../etc/passwd"`, 4, 1) + `,` +
			stEntry(`"\ud83d\ude00\"\\\/\b\f\r\t"`, 8, 1) + `,` + stEntry(`""`, 12, 1) + `}`, floats(1, 2, 3, 4),
			arrays{"\x00\n\x1b[31m": {1}, "../../etc/passwd": {2}, "😀\"\\/\b\f\r\t": {3}, "": {4}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := accepted(t, safetensorsFile(c.header, c.data))
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

// TestSafetensors_many: rules S18, S26 and S33, headers with very many entries, in linear time and bounded memory.
func TestSafetensors_many(t *testing.T) {
	const n = 100_000
	var good, overlap, metadata strings.Builder
	for i := range n {
		fmt.Fprintf(&good, `,"t%d":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}`, i, 4*i, 4*i+4)
		fmt.Fprintf(&overlap, `,"t%d":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}`, i)
		fmt.Fprintf(&metadata, `,"key %d":"value %d"`, i, i)
	}
	t.Run("S33 tensors", func(t *testing.T) {
		f := accepted(t, safetensorsFile("{"+good.String()[1:]+"}", strings.Repeat(floats(5), n)))
		if len(f.Names()) != n || values(t, f, "t99999")[0] != 5 {
			t.Errorf("%d tensors", len(f.Names()))
		}
	})
	t.Run("S18 metadata", func(t *testing.T) {
		f := accepted(t, safetensorsFile(`{"__metadata__":{`+metadata.String()[1:]+"}}", ""))
		if m := f.Metadata(); len(m) != n || m["key 77"] != "value 77" {
			t.Errorf("%d entries", len(m))
		}
	})
	t.Run("S26 overlaps", func(t *testing.T) {
		refusedBytes(t, safetensorsFile("{"+overlap.String()[1:]+"}", strings.Repeat("x", 16)), `tensor "t1"`,
			"an overlap", `tensor "t0"`)
	})
	t.Run("error behind many tensors", func(t *testing.T) {
		refusedBytes(t, safetensorsFile("{"+good.String()[1:]+",}", strings.Repeat(floats(5), n)), "a key in quotes")
	})
	t.Run("tensor cap", func(t *testing.T) {
		lim := defaultLimits()
		lim.tensors = 2
		_, err := newFile(sourceOf(safetensorsFile(`{`+stEntry(`"a"`, 0, 1)+`,`+stEntry(`"b"`, 4,
			1)+`,`+stEntry(`"c"`, 8, 1)+`}`, floats(1, 2, 3))), lim)
		if err == nil || !strings.Contains(err.Error(), "at most 2") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("keys that hide from the count", func(t *testing.T) {
		entry := func(i int) string {
			return fmt.Sprintf(`"t%d":{"dtype":"F32","shape":[1],"data\u005foffsets":[%d,%d]}`, i, 4*i, 4*i+4)
		}
		f := accepted(t, safetensorsFile(`{`+entry(0)+`,`+entry(1)+`,`+entry(2)+`}`, floats(1, 2, 3)))
		if values(t, f, "t2")[0] != 3 {
			t.Error("wrong value")
		}
	})
}
