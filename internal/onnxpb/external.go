package onnxpb

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// The keys of external_data.
const (
	keyLocation = "location"
	keyOffset   = "offset"
	keyLength   = "length"
	keyChecksum = "checksum" // SHA-1 of the whole file; that the model's own digest is finer, see WeightsDigest
)

// External is where the data of a tensor lies outside its model.
type External struct {
	Location string // slash-separated, relative to the model's folder
	Offset   int64
	Length   int64 // -1: not given, as many as the tensor takes
}

func isExternal(t *TensorProto) bool {
	return t.GetDataLocation() == TensorProto_EXTERNAL || len(t.GetExternalData()) > 0
}

// ExternalData reads where the data of a tensor lies; false for one in the model itself. What the entries say is checked,
// and the files are not looked at: a location that would leave the model's folder, an unknown or repeated key, an offset
// or length that is no plain decimal number is an *Error.
func ExternalData(t *TensorProto) (External, bool, error) {
	if !isExternal(t) {
		return External{}, false, nil
	}
	e, err := parseExternal(t)
	if err != nil {
		err.Place = fmt.Sprintf("tensor %q", t.GetName())
		return External{}, true, err
	}
	return e, true, nil
}

func parseExternal(t *TensorProto) (External, *Error) {
	e := External{Length: -1}
	if t.GetDataLocation() != TensorProto_EXTERNAL {
		return e, &Error{Offset: -1, Found: "external_data is set, and data_location says that the data is in the model",
			Allowed: "data_location EXTERNAL"}
	}
	if fields := dataFields(t); len(fields) > 0 {
		return e, &Error{Offset: -1, Found: "the data is in another file and in " + strings.Join(fields, " and in "),
			Allowed: "one of them"}
	}
	seen := map[string]bool{}
	for _, entry := range t.GetExternalData() {
		key, value := entry.GetKey(), entry.GetValue()
		if seen[key] {
			return e, &Error{Offset: -1, Found: fmt.Sprintf("external_data has two entries %q", shorten(key)), Allowed: "one"}
		}
		seen[key] = true
		if err := e.set(key, value); err != nil {
			return e, err
		}
	}
	if !seen[keyLocation] {
		return e, &Error{Offset: -1, Found: "external_data names no location"}
	}
	return e, nil
}

func (e *External) set(key, value string) *Error {
	switch key {
	case keyLocation:
		e.Location = value
		return checkLocation(value)
	case keyOffset:
		return parseNumber(key, value, &e.Offset)
	case keyLength:
		return parseNumber(key, value, &e.Length)
	case keyChecksum:
		if len(value) != 40 || strings.Trim(value, "0123456789abcdefABCDEF") != "" {
			return &Error{Offset: -1, Found: fmt.Sprintf("external_data's checksum is %q", shorten(value)),
				Allowed: "40 hexadecimal digits (SHA-1)"}
		}
		return nil
	}
	return &Error{Offset: -1, Found: fmt.Sprintf("external_data has an entry %q", shorten(key)),
		Allowed: "location, offset, length or checksum"}
}

// parseNumber reads an unsigned decimal number and nothing else: no sign, no space, no other base.
func parseNumber(key, value string, to *int64) *Error {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || strings.Trim(value, "0123456789") != "" {
		return &Error{Offset: -1, Found: fmt.Sprintf("external_data's %s is %q", key, shorten(value)),
			Allowed: fmt.Sprintf("a decimal number, 0..%d", int64(math.MaxInt64))}
	}
	*to = int64(n)
	return nil
}

// checkLocation refuses what is no file name beneath a folder, on any system. Symbolic links are the business of os.Root.
func checkLocation(location string) *Error {
	fail := func(allowed string) *Error {
		return &Error{Offset: -1, Found: fmt.Sprintf("the data's location is %q", shorten(location)), Allowed: allowed}
	}
	switch {
	case strings.ContainsAny(location, "\x00\\"), strings.Contains(location, ":"):
		return fail("slashes between folders, and no drive, scheme or stream")
	case path.IsAbs(location), !filepath.IsLocal(filepath.FromSlash(location)):
		return fail("a relative path that stays in the model's folder")
	case path.Clean(location) != location || location == ".":
		return fail("a plain path to a file: no ., .. or empty parts")
	}
	return nil
}

// shorten keeps what is quoted in an error to a line.
func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// external is an external tensor whose file was looked at.
type external struct {
	External
	dir   string
	name  string // of the tensor
	dtype tensor.DType
	shape []int
	size  int // bytes
}

// openExternal checks an external tensor: its type and shape, its entries, and that the file has the bytes.
func openExternal(t *TensorProto, dir string) (*external, error) {
	e := &external{dir: dir, name: t.GetName()}
	var err error
	if e.External, _, err = ExternalData(t); err != nil {
		return nil, err
	}
	if dir == "" {
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
	f, err := e.open()
	if err != nil {
		return nil, err
	}
	return e, f.Close()
}

func (e *external) fail(allowed, format string, args ...any) error {
	return &Error{Place: fmt.Sprintf("tensor %q", e.name), Offset: -1, Found: fmt.Sprintf(format, args...), Allowed: allowed}
}

// open opens the data beneath the model's folder and makes sure, on the open file, that it is what may be read: a regular
// file of one name with enough bytes. A file of two names may be a way to read one that lies elsewhere.
func (e *external) open() (*os.File, error) {
	shown := filepath.Join(e.dir, filepath.FromSlash(e.Location))
	f, err := openBeneath(e.dir, e.Location)
	if err != nil {
		return nil, e.fail("", "data file %q: %v", shown, err)
	}
	info, err := f.Stat()
	if err == nil && e.Offset > info.Size()-int64(e.size) {
		err = fmt.Errorf("has %d bytes, want offset %d + length %d within them", info.Size(), e.Offset, e.size)
	}
	if err != nil {
		f.Close()
		return nil, e.fail("", "data file %q: %v", shown, reason(err))
	}
	return f, nil
}

// openBeneath opens a regular file of one name beneath dir.
func openBeneath(dir, location string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, reason(err)
	}
	defer root.Close()
	f, err := root.OpenFile(filepath.FromSlash(location), os.O_RDONLY|openNonblock, 0) // opening a FIFO must not wait
	if err != nil {
		return nil, reason(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = reason(err)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("is not a regular file (%s)", info.Mode().Type())
	case links(info) > 1:
		err = fmt.Errorf("has %d hard links, want one name", links(info))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// CheckBeneath makes sure that a model in dir may refer to the file at location, size bytes from offset on.
func CheckBeneath(dir, location string, offset int64, size int) error {
	if err := checkLocation(location); err != nil {
		return err
	}
	f, err := openBeneath(dir, location)
	if err != nil {
		return fmt.Errorf("%q: %w", filepath.Join(dir, filepath.FromSlash(location)), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
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
	f, err := e.open()
	if err != nil {
		return err
	}
	defer f.Close()
	buffer := make([]byte, min(pieceSize, e.size))
	for done := 0; done < e.size; {
		piece := buffer[:min(len(buffer), e.size-done)]
		if _, err := f.ReadAt(piece, e.Offset+int64(done)); err != nil && err != io.EOF {
			return e.fail("", "data file %q: %v", f.Name(), reason(err))
		} else if err == io.EOF {
			return e.fail("", "data file %q: became shorter while it was read", f.Name())
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

// InitializerWeight describes a tensor of a model without reading it: one whose data is in the model itself shares its
// memory, one with external data is read, from beneath dir, the folder of the model, when it is asked for. That the data is
// there is checked now and whenever it is read. Errors are *Error and quote the tensor's name.
func InitializerWeight(t *TensorProto, dir string) (tensor.Weight, error) {
	if !isExternal(t) {
		v, err := TensorFromProto(t)
		if err != nil {
			return tensor.Weight{}, err
		}
		flat := &tensor.Tensor{DType: v.DType, Shape: []int{v.Len()}, Data: v.Data}
		return tensor.NewWeight(tensor.WeightOptions{Shape: v.Shape, DType: v.DType,
			Parts: func(yield func(*tensor.Tensor) error) error { return yield(flat) }}), nil
	}
	e, err := openExternal(t, dir)
	if err != nil {
		return tensor.Weight{}, err
	}
	return tensor.NewWeight(tensor.WeightOptions{Shape: e.shape, DType: e.dtype, Parts: e.parts,
		Origin: &tensor.Origin{Path: filepath.Join(dir, filepath.FromSlash(e.Location)), Offset: e.Offset}}), nil
}

// ReadTensor is TensorFromProto for a tensor whose data may be external, in a file beneath dir, the folder of the model.
func ReadTensor(t *TensorProto, dir string) (*tensor.Tensor, error) {
	if !isExternal(t) {
		return TensorFromProto(t)
	}
	e, err := openExternal(t, dir)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, e.size) // the file has that many
	if err := e.read(func(piece []byte) error { data = append(data, piece...); return nil }); err != nil {
		return nil, err
	}
	return tensor.FromBytes(e.dtype, e.shape, data)
}
