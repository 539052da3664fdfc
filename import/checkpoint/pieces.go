package checkpoint

import (
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// pieceBytes is how much of a tensor is read at once: a whole number of elements of every type.
const pieceBytes = 1 * mib

// pieces reads the view's elements in row-major order, in pieces of at most pieceBytes that hold until the next one. It
// stops when yield returns false. A contiguous view takes the memory of one piece; a strided one at most that of the
// elements between its first and its last besides.
func (v *view) pieces(src source, yield func([]byte) bool) error {
	give := yield
	if size := v.dtype.Size(); v.block.bigEndian && size > 1 {
		give = func(p []byte) bool {
			swapBytes(p, size)
			return yield(p)
		}
	}
	switch {
	case v.bytes == 0:
		return nil
	case v.strides == nil:
		return v.block.located(v.block.pieces(src, v.start, v.bytes, give))
	}
	return v.strided(src, give)
}

// pieces streams [from, from+n) of the content. The content's checksum is compared in a pass of its own before the first
// piece, or, when the pieces are the whole content as it lies in the file, after the last: then it is the reader's error
// that tells him to drop what he was given.
func (b *block) pieces(src source, from, n int64, yield func([]byte) bool) error {
	check := b.unverified()
	if whole := n == b.size && !b.deflated; check && !whole {
		if err := b.verify(src); err != nil {
			return err
		}
		check = false
	}
	read, err := b.sequential(src, from)
	if err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	buf := make([]byte, min(n, pieceBytes))
	for done := int64(0); done < n; {
		p := buf[:min(n-done, int64(len(buf)))]
		if err := read(p); err != nil {
			return err
		}
		done += int64(len(p))
		if check {
			sum.Write(p)
		}
		if !yield(p) {
			return nil
		}
	}
	if check {
		return b.compare(sum.Sum32())
	}
	return nil
}

// sequential gives a function that fills buffers with the content from one byte on.
func (b *block) sequential(src source, from int64) (func([]byte) error, error) {
	pos := from
	if !b.deflated {
		return func(p []byte) error {
			err := src.readAt(p, b.off+pos)
			pos += int64(len(p))
			return err
		}, nil
	}
	z := flate.NewReader(src.section(b.off, b.stored))
	if n, err := io.CopyN(io.Discard, z, from); err != nil {
		return nil, b.inflateError(n, err)
	}
	return func(p []byte) error {
		n, err := io.ReadFull(z, p)
		pos += int64(n)
		if err != nil {
			return b.inflateError(pos, err)
		}
		return nil
	}, nil
}

// strided reads as many rows of a strided view at once as lie within one piece of the file, and at least one. Rows that
// interleave, as those of a transposed matrix do, are read all at once: one by one, each would take nearly the whole.
func (v *view) strided(src source, yield func([]byte) bool) error {
	shape, strides := squeeze(v.shape, v.strides)
	size := v.dtype.Size()
	row, whole := extent(shape[1:], strides[1:]), extent(shape, strides)
	rows := shape[0]
	if apart := row <= 2*whole/shape[0]; apart && !v.block.deflated && strides[0] > 0 {
		rows = min(rows, 1+max(0, pieceBytes/size-row)/strides[0])
	}
	buf := make([]byte, extentOfRows(rows, row, strides[0])*size)
	g := &gatherer{size: size, out: make([]byte, 0, min(v.bytes, pieceBytes)), yield: yield}
	for done := 0; done < shape[0]; done += rows {
		n := min(rows, shape[0]-done)
		p := buf[:extentOfRows(n, row, strides[0])*size]
		if err := v.block.read(src, p, v.start+int64(done*strides[0]*size)); err != nil {
			return err
		}
		if !g.gather(p, append([]int{n}, shape[1:]...), strides) {
			return nil
		}
	}
	g.flush()
	return nil
}

// squeeze drops the dimensions of 1.
func squeeze(shape, strides []int) (outShape, outStrides []int) {
	for i, d := range shape {
		if d != 1 {
			outShape, outStrides = append(outShape, d), append(outStrides, strides[i])
		}
	}
	return outShape, outStrides
}

// extent is the number of elements from the first to the last of a view that is not empty.
func extent(shape, strides []int) int {
	n := 1
	for i, d := range shape {
		n += (d - 1) * strides[i]
	}
	return n
}

func extentOfRows(rows, row, stride int) int { return (rows-1)*stride + row }

// gatherer puts the elements of strided views one behind another, and gives them away a buffer at a time.
type gatherer struct {
	size  int    // of one element
	out   []byte // the buffer is its capacity, whole elements
	yield func([]byte) bool
}

// gather adds the elements of a view in row-major order, and reports whether more are wanted:
//
//	out[i0, i1, ...] = src[i0 stride0 + i1 stride1 + ...]
func (g *gatherer) gather(src []byte, shape, strides []int) bool {
	step := strides[0] * g.size
	if len(shape) > 1 {
		for i := range shape[0] {
			if !g.gather(src[i*step:], shape[1:], strides[1:]) {
				return false
			}
		}
		return true
	}
	if strides[0] == 1 {
		return g.run(src[:shape[0]*g.size])
	}
	for i := range shape[0] {
		if len(g.out) == cap(g.out) && !g.flush() {
			return false
		}
		g.out = append(g.out, src[i*step:i*step+g.size]...)
	}
	return true
}

// run adds elements that lie one behind another already.
func (g *gatherer) run(src []byte) bool {
	for len(src) > 0 {
		if len(g.out) == cap(g.out) && !g.flush() {
			return false
		}
		n := min(len(src), cap(g.out)-len(g.out))
		g.out, src = append(g.out, src[:n]...), src[n:]
	}
	return true
}

func (g *gatherer) flush() bool {
	more := len(g.out) == 0 || g.yield(g.out)
	g.out = g.out[:0]
	return more
}

// swapBytes turns big-endian numbers of size bytes into little-endian ones.
func swapBytes(p []byte, size int) {
	le, be := binary.LittleEndian, binary.BigEndian
	switch size {
	case 2:
		for i := 0; i < len(p); i += size {
			le.PutUint16(p[i:], be.Uint16(p[i:]))
		}
	case 4:
		for i := 0; i < len(p); i += size {
			le.PutUint32(p[i:], be.Uint32(p[i:]))
		}
	case 8:
		for i := 0; i < len(p); i += size {
			le.PutUint64(p[i:], be.Uint64(p[i:]))
		}
	}
}
