package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// TestFaults: what a file alone cannot bring about, because a check before it refuses such a file, or because the system has to
// fail between two looks at it. Every error says what it was about.
func TestFaults(t *testing.T) {
	broken := errors.New("input/output error")
	fails := func(data []byte, from int64) source {
		return source{r: failing{sourceOf(data), from, broken}, size: int64(len(data))}
	}
	noStream := &block{off: 0, stored: 4, size: 100, deflated: true}
	noStream.verified.Store(true) // its checksum is not the question
	noise := sourceOf([]byte{0xff, 0xff, 0xff, 0xff})
	none := filepath.Join(t.TempDir(), "none")
	closed, _, err := openRegular("fault_test.go")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	empty := func() *machine { return &machine{lim: defaultLimits(), budget: &budget{limit: 1 << 20}} }
	full := empty()
	full.lim.stack = 0
	pair := func(key any) tuple { return tuple{&list{items: []any{tuple{key, int64(1)}}}} }
	for _, c := range []struct {
		name string
		run  func() error
		want string
	}{
		{"bytes of a stream that is none", func() error { return noStream.inflate(noise, make([]byte, 1), 5) }, "compressed data"},
		{"pieces of it", func() error { return noStream.pieces(noise, 5, 1, nil) }, "compressed data"},
		{"a folder that is not there", func() error { _, err := openRoot(none); return err }, "no such file"},
		{"shards in it", func() error {
			_, err := (&File{}).openAll(&shardIndex{}, filepath.Join(none, "index.json"))
			return err
		}, "no such file"},
		{"a file that was closed", func() error { _, err := regular(closed); return err }, "closed"},
		{"a pickle that does not end", func() error { _, err := skim(strings.NewReader("NNNN"), 2); return err }, "no end of the pickle"},
		{"an index that cannot be read", func() error { _, _, err := readIndex(fails([]byte("{}"), 0), defaultLimits()); return err }, "input/output error"},
		{"no room for a dictionary's own entry", func() error { _, err := newOrderedDict(full, pair("k")); return err }, "stack"},
		{"a key that is a list", func() error { _, err := newOrderedDict(empty(), pair(&list{})); return err }, "a list"},
		{"the names behind a record's header", func() error {
			data := append(bytes.Repeat([]byte{'.'}, localWindow), make([]byte, 100)...)
			copy(data[localWindow-localLen:], localHeader(40))
			w := &window{src: fails(data, int64(localWindow)+1), buf: data[:localWindow]}
			_, err := checkLocal(w, &zipEntry{off: localWindow - localLen}, int64(len(data)))
			return err
		}, "input/output error"},
	} {
		err := c.run()
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %T %v, want %q", c.name, err, err, c.want)
		}
	}
}

// localHeader is a local header of a record without content, with a name of so many bytes.
func localHeader(name byte) []byte {
	h := make([]byte, localLen)
	copy(h, localSig)
	h[26] = name
	return h
}

// TestGatherer_stops: a reader that has enough ends the gathering, wherever it is.
func TestGatherer_stops(t *testing.T) {
	src := []byte{0, 1, 2, 3, 4, 5, 6, 7}
	for name, c := range map[string]struct{ shape, strides []int }{
		"apart": {[]int{4}, []int{2}}, "side by side": {[]int{8}, []int{1}}, "rows": {[]int{2, 4}, []int{4, 1}},
	} {
		pieces := 0
		g := &gatherer{size: 1, out: make([]byte, 0, 2), yield: func([]byte) bool { pieces++; return false }}
		if g.gather(src, c.shape, c.strides) || pieces != 1 {
			t.Errorf("%s: %d pieces", name, pieces)
		}
	}
	large := make([]byte, 3*pieceBytes)
	v := &view{block: &block{size: int64(len(large)), stored: int64(len(large))}, dtype: tensor.Uint8, shape: []int{pieceBytes, 2}, strides: []int{3, 1},
		bytes: 2 * pieceBytes}
	pieces := 0
	if err := v.strided(sourceOf(large), func([]byte) bool { pieces++; return false }); err != nil || pieces != 1 {
		t.Errorf("a large view: %d pieces, %v", pieces, err)
	}
}

// TestAnswers: what is no error, and that no file of the other tests asks for.
func TestAnswers(t *testing.T) {
	if s := (&File{}).Shards(); s != nil {
		t.Errorf("shards of a single file: %q", s)
	}
	if _, err := (&File{}).Weight("w"); err == nil || !strings.Contains(err.Error(), `"w"`) {
		t.Errorf("a weight that is not there: %v", err)
	}
	for mode, want := range map[os.FileMode]string{os.ModeSocket: "socket", os.ModeDevice: "device", os.ModeDir: "directory", os.ModeNamedPipe: "named pipe"} {
		if got := fileType(mode); got != want {
			t.Errorf("%v: %q, want %q", mode, got, want)
		}
	}
	if got := typeName(struct{}{}); got != "a value" {
		t.Errorf("a type that pickles have not: %q", got)
	}
	j, err := newJSON("header", "[]")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.skip(2); err != nil {
		t.Errorf("an empty list: %v", err)
	}
}
