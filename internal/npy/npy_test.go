package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// file assembles an .npy of any version around a dict and data, without padding.
func file(major byte, dict string, data ...byte) []byte {
	out := append([]byte(magic), major, 0)
	if major == 1 {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(dict)))
	} else {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(dict)))
	}
	return append(append(out, dict...), data...)
}

func dict(descr, order, shape string) string {
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape)
}

// TestTypes: -2 (unsigned: 2) and 1 in every type and both byte orders; the bytes are written down by hand.
func TestTypes(t *testing.T) {
	for _, c := range []struct {
		descr string
		data  []byte
		dtype tensor.DType
		want  []float64
	}{
		{"<f2", []byte{0, 0xc0, 0, 0x3c}, tensor.Float16, []float64{-2, 1}},
		{">f2", []byte{0xc0, 0, 0x3c, 0}, tensor.Float16, []float64{-2, 1}},
		{"<f4", []byte{0, 0, 0, 0xc0, 0, 0, 0x80, 0x3f}, tensor.Float32, []float64{-2, 1}},
		{">f4", []byte{0xc0, 0, 0, 0, 0x3f, 0x80, 0, 0}, tensor.Float32, []float64{-2, 1}},
		{"<f8", []byte{0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, tensor.Float64, []float64{-2, 1}},
		{">f8", []byte{0xc0, 0, 0, 0, 0, 0, 0, 0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0}, tensor.Float64, []float64{-2, 1}},
		{"|i1", []byte{0xfe, 1}, tensor.Int8, []float64{-2, 1}},
		{"<i1", []byte{0xfe, 1}, tensor.Int8, []float64{-2, 1}},
		{"<i2", []byte{0xfe, 0xff, 1, 0}, tensor.Int16, []float64{-2, 1}},
		{">i2", []byte{0xff, 0xfe, 0, 1}, tensor.Int16, []float64{-2, 1}},
		{"<i4", []byte{0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 0}, tensor.Int32, []float64{-2, 1}},
		{">i4", []byte{0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1}, tensor.Int32, []float64{-2, 1}},
		{"<i8", []byte{0xfe, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0}, tensor.Int64, []float64{-2, 1}},
		{">i8", []byte{255, 255, 255, 255, 255, 255, 255, 0xfe, 0, 0, 0, 0, 0, 0, 0, 1}, tensor.Int64, []float64{-2, 1}},
		{"|u1", []byte{2, 1}, tensor.Uint8, []float64{2, 1}},
		{"<u2", []byte{2, 0, 1, 0}, tensor.Uint16, []float64{2, 1}},
		{">u2", []byte{0, 2, 0, 1}, tensor.Uint16, []float64{2, 1}},
		{"<u4", []byte{2, 0, 0, 0, 1, 0, 0, 0}, tensor.Uint32, []float64{2, 1}},
		{"<u8", []byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, tensor.Uint64, []float64{2, 1}},
		{"|b1", []byte{0, 7}, tensor.Bool, []float64{0, 1}},
	} {
		got, err := decode(file(1, dict(c.descr, "False", "(2,)"), c.data...))
		if err != nil {
			t.Errorf("%s: %v", c.descr, err)
			continue
		}
		if got.DType != c.dtype {
			t.Errorf("%s: read as %s, want %s", c.descr, got.DType, c.dtype)
		}
		if diff := cmp.Diff(c.want, got.Float64s()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.descr, diff)
		}
	}
}

func TestLayouts(t *testing.T) {
	six := []byte{1, 2, 3, 4, 5, 6}
	for _, c := range []struct {
		name string
		file []byte
		want []int
		data []byte
	}{
		{"row-major", file(1, dict("|u1", "False", "(2, 3)"), six...), []int{2, 3}, six},
		// Column by column: [[1,3,5],[2,4,6]].
		{"column-major", file(1, dict("|u1", "True", "(2, 3)"), six...), []int{2, 3}, []byte{1, 3, 5, 2, 4, 6}},
		// Element (i,j,k) of (1,2,3) stands at j + 2k.
		{"column-major, rank 3", file(1, dict("|u1", "True", "(1, 2, 3)"), six...), []int{1, 2, 3}, []byte{1, 3, 5, 2, 4, 6}},
		{"column-major, big-endian", file(1, dict(">u2", "True", "(1, 2)"), 0, 1, 0, 2), []int{1, 2}, []byte{1, 0, 2, 0}},
		{"column-major, empty", file(1, dict("<f8", "True", "(2, 0)")), []int{2, 0}, []byte{}},
		{"scalar", file(1, dict("|u1", "False", "()"), 9), []int{}, []byte{9}},
		{"column-major scalar", file(1, dict("|u1", "True", "()"), 9), []int{}, []byte{9}},
		{"no elements", file(1, dict("<f8", "False", "(0, 7)")), []int{0, 7}, []byte{}},
		{"version 2", file(2, dict("|u1", "False", "(6,)"), six...), []int{6}, six},
		{"version 3", file(3, dict("|u1", "False", "(6,)"), six...), []int{6}, six},
		{"other order, other quotes, no last comma",
			file(1, `{"shape":(3,2),"descr":"|u1","fortran_order":False}`, six...), []int{3, 2}, six},
		{"as Python 2 wrote it", file(1, dict("|u1", "False", "(6L,)"), six...), []int{6}, six},
		{"padding", file(1, dict("|u1", "False", "(3, 2,)")+"    \n", six...), []int{3, 2}, six},
	} {
		got, err := decode(c.file)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got.Shape); diff != "" {
			t.Errorf("%s: shape (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.data, got.Data); diff != "" {
			t.Errorf("%s: data (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	good := dict("<f4", "False", "(1,)")
	one := []byte{0, 0, 0x80, 0x3f}
	for _, c := range []struct {
		name string
		file []byte
		want string // part of the message
	}{
		{"nothing", nil, `starts with ""`},
		{"another format", []byte("PK\x03\x04aaaaaaaa"), `starts with "PK`},
		{"only the magic", []byte(magic), "want a version"},
		{"version 0", file(0, good, one...), "version 0.0"},
		{"version 4", file(4, good, one...), "version 4.0"},
		{"version 1.1", append([]byte(magic), 1, 1, 0, 0), "version 1.1"},
		{"ends in the length", append([]byte(magic), 2, 0, 1, 0), "ends inside its length"},
		{"ends in the dict", file(1, good, one...)[:20], "are left in the file"},
		{"a dict of 4 GB", append([]byte(magic), 2, 0, 255, 255, 255, 255), "claims 4294967295 bytes"},
		{"a dict of 1 MB", file(2, good+strings.Repeat(" ", 1<<20), one...), "want at most 65536"},
		{"not UTF-8", file(1, "{'descr': '\xff4'}"), "UTF-8"},
		{"no dict", file(1, "[]"), `want "{"`},
		{"an empty dict", file(1, "{}"), `no key "descr"`},
		{"no shape", file(1, "{'descr': '<f4', 'fortran_order': False}", one...), `no key "shape"`},
		{"no order", file(1, "{'descr': '<f4', 'shape': ()}", one...), `no key "fortran_order"`},
		{"descr twice", file(1, "{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': ()}", one...), "stands twice"},
		{"an unknown key", file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x\ty': 1}", one...),
			`unknown key "x\ty"`},
		{"code in place of a value", file(1, "{'descr': __import__('os')}"), "want a quoted string"},
		{"an escape", file(1, `{'descr': '\x3cf4'}`), "escape"},
		{"a string without an end", file(1, "{'descr': '<f4"), "without an end"},
		{"something after the dict", file(1, good+"x", one...), "after the dict"},
		{"a second dict", file(1, good+good, one...), "after the dict"},
		{"no colon", file(1, "{'descr' '<f4'}"), `want ":"`},
		{"no comma", file(1, "{'descr': '<f4' 'shape': ()}"), `want "}"`},
		{"an object array", file(1, dict("|O", "False", "(1,)"), one...), `"descr" is "|O"`},
		{"a structure", file(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", one...), "structured"},
		{"a string type", file(1, dict("<U4", "False", "()"), one...), `"descr" is "<U4"`},
		{"a complex type", file(1, dict("<c8", "False", "()"), one...), `"descr" is "<c8"`},
		{"no byte order", file(1, dict("|f4", "False", "()"), one...), `"descr" is "|f4"`},
		{"the machine's byte order", file(1, dict("=f4", "False", "()"), one...), `"descr" is "=f4"`},
		{"order as a number", file(1, "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", one...), "want True or False"},
		{"shape as a number", file(1, dict("<f4", "False", "1"), one...), `want "("`},
		{"shape as a list", file(1, dict("<f4", "False", "[1]"), one...), `want "("`},
		{"a number in brackets", file(1, dict("<f4", "False", "(1)"), one...), `want ","`},
		{"a negative dimension", file(1, dict("<f4", "False", "(-1,)"), one...), "want a number"},
		{"an octal dimension", file(1, dict("<f4", "False", "(01,)"), one...), "want a number"},
		{"only a comma", file(1, dict("<f4", "False", "(,)"), one...), "want a number"},
		{"a dimension of 30 digits", file(1, dict("<f4", "False", "("+strings.Repeat("9", 30)+",)"), one...), "above"},
		{"65 dimensions", file(1, dict("<f4", "False", "("+strings.Repeat("1,", 65)+")"), one...), "more than 64"},
		{"a product that overflows", file(1, dict("<f4", "False", "(4294967296, 4294967296)"), one...), "more than"},
		{"an overflow beside a zero", file(1, dict("<f4", "False", "(0, 4294967296, 4294967296)")), "more than"},
		{"bytes that overflow", file(1, dict("<f8", "False", fmt.Sprintf("(%d,)", math.MaxInt)), one...), "more than"},
		{"8 TB claimed", file(1, dict("<f8", "False", "(1048576, 1048576)"), one...), "has 4 bytes, but"},
		{"too little data", file(1, good, one[:3]...), "has 3 bytes, but (1) of float32 takes 4"},
		{"too much data", file(1, good, append(one, 0)...), "has 5 bytes, but"},
	} {
		got, err := decode(c.file)
		if err == nil {
			t.Errorf("%s: accepted as %v", c.name, got)
			continue
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v is no *Error", c.name, err)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, want %q in it", c.name, err, c.want)
		}
	}
}

// TestEncode compares with what numpy.save writes for np.zeros((2,3),'<f4') and for a scalar.
func TestEncode(t *testing.T) {
	for _, c := range []struct {
		shape []int
		dtype tensor.DType
		dict  string
	}{
		{[]int{2, 3}, tensor.Float32, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"},
		{[]int{}, tensor.Bool, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }"},
		{[]int{5}, tensor.Int64, "{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }"},
		{[]int{0, 1}, tensor.Uint8, "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 1), }"},
	} {
		in, err := tensor.New(c.dtype, c.shape)
		if err != nil {
			t.Fatal(err)
		}
		got := Encode(in)
		if len(got)-len(in.Data) != 128 {
			t.Errorf("%s: the data starts at %d, want 128", c.dict, len(got)-len(in.Data))
		}
		if want := magic + "\x01\x00\x76\x00" + c.dict; string(got[:len(want)]) != want {
			t.Errorf("starts with %q, want %q", got[:len(want)], want)
		}
		if got[127] != '\n' {
			t.Errorf("%s: the header ends in %q, want a line end", c.dict, got[127])
		}
	}
}

func TestEncodeWidensBFloat16(t *testing.T) {
	in, err := tensor.FromFloat64s(tensor.BFloat16, []int{2}, []float64{1.5, math.Inf(-1)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(Encode(in))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in.Float64s(), got.Float64s()); diff != "" || got.DType != tensor.Float32 {
		t.Errorf("%s (-want +got):\n%s", got.DType, diff)
	}
}

func TestRead(t *testing.T) {
	in, err := tensor.FromInt64s([]int{2}, []int64{-1, 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	data := Encode(in)
	got, err := Read(strings.NewReader(string(data)), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, size := range []int64{int64(len(data)) - 1, int64(len(data)) + 1, 1 << 50} {
		if got, err := Read(strings.NewReader(string(data)), size); err == nil {
			t.Errorf("%d bytes read as %d: %v", len(data), size, got)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a\nb.npy")
	if err := os.WriteFile(path, file(1, dict("|u1", "False", "(2,)"), 1, 2), 0o666); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]byte{1, 2}, got.Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path, []byte("text"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), `a\nb.npy": header: starts with "text"`) {
		t.Errorf("a text file: %v", err)
	}
	if _, err := ReadFile(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	var e *Error
	if _, err := ReadFile(dir); !errors.As(err, &e) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := ReadNPZ(dir); !errors.As(err, &e) {
		t.Errorf("a directory as .npz: %v", err)
	}
}
