package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// sparse is a file of any size of which only some bytes are not zero. It counts what is read.
type sparse struct {
	parts []sparsePart // by offset, not overlapping
	size  int64
	read  int64
}

type sparsePart struct {
	off  int64
	data string
}

// add puts bytes at the end.
func (s *sparse) add(data string) {
	s.parts = append(s.parts, sparsePart{s.size, data})
	s.size += int64(len(data))
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	s.read += int64(len(p))
	clear(p)
	end := off + int64(len(p))
	i, _ := slices.BinarySearchFunc(s.parts, off, func(part sparsePart, off int64) int {
		return cmp.Compare(part.off+int64(len(part.data)), off)
	})
	for ; i < len(s.parts) && s.parts[i].off < end; i++ {
		from := max(off, s.parts[i].off)
		copy(p[from-off:], s.parts[i].data[from-s.parts[i].off:])
	}
	if end > s.size {
		return int(max(0, s.size-off)), io.EOF
	}
	return len(p), nil
}

// sparseTensor is a float16 tensor of zeros.
type sparseTensor struct {
	name  string
	numel int64
}

// tenGigabytes are 10 GB: one tensor beyond what 32 bits can say, the others as a language model may have them.
func tenGigabytes() []sparseTensor {
	list := []sparseTensor{{"embed.weight", 2_300_000_000}}
	for i := range 30 {
		for _, name := range []string{"q", "k", "v", "out"} {
			list = append(list, sparseTensor{fmt.Sprintf("layers.%d.%s.weight", i, name), sparseNumel})
		}
	}
	return list
}

const sparseNumel = 22_500_000 // of all tensors but the first

// sparseSafetensors is such a file with those tensors.
func sparseSafetensors(tensors []sparseTensor) *sparse {
	var entries []string
	off := int64(0)
	for _, t := range tensors {
		end := off + 2*t.numel
		entries = append(entries, fmt.Sprintf(`%q:{"dtype":"F16","shape":[%d],"data_offsets":[%d,%d]}`, t.name, t.numel, off, end))
		off = end
	}
	s := &sparse{}
	s.add(string(safetensorsFile("{"+strings.Join(entries, ",")+"}", "")))
	s.size += off
	return s
}

// sparseZip is an archive as torch 2.10 writes it: every record's content at a multiple of 64 bytes, by an extra field of
// padding, with a descriptor behind; beyond 4 GiB, a zip64 field in the local header that holds nothing but the record's
// own offset, and a descriptor of wide numbers.
func sparseZip(tensors []sparseTensor) *sparse {
	s, dir := &sparse{}, strings.Builder{}
	n := 0
	record := func(name, content string, size int64, crc uint32) {
		off, wide := s.size, ""
		local, central := "", ""
		if size >= math.MaxUint32 {
			central += u64(uint64(size)) + u64(uint64(size))
		}
		if off >= math.MaxUint32 {
			local = u16(extraZip64) + u16(8) + u64(uint64(off))
			central += u64(uint64(off))
		}
		if central != "" {
			wide = u16(extraZip64) + u16(len(central)) + central
		}
		pad := (64 - (off+localLen+int64(len(name)+len(local))+4)%64) % 64
		extra := local + "FB" + u16(int(pad)) + strings.Repeat("Z", int(pad))
		s.add(localSig + u16(20) + u16(0x808) + u16(0) + u32(0) + u32(0) + u32(0) + u32(0) + u16(len(name)) + u16(len(extra)) +
			name + extra)
		if content == "" {
			s.size += size
		} else {
			s.add(content)
		}
		narrow := u32(int(min(size, math.MaxUint32)))
		if wide == "" {
			s.add(descriptorSig + u32(int(crc)) + narrow + narrow)
		} else {
			s.add(descriptorSig + u32(int(crc)) + u64(uint64(size)) + u64(uint64(size)))
		}
		dir.WriteString(centralSig + u16(20) + u16(20) + u16(0x808) + u16(0) + u32(0) + u32(int(crc)) + narrow + narrow +
			u16(len(name)) + u16(len(wide)) + u16(0) + u16(0) + u16(0) + u32(0) + u32(int(min(off, math.MaxUint32))) + name + wide)
		n++
	}
	text := func(name, content string) {
		record(name, content, int64(len(content)), crc32.ChecksumIEEE([]byte(content)))
	}
	var items []string
	for i, t := range tensors {
		items = append(items, pStr(t.name), pTensor(pStorage("HalfStorage", fmt.Sprint(i), t.numel), 0, pInts(t.numel), pInts(1)))
	}
	text("archive/data.pkl", pickled(pDict(items...)))
	text("archive/.format_version", "1")
	text("archive/.storage_alignment", "64")
	text("archive/byteorder", "little")
	sums := map[int64]uint32{sparseNumel: crc32.ChecksumIEEE(make([]byte, 2*sparseNumel))}
	for i, t := range tensors {
		record(fmt.Sprint("archive/data/", i), "", 2*t.numel, sums[t.numel])
	}
	text("archive/version", "3\n")
	text("archive/.data/serialization_id", strings.Repeat("7", 40))
	at := s.size
	s.add(dir.String())
	end := s.size
	s.add(end64Sig + u64(end64Len-12) + u16(798) + u16(45) + u32(0) + u32(0) + u64(uint64(n)) + u64(uint64(n)) +
		u64(uint64(dir.Len())) + u64(uint64(at)) + end64LocatorSig + u32(0) + u64(uint64(end)) + u32(1) +
		endSig + u16(0) + u16(0) + u16(n) + u16(n) + u32(dir.Len()) + u32(math.MaxUint32) + u16(0))
	return s
}

func sparseFiles() map[string]*sparse {
	return map[string]*sparse{
		"sparse.safetensors": sparseSafetensors(tenGigabytes()), "sparse.pt": sparseZip(tenGigabytes()),
	}
}

// TestOpen_sparse: a file of 10 GB is opened by its index alone, and any tensor in it is found where it is.
func TestOpen_sparse(t *testing.T) {
	for name, s := range sparseFiles() {
		f, err := newFile(source{r: s, size: s.size}, defaultLimits())
		if err != nil {
			t.Fatal(name, err)
		}
		if s.size < 10_000_000_000 || s.read > mib {
			t.Errorf("%s: opening read %d bytes of %d", name, s.read, s.size)
		}
		if got, want := f.Totals(), (Totals{Parameters: 5_000_000_000, Bytes: 10_000_000_000}); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		last, err := f.Weight("layers.29.out.weight")
		if err != nil {
			t.Fatal(name, err)
		}
		if o := last.Origin(); o == nil || o.Offset < 9_900_000_000 || o.Offset > s.size-2*sparseNumel {
			t.Errorf("%s: the last tensor's origin is %+v", name, o)
		}
		s.read = 0
		if err := last.Parts(func(*tensor.Tensor) error { return nil }); err != nil || s.read != 2*sparseNumel {
			t.Errorf("%s: %d bytes read for a tensor of %d: %v", name, s.read, 2*sparseNumel, err)
		}
	}
}

// TestWriteSparse writes these files, which take a few kilobytes of disk, to the directory $AFTONNX_SPARSE: to measure with.
func TestWriteSparse(t *testing.T) {
	dir := os.Getenv("AFTONNX_SPARSE")
	if dir == "" {
		t.Skip("AFTONNX_SPARSE is not set")
	}
	for name, s := range sparseFiles() {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.parts {
			if _, err := f.WriteAt([]byte(p.data), p.off); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Truncate(s.size), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
