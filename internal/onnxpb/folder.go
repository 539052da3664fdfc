package onnxpb

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// maxDataFiles bounds the files that one model may name; each costs a look at it.
const maxDataFiles = 4096

// Folder is the folder of a model, beneath which its external data lies. It remembers the files it has looked at, so that a
// model with many tensors in one file costs one look. It is not safe for concurrent use, unlike the weights it gives.
type Folder struct {
	dir   string
	model string               // the model's own file, "" where it has none
	files map[string]*dataFile // by location
}

// dataFile is a file that was looked at.
type dataFile struct {
	size int64
	sum  func() (string, error) // SHA-1 of what it holds, computed when a tensor with a checksum is read first
}

// NewFolder describes a folder; dir "" is none, in which no external data is found.
func NewFolder(dir string) *Folder { return &Folder{dir: dir, files: map[string]*dataFile{}} }

// Except makes no tensor's data lie in the file at model, which is the model's own: what writes one would overwrite the other.
func (f *Folder) Except(model string) *Folder {
	f.model = model
	return f
}

// external is an external tensor whose file was looked at.
type external struct {
	External
	dir   string
	name  string // of the tensor
	dtype tensor.DType
	shape []int
	size  int // bytes
	file  *dataFile
}

// look checks an external tensor: its type and shape, its entries, and that the file has the bytes.
func (f *Folder) look(t *TensorProto) (*external, error) {
	e := &external{dir: f.dir, name: t.GetName()}
	var err error
	if e.External, _, err = ExternalData(t); err != nil {
		return nil, err
	}
	if f.dir == "" {
		return nil, e.fail("the model's folder to find it in", "the data is in another file, %q", shorten(e.Location))
	}
	dtype, ok := DType(t.GetDataType())
	if !ok {
		return nil, e.fail(supportedTypes(), "the data type is %s", DataTypeName(t.GetDataType()))
	}
	e.dtype = dtype
	if e.shape, err = tensorShape(t); err != nil {
		return nil, e.fail("", "%v", err)
	}
	if e.size, err = tensor.ByteLen(dtype, e.shape); err != nil {
		return nil, e.fail("", "%v", err)
	}
	if e.Length >= 0 && e.Length != int64(e.size) {
		return nil, e.fail(fmt.Sprintf("%d for %s %s", e.size, dtype, tensor.FormatShape(e.shape)),
			"external_data's length is %d", e.Length)
	}
	switch e.file = f.files[e.Location]; {
	case e.file != nil:
		return e, e.inRange(e.file.size)
	case len(f.files) == maxDataFiles:
		return nil, e.fail("", "the model's data is in more than %d files", maxDataFiles)
	}
	file, info, err := e.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if own, err := os.Stat(f.model); err == nil && os.SameFile(own, info) {
		return nil, e.fail("another file", "data file %q: is the model itself", e.path())
	}
	e.file = &dataFile{size: info.Size(), sum: sync.OnceValues(e.sum)}
	f.files[e.Location] = e.file
	return e, nil
}

// sum hashes the whole data file.
func (e *external) sum() (string, error) {
	f, _, err := e.open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	return e.hash(f)
}

func (e *external) hash(f io.Reader) (string, error) {
	h := sha1.New() // what ONNX prescribes: it finds accidents
	if _, err := io.Copy(h, f); err != nil {
		return "", e.fail("", "data file %q: %v", e.path(), reason(err))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkSum holds the file against the checksum of the tensor, if it has one.
func (e *external) checkSum() error {
	if e.Checksum == "" {
		return nil
	}
	sum, err := e.file.sum()
	if err != nil {
		return err
	}
	if sum != e.Checksum {
		return e.fail(e.Checksum+", as external_data has it", "data file %q: its SHA-1 is %s", e.path(), sum)
	}
	return nil
}

// path is the data file's.
func (e *external) path() string { return filepath.Join(e.dir, filepath.FromSlash(e.Location)) }

// inRange makes sure that a file of that size holds the tensor.
func (e *external) inRange(size int64) error {
	if e.Offset > size-int64(e.size) {
		return e.fail("", "data file %q: has %d bytes, want offset %d + length %d within them", e.path(), size, e.Offset, e.size)
	}
	return nil
}

func (e *external) fail(allowed, format string, args ...any) error {
	return &Error{Place: fmt.Sprintf("tensor %q", e.name), Offset: -1, Found: fmt.Sprintf(format, args...), Allowed: allowed}
}

// open opens the data beneath the model's folder and makes sure, on the open file, that it is what may be read: a regular
// file of one name with enough bytes. A file of two names may be a way to read one that lies elsewhere.
func (e *external) open() (*os.File, fs.FileInfo, error) {
	f, info, err := openBeneath(e.dir, e.Location)
	if err != nil {
		return nil, nil, e.fail("", "data file %q: %v", e.path(), err)
	}
	if err := e.inRange(info.Size()); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// openBeneath opens a regular file of one name beneath dir, and describes the open file.
func openBeneath(dir, location string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, reason(err)
	}
	defer root.Close()
	f, err := root.OpenFile(filepath.FromSlash(location), os.O_RDONLY|openNonblock, 0) // opening a FIFO must not wait
	if err != nil {
		return nil, nil, reason(err)
	}
	info, err := f.Stat()
	if err == nil {
		err = checkPlain(info)
	}
	if err != nil {
		f.Close()
		return nil, nil, reason(err)
	}
	return f, info, nil
}

// checkPlain refuses what is no regular file of one name.
func checkPlain(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("is not a regular file (%s)", info.Mode().Type())
	case links(info) > 1:
		return fmt.Errorf("has %d hard links, want one name", links(info))
	}
	return nil
}

// CheckBeneath makes sure that a model in dir may refer to the file at location, size bytes from offset on.
func CheckBeneath(dir, location string, offset int64, size int) error {
	if err := checkLocation(location); err != nil {
		return err
	}
	f, info, err := openBeneath(dir, location)
	if err != nil {
		return fmt.Errorf("%q: %w", filepath.Join(dir, filepath.FromSlash(location)), err)
	}
	defer f.Close()
	if offset < 0 || offset > info.Size()-int64(size) {
		return fmt.Errorf("%q: has %d bytes, want offset %d + length %d within them", f.Name(), info.Size(), offset, size)
	}
	return nil
}

// reason strips operation and path from an error of package os: the messages here name the path themselves.
func reason(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}

// pieceSize is how many bytes of a data file are held at once; a multiple of every element's size.
const pieceSize = 1 << 18

// read calls yield with the bytes, piece by piece, which it must not keep.
func (e *external) read(yield func(piece []byte) error) error {
	if err := e.checkSum(); err != nil {
		return err
	}
	f, _, err := e.open()
	if err != nil {
		return err
	}
	defer f.Close()
	return e.pieces(f, yield)
}

func (e *external) pieces(f io.ReaderAt, yield func(piece []byte) error) error {
	buffer := make([]byte, min(pieceSize, e.size))
	for done := 0; done < e.size; {
		piece := buffer[:min(len(buffer), e.size-done)]
		if _, err := f.ReadAt(piece, e.Offset+int64(done)); err != nil && err != io.EOF {
			return e.fail("", "data file %q: %v", e.path(), reason(err))
		} else if err == io.EOF {
			return e.fail("", "data file %q: became shorter while it was read", e.path())
		}
		if err := yield(piece); err != nil {
			return err
		}
		done += len(piece)
	}
	return nil
}

func (e *external) parts(yield func(*tensor.Tensor) error) error {
	return e.read(func(piece []byte) error {
		return yield(&tensor.Tensor{DType: e.dtype, Shape: []int{len(piece) / e.dtype.Size()}, Data: piece})
	})
}

// Weight describes a tensor of the model without reading it: one whose data is in the model itself shares its memory, one
// with external data is read when it is asked for. That the data is there is checked now and whenever it is read; a
// checksum, which is that of the whole file, when it is read first. Errors are *Error and quote the tensor's name.
func (f *Folder) Weight(t *TensorProto) (tensor.Weight, error) {
	if !isExternal(t) {
		v, err := TensorFromProto(t)
		if err != nil {
			return tensor.Weight{}, err
		}
		flat := &tensor.Tensor{DType: v.DType, Shape: []int{v.Len()}, Data: v.Data}
		return tensor.NewWeight(tensor.WeightOptions{Shape: v.Shape, DType: v.DType,
			Parts: func(yield func(*tensor.Tensor) error) error { return yield(flat) }}), nil
	}
	e, err := f.look(t)
	if err != nil {
		return tensor.Weight{}, err
	}
	return tensor.NewWeight(tensor.WeightOptions{Shape: e.shape, DType: e.dtype, Parts: e.parts,
		Origin: &tensor.Origin{Path: e.path(), Offset: e.Offset}}), nil
}

// InitializerWeight is Folder.Weight for one tensor of a model in dir.
func InitializerWeight(t *TensorProto, dir string) (tensor.Weight, error) {
	return NewFolder(dir).Weight(t)
}

// ReadTensor is TensorFromProto for a tensor whose data may be external, in a file beneath dir, the folder of the model.
func ReadTensor(t *TensorProto, dir string) (*tensor.Tensor, error) {
	if !isExternal(t) {
		return TensorFromProto(t)
	}
	e, err := NewFolder(dir).look(t)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, e.size) // the file has that many
	if err := e.read(func(piece []byte) error { data = append(data, piece...); return nil }); err != nil {
		return nil, err
	}
	return tensor.FromBytes(e.dtype, e.shape, data)
}
