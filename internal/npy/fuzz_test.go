package npy

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// FuzzDecode: what is accepted keeps its type, shape and bytes when written and read again.
func FuzzDecode(f *testing.F) {
	for _, seed := range [][]byte{
		file(1, dict("<f4", "False", "(2, 1)"), 0, 0, 128, 63, 0, 0, 192, 255),
		file(2, dict(">i2", "True", "(2, 2)"), 1, 2, 3, 4, 5, 6, 7, 8),
		file(3, dict("|b1", "False", "(3,)"), 0, 1, 2),
		file(1, dict("<f8", "False", "(0, 4294967296, 4294967296)")),
		file(1, "{'shape': (), \"descr\": '|u1', 'fortran_order': True}  \n", 7),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decode(bytes.Clone(data)) // decode may change its input, a fuzz target must not
		if err != nil {
			return
		}
		if n, err := tensor.ByteLen(got.DType, got.Shape); err != nil || n != len(got.Data) {
			t.Fatalf("%s of %s has %d bytes (%v)", tensor.FormatShape(got.Shape), got.DType, len(got.Data), err)
		}
		again, err := decode(Encode(got))
		if err != nil {
			t.Fatalf("refuses its own bytes: %v", err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

// FuzzReadNPZ: the same for archives.
func FuzzReadNPZ(f *testing.F) {
	seed, err := EncodeNPZ(map[string]*tensor.Tensor{
		"a": {DType: tensor.Uint8, Shape: []int{2}, Data: []byte{1, 2}},
		"b": {DType: tensor.Float16, Shape: []int{}, Data: []byte{0, 0x3c}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readNPZ(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		encoded, err := EncodeNPZ(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readNPZ(bytes.NewReader(encoded), int64(len(encoded)))
		if err != nil {
			t.Fatalf("refuses its own bytes: %v", err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}
