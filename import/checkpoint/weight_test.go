package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// weightBytes reads a weight piece by piece. The pieces must obey what Weight promises.
func weightBytes(t *testing.T, f *File, name string) []byte {
	t.Helper()
	w, err := f.Weight(name)
	if err != nil {
		t.Fatal(err)
	}
	out := []byte{}
	if err := w.Parts(func(p *tensor.Tensor) error {
		if len(p.Data) > pieceBytes || len(p.Data) == 0 || len(p.Shape) != 1 || p.DType != w.DType() ||
			p.Shape[0]*p.DType.Size() != len(p.Data) {
			t.Fatalf("%q: a piece %v of %d bytes", name, p, len(p.Data))
		}
		out = append(out, p.Data...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWeight_ownFiles: in every file that can be read, the weights are the tensors, and lie where their origin says.
func TestWeight_ownFiles(t *testing.T) {
	origins := 0
	for _, pattern := range []string{"testdata/*.pt", "testdata/*.ckpt", "testdata/*.safetensors"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, path := range files {
			f, err := Open(path)
			if err != nil {
				continue // module.pt, which is there to be refused
			}
			origins += checkWeights(t, f)
			f.Close()
		}
	}
	if origins < 20 {
		t.Errorf("only %d weights with an origin", origins)
	}
}

func checkWeights(t *testing.T, f *File) (origins int) {
	t.Helper()
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if !x.DType.IsFloat() {
			if _, err := f.Weight(name); err == nil || !strings.Contains(err.Error(), "a floating-point type") {
				t.Errorf("%s %q: %v", f.path, name, err)
			}
			continue
		}
		w, err := f.Weight(name)
		if err != nil || !tensor.SameShape(w.Shape(), x.Shape) || w.DType() != x.DType {
			t.Fatalf("%s %q: %v", f.path, name, err)
		}
		if !bytes.Equal(x.Data, weightBytes(t, f, name)) {
			t.Errorf("%s %q: the pieces are not the tensor", f.path, name)
		}
		if o := w.Origin(); o != nil {
			origins++
			data, err := os.ReadFile(o.Path)
			if err != nil || !bytes.HasPrefix(data[o.Offset:], x.Data) {
				t.Errorf("%s %q: its elements are not at %+v", f.path, name, *o)
			}
		}
	}
	return origins
}

// TestWeight_tied: names of the same elements have the same origin, others do not.
func TestWeight_tied(t *testing.T) {
	storage := pStorage("FloatStorage", "0", 6)
	f := accepted(t, torchFile(pickled(pDict(
		pStr("a"), pTensor(storage, 0, pInts(2, 2), pInts(2, 1)),
		pStr("b"), pTensor(storage, 0, pInts(2, 2), pInts(2, 1)),
		pStr("later"), pTensor(storage, 1, pInts(2, 2), pInts(2, 1)),
		pStr("turned"), pTensor(storage, 0, pInts(2, 2), pInts(1, 2)),
		pStr("none"), pTensor(storage, 0, pInts(0, 2), pInts(2, 1)),
	))))
	weights := map[string]tensor.Weight{}
	for _, name := range f.Names() {
		w, err := f.Weight(name)
		if err != nil {
			t.Fatal(err)
		}
		weights[name] = w
	}
	if !weights["a"].SameAs(weights["b"]) {
		t.Errorf("origins %+v and %+v of one array", weights["a"].Origin(), weights["b"].Origin())
	}
	for _, name := range []string{"later", "turned", "none"} {
		if weights["a"].SameAs(weights[name]) {
			t.Errorf("a and %q are said to be one", name)
		}
	}
	if weights["turned"].Origin() != nil || weights["none"].Origin() != nil {
		t.Error("an origin for elements that do not lie in the file in that order")
	}
}

// TestWeight_closed: a weight outlives its file only as a description.
func TestWeight_closed(t *testing.T) {
	f := accepted(t, torchFile(pickled(pDict(pStr("w"), pSix()))))
	w, err := f.Weight("w")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = w.Array()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, os.ErrClosed) || e.Name != `tensor "w"` || e.File != f.path {
		t.Errorf("got %v", err)
	}
}

// TestWeight_stops: the reader's own error ends the reading and comes back as it was, whoever else uses that type.
func TestWeight_stops(t *testing.T) {
	f := accepted(t, torchFile(pickled(pDict(pStr("w"), pSix()))))
	w, err := f.Weight("w")
	if err != nil {
		t.Fatal(err)
	}
	enough, calls := &Error{Found: "enough"}, 0
	err = w.Parts(func(*tensor.Tensor) error { calls++; return enough })
	if err != error(enough) || calls != 1 || *enough != (Error{Found: "enough"}) {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// TestWeight_damaged: a flipped bit in a record is found out, whole or in part, compressed or not.
func TestWeight_damaged(t *testing.T) {
	part := pTensor(pStorage("FloatStorage", "0", 6), 1, pInts(2), pInts(1))
	turned := pTensor(pStorage("FloatStorage", "0", 6), 0, pInts(3, 2), pInts(1, 3))
	for name, pickle := range map[string]string{"whole": pSix(), "part": part, "turned": turned} {
		for _, deflate := range []bool{false, true} {
			a := torchArchive(pickled(pDict(pStr("w"), pickle)), sixFloats())
			a.records[1].streamed, a.records[1].deflate = false, deflate
			wrong := u32(0x12345678)
			a.records[1].local, a.records[1].central = put(14, wrong), put(16, wrong)
			w, err := accepted(t, a.bytes()).Weight("w")
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Array()
			var e *Error
			if !errors.As(err, &e) || e.Place != `record "archive/data/0"` || e.Name != `tensor "w"` ||
				!strings.Contains(err.Error(), "checksum") {
				t.Errorf("%s, deflated %v: %v", name, deflate, err)
			}
		}
	}
}

// bigMatrix is an archive whose one storage is a float32 matrix of n x n numbers: element (i,j) is n i + j.
func bigMatrix(n int, deflate bool, views ...string) archive {
	data := make([]byte, 0, 4*n*n)
	for i := range n * n {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i)))
	}
	a := torchArchive(pickled(pDict(views...)), stored{"0", string(data)})
	a.records[1].streamed, a.records[1].deflate = !deflate, deflate
	return a
}

// TestWeight_memory: what reading a weight of 5 MiB takes. Everything but what interleaves is read in small pieces.
func TestWeight_memory(t *testing.T) {
	const n, small = 1200, 5 * mib / 2
	const large = 4*n*n + small
	view := func(shape, strides string) string {
		return pTensor(pStorage("FloatStorage", "0", n*n), 0, shape, strides)
	}
	at := func(i, j int) float64 { return float64(i*n + j) }
	cases := []struct {
		name, view  string
		columns     int
		want        func(i, j int) float64
		most        int
		mostDeflate int
	}{
		{"whole", view(pInts(n, n), pInts(n, 1)), n, at, small, 4 * mib},
		{"left half", view(pInts(n, n/2), pInts(n, 1)), n / 2, at, small, large},
		{"every second row", view(pInts(n/2, n), pInts(2*n, 1)), n,
			func(i, j int) float64 { return at(2*i, j) }, small, large},
		{"transposed", view(pInts(n, n), pInts(1, n)), n, func(i, j int) float64 { return at(j, i) },
			large, large},
		{"one row many times", view(pInts(n, n), pInts(0, 1)), n, func(_, j int) float64 { return at(0, j) },
			small, small},
	}
	for _, deflate := range []bool{false, true} {
		var views []string
		for _, c := range cases {
			views = append(views, pStr(c.name), c.view)
		}
		f := accepted(t, bigMatrix(n, deflate, views...).bytes())
		for _, c := range cases {
			w, err := f.Weight(c.name)
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			k := 0
			err = w.Parts(func(p *tensor.Tensor) error {
				for e := range p.Len() {
					if i, j := k/c.columns, k%c.columns; p.At(e) != c.want(i, j) {
						return errors.New(c.name + ": a wrong element")
					}
					k++
				}
				return nil
			})
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			most := c.most
			if deflate {
				most = c.mostDeflate
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(most) {
				t.Errorf("%s, deflated %v: allocated %d bytes, allowed %d", c.name, deflate, got, most)
			}
		}
	}
}

// TestBigEndian: torch.save on a big-endian machine, whichever the element's size. Numbers are the same; they lie nowhere
// in the order that an origin promises.
func TestBigEndian(t *testing.T) {
	be := binary.BigEndian
	float := string(be.AppendUint32(be.AppendUint32(nil, math.Float32bits(1.5)), math.Float32bits(-2)))
	double := string(be.AppendUint64(nil, math.Float64bits(1e300)))
	half := "\x3c\x00\xc0\x00\x42\x00\x44\x00" // 1, -2, 3, 4
	a := torchArchive(pickled(pDict(
		pStr("float"), pTensor(pStorage("FloatStorage", "0", 2), 0, pInts(2), pInts(1)),
		pStr("double"), pTensor(pStorage("DoubleStorage", "1", 1), 0, pInts(), pInts()),
		pStr("turned"), pTensor(pStorage("HalfStorage", "2", 4), 0, pInts(2, 2), pInts(1, 2)),
		pStr("int"), pTensor(pStorage("LongStorage", "3", 1), 0, pInts(1), pInts(1)),
		pStr("byte"), pTensor(pStorage("ByteStorage", "4", 2), 0, pInts(2), pInts(1)),
	)), stored{"0", float}, stored{"1", double}, stored{"2", half}, stored{"3", "\x00\x00\x00\x00\x00\x00\x01\x02"},
		stored{"4", "\x01\x02"})
	a.records = append(a.records, record{name: "archive/byteorder", data: "big", streamed: true})
	f := accepted(t, a.bytes())
	all := arrays{"float": {1.5, -2}, "double": {1e300}, "turned": {1, 3, -2, 4}, "int": {258}, "byte": {1, 2}}
	for name, want := range all {
		if diff := cmp.Diff(want, values(t, f, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if n := checkWeights(t, f); n != 0 {
		t.Errorf("%d origins", n)
	}
}

// TestTotals: tied weights count once, whichever way they are turned; integers are no parameters.
func TestTotals(t *testing.T) {
	floats6 := pStorage("FloatStorage", "0", 6)
	f := accepted(t, torchArchive(pickled(pDict(
		pStr("embed"), pTensor(floats6, 0, pInts(3, 2), pInts(2, 1)),
		pStr("head"), pTensor(floats6, 0, pInts(3, 2), pInts(2, 1)),
		pStr("turned"), pTensor(floats6, 0, pInts(2, 3), pInts(1, 2)),
		pStr("empty"), pTensor(floats6, 0, pInts(0), pInts(1)),
		pStr("step"), pTensor(pStorage("LongStorage", "1", 1), 0, pInts(), pInts()),
	)), sixFloats(), stored{"1", u64(7)}).bytes())
	if got, want := f.Totals(), (Totals{Parameters: 6, Bytes: 24 + 8}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
