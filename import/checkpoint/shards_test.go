package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	firstShard  = "model-00001-of-00002.safetensors"
	secondShard = "model-00002-of-00002.safetensors"
	indexName   = "model.safetensors.index.json"
)

// sharded are the files of a good checkpoint in two shards; tests change one thing in it.
func sharded() map[string]string {
	return map[string]string{
		indexName: indexOf(`"b": "` + secondShard + `", "a": "` + firstShard + `", "c": "` + firstShard + `"`),
		firstShard: string(safetensorsFile(`{"__metadata__":{"format":"pt","layer":"1"},`+stEntry(`"c"`, 0, 2)+`,`+
			stEntry(`"a"`, 8, 1)+`}`, floats(1, 2, 3))),
		secondShard: string(safetensorsFile(`{"__metadata__":{"format":"pt","layer":"2","causal":"true"},`+
			stEntry(`"b"`, 0, 1)+`}`, floats(4))),
	}
}

func indexOf(weightMap string) string {
	return `{"metadata": {"total_size": 16.0, "more": [true, {"x": null}]}, "weight_map": {` + weightMap + `}}` + "\n"
}

// directory writes files for Open.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func opened(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestShards: by the index's path or by the directory, all tensors are there, each from its own file.
func TestShards(t *testing.T) {
	dir := directory(t, sharded())
	for _, path := range []string{dir, filepath.Join(dir, indexName)} {
		f := opened(t, path)
		if f.Kind() != Safetensors || f.Path() != filepath.Join(dir, indexName) || f.Dir() != dir {
			t.Errorf("kind %s, path %s, directory %s", f.Kind(), f.Path(), f.Dir())
		}
		if diff := cmp.Diff([]string{"b", "a", "c"}, f.Names()); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{secondShard, firstShard}, f.Shards()); diff != "" {
			t.Errorf("shards (-want +got):\n%s", diff)
		}
		for name, want := range map[string][]float64{"a": {3}, "b": {4}, "c": {1, 2}} {
			if diff := cmp.Diff(want, values(t, f, name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if n := checkWeights(t, f); n != 3 {
			t.Errorf("%d origins", n)
		}
		if w, err := f.Weight("b"); err != nil || w.Origin().Path != filepath.Join(dir, secondShard) {
			t.Errorf("%+v, %v", w.Origin(), err)
		}
		if diff := cmp.Diff(map[string]string{"format": "pt", "causal": "true"}, f.Metadata()); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		if notes := f.Notes(); len(notes) != 1 || !strings.Contains(notes[0], `"layer" differs between shards`) {
			t.Errorf("notes %q", notes)
		}
		if diff := cmp.Diff(Totals{Parameters: 4, Bytes: 16}, f.Totals()); diff != "" {
			t.Errorf("totals (-want +got):\n%s", diff)
		}
	}
}

// TestShards_here: the index may be named from within its directory.
func TestShards_here(t *testing.T) {
	t.Chdir(directory(t, sharded()))
	for _, path := range []string{".", indexName, "./" + indexName} {
		if f := opened(t, path); f.Dir() != "." || len(f.Names()) != 3 {
			t.Errorf("%s: directory %q, tensors %q", path, f.Dir(), f.Names())
		}
	}
	if err := os.Remove(secondShard); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := Open(indexName); !errors.As(err, &e) || e.File != secondShard {
		t.Errorf("got %v", err)
	}
}

// TestShards_torch: the shards may be PyTorch's files; the content decides, whatever the names.
func TestShards_torch(t *testing.T) {
	dir := directory(t, map[string]string{
		"pytorch_model.bin.index.json": indexOf(`"v": "1.bin", "w": "2.bin"`),
		"1.bin":                        string(torchFile(pickled(pDict(pStr("v"), pSix())))),
		"2.bin":                        string(torchFile(pickled(pDict(pStr("w"), pSix())))),
	})
	f := opened(t, dir)
	if diff := cmp.Diff([]string{"v", "w"}, f.Names()); diff != "" || f.Kind() != PyTorchZip {
		t.Errorf("%s (-want +got):\n%s", f.Kind(), diff)
	}
	v, errV := f.Weight("v")
	w, errW := f.Weight("w")
	if errV != nil || errW != nil || v.SameAs(w) {
		t.Error("two files at the same offset are said to be one array", errV, errW)
	}
}

type shardCase struct {
	name  string
	index string            // instead of the good one's weight_map; empty: the good one
	files map[string]string // changes; an empty content is no file
	file  string            // that the error names; empty: the index
	want  []string
}

func refusedShards() []shardCase {
	good := `"b": "` + secondShard + `", "a": "` + firstShard + `", "c": "` + firstShard + `"`
	named := func(name string) shardCase {
		return shardCase{name: "X3 the name " + name, index: `"b": ` + name, want: []string{"index, byte 21", `shard "`,
			"no plain file name"}}
	}
	cases := []shardCase{
		{name: "S36 no such shard", files: map[string]string{secondShard: ""}, file: secondShard,
			want: []string{`shard of "` + indexName, "no such file or directory"}},
		{name: "S36 one tensor in two shards", index: good + `, "a": "` + secondShard + `"`,
			want: []string{`key "a"`, "a second one", "unique keys"}},
		{name: "S17 the same by an escape", index: good + `, "\u0061": "` + secondShard + `"`,
			want: []string{`key "a"`, "a second one"}},
		{name: "tensor in another shard", index: `"b": "` + firstShard + `", "a": "` + firstShard + `", "c": "` + firstShard + `"`,
			want: []string{"index, byte", `tensor "b"`, "no such tensor in shard", firstShard}},
		{name: "tensor in no shard", index: good + `, "d": "` + firstShard + `"`,
			want: []string{"index, byte", `tensor "d"`, "no such tensor in shard"}},
		{name: "tensor that is not listed", index: `"b": "` + secondShard + `", "a": "` + firstShard + `"`,
			want: []string{`tensor "c"`, "the index does not place there", firstShard}},
		{name: "tensor that is in another shard too", files: map[string]string{
			secondShard: string(safetensorsFile(`{`+stEntry(`"b"`, 0, 1)+`,`+stEntry(`"a"`, 4, 1)+`}`, floats(1, 2)))},
			want: []string{`tensor "a"`, "the index does not place there", secondShard}},
		{name: "two formats", files: map[string]string{
			secondShard: string(torchFile(pickled(pDict(pStr("b"), pSix()))))},
			want: []string{firstShard, "format safetensors", "pytorch-zip, as of"}},
		{name: "damaged shard", files: map[string]string{secondShard: sharded()[secondShard][:60]}, file: secondShard,
			want: []string{"byte 0"}},
		{name: "shard that is an index", files: map[string]string{secondShard: sharded()[indexName]}, file: secondShard,
			want: []string{"JSON text"}},
		{name: "no tensor", index: " ", want: []string{"without any tensor"}},
		{name: "a number for a file", index: `"a": 1`, want: []string{"index, byte", "the name of a file"}},
	}
	for _, name := range []string{`""`, `"."`, `".."`, `"../w"`, `"a/../../w"`, `"/etc/passwd"`, `"sub/w"`, `"dir/"`,
		`"C:w"`, `"C:\\x"`, `"\\\\host\\share"`, `"file:///etc"`, `"w\u0000.bin"`, `"` + strings.Repeat("w", 256) + `"`} {
		cases = append(cases, named(name))
	}
	texts := map[string][]string{
		`{"weight_map": {"b": "x"}, "weight_map": {"b": "x"}}`: {`key "weight_map"`, "a second one"},
		`{"metadata": {}, "metadata": {}}`:                     {`key "metadata"`, "a second one"},
		`{"metadata": {}}`:                                     {"without any tensor"},
		`{"weight_map": {"b": "x"}, "Weight_map": {}}`:         {`key "Weight_map"`, "no index of shards"},
		`{"weight_map": {"b": "x"}} {}`:                        {"nothing after the index's object"},
		`{"weight_map": {"b": "x"}`:                            {"the end of the index"},
		`{"weight_map": ["b", "x"]}`:                           {"index, byte 15", "an object"},
		`{"metadata": {"a": nothing}}`:                         {"index, byte 19", "a value"},
		`{"metadata": {"a": [1 2]}}`:                           {"index, byte 22", "a comma"},
		"{\"weight_map\": {\"b\xff\": \"x\"}}":                 {"byte 0xff", "UTF-8"},
		`{"metadata": ` + strings.Repeat("[", 1<<20):           {"nested too deep"},
	}
	for text, want := range texts {
		cases = append(cases, shardCase{name: "text " + text[:min(len(text), 60)],
			files: map[string]string{indexName: text}, want: want})
	}
	return cases
}

// TestShards_refused: whatever is wrong with an index or its shards is said, with the file it is in, and nothing stays
// open.
func TestShards_refused(t *testing.T) {
	for _, c := range refusedShards() {
		t.Run(c.name, func(t *testing.T) {
			files := sharded()
			if c.index != "" {
				files[indexName] = `{"weight_map": {` + c.index + `}}`
			}
			for name, content := range c.files {
				if files[name] = content; content == "" {
					delete(files, name)
				}
			}
			refusedDirectory(t, directory(t, files), c.file, c.want...)
		})
	}
}

// refusedDirectory is refused for a directory with an index in it.
func refusedDirectory(t *testing.T, dir, file string, parts ...string) {
	t.Helper()
	before, start := openFiles(t), time.Now()
	f, err := Open(dir)
	if err == nil {
		f.Close()
		t.Fatal("accepted")
	}
	if file == "" {
		file = indexName
	}
	var e *Error
	if !errors.As(err, &e) || e.File != filepath.Join(dir, file) {
		t.Fatalf("want an *Error of %s: %v", file, err)
	}
	text := err.Error()
	t.Log(strings.ReplaceAll(text, dir+string(filepath.Separator), ""))
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("the error does not say %q: %s", p, text)
		}
	}
	if strings.ContainsAny(text, "\n\x00") || len(text) > 1500 {
		t.Errorf("not one printable line: %q", text)
	}
	if took := time.Since(start); took > 20*time.Second { // as in check_test.go
		t.Errorf("took %v", took)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files open before, %d after", before, after)
	}
}

// openFiles counts this process's open files, where the system says.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// TestShards_links: links inside the directory are followed, links out of it are not, and a file with two names may be
// anybody's.
func TestShards_links(t *testing.T) {
	outside := directory(t, sharded())
	for _, c := range []struct {
		name string
		make func(dir, shard string) error
		want []string // nil: accepted
	}{
		{"X4 link inside", func(dir, shard string) error {
			if err := os.WriteFile(filepath.Join(dir, "blob"), []byte(sharded()[secondShard]), 0o666); err != nil {
				return err
			}
			return os.Symlink("blob", shard)
		}, nil},
		{"X4 link outside", func(_, shard string) error { return os.Symlink(filepath.Join(outside, secondShard), shard) },
			[]string{"a link to something that is not there, or not in this directory"}},
		{"X4 link upwards", func(_, shard string) error {
			return os.Symlink(filepath.Join("..", filepath.Base(outside), secondShard), shard)
		}, []string{"not in this directory"}},
		{"X4 link to nothing", func(_, shard string) error { return os.Symlink("nothing", shard) },
			[]string{"a link to something that is not there"}},
		{"X4 link to itself", func(_, shard string) error { return os.Symlink(secondShard, shard) },
			[]string{"a link to something"}},
		{"X5 hard link", func(_, shard string) error { return os.Link(filepath.Join(outside, secondShard), shard) },
			[]string{"a file with 2 hard links", "copy it"}},
		{"X6 directory", func(_, shard string) error { return os.Mkdir(shard, 0o777) },
			[]string{"a directory", "a regular file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := directory(t, sharded())
			shard := filepath.Join(dir, secondShard)
			if err := os.Remove(shard); err != nil {
				t.Fatal(err)
			}
			if err := c.make(dir, shard); err != nil {
				t.Skip(err)
			}
			if c.want != nil {
				refusedDirectory(t, dir, secondShard, c.want...)
				return
			}
			if diff := cmp.Diff([]float64{4}, values(t, opened(t, dir), "b")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestShards_hubCache: rule X13, in the cache of Hugging Face's hub every file is a link into the model's directory, which is then
// the one that nothing may leave.
func TestShards_hubCache(t *testing.T) {
	model := filepath.Join(t.TempDir(), "models--x")
	snapshot := filepath.Join(model, "snapshots", "0123")
	blobs := filepath.Join(model, "blobs")
	for _, dir := range []string{snapshot, blobs} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range sharded() {
		if err := os.WriteFile(filepath.Join(blobs, "of "+name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../blobs/of "+name, filepath.Join(snapshot, name)); err != nil {
			t.Skip(err)
		}
	}
	checkWeights(t, opened(t, snapshot))
	shard := filepath.Join(snapshot, secondShard)
	outside := filepath.Join(directory(t, sharded()), secondShard)
	if err := errors.Join(os.Remove(shard), os.Symlink(outside, shard)); err != nil {
		t.Fatal(err)
	}
	refusedDirectory(t, snapshot, secondShard, "not in this directory")
}

// TestOpen_directory: which file of a directory is meant.
func TestOpen_directory(t *testing.T) {
	safe, torch := sharded()[firstShard], string(torchFile(pickled(pDict(pStr("w"), pSix()))))
	index := indexOf(`"b": "` + secondShard + `"`)
	for _, c := range []struct {
		name  string
		files map[string]string
		open  string // the file; empty: refused
		want  string // in the note or error
	}{
		{"safetensors", map[string]string{"model.safetensors": safe, "config.json": "{}"}, "model.safetensors", ""},
		{"PyTorch", map[string]string{"pytorch_model.bin": torch, "config.json": "{}"}, "pytorch_model.bin", ""},
		{"shards", map[string]string{indexName: index, secondShard: sharded()[secondShard]}, indexName, ""},
		{"safetensors before PyTorch", map[string]string{"pytorch_model.bin": torch, "model.safetensors": safe},
			"model.safetensors", "pytorch_model.bin is there too and was not read"},
		{"shards before PyTorch", map[string]string{"pytorch_model.bin": torch, indexName: index,
			secondShard: sharded()[secondShard]}, indexName, "pytorch_model.bin is there too"},
		{"file and shards", map[string]string{"model.safetensors": safe, indexName: index}, "",
			`both "model.safetensors" and "model.safetensors.index.json"`},
		{"nothing", map[string]string{"config.json": "{}", "weights.pt": torch}, "", "a directory without weights"},
		{"distributed", map[string]string{".metadata": "\x80\x02}.", "__0_0.distcp": torch}, "", "dcp_to_torch"},
		{"damaged", map[string]string{"model.safetensors": safe[:40]}, "", "model.safetensors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := directory(t, c.files)
			f, err := Open(dir)
			if c.open == "" {
				var e *Error
				if !errors.As(err, &e) || !strings.HasPrefix(e.File, dir) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Path() != filepath.Join(dir, c.open) || f.Dir() != dir || !strings.Contains(strings.Join(f.Notes(), "\n"), c.want) ||
				(len(f.Notes()) > 0) != (c.want != "") {
				t.Errorf("path %s, notes %q", f.Path(), f.Notes())
			}
		})
	}
}

// TestShards_limits: sizes and numbers that an index may not exceed.
func TestShards_limits(t *testing.T) {
	dir := directory(t, sharded())
	for want, change := range map[string]func(*limits){
		"JSON text of":     func(l *limits) { l.index = 20 },
		"a further file":   func(l *limits) { l.shards = 1 },
		"a further tensor": func(l *limits) { l.tensors = 2 },
		"nested too deep":  func(l *limits) { l.depth = 2 },
		"more than":        func(l *limits) { l.slack = 0; l.index = 1 << 20 },
	} {
		lim := defaultLimits()
		change(&lim)
		f, err := open(dir, lim)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || f != nil {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestSHA256: the sums are those that sha256sum gives, as the documentation says how.
func TestSHA256(t *testing.T) {
	dir := directory(t, sharded())
	var lines strings.Builder
	for _, name := range []string{indexName, firstShard, secondShard} {
		f := &dataFile{src: sourceOf([]byte(sharded()[name]))}
		sum, err := f.sum()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s  %s\n", sum, name)
	}
	want, err := (&dataFile{src: sourceOf([]byte(lines.String()))}).sum()
	if err != nil {
		t.Fatal(err)
	}
	f := opened(t, dir)
	if got, err := f.SHA256(); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	single := accepted(t, []byte(sharded()[firstShard]))
	if got, err := single.SHA256(); err != nil || !strings.Contains(lines.String(), got+"  "+firstShard) {
		t.Errorf("one file: %s, %v, not in\n%s", got, err, lines.String())
	}
	if err := os.Truncate(filepath.Join(dir, firstShard), 20); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := f.SHA256(); !errors.As(err, &e) || e.File != filepath.Join(dir, firstShard) {
		t.Errorf("after a shard has shrunk: %v", err)
	}
}
