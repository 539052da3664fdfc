package npy

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/goldentest"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

type member struct {
	name   string
	method uint16
	data   []byte
}

func archive(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, m := range members {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: m.method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestNPZ(t *testing.T) {
	bytes123 := file(1, dict("|u1", "False", "(3,)"), 1, 2, 3)
	zeros := file(1, dict("|u1", "False", "(100000,)"), make([]byte, 100000)...)
	data := archive(t, member{"b.npy", zip.Store, bytes123}, member{"a.npy.npy", zip.Deflate, zeros},
		member{".npy", zip.Store, bytes123})
	got, err := readNPZ(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	u8 := func(data []byte) *tensor.Tensor {
		return &tensor.Tensor{DType: tensor.Uint8, Shape: []int{len(data)}, Data: data}
	}
	want := map[string]*tensor.Tensor{"b": u8([]byte{1, 2, 3}), "a.npy": u8(make([]byte, 100000)), "": u8([]byte{1, 2, 3})}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := EncodeNPZ(got)
	if err != nil {
		t.Fatal(err)
	}
	back, err := readNPZ(bytes.NewReader(again), int64(len(again)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Errorf("after EncodeNPZ (-want +got):\n%s", diff)
	}
	for range 5 {
		third, err := EncodeNPZ(back)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("equal arrays give other bytes (%v)", err)
		}
	}
}

func TestNPZRefused(t *testing.T) {
	ok := file(1, dict("|u1", "False", "(3,)"), 1, 2, 3)
	good := archive(t, member{"a.npy", zip.Store, ok})
	bomb := archive(t, member{"a.npy", zip.Deflate, file(1, dict("|u1", "False", "(100000,)"), make([]byte, 100000)...)})
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "archive: zip"},
		{"an .npy", ok, "archive: zip"},
		{"cut", good[:len(good)-30], "archive: zip"},
		{"a name twice", archive(t, member{"a.npy", zip.Store, ok}, member{"a.npy", zip.Store, ok}),
			`entry "a.npy": name: stands twice`},
		{"another file", archive(t, member{"a\n.txt", zip.Store, ok}), `entry "a\n.txt": name: does not end in ".npy"`},
		{"a directory", archive(t, member{"a/", zip.Store, nil}), `entry "a/": name: does not end`},
		{"a bad array", archive(t, member{"a.npy", zip.Store, ok[:20]}), `entry "a.npy": header`},
		{"a flipped byte", flip(good, bytes.Index(good, []byte{1, 2, 3})), `entry "a.npy": data: zip: checksum`},
		{"a damaged deflate stream", flip(bomb, 60), `entry "a.npy": data`},
		{"an unknown method", patchDirectory(good, 10, 99), `entry "a.npy": archive: zip: unsupported`},
		{"claims to be larger than deflate can make it", patchDirectory(bomb, 24, 0xff, 0xff, 0xff, 0x7f), "claims to unpack"},
		{"claims more than it unpacks to", patchDirectory(bomb, 24, 0, 0, 2, 0), `entry "a.npy": data`},
		{"claims less than it unpacks to", patchDirectory(bomb, 24, 0, 1, 0, 0), `entry "a.npy": data: zip`},
		{"stored, and larger than the file", patchDirectory(good, 20, 0, 0, 0, 0x40), "more than the file has left"},
		{"stored, and unpacked larger", patchDirectory(good, 24, 0, 0, 0, 0x40), "claims to unpack"},
		{"entries that share their bytes", overlapping(t, 50), "more than the file has left"},
	} {
		got, err := readNPZ(bytes.NewReader(c.data), int64(len(c.data)))
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

func flip(data []byte, at int) []byte {
	out := slices.Clone(data)
	out[at] ^= 0x5a
	return out
}

const directorySignature = "PK\x01\x02"

// patchDirectory overwrites bytes of the first entry in the central directory: at 10 the method, at 20 the packed and at
// 24 the unpacked size.
func patchDirectory(data []byte, at int, with ...byte) []byte {
	out := slices.Clone(data)
	copy(out[bytes.Index(out, []byte(directorySignature))+at:], with)
	return out
}

// overlapping makes n directory entries that all point at the same 10000 bytes.
func overlapping(t *testing.T, n int) []byte {
	one := archive(t, member{"00.npy", zip.Store, file(1, dict("|u1", "False", "(10000,)"), make([]byte, 10000)...)})
	start := bytes.Index(one, []byte(directorySignature))
	end := bytes.Index(one, []byte("PK\x05\x06"))
	entry, tail := one[start:end], slices.Clone(one[end:])
	out := slices.Clone(one[:start])
	for i := range n {
		e := slices.Clone(entry)
		copy(e[46:], []byte{'0' + byte(i/10), '0' + byte(i%10)})
		out = append(out, e...)
	}
	size := n * len(entry)
	tail[8], tail[10] = byte(n), byte(n)
	tail[12], tail[13], tail[14] = byte(size), byte(size>>8), byte(size>>16)
	return append(out, tail...)
}

// TestGolden reads every golden .npz of the workspace, made by NumPy, against the shapes and types of its manifest.
func TestGolden(t *testing.T) {
	dir := goldentest.Shared(t, "golden")
	var manifest struct {
		Cases []struct {
			Group, File string
			Arrays      map[string]struct {
				Shape []int
				DType string
			}
			Output struct {
				Name, DType string
				Shape       []int
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, c := range manifest.Cases {
		if c.Group != "paper" {
			continue
		}
		got, err := ReadNPZ(filepath.Join(dir, c.File))
		if err != nil {
			t.Error(err)
			continue
		}
		read++
		check := func(name string, shape []int, dtype string) {
			a, ok := got[name]
			if !ok {
				t.Errorf("%s: no array %q", c.File, name)
				return
			}
			if !tensor.SameShape(a.Shape, shape) || a.DType.String() != dtype {
				t.Errorf("%s: %q is %s of %s, want %v of %s", c.File, name, tensor.FormatShape(a.Shape), a.DType, shape, dtype)
			}
			if again, err := decode(Encode(a)); err != nil || !cmp.Equal(a, again) {
				t.Errorf("%s: %q changes when written and read again (%v)", c.File, name, err)
			}
		}
		for name, a := range c.Arrays {
			check(name, a.Shape, a.DType)
		}
		check(c.Output.Name, c.Output.Shape, c.Output.DType)
		if want := len(c.Arrays) + 1; len(got) != want {
			t.Errorf("%s: %d arrays, want %d", c.File, len(got), want)
		}
	}
	if read == 0 {
		t.Error("the manifest lists no case of group \"paper\"")
	}
}
