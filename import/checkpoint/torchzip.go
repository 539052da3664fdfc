package checkpoint

import (
	"fmt"
	"strconv"
	"strings"
)

// The records of a PyTorch archive, all in one folder named after the file that was first saved:
//
//	archive/data.pkl        the pickled object; tensors name their storages
//	archive/data/0, ...     the storages, raw bytes
//	archive/version         version of the archive format
//	archive/byteorder       "little" or "big" (torch >= 2.1)
//	archive/.data/..., archive/.format_version, ...   of no use here
const (
	pickleName = "data.pkl"

	oldestVersion, newestVersion = 1, 10 // kMinSupported..kMaxSupportedFileFormatVersion in caffe2/serialize/versions.h
)

type torchZip struct {
	src    source
	lim    limits
	budget *budget
	dir    *zipDir
	prefix string // "archive/"

	bigEndian bool // the storages' elements are

	storages map[string]*storage
}

func readTorchZip(src source, lim limits, b *budget) (*index, error) {
	dir, err := readZip(src, lim, b)
	if err != nil {
		return nil, err
	}
	z := &torchZip{src: src, lim: lim, budget: b, dir: dir, storages: map[string]*storage{}}
	record, err := z.findPickle()
	if err != nil {
		return nil, err
	}
	if err := z.checkVersion(); err != nil {
		return nil, err
	}
	if err := z.readByteOrder(); err != nil {
		return nil, err
	}
	text, err := z.pickleText(record)
	if err != nil {
		return nil, at(err, "record "+quote(record.name))
	}
	m := &machine{text: text, record: "record " + quote(record.name), lim: lim, budget: b, globals: newGlobals(),
		storage: z.storage, fileSize: src.size}
	root, err := m.run()
	if err != nil {
		return nil, err
	}
	x, err := flatten(root, len(text), src.size, lim, b)
	if err != nil {
		return nil, at(err, "record "+quote(record.name))
	}
	if dir.noSums {
		x.notes = []string{"the file has no checksums (torch's set_crc32_options(False)): damage would go unnoticed"}
	}
	return x, nil
}

// findPickle finds the one data.pkl, and tells apart the other archives that end in .pt or .zip.
func (z *torchZip) findPickle() (*zipEntry, error) {
	var found *zipEntry
	what, advice := "a zip archive without data.pkl", "an archive that torch.save wrote"
	for i := range z.dir.entries {
		e := &z.dir.entries[i]
		folder, name := splitName(e.name)
		switch {
		case name == "constants.pkl" || strings.Contains(folder, "/code/"):
			return nil, &Error{Place: "record " + quote(e.name), Found: "a TorchScript program",
				Allowed: "weights alone: torch.save(torch.jit.load(path).state_dict(), path)"}
		case strings.HasSuffix(name, ".npy"):
			what = "a numpy .npz archive"
		case name == pickleName && found != nil:
			return nil, &Error{Place: "record " + quote(e.name), Found: "a second data.pkl, beside " + quote(found.name),
				Allowed: "one"}
		case name == pickleName:
			found, z.prefix = e, folder
		}
	}
	if found == nil {
		return nil, &Error{Place: "zip directory", Found: what, Allowed: advice}
	}
	return found, nil
}

// splitName cuts a record's name behind its last slash.
func splitName(name string) (folder, base string) {
	i := strings.LastIndexByte(name, '/') + 1
	return name[:i], name[i:]
}

// smallRecord reads a record that holds one word.
func (z *torchZip) smallRecord(e *zipEntry) (string, error) {
	const most = 32
	if e.size > most {
		return "", &Error{Place: "record " + quote(e.name), Found: fmt.Sprintf("%d bytes", e.size),
			Allowed: fmt.Sprintf("at most %d", most)}
	}
	return z.dir.block(e).text(z.src)
}

func (z *torchZip) checkVersion() error {
	e, ok := z.dir.find(z.prefix + ".data/version")
	if !ok {
		e, ok = z.dir.find(z.prefix + "version")
	}
	if !ok {
		return &Error{Place: "record " + quote(z.prefix+"version"), Found: "no such record",
			Allowed: "the archive format's version"}
	}
	text, err := z.smallRecord(e)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32); err != nil || n < oldestVersion || n > newestVersion {
		return &Error{Place: "record " + quote(e.name), Found: "version " + quote(text),
			Allowed: fmt.Sprintf("%d to %d", oldestVersion, newestVersion)}
	}
	return nil
}

// readByteOrder reads the order in which the machine that wrote the file keeps the bytes of a number.
func (z *torchZip) readByteOrder() error {
	e, ok := z.dir.find(z.prefix + "byteorder")
	if !ok {
		return nil // before torch 2.1, little-endian machines were the only ones
	}
	text, err := z.smallRecord(e)
	if err != nil {
		return err
	}
	if text != "little" && text != "big" {
		return &Error{Place: "record " + quote(e.name), Found: "byte order " + quote(text), Allowed: `"little" or "big"`}
	}
	z.bigEndian = text == "big"
	return nil
}

func (z *torchZip) pickleText(e *zipEntry) (string, error) {
	if e.size > z.lim.pickle {
		return "", &Error{Found: fmt.Sprintf("a pickle of %d bytes", e.size),
			Allowed: fmt.Sprintf("at most %d", z.lim.pickle)}
	}
	if err := z.budget.charge(e.size); err != nil {
		return "", err
	}
	return z.dir.block(e).text(z.src)
}

// storage finds the record of a storage, which must have exactly the size that the pickle gives it, every time.
func (z *torchZip) storage(id storageID) (*storage, error) {
	if id.view != nil {
		return nil, &Error{Found: "a storage that is a view", Allowed: "whole storages, as torch >= 1.6 writes them"}
	}
	if s, ok := z.storages[id.key]; ok {
		return s, s.same(id)
	}
	const storageBytes = 4*(16+8) + 56 + 128 // in the map, itself, and its block with a name
	if err := z.budget.charge(storageBytes + int64(2*len(id.key)+len(z.prefix))); err != nil {
		return nil, err
	}
	name := z.prefix + "data/" + id.key
	e, ok := z.dir.find(name)
	if !ok {
		return nil, &Error{Found: "no record " + quote(name), Allowed: "a record for each storage"}
	}
	if size := id.class.dtype.Size(); int64(id.numel) != e.size/int64(size) || e.size%int64(size) != 0 {
		return nil, &Error{Found: fmt.Sprintf("%d elements of %s", id.numel, id.class.dtype),
			Allowed: fmt.Sprintf("the %d bytes of record %s", e.size, quote(name))}
	}
	s := &storage{key: id.key, dtype: id.class.dtype, numel: id.numel, block: z.dir.block(e)}
	s.block.bigEndian = z.bigEndian
	z.storages[id.key] = s
	return s, nil
}

// same compares a further mention of a storage with the first.
func (s *storage) same(id storageID) error {
	if s.dtype == id.class.dtype && s.numel == id.numel {
		return nil
	}
	return &Error{Found: fmt.Sprintf("%d elements of %s", id.numel, id.class.dtype),
		Allowed: fmt.Sprintf("%d of %s, as before", s.numel, s.dtype)}
}
