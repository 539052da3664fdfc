package checkpoint

import (
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// inBounds says by big integers and by looking at both ends of each dimension whether a view stays in its storage.
func inBounds(s viewSpec) bool {
	n, last := big.NewInt(1), big.NewInt(int64(s.offset))
	for i, d := range s.shape {
		if d < 0 || s.strides[i] < 0 {
			return false
		}
		n.Mul(n, big.NewInt(int64(d)))
		last.Add(last, new(big.Int).Mul(big.NewInt(int64(d-1)), big.NewInt(int64(s.strides[i]))))
	}
	if s.offset < 0 || s.offset > s.numel {
		return false
	}
	if n.Sign() == 0 {
		return true
	}
	return last.Cmp(big.NewInt(int64(s.numel))) < 0
}

// FuzzView_inBounds: a view of a storage of 24 bytes is accepted exactly when all its elements are there, and then reads
// what the definition of strides says.
func FuzzView_inBounds(f *testing.F) {
	for _, seed := range [][5]int64{
		{0, 2, 3, 3, 1}, {5, 2, 2, 0, 0}, {6, 0, 5, 5, 1}, {1, 3, 3, 1, 1}, {0, 5, 5, 1 << 62, 1 << 62},
		{0, 1, 1 << 40, 1 << 62, 0}, {-1, 2, 3, 3, 1}, {0, 1 << 32, 1 << 32, 0, 0},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, offset64, rows64, columns64, down64, right64 int64) {
		offset, rows, columns, down, right := int(offset64), int(rows64), int(columns64), int(down64), int(right64)
		data := []byte("abcdefghijklmnopqrstuvwx")
		src := sourceOf(data)
		for _, c := range []struct{ dtype, size int }{{int(tensor.Uint8), 1}, {int(tensor.Float32), 4}} {
			s := viewSpec{dtype: tensor.DType(c.dtype), offset: offset, numel: len(data) / c.size,
				shape: []int{rows, columns}, strides: []int{down, right}}
			v, err := newView(&block{size: int64(len(data)), stored: int64(len(data))}, s)
			if _, tooMany := tensor.ByteLen(s.dtype, s.shape); (err == nil) != (inBounds(s) && tooMany == nil) {
				t.Fatalf("%+v: %v", s, err)
			}
			if err != nil || v.bytes > 1<<20 {
				continue
			}
			got, err := v.materialise(src)
			if err != nil {
				t.Fatal(err)
			}
			want := []byte{}
			for i := 0; i < rows && len(want) < int(v.bytes); i++ {
				for j := range columns {
					at := (offset + i*down + j*right) * c.size
					want = append(want, data[at:at+c.size]...)
				}
			}
			if diff := cmp.Diff(want, got.Data); diff != "" {
				t.Fatalf("%+v (-want +got):\n%s", s, diff)
			}
		}
	})
}
