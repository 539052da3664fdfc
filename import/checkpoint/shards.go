package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
)

// An index names the file that holds each tensor of a checkpoint that is kept in several, all in the index's directory:
//
//	{"metadata": {"total_size": 96}, "weight_map": {"name": "model-00001-of-00002.safetensors", ...}}
//
// (huggingface/transformers, WEIGHTS_INDEX_NAME and SAFE_WEIGHTS_INDEX_NAME.) The metadata is of no use here: total_size is
// what its writer counted, which differs from one to the next.
type shardIndex struct {
	json    *jsonText
	lim     limits
	budget  *budget
	shards  []string // in the order of first mention
	numbers map[string]int32
	entries []mapping // in the order of the text
}

// mapping is one entry of the weight_map.
type mapping struct {
	name  string
	shard int32
	pos   int32 // of the name, for errors
}

const mappingBytes = 24

func mappedName(m *mapping) string { return m.name }

// openShards opens all files that an index names, and makes sure that index and files agree on who holds what: every
// tensor of the index is in its shard, and a shard holds no others. A tensor that the index does not list would be
// read by programs that load whole shards and missed by those that follow the index.
func openShards(path string, src source, lim limits) (*File, error) {
	x, sum, err := readIndex(src, lim)
	if err != nil {
		return nil, err
	}
	f := &File{indexSum: sum}
	shards, err := f.openAll(x, path)
	if err == nil {
		err = f.join(x, shards)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openAll opens the shards one after another, each as a file of its own. Those that are open are f's to close.
func (f *File) openAll(x *shardIndex, path string) ([]*File, error) {
	dir, index := filepath.Split(path)
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	shards := make([]*File, 0, len(x.shards))
	for _, name := range x.shards {
		s, err := openShard(root, name, x.lim)
		if err != nil {
			return nil, inFile(named(err, "shard of "+quote(index)), filepath.Join(dir, name))
		}
		s.files[0].path = filepath.Join(dir, name)
		f.files = append(f.files, s.files[0])
		if shards = append(shards, s); s.kind != shards[0].kind {
			return nil, &Error{Name: "shard " + quote(name), Found: "format " + string(s.kind),
				Allowed: fmt.Sprintf("%s, as of %s", shards[0].kind, quote(x.shards[0]))}
		}
	}
	return shards, nil
}

func openShard(root *root, name string, lim limits) (*File, error) {
	r, size, err := root.open(name)
	if err != nil {
		return nil, err
	}
	s, err := newFile(source{r: r, size: size}, lim)
	if err != nil {
		r.Close()
		return nil, err
	}
	s.files[0].name, s.files[0].closer = name, r
	return s, nil
}

// join makes one list of the shards' tensors.
func (f *File) join(x *shardIndex, shards []*File) error {
	if err := x.budget.charge(int64(len(x.entries)) * (namedBytes + 4)); err != nil {
		return at(err, "index")
	}
	f.kind = shards[0].kind
	f.tensors = make([]namedTensor, 0, len(x.entries))
	listed := make([]int, len(shards))
	for _, m := range x.entries {
		t, err := shards[m.shard].find(m.name)
		if err != nil {
			return &Error{Place: x.json.place(int(m.pos)), Name: "tensor " + quote(m.name),
				Found: "no such tensor in shard " + quote(x.shards[m.shard]), Allowed: "tensors of that shard"}
		}
		f.tensors = append(f.tensors, *t)
		listed[m.shard]++
	}
	f.order = sortedBy(f.tensors, tensorName)
	for i, s := range shards {
		if listed[i] == len(s.tensors) {
			continue
		}
		for _, t := range s.tensors {
			if listed, err := f.find(t.name); err != nil || listed.in != s.files[0] {
				return &Error{Name: "tensor " + quote(t.name),
					Found:   "a tensor of shard " + quote(x.shards[i]) + " that the index does not place there",
					Allowed: "every tensor of a shard in weight_map"}
			}
		}
	}
	for _, s := range shards {
		for _, note := range s.notes {
			f.notes = append(f.notes, s.files[0].name+": "+note)
		}
	}
	f.joinMetadata(shards)
	return nil
}

// joinMetadata keeps what no shard contradicts. A key with two values is left out: the first would be as good as the last.
func (f *File) joinMetadata(shards []*File) {
	differs := map[string]bool{}
	seen := map[string]string{}
	for _, s := range shards {
		for _, p := range s.metadata {
			if old, ok := seen[p.key]; ok && old != p.value {
				differs[p.key] = true
			} else if !ok {
				seen[p.key] = p.value
				f.metadata = append(f.metadata, p)
			}
		}
	}
	kept := f.metadata[:0]
	for _, p := range f.metadata {
		if !differs[p.key] {
			kept = append(kept, p)
		} else {
			f.notes = append(f.notes, "metadata "+quote(p.key)+" differs between shards and was left out")
		}
	}
	f.metadata = kept
}

// readIndex checks an index on its own, and gives its SHA-256.
func readIndex(src source, lim limits) (*shardIndex, string, error) {
	if src.size > lim.index {
		return nil, "", &Error{Place: "index", Found: fmt.Sprintf("JSON text of %d bytes", src.size),
			Allowed: fmt.Sprintf("at most %d", lim.index)}
	}
	b := newBudget(src.size, lim)
	if err := b.charge(src.size); err != nil {
		return nil, "", at(err, "index")
	}
	text, err := src.readString(0, src.size)
	if err != nil {
		return nil, "", at(err, "index")
	}
	json, err := newJSON("index", text)
	if err != nil {
		return nil, "", err
	}
	x := &shardIndex{json: json, lim: lim, budget: b, numbers: map[string]int32{}}
	if err := x.read(); err != nil {
		return nil, "", err
	}
	sum, buf := sha256.New(), make([]byte, min(src.size, 32*kib))
	for rest := text; rest != ""; {
		n := copy(buf, rest)
		sum.Write(buf[:n])
		rest = rest[n:]
	}
	return x, hex.EncodeToString(sum.Sum(nil)), nil
}

func (x *shardIndex) read() error {
	positions := map[string]int{}
	err := x.json.members(func(key string, pos int) error {
		first, seen := positions[key]
		positions[key] = pos
		switch {
		case key != "metadata" && key != "weight_map":
			return &Error{Place: x.json.place(pos), Name: "key " + quote(key), Found: "JSON text that is no index of shards",
				Allowed: `{"metadata": {...}, "weight_map": {"tensor": "file", ...}}`}
		case seen:
			return x.json.twice(key, first, pos)
		case key == "metadata":
			return x.json.skip(x.lim.depth)
		}
		return x.readMap()
	})
	if err != nil {
		return err
	}
	if err := x.json.end(); err != nil {
		return err
	}
	if len(x.entries) == 0 {
		return &Error{Place: "index", Found: "JSON text without any tensor in a weight_map",
			Allowed: `an index of shards: {"weight_map": {"tensor": "file", ...}}`}
	}
	if i, j, dup := duplicate(x.entries, sortedBy(x.entries, mappedName), mappedName); dup {
		return x.json.twice(x.entries[j].name, int(x.entries[i].pos), int(x.entries[j].pos))
	}
	return nil
}

// readMap reads the weight_map twice: to count its entries, then to keep them in exactly the memory that takes.
func (x *shardIndex) readMap() error {
	start, n := x.json.pos, 0
	err := x.json.members(func(_ string, pos int) error {
		if n++; n > x.lim.tensors {
			return &Error{Place: x.json.place(pos), Found: "a further tensor",
				Allowed: fmt.Sprintf("at most %d", x.lim.tensors)}
		}
		_, err := x.json.str("the name of a file")
		return err
	})
	if err != nil {
		return err
	}
	if err := x.budget.charge(int64(n) * (mappingBytes + 4)); err != nil {
		return at(err, x.json.place(start))
	}
	x.json.pos = start
	x.entries = make([]mapping, 0, n)
	return x.json.members(func(key string, pos int) error {
		x.json.space()
		filePos := x.json.pos
		file, err := x.json.str("the name of a file")
		if err != nil {
			return err
		}
		number, err := x.number(file)
		if err != nil {
			return at(named(err, "shard "+quote(file)), x.json.place(filePos))
		}
		x.entries = append(x.entries, mapping{name: key, shard: number, pos: int32(pos)})
		return nil
	})
}

// number is the place of a shard in the list, which it joins when it is new.
func (x *shardIndex) number(file string) (int32, error) {
	if n, ok := x.numbers[file]; ok {
		return n, nil
	}
	if err := checkShardName(file); err != nil {
		return 0, err
	}
	if len(x.shards) == x.lim.shards {
		return 0, &Error{Found: "a further file", Allowed: fmt.Sprintf("at most %d", x.lim.shards)}
	}
	const shardBytes = 4 * (16 + 16 + 8)
	if err := x.budget.charge(shardBytes); err != nil {
		return 0, err
	}
	n := int32(len(x.shards))
	x.numbers[file] = n
	x.shards = append(x.shards, file)
	return n, nil
}

// checkShardName accepts the name of a file in the index's directory, on any system.
func checkShardName(name string) error {
	const most = 255
	if name == "" || name == "." || name == ".." || len(name) > most || strings.ContainsAny(name, "/\\:\x00") ||
		!filepath.IsLocal(name) {
		return &Error{Found: "no plain file name", Allowed: "the name of a file in the index's directory"}
	}
	return nil
}
