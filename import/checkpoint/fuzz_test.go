package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// parse is newFile with the promises about errors and memory checked.
func parse(t *testing.T, data []byte) *File {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := newFile(sourceOf(data), defaultLimits())
	runtime.ReadMemStats(&after)
	var e *Error
	if err != nil && (!errors.As(err, &e) || e.Found == "" || strings.ContainsAny(err.Error(), "\n\x00")) {
		t.Fatalf("%T %q", err, err)
	}
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(3*len(data)+4*mib); err != nil && got > most {
		t.Fatalf("allocated %d bytes, allowed %d: %v", got, most, err)
	}
	if err != nil {
		return nil
	}
	return f
}

// checkTensors reads what a file says it has.
func checkTensors(t *testing.T, f *File, fileSize int) {
	for _, name := range f.Names() {
		info, ok := f.Info(name)
		n, err := tensor.ByteLen(info.DType, info.Shape)
		if !ok || err != nil || n > 64*mib+4*fileSize {
			t.Fatalf("%q: %v %d bytes, %v", name, ok, n, err)
		}
		if n > mib {
			continue
		}
		x, err := f.Tensor(name)
		var e *Error
		switch {
		case err != nil && !errors.As(err, &e):
			t.Fatalf("%T", err)
		case err == nil && (len(x.Data) != n || x.DType != info.DType || !slices.Equal(x.Shape, info.Shape)):
			t.Fatalf("%q: %d bytes of %s %v, want %d of %+v", name, len(x.Data), x.DType, x.Shape, n, info)
		case err == nil && info.DType.IsFloat() && !bytes.Equal(x.Data, weightBytes(t, f, name)):
			t.Fatalf("%q: the weight's pieces are not the tensor", name)
		}
	}
}

func addFiles(f *testing.F, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

const fuzzSeedSize = 8 * kib // larger cases of the tables slow the fuzzer down

// FuzzSafetensors_roundTrip: a header that is accepted describes every byte of the data once, encoding/json understands
// it the same way, and what is written from it reads the same.
func FuzzSafetensors_roundTrip(f *testing.F) {
	data, err := os.ReadFile("testdata/weights.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	n := 8 + le64(data, 0)
	f.Add(string(data[8:n]), data[n:])
	for _, c := range refusedHeaders() {
		if len(c.header) < fuzzSeedSize {
			f.Add(c.header, []byte(c.data))
		}
	}
	f.Fuzz(func(t *testing.T, header string, data []byte) {
		file := safetensorsFile(header, string(data))
		c := parse(t, file)
		if c == nil || c.Kind() != Safetensors {
			return
		}
		checkTensors(t, c, len(file))
		agreesWithJSON(t, c, header)
		bytes := int64(0)
		for i := range c.tensors {
			bytes += c.tensors[i].view.bytes
		}
		if bytes != int64(len(data)) {
			t.Fatalf("tensors take %d of %d bytes", bytes, len(data))
		}
		again := parse(t, encodeSafetensors(t, c))
		if diff := cmp.Diff(c.Names(), again.Names()); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(c.Metadata(), again.Metadata()); diff != "" {
			t.Fatal(diff)
		}
		for _, name := range c.Names() {
			x, err1 := c.Tensor(name)
			y, err2 := again.Tensor(name)
			if diff := cmp.Diff(x, y); diff != "" || (err1 == nil) != (err2 == nil) {
				t.Fatal(name, err1, err2, diff)
			}
		}
	})
}

func agreesWithJSON(t *testing.T, c *File, header string) {
	type description struct {
		Shape   []int
		Offsets [2]int64 `json:"data_offsets"`
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(header), &all); err != nil {
		t.Fatal(err)
	}
	var metadata map[string]string
	if err := json.Unmarshal(all[metadataKey], &metadata); len(all[metadataKey]) > 0 && err != nil ||
		len(metadata) != len(c.Metadata()) {
		t.Fatal(err, metadata)
	}
	delete(all, metadataKey)
	if len(all) != len(c.Names()) {
		t.Fatalf("%d tensors, encoding/json sees %d", len(c.Names()), len(all))
	}
	for name, text := range all {
		var d description
		x, err := c.find(name)
		if err != nil {
			t.Fatal(err)
		}
		v := x.view
		if err := json.Unmarshal(text, &d); err != nil || !slices.Equal(d.Shape, v.shape) ||
			d.Offsets != [2]int64{v.start, v.start + v.bytes} {
			t.Fatalf("%q: %+v, encoding/json sees %+v, %v", name, v, d, err)
		}
	}
}

// encodeSafetensors writes a file again, tensors in the order of Names.
func encodeSafetensors(t *testing.T, c *File) []byte {
	quoted := func(s string) string {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var parts []string
	var metadata []string
	for k, v := range c.Metadata() {
		metadata = append(metadata, quoted(k)+":"+quoted(v))
	}
	parts = append(parts, quoted(metadataKey)+":{"+strings.Join(metadata, ",")+"}")
	data := &bytes.Buffer{}
	for i := range c.tensors {
		v := c.tensors[i].view
		name := ""
		for _, x := range safetensorsTypes() {
			if x.dtype == v.dtype {
				name = x.name
			}
		}
		shape, err := json.Marshal(append([]int{}, v.shape...))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, fmt.Sprintf(`%s:{"shape":%s,"dtype":"%s","data_offsets":[%d,%d]}`,
			quoted(c.tensors[i].name), shape, name,
			data.Len(), int64(data.Len())+v.bytes))
		raw, err := v.data(c.files[0].src)
		if err != nil {
			t.Fatal(err)
		}
		data.Write(raw)
	}
	return safetensorsFile("{"+strings.Join(parts, ",")+"}", data.String())
}

// FuzzPickle interprets any bytes as data.pkl beside one storage of 6 floats.
func FuzzPickle(f *testing.F) {
	for _, c := range refusedPickles() {
		if len(c.pickle) < fuzzSeedSize {
			f.Add(c.pickle)
		}
	}
	files, err := filepath.Glob("testdata/*.[cp][kt]*")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, path := range files {
		if r, err := zip.OpenReader(path); err == nil {
			entry, err := r.File[0].Open()
			if err != nil {
				f.Fatal(err)
			}
			text, err := io.ReadAll(entry)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
			r.Close()
		}
	}
	f.Fuzz(func(t *testing.T, pickle string) {
		data := torchFile(pickle)
		if c := parse(t, data); c != nil {
			checkTensors(t, c, len(data))
		}
	})
}

// FuzzTorchZip: an archive that is accepted has the same records with the same content for archive/zip.
func FuzzTorchZip(f *testing.F) {
	addFiles(f, "testdata/*.pt")
	for _, c := range refusedArchives() {
		if data := c.a.bytes(); len(data) < fuzzSeedSize {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if c := parse(t, data); c != nil {
			checkTensors(t, c, len(data))
		}
		src, lim := sourceOf(data), defaultLimits()
		dir, err := readZip(src, lim, newBudget(src.size, lim))
		if err != nil {
			return
		}
		other, err := zip.NewReader(src.r, src.size)
		if err != nil {
			t.Fatalf("archive/zip refuses what was accepted: %v", err)
		}
		if len(other.File) != len(dir.entries) {
			t.Fatalf("%d records, archive/zip sees %d", len(dir.entries), len(other.File))
		}
		for i, entry := range other.File {
			ours := &dir.entries[i]
			if entry.Name != ours.name || entry.UncompressedSize64 != uint64(ours.size) {
				t.Fatalf("record %q of %d bytes, archive/zip sees %q of %d", ours.name, ours.size, entry.Name,
					entry.UncompressedSize64)
			}
			got, err := dir.block(ours).text(src)
			if err != nil {
				continue
			}
			r, err := entry.Open()
			if err != nil {
				t.Fatal(err)
			}
			if want, err := io.ReadAll(r); err != nil || got != string(want) {
				t.Fatalf("record %q: archive/zip reads other bytes (%v)", ours.name, err)
			}
		}
	})
}

// FuzzLegacy interprets any bytes as what torch before 1.6 wrote.
func FuzzLegacy(f *testing.F) {
	addFiles(f, "testdata/*legacy.pt")
	f.Add(sixLegacy().bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if c := parse(t, data); c != nil {
			checkTensors(t, c, len(data))
		}
	})
}

// FuzzShardIndex: an index that is accepted means what encoding/json understands, and names only plain files.
func FuzzShardIndex(f *testing.F) {
	f.Add(sharded()[indexName])
	for _, c := range refusedShards() {
		text := c.files[indexName]
		if c.index != "" {
			text = indexOf(c.index)
		}
		if len(text) < fuzzSeedSize {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		x, _, err := readIndex(sourceOf([]byte(text)), defaultLimits())
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.Found == "" || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("%T %q", err, err)
			}
			return
		}
		var want struct {
			Map map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, m := range x.entries {
			got[m.name] = x.shards[m.shard]
		}
		if diff := cmp.Diff(want.Map, got); diff != "" {
			t.Fatalf("(-encoding/json +got):\n%s", diff)
		}
		for _, name := range x.shards {
			if filepath.Base(name) != name || checkShardName(name) != nil {
				t.Fatalf("the shard %q", name)
			}
		}
	})
}
