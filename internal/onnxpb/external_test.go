package onnxpb

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// entries makes external_data of "key=value" texts.
func entries(list ...string) []*StringStringEntryProto {
	var out []*StringStringEntryProto
	for _, text := range list {
		key, value, _ := strings.Cut(text, "=")
		out = append(out, &StringStringEntryProto{Key: key, Value: value})
	}
	return out
}

// outside is a tensor of two float32 whose data is external.
func outside(list ...string) *TensorProto {
	return &TensorProto{Name: "w\x1b", DataType: 1, Dims: []int64{2}, DataLocation: TensorProto_EXTERNAL,
		ExternalData: entries(list...)}
}

// readers are the ways to a tensor's data; all of them must refuse the same.
func readers(p *TensorProto, dir string) map[string]error {
	_, err1 := ReadTensor(p, dir)
	w, err2 := InitializerWeight(p, dir)
	if err2 == nil {
		_, err2 = w.Array()
	}
	_, err3 := WeightsDigest(&GraphProto{Initializer: []*TensorProto{p}}, dir)
	return map[string]error{"ReadTensor": err1, "InitializerWeight": err2, "WeightsDigest": err3}
}

func wantRefused(t *testing.T, p *TensorProto, dir, want string) {
	t.Helper()
	for name, err := range readers(p, dir) {
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v is no *Error", name, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, `tensor "w\x1b"`) ||
			strings.ContainsAny(text, "\x1b\x00\n") {
			t.Errorf("%s: error %q does not say %q and which tensor, in print", name, text, want)
		}
	}
}

// Rules X1, X2, X3, X8, X9 of docs/hostile.md: what the entries say.
func TestExternal_hostileEntries(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "model")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(parent, "canary"), filepath.Join(dir, "w"), filepath.Join(dir, "sub", "w")} {
		if err := os.WriteFile(name, make([]byte, 16), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const relative = "want a relative path that stays in the model's folder"
	const plainPath = "want a plain path to a file"
	tests := []struct {
		entries []string
		want    string
	}{
		{[]string{"location=../canary"}, relative},
		{[]string{"location=sub/../../canary"}, relative},
		{[]string{"location=./w"}, plainPath},
		{[]string{"location=sub/./w"}, plainPath},
		{[]string{"location=sub/../w"}, plainPath},
		{[]string{"location=sub//w"}, plainPath},
		{[]string{"location=" + filepath.ToSlash(filepath.Join(parent, "canary"))}, "want "},
		{[]string{"location=/etc/passwd"}, relative},
		{[]string{`location=C:\x`}, "no drive, scheme or stream"},
		{[]string{"location=C:/x"}, "no drive, scheme or stream"},
		{[]string{`location=\\host\share`}, "no drive, scheme or stream"},
		{[]string{"location=file:///etc/passwd"}, "no drive, scheme or stream"},
		{[]string{"location=w:stream"}, "no drive, scheme or stream"},
		{[]string{"location="}, relative},
		{[]string{"location=."}, plainPath},
		{[]string{"location=.."}, relative},
		{[]string{"location=sub/"}, plainPath},
		{[]string{"location=w\x00.bin"}, "no drive, scheme or stream"},
		{[]string{"location=sub"}, "is not a regular file (d"},
		{[]string{"location=none"}, "no such file"},
		{[]string{"location=w/w"}, "data file"},
		{[]string{"location=" + strings.Repeat("n", 5000)}, "data file"},
		{[]string{"offset=0"}, "external_data names no location"},
		{nil, "external_data names no location"},
		{[]string{"location=w", "location=sub/w"}, `two entries "location"`},
		{[]string{"location=w", "offset=0", "offset=0"}, `two entries "offset"`},
		{[]string{"location=w", "basepath=/"}, `an entry "basepath", want location, offset, length or checksum`},
		{[]string{"location=w", "__class__=x"}, `an entry "__class__"`},
		{[]string{"location=w", strings.Repeat("k", 5000) + "=x"}, strings.Repeat("k", 100) + `..."`},
		{[]string{"location=w", "checksum=1234"}, "want 40 hexadecimal digits"},
		{[]string{"location=w", "offset=9", "length=8"}, "has 16 bytes, want offset 9 + length 8 within them"},
		{[]string{"location=w", "offset=17"}, "has 16 bytes, want offset 17"},
		{[]string{"location=w", "offset=9223372036854775807"}, "has 16 bytes, want offset 9223372036854775807"},
		{[]string{"location=w", "length=7"}, "external_data's length is 7, want 8 for float32 (2)"},
		{[]string{"location=w", "length=9"}, "external_data's length is 9, want 8 for float32 (2)"},
		{[]string{"location=w", "length=0"}, "external_data's length is 0, want 8 for float32 (2)"},
	}
	for _, number := range []string{"-1", "0x10", " 8", "8 ", "+8", "1e3", "", "8_0", "٨", "9223372036854775808", "18446744073709551616"} {
		tests = append(tests,
			struct {
				entries []string
				want    string
			}{[]string{"location=w", "offset=" + number}, fmt.Sprintf("external_data's offset is %q, want a decimal number", number)},
			struct {
				entries []string
				want    string
			}{[]string{"location=w", "length=" + number}, fmt.Sprintf("external_data's length is %q, want a decimal number", number)})
	}
	for _, test := range tests {
		t.Run(strings.Join(test.entries, " "), func(t *testing.T) { wantRefused(t, outside(test.entries...), dir, test.want) })
	}
	wantRefused(t, outside("location=w"), "", "the data is in another file")
	wantRefused(t, outside("location=w"), filepath.Join(parent, "none"), "no such file")
	many := outside("location=w")
	for i := range 100_000 {
		many.ExternalData = append(many.ExternalData, &StringStringEntryProto{Key: fmt.Sprintf("k%d", i)})
	}
	wantRefused(t, many, dir, `an entry "k0"`)
}

// What else contradicts the entries.
//
// Rule X8 of docs/hostile.md.
func TestExternal_hostileTensors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w"), make([]byte, 16), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		change func(p *TensorProto)
		want   string
	}{
		{func(p *TensorProto) { p.RawData = make([]byte, 8) }, "in another file and in raw_data"},
		{func(p *TensorProto) { p.FloatData = make([]float32, 2) }, "in another file and in float_data"},
		{func(p *TensorProto) { p.DataLocation = TensorProto_DEFAULT }, "data_location says that the data is in the model"},
		{func(p *TensorProto) { p.DataLocation = 7 }, "data_location says that the data is in the model"},
		{func(p *TensorProto) { p.DataType = 8 }, "the data type is STRING"},
		{func(p *TensorProto) { p.DataType = 99 }, "the data type is data type 99"},
		{func(p *TensorProto) { p.Dims = []int64{5} }, "has 16 bytes, want offset 0 + length 20"},
		{func(p *TensorProto) { p.Dims = []int64{-1} }, "dims[0] is -1"},
		{func(p *TensorProto) { p.Dims = []int64{math.MaxInt64, 2} }, "more than"},
		{func(p *TensorProto) { p.Dims = []int64{math.MaxInt64 / 4} }, "has 16 bytes"},
		{func(p *TensorProto) { p.Dims = make([]int64, 17) }, "17 dimensions, want at most 16"},
	} {
		p := outside("location=w", "offset=0")
		test.change(p)
		wantRefused(t, p, dir, test.want)
	}
}

// Rules X4, X5, X6: what the name leads to. Opening must not wait for anybody either.
func TestExternal_hostileFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links and pipes of another kind")
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(filepath.Join(parent, "secret"), make([]byte, 16), 0o644), os.WriteFile(at("w"), make([]byte, 16), 0o644),
		os.Symlink("../secret", at("escape")), os.Symlink(filepath.Join(parent, "secret"), at("absolute")), os.Symlink("escape", at("chain")),
		os.Symlink("..", at("up")), os.Symlink("nowhere", at("dangling")), os.Symlink("loop", at("loop")),
		os.Link(filepath.Join(parent, "secret"), at("hard")), os.Symlink("w", at("inside")), makePipe(at("pipe"))); err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]string{
		"escape": "escapes", "absolute": "escapes", "chain": "escapes", "up/secret": "escapes", "dangling": "no such file",
		"loop": "data file", "hard": "has 2 hard links, want one name", "pipe": "is not a regular file (p",
	} {
		t.Run(location, func(t *testing.T) { wantRefused(t, outside("location="+location), dir, want) })
	}
	for name, err := range readers(outside("location=inside"), dir) {
		if err != nil {
			t.Errorf("%s: a link that stays in the folder: %v", name, err)
		}
	}
}

// Rule X15: a checksum, which is of the whole file, is held against it when a tensor is read.
func TestExternal_checksum(t *testing.T) {
	dir := t.TempDir()
	content := []byte("twelve bytes")
	if err := os.WriteFile(filepath.Join(dir, "w"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%X", sha1.Sum(content))
	for name, err := range readers(outside("location=w", "offset=4", "checksum="+sum), dir) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	content[0] ^= 1 // outside the tensor
	if err := os.WriteFile(filepath.Join(dir, "w"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, outside("location=w", "offset=4", "checksum="+sum), dir,
		fmt.Sprintf("its SHA-1 is %x, want %s, as external_data has it", sha1.Sum(content), strings.ToLower(sum)))
}

// Rule X12: what was checked first may have been swapped when it is read.
func TestExternal_swappedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := os.WriteFile(path, make([]byte, 8), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := InitializerWeight(outside("location=w"), dir)
	if err != nil {
		t.Fatal(err)
	}
	for want, swap := range map[string]func() error{
		"has 4 bytes":            func() error { return os.WriteFile(path, make([]byte, 4), 0o644) },
		"no such file":           func() error { return nil },
		"is not a regular file ": func() error { return os.Mkdir(path, 0o755) },
	} {
		if err := errors.Join(os.RemoveAll(path), swap()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Array(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

// A file that becomes shorter between two pieces is an error, not zeros.
func TestExternal_shrinkingFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := os.WriteFile(path, make([]byte, 3*pieceSize), 0o644); err != nil {
		t.Fatal(err)
	}
	p := outside("location=w")
	p.Dims = []int64{3 * pieceSize / 4}
	w, err := InitializerWeight(p, dir)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Parts(func(*tensor.Tensor) error { return os.Truncate(path, pieceSize+1) })
	if err == nil || !strings.Contains(err.Error(), "became shorter while it was read") {
		t.Errorf("error %v", err)
	}
}

// Rule X10: tensors may share bytes of a file; each is read on its own.
func TestExternal_shared(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w"), []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40}, 0o644); err != nil {
		t.Fatal(err)
	}
	folder := NewFolder(dir)
	for offset, want := range map[string][]float64{"0": {1, 2}, "4": {2, 3}} {
		w, err := folder.Weight(outside("location=w", "offset="+offset))
		if err != nil {
			t.Fatal(err)
		}
		a, err := w.Array()
		if err != nil || a.Data[0] != want[0] || a.Data[1] != want[1] {
			t.Errorf("at offset %s: %v, error %v, want %v", offset, a.Data, err, want)
		}
	}
}

// Rule X11: a model may name 4096 files.
func TestFolder_manyFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"first", "one more"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 8), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folder := NewFolder(dir)
	if _, err := folder.Weight(outside("location=first")); err != nil {
		t.Fatal(err)
	}
	for i := range maxDataFiles - 1 {
		folder.files[fmt.Sprint(i)] = &dataFile{size: 8} // as if it had looked at them
	}
	if _, err := folder.Weight(outside("location=one more")); err == nil || !strings.Contains(err.Error(), "more than 4096 files") {
		t.Errorf("one file more: error %v", err)
	}
	if _, err := folder.Weight(outside("location=first")); err != nil {
		t.Errorf("a file that is known: %v", err)
	}
}

// External data is found wherever a tensor can be.
func TestHasExternalData(t *testing.T) {
	p := outside("location=w")
	inNode := []*NodeProto{{Attribute: []*AttributeProto{{T: p}}}}
	for name, m := range map[string]*ModelProto{
		"initialiser": {Graph: &GraphProto{Initializer: []*TensorProto{p}}},
		"attribute":   {Graph: &GraphProto{Node: inNode}},
		"list":        {Graph: &GraphProto{Node: []*NodeProto{{Attribute: []*AttributeProto{{Tensors: []*TensorProto{p}}}}}}},
		"sub-graph":   {Graph: &GraphProto{Node: []*NodeProto{{Attribute: []*AttributeProto{{G: &GraphProto{Node: inNode}}}}}}},
		"sparse":      {Graph: &GraphProto{SparseInitializer: []*SparseTensorProto{{Indices: p}}}},
		"function":    {Graph: &GraphProto{}, Functions: []*FunctionProto{{Node: inNode}}},
		"default":     {Graph: &GraphProto{}, Functions: []*FunctionProto{{AttributeProto: []*AttributeProto{{T: p}}}}},
	} {
		data, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if !HasExternalData(data) {
			t.Errorf("%s: not found", name)
		}
		if HasExternalData(data[:len(data)-1]) {
			t.Errorf("%s: found in bytes that are no model", name)
		}
	}
	plain, err := Encode(inMemory(t, everyField(t), someWeights(tensor.Float32)))
	if err != nil || HasExternalData(plain) {
		t.Errorf("found where there is none, error %v", err)
	}
}

func TestDataFiles(t *testing.T) {
	m := &ModelProto{Graph: &GraphProto{Initializer: []*TensorProto{outside("location=b"), outside("location=../c"),
		{Name: "inside", DataType: 1, Dims: []int64{0}}, outside("location=a/a"), outside("location=b")}}}
	data := encode(t, m)
	if diff := cmp.Diff([]string{"b", "a/a"}, DataFiles(data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	m.Graph.Initializer = m.Graph.Initializer[2:3]
	for name, data := range map[string][]byte{"no data file": encode(t, m), "no model": data[:len(data)-1],
		"two models": append(data, data...)} {
		if got := DataFiles(data); got != nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A tensor whose data would take gigabytes is described without reading any of it.
func TestInitializerWeight_lazy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w")
	if err := errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 8<<30)); err != nil {
		t.Skip("no sparse files here:", err)
	}
	p := outside("location=w", "offset=8")
	p.Dims = []int64{1 << 10, 1 << 20}
	before := heap()
	w, err := InitializerWeight(p, dir)
	if err != nil {
		t.Fatal(err)
	}
	if took := heap() - before; took > 1<<20 {
		t.Errorf("describing it took %d bytes", took)
	}
	if w.Len() != 1<<30 || w.Origin().Offset != 8 || w.Origin().Path != path {
		t.Errorf("is %v elements at %v", w.Shape(), w.Origin())
	}
	enough := errors.New("enough")
	if err := w.Parts(func(*tensor.Tensor) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("a reader that has enough: error %v", err)
	}
}

// FuzzExternalData feeds any entries to the reader in a folder with files inside and outside. Nothing may panic, and what
// is read is the file inside.
func FuzzExternalData(f *testing.F) {
	parent := f.TempDir()
	dir := filepath.Join(parent, "model")
	inside := []byte("inside..inside..")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "w"), inside, 0o644),
		os.WriteFile(filepath.Join(parent, "w"), []byte("outside.outside."), 0o644)); err != nil {
		f.Fatal(err)
	}
	for _, list := range [][]string{{"location=w", "offset=0", "length=8"}, {"location=../w"}, {"location=w", "offset=-1"},
		{"location=w", "checksum=00"}, {"location=model/../../w"}} {
		data, err := proto.Marshal(outside(list...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &TensorProto{}
		if proto.Unmarshal(data, p) != nil {
			return
		}
		v, err := ReadTensor(p, dir)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("error %v is no *Error", err)
		}
		if err == nil && isExternal(p) && len(v.Data) > 0 && !strings.Contains(string(inside), string(v.Data)) {
			t.Fatalf("read %q", v.Data)
		}
	})
}
